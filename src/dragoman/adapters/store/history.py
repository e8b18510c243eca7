"""What a model is asked, read from the store: the newest history that its window holds, and the round it is in.

Knows no model.
"""

import json
from collections.abc import Mapping, Sequence
from typing import Any

from dragoman.adapters.store.driver import Row, Transaction
from dragoman.core.agents import Agent
from dragoman.core.events import ToolCall
from dragoman.core.prompt import (
    CallingMessage,
    Overrides,
    PersonsMessage,
    PromptMessage,
    ResultMessage,
    compose,
    history_budget,
    passages_budget,
    size_of,
    system_text,
)

NEWEST = """SELECT number, role, content, tool_calls, tool_call_id, metadata FROM messages
    WHERE conversation_id = :conversation_id AND tenant_id = :tenant_id AND number < :below AND in_prompt = 1
    ORDER BY number DESC LIMIT :count"""
ROUND = """SELECT number, role, content, tool_calls, tool_call_id, metadata FROM messages
    WHERE conversation_id = :conversation_id AND tenant_id = :tenant_id AND turn_id = :turn_id AND in_prompt = 1
    ORDER BY number"""

FIRST_PAGE = 32
LARGEST_PAGE = 512
ABOVE_ALL = 2**62


def calls_text(calls: Sequence[ToolCall]) -> str | None:
    """How calls are kept with their message."""
    return json.dumps(calls) if calls else None


def calls_of(text: str | None) -> tuple[ToolCall, ...]:
    """The calls that a message keeps."""
    return tuple(ToolCall(*call) for call in json.loads(text)) if text else ()


async def prompt_of(
    transaction: Transaction,
    agent: Agent,
    conversation_id: str,
    current: Sequence[PromptMessage],
    *,
    overrides: Overrides,
    context: Mapping[str, Any] | None,
    below: int = ABOVE_ALL,
) -> tuple[PromptMessage, ...]:
    """What the model is asked: history numbered under `below`, then what this turn alone adds, then its round."""
    definition = agent.definition
    instructions = definition.instructions if overrides.system_prompt is None else overrides.system_prompt
    system = system_text(instructions, context)
    beside = (*overrides.prior, *current)
    budget = history_budget(definition.model.context_tokens, definition.model.max_tokens, system, beside)
    if agent.knows:
        # What is found of it comes into the prompt later.
        budget = max(0, budget - passages_budget(definition.model))
    past = await newest(transaction, agent.tenant_id, conversation_id, budget, below=below) if below else []
    return compose(system, past, beside, budget)


async def round_of(
    transaction: Transaction, tenant_id: str, conversation_id: str, turn_id: str
) -> tuple[int, list[PromptMessage]]:
    """A turn's question and the calls and results since, in order, and the number of the question."""
    rows = await transaction.all(
        ROUND, {"tenant_id": tenant_id, "conversation_id": conversation_id, "turn_id": turn_id}
    )
    return (int(rows[0][0]) if rows else 0), [_message(row) for row in rows]


async def newest(
    transaction: Transaction, tenant_id: str, conversation_id: str, budget: int, *, below: int = ABOVE_ALL
) -> list[PromptMessage]:
    """Messages numbered under `below`, newest first, until they are more than `budget` bytes or there are no more.

    Pages grow, so that a short window costs one small query and a long one few: the cost is the window's, never the
    conversation's.
    """
    window: list[PromptMessage] = []
    used, count = 0, FIRST_PAGE
    while used <= budget:
        rows = await transaction.all(
            NEWEST, {"conversation_id": conversation_id, "tenant_id": tenant_id, "below": below, "count": count}
        )
        for row in rows:
            below = row[0]
            message = _message(row)
            window.append(message)
            used += size_of(message)
            if used > budget:
                return window
        if len(rows) < count:
            return window
        count = min(count * 4, LARGEST_PAGE)
    return window


def _message(row: Row) -> PromptMessage:
    _, role, content, calls, call_id, metadata = row
    if calls:
        return CallingMessage(role, content or "", calls_of(calls))
    if call_id:
        return ResultMessage(role, content or "", call_id)
    if metadata and role == "assistant":
        # Nothing else writes metadata of an answer.
        return PersonsMessage(role, content or "")
    return PromptMessage(role, content or "")
