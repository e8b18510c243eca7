"""Tool calls that a client is to make: opened by an answer, answered by results, or cancelled. Knows no model."""

from collections.abc import Sequence

from dragoman.adapters.store.driver import Row, Transaction
from dragoman.core.errors import Invalid
from dragoman.core.events import ToolCall
from dragoman.core.ids import new_id

OPEN = """INSERT INTO tool_calls
    (id, tenant_id, conversation_id, turn_id, message_id, call_id, name, arguments, state, created_at)
    VALUES (:id, :tenant_id, :conversation_id, :turn_id, :message_id, :call_id, :name, :arguments, 'open', :now)"""
CALL = """SELECT id, turn_id, state, result_id, opened_id FROM tool_calls
    WHERE conversation_id = :conversation_id AND tenant_id = :tenant_id AND call_id = :call_id"""
ANSWER = """UPDATE tool_calls SET state = 'answered', result = :content, result_id = :result_id, finished_at = :now
    WHERE id = :id AND tenant_id = :tenant_id AND state = 'open'"""
OPENED = """UPDATE tool_calls SET opened_id = :answer_id
    WHERE turn_id = :turn_id AND tenant_id = :tenant_id AND result_id = :result_id"""
STILL_OPEN = "SELECT COUNT(*) FROM tool_calls WHERE turn_id = :turn_id AND tenant_id = :tenant_id AND state = 'open'"
OPEN_IN_TURN = """SELECT id, call_id FROM tool_calls
    WHERE turn_id = :turn_id AND tenant_id = :tenant_id AND state = 'open' ORDER BY created_at, id"""
CANCEL = """UPDATE tool_calls SET state = 'cancelled', result_id = :result_id, finished_at = :now
    WHERE id = :id AND tenant_id = :tenant_id AND state = 'open'"""
ANY_OF_TURN = "SELECT 1 FROM tool_calls WHERE turn_id = :turn_id AND tenant_id = :tenant_id"
PAUSED = """SELECT id, agent_id FROM turns
    WHERE conversation_id = :conversation_id AND tenant_id = :tenant_id AND state = 'paused'"""
CLOSE_PAUSED = (
    "UPDATE turns SET state = 'cancelled' WHERE id = :turn_id AND tenant_id = :tenant_id AND state = 'paused'"
)
NEXT_NUMBERS = """UPDATE agent_counters SET last_number = last_number + :count
    WHERE agent_id = :agent_id AND tenant_id = :tenant_id RETURNING last_number"""
RESULT = """INSERT INTO messages
    (id, tenant_id, conversation_id, agent_id, turn_id, number, role, content, tool_call_id, in_prompt, created_at)
    VALUES (:id, :tenant_id, :conversation_id, :agent_id, :turn_id, :number, 'tool', :content, :call_id, 1, :now)"""

CANCELLED_RESULT = '{"error": "cancelled"}'


async def numbers(transaction: Transaction, tenant_id: str, agent_id: str, count: int) -> int:
    """The first of so many new numbers of an agent's messages.

    Taken as late as can be, so that the order of numbers is the order of commits.
    """
    row = await transaction.one(NEXT_NUMBERS, {"agent_id": agent_id, "tenant_id": tenant_id, "count": count})
    return int(row[0]) - count + 1 if row else 1


async def open_calls(
    transaction: Transaction,
    tenant_id: str,
    conversation_id: str,
    turn_id: str,
    message_id: str,
    calls: Sequence[ToolCall],
    now: int,
) -> None:
    """Keep the calls of an answer, to wait for their results."""
    ours = {"tenant_id": tenant_id, "conversation_id": conversation_id, "turn_id": turn_id, "message_id": message_id}
    await transaction.many(
        OPEN,
        [
            {**ours, "id": new_id(), "call_id": call.id, "name": call.name, "arguments": call.arguments, "now": now}
            for call in calls
        ],
    )


async def find(transaction: Transaction, tenant_id: str, conversation_id: str, call_id: str) -> Row:
    """A call of a conversation: id, turn, state, the message of its result, the answer that this result opened.

    Raises:
        Invalid: it has no such call, or it was cancelled.
    """
    wanted = {"tenant_id": tenant_id, "conversation_id": conversation_id, "call_id": call_id}
    row = await transaction.one(CALL, wanted)
    if row is None:
        raise Invalid(f"tool_call_id {call_id!r} is no call of this conversation", field="tool_call_id")
    if row[2] == "cancelled":
        raise Invalid(f"The call {call_id!r} was cancelled by a later message", field="tool_call_id")
    return row


async def cancel_paused(transaction: Transaction, tenant_id: str, conversation_id: str, now: int) -> None:
    """End the pauses of a conversation: their open calls get a result that says so, and the history stays valid."""
    paused = await transaction.all(PAUSED, {"tenant_id": tenant_id, "conversation_id": conversation_id})
    for turn_id, agent_id in paused:
        ours = {"tenant_id": tenant_id, "conversation_id": conversation_id, "turn_id": turn_id, "now": now}
        if not await transaction.run(CLOSE_PAUSED, ours):
            continue  # it has just gone on
        waiting = await transaction.all(OPEN_IN_TURN, {"tenant_id": tenant_id, "turn_id": turn_id})
        first = await numbers(transaction, tenant_id, agent_id, len(waiting))
        for number, (call, call_id) in enumerate(waiting, start=first):
            result = {**ours, "id": new_id(), "agent_id": agent_id, "number": number, "call_id": call_id}
            await transaction.run(RESULT, {**result, "content": CANCELLED_RESULT})
            await transaction.run(CANCEL, {"id": call, "tenant_id": tenant_id, "result_id": result["id"], "now": now})
