"""How a prompt is put together, purely: instructions, the newest history that fits, the new message.

Tokens are counted at four bytes each, the figure for a model whose tokenizer is not known.
"""

from collections.abc import Iterable
from dataclasses import dataclass

from dragoman.core.conversations import Role

BYTES_PER_TOKEN = 4
MESSAGE_OVERHEAD_BYTES = 16
DEFAULT_ANSWER_TOKENS = 1024


@dataclass(frozen=True, slots=True)
class PromptMessage:
    """One message as a model is given it."""

    role: Role
    content: str


def estimate_tokens(text: str) -> int:
    """About how many tokens a text is, at least one."""
    return max(1, len(text.encode()) // BYTES_PER_TOKEN)


def history_budget(context_tokens: int, max_tokens: int | None, instructions: str, message: str) -> int:
    """How many bytes of history fit beside the instructions, the new message and the answer; 0 at the least."""
    answer = max_tokens if max_tokens is not None else min(DEFAULT_ANSWER_TOKENS, context_tokens // 4)
    fixed = len(instructions.encode()) + len(message.encode()) + 2 * MESSAGE_OVERHEAD_BYTES
    return max(0, (context_tokens - answer) * BYTES_PER_TOKEN - fixed)


def compose(
    instructions: str, newest_first: Iterable[PromptMessage], message: str, budget_bytes: int
) -> tuple[PromptMessage, ...]:
    """The prompt: a system message where there are instructions, the newest history within the budget, the message.

    History is questions, each with its answer, so that roles always alternate: what lacks its other half, because the
    budget cuts there or because a question was answered again later, is left out.
    """
    kept: list[PromptMessage] = []
    answer: PromptMessage | None = None
    used = 0
    for past in newest_first:
        used += len(past.content.encode()) + MESSAGE_OVERHEAD_BYTES
        if used > budget_bytes:
            break
        if past.role == "user" and answer is not None:
            kept += (answer, past)
        answer = past if past.role == "assistant" else None
    kept.reverse()
    system = (PromptMessage("system", instructions),) if instructions else ()
    return (*system, *kept, PromptMessage("user", message))
