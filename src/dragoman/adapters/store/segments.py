"""How a paused turn goes on, or ends: results of its calls, a person's yes or no. Knows no wire and no model."""

from dataclasses import replace

from dragoman.adapters.store import calls
from dragoman.adapters.store.agents import Definitions
from dragoman.adapters.store.beginnings import (
    ANSWERING,
    CONVERSATION,
    begin_again,
    conversation_of,
    going_on,
    published_for,
    result_of,
    segment_of,
    turn_of,
)
from dragoman.adapters.store.driver import Params, Row, Transaction
from dragoman.core.agents import Agent
from dragoman.core.conversations import Turn
from dragoman.core.errors import ApprovalNotFound, Conflict, ConversationNotFound, Invalid
from dragoman.core.events import ToolCall
from dragoman.core.ids import new_id
from dragoman.ports.turns import Approval, Begun, Call, Decision, Existing, ResultsRequest, Waiting

GO_ON = """UPDATE turns SET state = 'running', owner = :owner, answer_id = :answer_id, answer_number = :answer_number,
        agent_version = :agent_version, model = :model, finished_at = NULL
    WHERE id = :turn_id AND tenant_id = :tenant_id AND state = 'paused'"""
HOLD = "UPDATE turns SET owner = :owner WHERE id = :turn_id AND tenant_id = :tenant_id AND state = 'paused'"
APPROVALS = """SELECT a.id, a.state, c.conversation_id, c.turn_id, t.agent_id, c.call_id, c.name, c.arguments,
        a.expires_at, a.created_at, a.decided_by, a.decided_at
    FROM approvals a JOIN tool_calls c ON c.id = a.tool_call_id JOIN turns t ON t.id = a.turn_id
    WHERE a.tenant_id = :tenant_id"""
APPROVAL = f"{APPROVALS} AND a.id = :approval_id"
APPROVALS_BEFORE = f"""{APPROVALS} AND (:state = '' OR a.state = :state)
        AND (a.created_at < :at OR (a.created_at = :at AND a.id < :below))
    ORDER BY a.created_at DESC, a.id DESC LIMIT :count"""
DECIDE = """UPDATE approvals SET state = :state, decided_by = :by, decided_at = :now
    WHERE id = :approval_id AND tenant_id = :tenant_id AND state = 'pending'"""
APPROVE = """UPDATE tool_calls SET state = 'approved' WHERE tenant_id = :tenant_id AND state = 'waiting'
        AND id = (SELECT tool_call_id FROM approvals WHERE id = :approval_id AND tenant_id = :tenant_id)"""
OVERDUE = "SELECT tenant_id, id FROM approvals WHERE state = 'pending' AND expires_at <= :now"

DENIED_RESULT = '{"error": "a person has refused this call"}'
EXPIRED_RESULT = '{"error": "nobody has approved this call in time"}'


async def go_on(
    transaction: Transaction, definitions: Definitions, request: ResultsRequest
) -> Begun | Existing | Waiting:
    """Store results of calls, and run the turn on when none of its calls is open any more."""
    published = await published_for(transaction, definitions, request.principal, request.agent_reference)
    agent, tenant_id = published.agent, request.tenant_id
    found = await conversation_of(transaction, request, agent, request.conversation_id)
    if found is None:
        raise ConversationNotFound
    named = [
        (await calls.find(transaction, tenant_id, request.conversation_id, call_id), call_id, content)
        for call_id, content in request.results
    ]
    turn_id = str(named[-1][0][1])
    if any(row[1] != turn_id for row, _, _ in named):
        raise Invalid("Results of one request answer the calls of one answer", field="messages")
    ours = {"tenant_id": tenant_id, "turn_id": turn_id, "owner": request.owner, "now": request.now}
    fresh = [(row[0], call_id, content) for row, call_id, content in named if row[2] == "open"]
    if fresh and request.joining:
        raise Conflict(ANSWERING)
    # The row is held before calls are counted: two last results at once would each see the other's call open.
    if not fresh or not await transaction.run(HOLD, ours):
        return await _repeated(transaction, definitions, request, named[-1][0])
    first = await calls.numbers(transaction, tenant_id, agent.id, len(fresh))
    result = {**ours, "conversation_id": request.conversation_id, "agent_id": agent.id}
    result_id = ""
    for number, ((call, call_id, content), result_id) in enumerate(
        zip(fresh, request.message_ids, strict=False), start=first
    ):
        row = {**result, "id": result_id, "number": number, "call_id": call_id, "content": content}
        await transaction.run(calls.RESULT, row)
        if not await transaction.run(calls.ANSWER, {**ours, "id": call, "content": content, "result_id": result_id}):
            raise Conflict("The call is being answered by another request")
    waiting = await transaction.one(calls.STILL_OPEN, ours)
    turn = await turn_of(transaction, tenant_id, turn_id)
    if waiting and waiting[0]:
        return Waiting(turn, await result_of(transaction, tenant_id, result_id))
    begun = await _open(transaction, agent, turn, found, request.answer_id, request.owner, request.now)
    for stored in request.message_ids[: len(fresh)]:
        await transaction.run(calls.OPENED, {**ours, "result_id": stored, "answer_id": request.answer_id})
    return begun


async def _repeated(
    transaction: Transaction, definitions: Definitions, request: ResultsRequest, call: Row
) -> Begun | Existing | Waiting:
    """What a result that came before has led to: a stored message, or a segment, which runs again if it failed."""
    _, turn_id, _, result_id, opened_id = call
    turn = await turn_of(transaction, request.tenant_id, turn_id)
    if opened_id is None:
        return Waiting(turn, await result_of(transaction, request.tenant_id, result_id))
    if turn.state in ("failed", "interrupted") and not request.joining:
        return await begin_again(
            transaction, definitions, request.principal, turn, request.answer_id, request.owner, request.now
        )
    return Existing(turn, opened_id)


async def find_approval(transaction: Transaction, tenant_id: str, approval_id: str) -> Approval | None:
    """The tenant's approval of this id."""
    row = await transaction.one(APPROVAL, {"tenant_id": tenant_id, "approval_id": approval_id})
    return approval_of(row) if row else None


def approval_of(row: Row) -> Approval:
    """A row of `APPROVALS`."""
    approval_id, state, conversation_id, turn_id, agent_id, call_id, name, arguments, expires_at, *rest = row
    created_at, decided_by, decided_at = rest
    call = ToolCall(call_id, name, arguments)
    told = (approval_id, state, conversation_id, turn_id, agent_id, call)
    return Approval(*told, expires_at, created_at, decided_by, decided_at)


async def decide(transaction: Transaction, definitions: Definitions, decision: Decision) -> Begun | Existing | None:
    """Store a yes, and run the turn on when it waits for nothing else; or a no, which ends it."""
    tenant_id, now = decision.principal.tenant_id, decision.now
    approval = await find_approval(transaction, tenant_id, decision.approval_id)
    if approval is None:
        raise ApprovalNotFound
    ours = {"tenant_id": tenant_id, "turn_id": approval.turn_id, "owner": decision.owner, "now": now}
    found = await transaction.one(CONVERSATION, {**ours, "id": approval.conversation_id})
    told = {**ours, "approval_id": approval.id, "by": decision.by}
    state = "approved" if decision.approved else "denied"
    if approval.state != "pending":
        raise Conflict(f"This approval is {approval.state} already")
    if approval.expires_at <= now:
        raise Conflict("Nobody has decided this in time")
    if found is None or not await transaction.run(HOLD, ours):
        raise Conflict("The turn that wanted this call has ended")
    if not await transaction.run(DECIDE, {**told, "state": state}):
        raise Conflict("This approval has just been decided")
    if not decision.approved:
        reasons = {approval.call.id: DENIED_RESULT}
        await calls.cancel_paused(transaction, tenant_id, approval.conversation_id, now, reasons)
        return None
    await transaction.run(APPROVE, told)
    waiting = await transaction.one(calls.STILL_OPEN, ours)
    if waiting and waiting[0]:
        return None
    published = await published_for(transaction, definitions, decision.principal, approval.agent_id)
    turn = await turn_of(transaction, tenant_id, approval.turn_id)
    return await _open(transaction, published.agent, turn, found, decision.answer_id, decision.owner, now)


async def expire(transaction: Transaction, tenant_id: str, approval_id: str, now: int) -> int:
    """End the turn that waits for a person who has not decided in time; 1 where it did still."""
    approval = await find_approval(transaction, tenant_id, approval_id)
    if approval is None:
        return 0
    ours = {"tenant_id": tenant_id, "id": approval.conversation_id, "now": now}
    await transaction.one(CONVERSATION, ours)
    told = {**ours, "approval_id": approval_id, "state": "expired", "by": None}
    if not await transaction.run(DECIDE, told):
        return 0
    reasons = {approval.call.id: EXPIRED_RESULT}
    await calls.cancel_paused(transaction, tenant_id, approval.conversation_id, now, reasons)
    return 1


async def _open(
    transaction: Transaction, agent: Agent, turn: Turn, conversation: Row, answer_id: str, owner: int, now: int
) -> Begun:
    """Run a paused turn on; what a person has approved is to be made first. `conversation` is a row of CONVERSATION."""
    place = {"tenant_id": turn.tenant_id, "turn_id": turn.id, "conversation_id": turn.conversation_id}
    ours: Params = {**place, "agent_id": agent.id, "now": now}
    approved = [
        (str(row[0]), Call(ToolCall(row[1], row[2], row[3]), "running", new_id()))
        for row in await transaction.all(calls.APPROVED, ours)
    ]
    number = await calls.make_room(transaction, ours, [call for _, call in approved], 1)
    for row_id, call in approved:
        await transaction.run(calls.RUN, {**ours, "id": row_id, "result_id": call.result_id})
    segment = segment_of(agent, owner, answer_id, number)
    await transaction.run(GO_ON, {**ours, **segment})
    begun = await going_on(transaction, agent, turn, segment, conversation[4], 0, 0)
    return replace(begun, approved=[call for _, call in approved])
