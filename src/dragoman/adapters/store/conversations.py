"""Conversations and their messages, as they are listed. Knows no rendering."""

import json
from collections.abc import Sequence

from dragoman.adapters.store.driver import Database, Transaction
from dragoman.core.conversations import Conversation, Message

CONVERSATION = """SELECT id, tenant_id, agent_id, title, created_at, updated_at FROM conversations
    WHERE id = :id AND tenant_id = :tenant_id"""
MESSAGES = """SELECT id, number, role, content, created_at, metadata FROM messages
    WHERE conversation_id = :id AND tenant_id = :tenant_id AND number < :below
        AND role IN ('user', 'assistant') AND content <> ''
    ORDER BY number DESC LIMIT :count"""
NUMBER = "SELECT number FROM messages WHERE id = :message_id AND conversation_id = :id AND tenant_id = :tenant_id"

_ABOVE_ALL = 2**62


class Conversations:
    """The conversations of every tenant."""

    def __init__(self, database: Database) -> None:
        self._database = database

    async def get(self, tenant_id: str, conversation_id: str) -> Conversation | None:
        async def job(transaction: Transaction) -> Conversation | None:
            row = await transaction.one(CONVERSATION, {"id": conversation_id, "tenant_id": tenant_id})
            return Conversation(*row) if row else None

        return await self._database.read(job)

    async def messages(
        self, tenant_id: str, conversation_id: str, *, limit: int | None = None, before: int | None = None
    ) -> Sequence[Message]:
        wanted = {
            "id": conversation_id,
            "tenant_id": tenant_id,
            "below": _ABOVE_ALL if before is None else before,
            "count": _ABOVE_ALL if limit is None else limit,
        }

        async def job(transaction: Transaction) -> list[Message]:
            return [
                Message(message_id, number, role, content, created_at, json.loads(metadata) if metadata else None)
                for message_id, number, role, content, created_at, metadata in await transaction.all(MESSAGES, wanted)
            ]

        newest_first = await self._database.read(job)
        return newest_first[::-1]

    async def number_of(self, tenant_id: str, conversation_id: str, message_id: str) -> int | None:
        async def job(transaction: Transaction) -> int | None:
            row = await transaction.one(
                NUMBER, {"message_id": message_id, "id": conversation_id, "tenant_id": tenant_id}
            )
            return int(row[0]) if row else None

        return await self._database.read(job)
