"""Conversations, made, listed and forgotten; users that have come, tickets that are spent. Knows no rendering."""

import json
from collections.abc import Mapping, Sequence
from dataclasses import replace
from typing import Any

from dragoman.adapters.store import attachments, messages
from dragoman.adapters.store.driver import Database, Job, Params, Row, Transaction
from dragoman.adapters.store.outbox import tell
from dragoman.core.clock import now_us
from dragoman.core.conversations import Conversation, Message
from dragoman.core.errors import AgentNotFound, NameTaken
from dragoman.core.webhooks import conversation_told
from dragoman.ports.conversations import ALL, Changes, Cleared, Listed, Window

COLUMNS = """id, tenant_id, agent_id, title, created_at, updated_at, client_id, user_id, visitor_id, deployment_id,
    last_message_at, archived_at, metadata, context"""

CONVERSATION = f"SELECT {COLUMNS} FROM conversations WHERE id = :id AND tenant_id = :tenant_id"
OF_AGENT = "SELECT 1 FROM conversations WHERE id = :id AND tenant_id = :tenant_id AND agent_id = :agent_id"
AGENT = "SELECT 1 FROM agents WHERE id = :agent_id AND tenant_id = :tenant_id AND deleted_at IS NULL"
NEW = f"""INSERT INTO conversations ({COLUMNS}, status)
    VALUES (:id, :tenant_id, :agent_id, :title, :created_at, :updated_at, :client_id, :user_id, :visitor_id,
        :deployment_id, :last_message_at, :archived_at, :metadata, :context, 'open') ON CONFLICT DO NOTHING"""
CHANGE = {
    "title": "UPDATE conversations SET title = :value, updated_at = :now WHERE id = :id AND tenant_id = :tenant_id",
    "metadata": """UPDATE conversations SET metadata = :value, updated_at = :now
        WHERE id = :id AND tenant_id = :tenant_id""",
    "archived_at": """UPDATE conversations SET archived_at = :value, updated_at = :now
        WHERE id = :id AND tenant_id = :tenant_id""",
}
NUMBER = "SELECT number FROM messages WHERE id = :message_id AND conversation_id = :id AND tenant_id = :tenant_id"
LAST_NUMBER = "SELECT last_number FROM agent_counters WHERE agent_id = :agent_id AND tenant_id = :tenant_id"
# What belongs to a conversation alone, in an order in which each still finds what it hangs on.
FORGET = (
    """DELETE FROM delivery_attempts WHERE tenant_id = :tenant_id AND delivery_id IN (
        SELECT id FROM deliveries WHERE tenant_id = :tenant_id
            AND event_id IN (SELECT id FROM outbox WHERE conversation_id = :id AND tenant_id = :tenant_id))""",
    """DELETE FROM deliveries WHERE tenant_id = :tenant_id
        AND event_id IN (SELECT id FROM outbox WHERE conversation_id = :id AND tenant_id = :tenant_id)""",
    "DELETE FROM outbox WHERE conversation_id = :id AND tenant_id = :tenant_id",
    "DELETE FROM handovers WHERE conversation_id = :id AND tenant_id = :tenant_id",
)
DELETE = "DELETE FROM conversations WHERE id = :id AND tenant_id = :tenant_id RETURNING agent_id"
# Changes nothing and says whether it is open; its row is held from here on.
CLOSE = """UPDATE conversations SET updated_at = :now
    WHERE id = :id AND tenant_id = :tenant_id AND archived_at IS NULL"""
MEET = "INSERT INTO users (tenant_id, user_id, created_at) VALUES (:tenant_id, :id, :now) ON CONFLICT DO NOTHING"
SPEND = "INSERT INTO spent_tickets (tenant_id, id, created_at) VALUES (:tenant_id, :id, :now) ON CONFLICT DO NOTHING"


class _Busy(Exception):
    """Turns run where something was to be deleted: takes back what the transaction has done so far."""

    def __init__(self, turns: Sequence[str]) -> None:
        super().__init__()
        self.turns = tuple(turns)


class Conversations:
    """The conversations of every tenant."""

    def __init__(self, database: Database) -> None:
        self._database = database

    async def create(self, conversation: Conversation) -> None:
        row = {
            "id": conversation.id,
            "tenant_id": conversation.tenant_id,
            "agent_id": conversation.agent_id,
            "title": conversation.title,
            "created_at": conversation.created_at,
            "updated_at": conversation.updated_at,
            "client_id": conversation.client_id,
            "user_id": conversation.user_id,
            "visitor_id": conversation.visitor_id,
            "deployment_id": conversation.deployment_id,
            "last_message_at": conversation.last_message_at,
            "archived_at": conversation.archived_at,
            "metadata": _json(conversation.metadata),
            "context": _json(conversation.context),
        }

        async def job(transaction: Transaction) -> None:
            if await transaction.one(AGENT, row) is None:
                raise AgentNotFound(conversation.agent_id)
            if not await transaction.run(NEW, row):
                raise NameTaken("a conversation of this id or name is there already")
            told = conversation_told(conversation.id, conversation.agent_id, conversation.created_at)
            at, place = conversation.created_at, conversation.id
            await tell(transaction, conversation.tenant_id, "conversation.created", told, at, place)

        await self._database.write(job)

    async def change(self, tenant_id: str, conversation_id: str, changes: Changes, now: int) -> Conversation | None:
        ours = {"id": conversation_id, "tenant_id": tenant_id, "now": now}
        values = {name: _json(value) if name == "metadata" else value for name, value in changes.items()}

        async def job(transaction: Transaction) -> Conversation | None:
            closing = values.get("archived_at") is not None and await transaction.run(CLOSE, ours)
            for name, value in values.items():
                await transaction.run(CHANGE[name], {**ours, "value": value})
            row = await transaction.one(CONVERSATION, ours)
            if row is None:
                return None
            if closing:
                await _tell_closed(transaction, ours, row[2], "archived")
            return _conversation(row)

        return await self._database.write(job)

    async def get(self, tenant_id: str, conversation_id: str) -> Conversation | None:
        async def job(transaction: Transaction) -> Conversation | None:
            row = await transaction.one(CONVERSATION, {"id": conversation_id, "tenant_id": tenant_id})
            return _conversation(row) if row else None

        return await self._database.read(job)

    async def list(self, tenant_id: str, listed: Listed) -> tuple[Sequence[Conversation], int]:
        named = {"user_id": listed.user_id, "agent_id": listed.agent_id, "visitor_id": listed.visitor_id}
        those = "tenant_id = :tenant_id" + "".join(
            f" AND {column} = :{column}" for column, value in named.items() if value is not None
        )
        if listed.archived is not None:
            those += f" AND archived_at IS {'NOT NULL' if listed.archived else 'NULL'}"
        params = {**named, "tenant_id": tenant_id, "limit": listed.limit, "offset": listed.offset}
        below = ""
        if listed.below is not None:
            below = "AND (created_at, id) < (:below_at, :below_id)"
            params |= {"below_at": listed.below[0], "below_id": listed.below[1]}

        async def job(transaction: Transaction) -> tuple[Sequence[Conversation], int]:
            rows = await transaction.all(
                f"""SELECT {COLUMNS} FROM conversations WHERE {those} {below}
                ORDER BY created_at DESC, id DESC LIMIT :limit OFFSET :offset""",
                params,
            )
            total = await transaction.one(f"SELECT COUNT(*) FROM conversations WHERE {those}", params)
            return [_conversation(row) for row in rows], int(total[0]) if total else 0

        return await self._database.read(job)

    async def messages(
        self, tenant_id: str, conversation_id: str, window: Window = ALL
    ) -> tuple[Sequence[Message], int]:
        async def job(transaction: Transaction) -> tuple[Sequence[Message], int]:
            rows, total = await messages.shown(transaction, tenant_id, "conversation_id", conversation_id, window)
            said = [messages.message(row) for row in rows]
            if not window.inside:
                said = [await messages.outside(transaction, tenant_id, each) for each in said]
            return said, total

        return await self._database.read(job)

    async def messages_of_agent(
        self, tenant_id: str, agent_id: str, window: Window
    ) -> tuple[Sequence[Message], int, Mapping[str, str]]:
        async def job(transaction: Transaction) -> tuple[Sequence[Message], int, Mapping[str, str]]:
            rows, total = await messages.shown(transaction, tenant_id, "agent_id", agent_id, window)
            said = [messages.message(row) for row in rows]
            named = zip(said, rows, strict=True)
            return said, total, {each.conversation_id: str(row[-1]) for each, row in named if row[-1] is not None}

        return await self._database.read(job)

    async def number_of(self, tenant_id: str, conversation_id: str, message_id: str) -> int | None:
        async def job(transaction: Transaction) -> int | None:
            row = await transaction.one(
                NUMBER, {"message_id": message_id, "id": conversation_id, "tenant_id": tenant_id}
            )
            return int(row[0]) if row else None

        return await self._database.read(job)

    async def delete(self, tenant_id: str, conversation_id: str) -> Cleared:
        ours = {"id": conversation_id, "tenant_id": tenant_id}

        async def job(transaction: Transaction) -> Cleared:
            # First of all: who holds the row is waited for, and is then seen to run.
            row = await transaction.one(DELETE, ours)
            if row is None:
                return Cleared()
            await _make_quiet(transaction, tenant_id, "conversation_id", conversation_id)
            await attachments.forget(transaction, tenant_id, "conversation_id = :id", ours)
            for statement in FORGET:
                await transaction.run(statement, ours)
            await _tell_closed(transaction, {**ours, "now": now_us()}, row[0], "deleted")
            return Cleared(await messages.forget(transaction, tenant_id, "conversation_id", conversation_id))

        return await self._unless_busy(job)

    async def clear(self, tenant_id: str, agent_id: str, conversation_id: str | None) -> Cleared:
        whose: messages.Whose = "agent_id" if conversation_id is None else "conversation_id"
        owner_id = conversation_id or agent_id
        ours = {"tenant_id": tenant_id, "agent_id": agent_id, "id": conversation_id}

        async def job(transaction: Transaction) -> Cleared:
            last = await transaction.one(LAST_NUMBER, ours)
            if last is None or (conversation_id is not None and await transaction.one(OF_AGENT, ours) is None):
                return Cleared()
            # A turn that begins from here on has higher numbers than these, and keeps its messages.
            await _make_quiet(transaction, tenant_id, whose, owner_id)
            through, more = await messages.page(transaction, tenant_id, whose, owner_id, through=last[0])
            forgotten = await messages.forget(transaction, tenant_id, whose, owner_id, through=through)
            return Cleared(forgotten, more)

        return await self._unless_busy(job)

    async def _unless_busy(self, job: Job[Cleared]) -> Cleared:
        try:
            return await self._database.write(job)
        except _Busy as busy:
            return Cleared(busy=busy.turns)

    async def meet_user(self, tenant_id: str, user_id: str, now: int) -> bool:
        return await self._keep(MEET, {"tenant_id": tenant_id, "id": user_id, "now": now})

    async def spend_ticket(self, tenant_id: str, ticket_id: str, now: int) -> bool:
        return await self._keep(SPEND, {"tenant_id": tenant_id, "id": ticket_id, "now": now})

    async def _keep(self, statement: str, row: Params) -> bool:
        async def job(transaction: Transaction) -> bool:
            return bool(await transaction.run(statement, row))

        return await self._database.write(job)


async def _make_quiet(transaction: Transaction, tenant_id: str, whose: messages.Whose, owner_id: str) -> None:
    """Cancel what is paused in a conversation or with an agent.

    Raises:
        _Busy: turns run there.
    """
    ours = {"tenant_id": tenant_id, "owner_id": owner_id}
    # An expression in place of the column: an index of all the tenant's turns would be SQLite's choice for an agent's.
    those = f"{whose} = :owner_id AND tenant_id || '' = :tenant_id"
    await transaction.run(f"UPDATE turns SET state = 'cancelled' WHERE {those} AND state = 'paused'", ours)
    # Asked last: a turn that went on while we waited for its row is seen here.
    running = await transaction.all(f"SELECT id FROM turns WHERE {those} AND state = 'running'", ours)
    if running:
        raise _Busy([str(row[0]) for row in running])


async def _tell_closed(transaction: Transaction, ours: Params, agent_id: str, how: str) -> None:
    told = conversation_told(ours["id"], agent_id, ours["now"], reason=how)
    await tell(transaction, ours["tenant_id"], "conversation.closed", told, ours["now"], ours["id"])


def _conversation(row: Row) -> Conversation:
    return replace(Conversation(*row[:12]), metadata=_parsed(row[12]), context=_parsed(row[13]))


def _json(value: object) -> str | None:
    return None if value is None else json.dumps(value)


def _parsed(text: str | None) -> dict[str, Any] | None:
    parsed: dict[str, Any] | None = json.loads(text) if text else None
    return parsed
