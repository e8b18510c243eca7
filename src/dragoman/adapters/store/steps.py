"""Calls that the server makes while a segment runs: stored before they are made, and when they have brought something.

Knows no tool.
"""

from collections.abc import Sequence

from dragoman.adapters.store import calls, history
from dragoman.adapters.store.beginnings import CONVERSATION
from dragoman.adapters.store.driver import Params, Transaction
from dragoman.core.conversations import Turn
from dragoman.core.text import keepable
from dragoman.ports.turns import Call, Fenced, Step

HOLD = """UPDATE turns SET owner = :owner
    WHERE id = :turn_id AND tenant_id = :tenant_id AND state = 'running' AND epoch = :epoch AND owner = :owner
        AND answer_id = :answer_id
    RETURNING agent_id, agent_version, answer_number"""
NUMBER = "UPDATE turns SET answer_number = :number WHERE id = :turn_id AND tenant_id = :tenant_id"
CALLING = """INSERT INTO messages (id, tenant_id, conversation_id, agent_id, turn_id, number, role, content, tool_calls,
        resolved, agent_version, in_prompt, created_at)
    VALUES (:message_id, :tenant_id, :conversation_id, :agent_id, :turn_id, :number, 'assistant', :content, :calls,
        :resolved, :agent_version, 1, :now)"""


async def store(transaction: Transaction, step: Step, owner: int) -> int:
    """Keep the message that wants calls, the calls, and room for what they bring; the number of the answer after that.

    Raises:
        Fenced: the turn is no longer this owner's.
    """
    agent_id, agent_version, number = await _hold(transaction, step.turn, owner, step.now)
    turn = step.turn
    place = {"tenant_id": turn.tenant_id, "conversation_id": turn.conversation_id, "turn_id": turn.id}
    ours: Params = {**place, "agent_id": agent_id, "now": step.now}
    message = {
        **ours,
        "message_id": step.message_id,
        "number": number,
        "content": keepable(step.content) or None,
        "calls": history.calls_text([each.call for each in step.calls]),
        "agent_version": agent_version,
        "resolved": int(step.pausing) or None,
    }
    await transaction.run(CALLING, message)
    await calls.open_calls(transaction, ours, step.message_id, step.calls, step.approval_ends)
    following = await calls.make_room(transaction, ours, step.calls, 0 if step.pausing else 1)
    if step.pausing:
        return number
    await transaction.run(NUMBER, {**ours, "number": following})
    return following


async def keep_results(
    transaction: Transaction, turn: Turn, results: Sequence[tuple[Call, str]], owner: int, now: int
) -> None:
    """Keep what running calls brought, in the room that was made for it.

    Raises:
        Fenced: the turn is no longer this owner's.
    """
    await _hold(transaction, turn, owner, now)
    for call, content in results:
        told = {"tenant_id": turn.tenant_id, "turn_id": turn.id, "result_id": call.result_id, "now": now}
        if await transaction.run(calls.RAN, {**told, "content": content}):
            await transaction.run(calls.TOLD, {**told, "content": content})


async def _hold(transaction: Transaction, turn: Turn, owner: int, now: int) -> tuple[str, int, int]:
    """Hold the conversation and its turn, in the order that beginnings.py says; the agent, its version, the number."""
    ours = {"tenant_id": turn.tenant_id, "turn_id": turn.id, "epoch": turn.epoch, "answer_id": turn.answer_id}
    await transaction.one(CONVERSATION, {"tenant_id": turn.tenant_id, "id": turn.conversation_id, "now": now})
    row = await transaction.one(HOLD, {**ours, "owner": owner})
    if row is None:
        raise Fenced(f"turn {turn.id} is no longer this owner's")
    return str(row[0]), int(row[1]), int(row[2])
