"""How a segment of a turn ends: its last transaction, or recovery in place of a dead owner. Knows no wire."""

import json
from collections.abc import Sequence

from dragoman.adapters.store import calls, handovers, history, ledger, log
from dragoman.adapters.store.beginnings import events_of, following
from dragoman.adapters.store.driver import Params, Row, Transaction
from dragoman.adapters.store.outbox import tell
from dragoman.core.events import TurnInterrupted
from dragoman.core.ids import prefixed
from dragoman.core.text import keepable
from dragoman.core.webhooks import conversation_told, message_told
from dragoman.ports.turns import Call, Fenced, LogRow, TurnEnd

NEW_ANSWER = """INSERT INTO messages
    (id, tenant_id, conversation_id, agent_id, turn_id, number, role, content, tool_calls, metadata, sources,
        confidence, resolved, agent_version, in_prompt, created_at)
    SELECT CAST(:id AS TEXT), CAST(:tenant_id AS TEXT), CAST(:conversation_id AS TEXT), CAST(:agent_id AS TEXT),
        CAST(:turn_id AS TEXT), CAST(:number AS BIGINT), 'assistant', CAST(:content AS TEXT), CAST(:calls AS TEXT),
        CAST(:metadata AS TEXT), CAST(:sources AS TEXT), CAST(:confidence AS DOUBLE PRECISION),
        CAST(:resolved AS BIGINT), CAST(:agent_version AS BIGINT), 1, CAST(:now AS BIGINT)
    WHERE EXISTS (SELECT 1 FROM conversations WHERE id = :conversation_id AND tenant_id = :tenant_id)
        AND NOT EXISTS (SELECT 1 FROM messages WHERE id = :id AND tenant_id = :tenant_id)"""
FINISH = """UPDATE turns SET state = :state, prompt_tokens = :prompt_tokens, completion_tokens = :completion_tokens,
        credits = :credits, error = :error, finished_at = :now
    WHERE id = :turn_id AND tenant_id = :tenant_id AND state = 'running' AND epoch = :epoch AND owner = :owner
        AND answer_id = :answer_id
    RETURNING conversation_id, agent_id, agent_version, message_id, answer_id, answer_number"""
FINISHED = """SELECT 1 FROM turns WHERE id = :turn_id AND tenant_id = :tenant_id AND state = :state AND epoch = :epoch
    AND owner = :owner AND answer_id = :answer_id"""
INTERRUPT = """UPDATE turns SET epoch = epoch + 1, state = 'interrupted', finished_at = :now
    WHERE id = :turn_id AND tenant_id = :tenant_id AND state = 'running' AND owner = :owner
    RETURNING conversation_id, agent_id, agent_version, message_id, answer_id, answer_number"""
LEAVE_OUT = """UPDATE messages SET in_prompt = 0 WHERE id = :message_id AND tenant_id = :tenant_id
    AND NOT EXISTS (SELECT 1 FROM tool_calls WHERE turn_id = :turn_id AND tenant_id = :tenant_id)"""
# First of all, so that the conversation is held before its turn: see beginnings.py for the order.
MESSAGE_AT = """UPDATE conversations SET last_message_at = :now, updated_at = :now WHERE tenant_id = :tenant_id
    AND id = (SELECT conversation_id FROM turns WHERE id = :turn_id AND tenant_id = :tenant_id)"""
# Nothing follows in the log of a turn that somebody else has taken over. A beginning that is not committed yet cannot
# be seen here, so only a later epoch says so.
APPEND = """INSERT INTO turn_events (turn_id, first_sequence, epoch, tenant_id, events, created_at)
    SELECT CAST(:turn_id AS TEXT), CAST(:first_sequence AS BIGINT), CAST(:epoch AS BIGINT), CAST(:tenant_id AS TEXT),
        CAST(:events AS TEXT), CAST(:now AS BIGINT)
    WHERE NOT EXISTS (SELECT 1 FROM turns WHERE id = :turn_id AND tenant_id = :tenant_id AND epoch > :epoch)
    ON CONFLICT (turn_id, first_sequence) DO UPDATE SET events = excluded.events, epoch = excluded.epoch"""

# What is kept of how good an answer is, where its turn did not come to an end.
NOTHING_TOLD = {"metadata": None, "sources": None, "confidence": None, "resolved": None}


async def finish(transaction: Transaction, end: TurnEnd) -> None:
    """Store the answer, its calls, the events that are left, what it cost and the segment's end.

    Raises:
        Fenced: the turn is no longer this owner's.
    """
    known = {
        "turn_id": end.turn_id,
        "tenant_id": end.tenant_id,
        "epoch": end.epoch,
        "owner": end.owner,
        "state": end.state,
        "answer_id": end.answer_id,
    }
    used = {
        "prompt_tokens": end.prompt_tokens,
        "completion_tokens": end.completion_tokens,
        "credits": end.credits,
        "error": end.error,
        "now": end.now,
    }
    await transaction.run(MESSAGE_AT, {"turn_id": end.turn_id, "tenant_id": end.tenant_id, "now": end.now})
    row = await transaction.one(FINISH, {**known, **used})
    if row is None:
        if await transaction.one(FINISHED, known):
            return  # by an attempt whose acknowledgement was lost
        raise Fenced(f"turn {end.turn_id} is no longer this owner's")
    await ledger.settle(transaction, end.tenant_id, end.turn_id, end.reserved, end.charged, end.now)
    author = {"author": end.author} if end.author else None
    told = {
        "metadata": json.dumps(author) if author else None,
        "sources": json.dumps(end.sources) if end.sources else None,
        "confidence": end.confidence,
        # A person's answer says nothing about how sure the agent is.
        "resolved": None if end.author else int(end.resolved),
    }
    ours = {"tenant_id": end.tenant_id, "turn_id": end.turn_id, "now": end.now}
    await _store_answer(transaction, ours, row, end.text, told, end.calls, end.approval_ends)
    if end.kept and end.state != "paused":
        await calls.cancel_calls(transaction, {**ours, "conversation_id": row[0], "agent_id": row[1]})
    await append(transaction, [end.last_row], end.now)
    if end.state == "failed":
        await _tell_failed(transaction, ours, row, end.state, end.error)
    elif end.text:
        answer = message_told(row[0], end.answer_id, row[1], "assistant", end.text, author, end.now)
        await tell(transaction, end.tenant_id, "message.sent", answer, end.now, row[0])
    if end.handover is not None:
        await handovers.hand_over(transaction, end.tenant_id, str(row[0]), end.handover, end.handover_us, end.now)


async def interrupt(transaction: Transaction, owner: int, running: Row, now: int) -> int:
    """Close a running turn (its id, tenant, epoch and credits) whose owner died; 1 where it was still open."""
    turn_id, tenant_id, epoch, charged = str(running[0]), str(running[1]), int(running[2]), int(running[3])
    await transaction.run(MESSAGE_AT, {"turn_id": turn_id, "tenant_id": tenant_id, "now": now})
    row = await transaction.one(INTERRUPT, {"turn_id": turn_id, "tenant_id": tenant_id, "owner": owner, "now": now})
    if row is None:
        return 0
    logged = await events_of(transaction, tenant_id, turn_id)
    text = log.text_of(str(row[4]), logged, epoch)
    await ledger.refund(transaction, tenant_id, turn_id, charged, now)
    ours = {"tenant_id": tenant_id, "turn_id": turn_id, "now": now}
    await _store_answer(transaction, ours, row, text, NOTHING_TOLD)
    await calls.cancel_calls(transaction, {**ours, "conversation_id": row[0], "agent_id": row[1]})
    last = LogRow(tenant_id, turn_id, epoch + 1, following(logged), [TurnInterrupted(now)])
    await append(transaction, [last], now)
    await _tell_failed(transaction, ours, row, "interrupted", None)
    return 1


async def _tell_failed(transaction: Transaction, ours: Params, closed: Row, state: str, error: str | None) -> None:
    conversation_id, agent_id, _, message_id, _, _ = closed
    turn = {"turn_id": prefixed("turn", ours["turn_id"]), "message_id": prefixed("msg", message_id)}
    told = conversation_told(conversation_id, agent_id, ours["now"], **turn, state=state, error=error)
    await tell(transaction, ours["tenant_id"], "turn.failed", told, ours["now"], conversation_id)


async def append(transaction: Transaction, rows: Sequence[LogRow], now: int) -> None:
    """Add rows to the logs of turns."""
    await transaction.many(
        APPEND,
        [
            {
                "turn_id": row.turn_id,
                "first_sequence": row.first_sequence,
                "epoch": row.epoch,
                "tenant_id": row.tenant_id,
                "events": log.encode(row.events),
                "now": now,
            }
            for row in rows
        ],
    )


async def _store_answer(
    transaction: Transaction,
    ours: Params,
    closed: Row,
    text: str,
    told: Params,
    wanted: Sequence[Call] = (),
    approval_ends: int = 0,
) -> None:
    """Keep what was answered; a question that got nothing is left out of later prompts.

    `ours` are the turn's tenant and id, and `now`.
    """
    conversation_id, agent_id, agent_version, message_id, answer_id, answer_number = closed
    if text or wanted:
        answer = {
            **ours,
            **told,
            "conversation_id": conversation_id,
            "id": answer_id,
            "agent_id": agent_id,
            "number": answer_number,
            "content": keepable(text) or None,
            "calls": history.calls_text([each.call for each in wanted]),
            "agent_version": agent_version,
        }
        kept = await transaction.run(NEW_ANSWER, answer)
        if wanted and kept:
            await calls.open_calls(transaction, answer, answer_id, wanted, approval_ends)
    else:
        await transaction.run(LEAVE_OUT, {**ours, "message_id": message_id})
