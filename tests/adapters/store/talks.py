"""Conversations as the store's tests want them, put there past the turns that would say what is in them."""

from collections.abc import Mapping, Sequence
from dataclasses import replace
from typing import Any

from dragoman.adapters.store import SqlStore
from dragoman.adapters.store.driver import Transaction
from dragoman.core.agents import Agent
from dragoman.core.conversations import Conversation, Message
from dragoman.core.ids import new_id
from tests.adapters.store.scene import NOW


async def insert(store: SqlStore, table: str, *entries: Mapping[str, Any]) -> None:
    """Rows past the store's methods."""

    async def job(transaction: Transaction) -> None:
        for entry in entries:
            bound = {name.rstrip("0123456789"): value for name, value in entry.items()}
            values = ", ".join(f":{name}" for name in bound)
            await transaction.run(f"INSERT INTO {table} ({', '.join(entry)}) VALUES ({values})", bound)

    await store._database.write(job)


async def opened(store: SqlStore, agent: Agent, **more: Any) -> Conversation:
    """A conversation without a message."""
    conversation = Conversation(new_id(), agent.tenant_id, agent.id, "", NOW, NOW)
    conversation = replace(conversation, **more)
    await store.conversations.create(conversation)
    return conversation


async def wrote(
    store: SqlStore, conversation: Conversation, *entries: Mapping[str, Any], turn_id: str | None = None
) -> list[int]:
    """Messages of a conversation, and their numbers."""

    async def job(transaction: Transaction) -> int:
        row = await transaction.one(
            """UPDATE agent_counters SET last_number = last_number + :count
            WHERE agent_id = :agent_id AND tenant_id = :tenant_id RETURNING last_number""",
            {"count": len(entries), "agent_id": conversation.agent_id, "tenant_id": conversation.tenant_id},
        )
        assert row is not None
        return int(row[0])

    last = await store._database.write(job)
    numbers = list(range(last - len(entries) + 1, last + 1))
    common = {
        "tenant_id": conversation.tenant_id,
        "conversation_id": conversation.id,
        "agent_id": conversation.agent_id,
        "turn_id": turn_id,
        "in_prompt": 1,
    }
    await insert(
        store,
        "messages",
        *(
            {**common, "id": new_id(), "number": n, "created_at": NOW + n, **entry}
            for n, entry in zip(numbers, entries, strict=True)
        ),
    )
    return numbers


def texts(*contents: str) -> list[dict[str, Any]]:
    """What a user says, one message for each."""
    return [{"role": "user", "content": content} for content in contents]


def contents(found: Sequence[Message]) -> list[str | None]:
    return [each.content for each in found]
