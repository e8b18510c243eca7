"""Conversations that persons answer in: handed over, answered, given back. Knows no wire and no rule."""

from collections.abc import Sequence
from dataclasses import replace

from dragoman.adapters.store import calls
from dragoman.adapters.store.agents import Definitions
from dragoman.adapters.store.beginnings import ANSWERING, CONVERSATION, NEW_TURN, published_for, segment_of
from dragoman.adapters.store.driver import Database, Row, Transaction, across_tenants
from dragoman.adapters.store.history import ABOVE_ALL
from dragoman.adapters.store.outbox import tell
from dragoman.core.conversations import Turn
from dragoman.core.errors import Conflict, ConversationNotFound
from dragoman.core.handover import Handover, Reason
from dragoman.core.ids import new_id
from dragoman.core.webhooks import conversation_told
from dragoman.ports.handovers import Said
from dragoman.ports.turns import Begun, Existing, Pending

STATUS = "UPDATE conversations SET status = :status WHERE id = :conversation_id AND tenant_id = :tenant_id"
BEGIN = """INSERT INTO handovers (id, tenant_id, conversation_id, reason, requested_at, due_at)
    VALUES (:id, :tenant_id, :conversation_id, :reason, :now, :due_at)"""
END = """UPDATE handovers SET ended_at = :now, ended_by = :by
    WHERE conversation_id = :conversation_id AND tenant_id = :tenant_id AND ended_at IS NULL"""
TOUCH = """UPDATE handovers SET due_at = :due_at
    WHERE conversation_id = :conversation_id AND tenant_id = :tenant_id AND ended_at IS NULL"""
FOUND = """SELECT h.id, h.conversation_id, c.agent_id, c.title, h.reason, h.requested_at, h.due_at, h.ended_at,
        h.ended_by
    FROM handovers h JOIN conversations c ON c.id = h.conversation_id AND c.tenant_id = h.tenant_id
    WHERE h.tenant_id = :tenant_id"""
OPEN = f"{FOUND} AND h.conversation_id = :conversation_id AND h.ended_at IS NULL"
NAMED = f"{FOUND} AND h.id = :id"
PAGE = f"""{FOUND} AND h.ended_at IS NULL
        AND (h.requested_at < :at OR (h.requested_at = :at AND h.id < :below))
    ORDER BY h.requested_at DESC, h.id DESC LIMIT :count"""
OVERDUE = "SELECT tenant_id, conversation_id FROM handovers WHERE ended_at IS NULL AND due_at <= :now"
RESOLVED = """SELECT resolved FROM messages
    WHERE conversation_id = :conversation_id AND tenant_id = :tenant_id AND role = 'assistant' AND content <> ''
    ORDER BY number DESC LIMIT :count"""


async def hand_over(
    transaction: Transaction, tenant_id: str, conversation_id: str, reason: Reason, timeout_us: int, now: int
) -> Handover:
    """Hand a conversation to a person, inside another's transaction; its paused turn is waited for no more.

    Raises:
        ConversationNotFound
    """
    ours = {"tenant_id": tenant_id, "conversation_id": conversation_id, "now": now}
    row = await transaction.one(CONVERSATION, {**ours, "id": conversation_id})
    if row is None:
        raise ConversationNotFound
    open_one = await transaction.one(OPEN, ours)
    if open_one is None:
        new = {**ours, "id": new_id(), "reason": reason, "due_at": now + timeout_us, "status": "handover"}
        await transaction.run(STATUS, new)
        await transaction.run(BEGIN, new)
        await calls.cancel_paused(transaction, tenant_id, conversation_id, now)
        told = conversation_told(conversation_id, str(row[0]), now, reason=reason)
        await tell(transaction, tenant_id, "handover.requested", told, now, conversation_id)
        open_one = await transaction.one(NAMED, new)
    if open_one is None:
        raise ConversationNotFound
    return _handover(open_one)


class Handovers:
    """The handovers of every tenant."""

    def __init__(self, database: Database, definitions: Definitions) -> None:
        self._database = database
        self._definitions = definitions

    async def begin(self, tenant_id: str, conversation_id: str, reason: Reason, timeout_us: int, now: int) -> Handover:
        async def job(transaction: Transaction) -> Handover:
            return await hand_over(transaction, tenant_id, conversation_id, reason, timeout_us, now)

        return await self._database.write(job)

    async def end(
        self, tenant_id: str, conversation_id: str, by: str, now: int, *, overdue: bool = False
    ) -> Handover | None:
        ours = {"tenant_id": tenant_id, "conversation_id": conversation_id, "now": now, "by": by, "status": "open"}

        async def job(transaction: Transaction) -> Handover | None:
            await transaction.one(CONVERSATION, {**ours, "id": conversation_id})
            row = await transaction.one(OPEN, ours)
            if row is None or (overdue and row[6] > now):
                return None
            await transaction.run(STATUS, ours)
            await transaction.run(END, ours)
            return replace(_handover(row), ended_at=now, ended_by=by)

        return await self._database.write(job)

    async def touch(self, tenant_id: str, conversation_id: str, due_at: int) -> bool:
        ours = {"tenant_id": tenant_id, "conversation_id": conversation_id, "due_at": due_at}

        async def job(transaction: Transaction) -> bool:
            return bool(await transaction.run(TOUCH, ours))

        return await self._database.write(job)

    async def page(self, tenant_id: str, limit: int, before: tuple[int, str] | None) -> Sequence[Handover]:
        at, below = before or (ABOVE_ALL, "")
        wanted = {"tenant_id": tenant_id, "at": at, "below": below, "count": limit}

        async def job(transaction: Transaction) -> list[Handover]:
            return [_handover(row) for row in await transaction.all(PAGE, wanted)]

        return await self._database.read(job)

    @across_tenants("what nobody answers goes back to its agent, whoever it belongs to")
    async def end_overdue(self, now: int) -> int:
        async def overdue(transaction: Transaction) -> list[tuple[str, str]]:
            return [(str(row[0]), str(row[1])) for row in await transaction.all(OVERDUE, {"now": now})]

        found = await self._database.read(overdue)
        for tenant_id, conversation_id in found:
            await self.end(tenant_id, conversation_id, "timeout", now, overdue=True)
        return len(found)

    async def unresolved(self, tenant_id: str, conversation_id: str, count: int) -> int:
        wanted = {"tenant_id": tenant_id, "conversation_id": conversation_id, "count": count}

        async def job(transaction: Transaction) -> int:
            told = [row[0] for row in await transaction.all(RESOLVED, wanted)]
            return next((at for at, resolved in enumerate(told) if resolved != 0), len(told))

        return await self._database.read(job)

    def say(self, said: Said) -> Pending[Begun | Existing]:
        async def job(transaction: Transaction) -> Begun | Existing:
            return await _say(transaction, self._definitions, said)

        return self._database.begin(job)


async def _say(transaction: Transaction, definitions: Definitions, said: Said) -> Begun:
    """Begin a turn whose answer a person gives; its paused turn is waited for no more."""
    tenant_id = said.principal.tenant_id
    ours = {"tenant_id": tenant_id, "now": said.now}
    row = await transaction.one(CONVERSATION, {**ours, "id": said.conversation_id})
    if row is None:
        raise ConversationNotFound
    published = await published_for(transaction, definitions, said.principal, str(row[0]))
    agent = published.agent
    await calls.cancel_paused(transaction, tenant_id, said.conversation_id, said.now)
    number = await calls.numbers(transaction, tenant_id, agent.id, 1)
    turn = Turn(
        id=said.turn_id,
        tenant_id=tenant_id,
        conversation_id=said.conversation_id,
        agent_id=agent.id,
        state="running",
        epoch=1,
        message_id=said.answer_id,
        answer_id=said.answer_id,
        answer_number=number,
        model="person",
        created_at=said.now,
        client_id=row[2],
    )
    kept = {
        **segment_of(agent, said.owner, said.answer_id, number),
        **ours,
        "id": turn.id,
        "conversation_id": said.conversation_id,
        "agent_id": agent.id,
        "key_id": said.principal.key_id,
        "message_id": said.answer_id,
        "model": "person",
        "overrides": None,
        "vouched": None,
    }
    if not await transaction.run(NEW_TURN, kept):
        raise Conflict(ANSWERING)
    return Begun(turn, agent, (), 0, 0, 1, first=False, said=said.text, author=said.by)


def _handover(row: Row) -> Handover:
    return Handover(*row)
