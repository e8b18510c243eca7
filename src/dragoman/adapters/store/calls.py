"""Tool calls as they are kept. Knows no model.

A client's are open, then answered; one of the server's runs, then it ran, and may have been waiting for a person's yes
and been approved before. Any that waits can be cancelled.
"""

from collections.abc import Mapping, Sequence
from typing import Any

from dragoman.adapters.store.driver import Row, Transaction
from dragoman.adapters.store.outbox import tell
from dragoman.core.clock import iso
from dragoman.core.errors import Invalid
from dragoman.core.ids import new_id, prefixed
from dragoman.core.webhooks import conversation_told
from dragoman.ports.turns import Call

OPEN = """INSERT INTO tool_calls
    (id, tenant_id, conversation_id, turn_id, message_id, call_id, name, arguments, state, result_id, created_at)
    VALUES (:id, :tenant_id, :conversation_id, :turn_id, :message_id, :call_id, :name, :arguments, :state, :result_id,
        :now)"""
ASK = """INSERT INTO approvals (id, tenant_id, turn_id, tool_call_id, state, expires_at, created_at)
    VALUES (:approval_id, :tenant_id, :turn_id, :id, 'pending', :expires_at, :now)"""
CALL = """SELECT id, turn_id, state, result_id, opened_id FROM tool_calls
    WHERE conversation_id = :conversation_id AND tenant_id = :tenant_id AND call_id = :call_id"""
ANSWER = """UPDATE tool_calls SET state = 'answered', result = :content, result_id = :result_id, finished_at = :now
    WHERE id = :id AND tenant_id = :tenant_id AND state = 'open'"""
OPENED = """UPDATE tool_calls SET opened_id = :answer_id
    WHERE turn_id = :turn_id AND tenant_id = :tenant_id AND result_id = :result_id"""
STILL_OPEN = """SELECT COUNT(*) FROM tool_calls
    WHERE turn_id = :turn_id AND tenant_id = :tenant_id AND state IN ('open', 'waiting')"""
OPEN_IN_TURN = """SELECT id, call_id FROM tool_calls
    WHERE turn_id = :turn_id AND tenant_id = :tenant_id AND state IN ('open', 'waiting', 'approved')
    ORDER BY created_at, id"""
APPROVED = """SELECT id, call_id, name, arguments FROM tool_calls
    WHERE turn_id = :turn_id AND tenant_id = :tenant_id AND state = 'approved' ORDER BY created_at, id"""
RUN = """UPDATE tool_calls SET state = 'running', result_id = :result_id
    WHERE id = :id AND tenant_id = :tenant_id AND state = 'approved'"""
RAN = """UPDATE tool_calls SET state = 'ran', result = :content, finished_at = :now
    WHERE result_id = :result_id AND turn_id = :turn_id AND tenant_id = :tenant_id AND state = 'running'"""
TOLD = "UPDATE messages SET content = :content WHERE id = :result_id AND tenant_id = :tenant_id"
CANCEL = """UPDATE tool_calls SET state = 'cancelled', result_id = :result_id, finished_at = :now
    WHERE id = :id AND tenant_id = :tenant_id AND state IN ('open', 'waiting', 'approved')"""
# A yes to a call that was not made after all has led to nothing either.
END_APPROVALS = """UPDATE approvals SET state = 'cancelled', decided_at = :now
    WHERE turn_id = :turn_id AND tenant_id = :tenant_id AND (state = 'pending' OR (state = 'approved'
        AND tool_call_id IN (SELECT id FROM tool_calls
            WHERE turn_id = :turn_id AND tenant_id = :tenant_id AND state = 'cancelled')))"""
# A message that a step has stored, of calls that the server made at once, says nothing of how good it is.
HAS_PAUSED = """SELECT 1 FROM messages WHERE turn_id = :turn_id AND tenant_id = :tenant_id
    AND role = 'assistant' AND tool_calls IS NOT NULL AND resolved IS NOT NULL"""
# Those of a message that its client was to make.
OF_CLIENT = """SELECT call_id FROM tool_calls
    WHERE message_id = :message_id AND tenant_id = :tenant_id AND state IN ('open', 'answered', 'cancelled')
        AND NOT EXISTS (SELECT 1 FROM approvals
            WHERE approvals.tool_call_id = tool_calls.id AND approvals.tenant_id = :tenant_id)"""
# Of messages: what the server called by itself, and what any call of its own brought.
INSIDE = """(tool_calls IS NOT NULL AND resolved IS NULL) OR EXISTS (SELECT 1 FROM tool_calls made
    WHERE made.conversation_id = messages.conversation_id AND made.tenant_id = :tenant_id
        AND made.call_id = messages.tool_call_id
        AND (made.state NOT IN ('open', 'answered', 'cancelled') OR EXISTS (SELECT 1 FROM approvals
            WHERE approvals.tool_call_id = made.id AND approvals.tenant_id = :tenant_id)))"""
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
# What a call's result says until it has one, and for ever where the server dies in between.
NO_RESULT = '{"error": "no result came"}'
NO_REASONS: Mapping[str, str] = {}
OF_THE_SERVER = ("waiting", "approved", "running", "ran")


async def of_client(transaction: Transaction, tenant_id: str, message_id: str) -> set[str]:
    """The ids of a message's calls that its client was to make."""
    rows = await transaction.all(OF_CLIENT, {"tenant_id": tenant_id, "message_id": message_id})
    return {str(row[0]) for row in rows}


async def numbers(transaction: Transaction, tenant_id: str, agent_id: str, count: int) -> int:
    """The first of so many new numbers of an agent's messages.

    Taken as late as can be, so that the order of numbers is the order of commits.
    """
    row = await transaction.one(NEXT_NUMBERS, {"agent_id": agent_id, "tenant_id": tenant_id, "count": count})
    return int(row[0]) - count + 1 if row else 1


async def open_calls(
    transaction: Transaction, ours: Mapping[str, Any], message_id: str, calls: Sequence[Call], approval_ends: int
) -> None:
    """Keep the calls of an answer; a person is asked about those that wait for a yes, until `approval_ends`.

    `ours` are the turn's tenant, conversation, agent and id, and `now`.
    """
    rows = [
        {
            **ours,
            "id": new_id(),
            "message_id": message_id,
            "call_id": each.call.id,
            "name": each.call.name,
            "arguments": each.call.arguments,
            "state": each.state,
            "result_id": each.result_id or None,
            "approval_id": new_id(),
            "expires_at": approval_ends,
        }
        for each in calls
    ]
    await transaction.many(OPEN, rows)
    waiting = [(row, each) for row, each in zip(rows, calls, strict=True) if each.state == "waiting"]
    for row, each in waiting:
        await transaction.run(ASK, row)
        asked = {"approval_id": prefixed("appr", str(row["approval_id"])), "expires_at": iso(approval_ends)}
        await _tell(transaction, "approval.requested", ours, each, **asked)


async def make_room(transaction: Transaction, ours: Mapping[str, Any], calls: Sequence[Call], count: int = 0) -> int:
    """Store a result for each running call before it has one, so that the history is valid whatever happens.

    `ours` are the turn's tenant, conversation, agent and id, and `now`. The first of `count` numbers after them.
    """
    running = [each for each in calls if each.state == "running"]
    first = await numbers(transaction, ours["tenant_id"], ours["agent_id"], len(running) + count)
    rows = [
        {**ours, "id": each.result_id, "number": number, "call_id": each.call.id, "content": NO_RESULT}
        for number, each in enumerate(running, start=first)
    ]
    if rows:
        await transaction.many(RESULT, rows)
    for each in running:
        await _tell(transaction, "tool.called", ours, each)
    return first + len(running)


async def _tell(transaction: Transaction, event: str, ours: Mapping[str, Any], call: Call, **more: str) -> None:
    """Tell endpoints of a call."""
    told = conversation_told(
        ours["conversation_id"],
        ours["agent_id"],
        ours["now"],
        turn_id=prefixed("turn", ours["turn_id"]),
        call_id=call.call.id,
        tool=call.call.name,
        arguments=call.call.arguments,
        **more,
    )
    await tell(transaction, ours["tenant_id"], event, told, ours["now"], ours["conversation_id"])


async def find(transaction: Transaction, tenant_id: str, conversation_id: str, call_id: str) -> Row:
    """A call of a conversation: id, turn, state, the message of its result, the answer that this result opened.

    Raises:
        Invalid: it has no such call, or it was cancelled.
    """
    wanted = {"tenant_id": tenant_id, "conversation_id": conversation_id, "call_id": call_id}
    row = await transaction.one(CALL, wanted)
    if row is None or row[2] in OF_THE_SERVER:
        raise Invalid(f"tool_call_id {call_id!r} is no call of this conversation", field="tool_call_id")
    if row[2] == "cancelled":
        raise Invalid(f"The call {call_id!r} was cancelled by a later message", field="tool_call_id")
    return row


async def cancel_paused(
    transaction: Transaction,
    tenant_id: str,
    conversation_id: str,
    now: int,
    reasons: Mapping[str, str] = NO_REASONS,
) -> None:
    """End the pauses of a conversation: their open calls get a result that says so, and the history stays valid.

    `reasons` are results of single calls, by their ids.
    """
    paused = await transaction.all(PAUSED, {"tenant_id": tenant_id, "conversation_id": conversation_id})
    for turn_id, agent_id in paused:
        ours = {"tenant_id": tenant_id, "conversation_id": conversation_id, "turn_id": turn_id, "now": now}
        if not await transaction.run(CLOSE_PAUSED, ours):
            continue  # it has just gone on
        await cancel_calls(transaction, {**ours, "agent_id": agent_id}, reasons)


async def cancel_calls(
    transaction: Transaction, ours: Mapping[str, Any], reasons: Mapping[str, str] = NO_REASONS
) -> None:
    """Give the calls of a turn that wait a result that says they are waited for no more.

    `ours` are the turn's tenant, conversation, agent and id, and `now`.
    """
    waiting = await transaction.all(OPEN_IN_TURN, ours)
    if not waiting:
        return
    first = await numbers(transaction, ours["tenant_id"], ours["agent_id"], len(waiting))
    for number, (call, call_id) in enumerate(waiting, start=first):
        said = reasons.get(call_id, CANCELLED_RESULT)
        result = {**ours, "id": new_id(), "number": number, "call_id": call_id, "content": said}
        await transaction.run(RESULT, result)
        await transaction.run(CANCEL, {**ours, "id": call, "result_id": result["id"]})
    await transaction.run(END_APPROVALS, ours)
