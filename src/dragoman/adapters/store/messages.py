"""Messages of a conversation or an agent, as they are listed and forgotten. Knows no rendering and no prompt."""

import json
from collections.abc import Sequence
from dataclasses import replace
from typing import Literal

from dragoman.adapters.store import attachments, calls
from dragoman.adapters.store.driver import Row, Transaction
from dragoman.adapters.store.history import ABOVE_ALL, calls_of
from dragoman.core.conversations import Message
from dragoman.ports.conversations import Window

COLUMNS = "id, number, role, content, created_at, metadata, conversation_id, tool_calls, tool_call_id"

# Either column has an index with the number behind it; both together would let a planner take the longer way.
Whose = Literal["conversation_id", "agent_id"]

CLIENT_ID = """(SELECT client_id FROM conversations named WHERE named.id = messages.conversation_id
    AND named.tenant_id = messages.tenant_id) AS client_id"""
SPOKEN = "AND role IN ('user', 'assistant') AND content <> ''"

FORGOTTEN_AT_ONCE = 5_000


def message(row: Row) -> Message:
    """A row of `COLUMNS`."""
    message_id, number, role, content, created_at, metadata, conversation_id, wanted, call_id = row[:9]
    return Message(
        message_id,
        number,
        role,
        content,
        created_at,
        json.loads(metadata) if metadata else None,
        conversation_id,
        calls_of(wanted),
        call_id,
    )


async def shown(
    transaction: Transaction, tenant_id: str, whose: Whose, owner_id: str, window: Window
) -> tuple[Sequence[Row], int]:
    """Rows of `COLUMNS` in the window's order, an agent's with each conversation's `client_id`; and how many in all."""
    those = f"tenant_id = :tenant_id AND {whose} = :owner_id {SPOKEN if window.spoken else ''}"
    if not window.inside:
        those = f"{those} AND NOT ({calls.INSIDE})"
    params = {
        "tenant_id": tenant_id,
        "owner_id": owner_id,
        "after": _bounded(window.after, -1),
        "before": _bounded(window.before, ABOVE_ALL),
        "limit": _bounded(window.limit, ABOVE_ALL),
        "offset": _bounded(window.offset, 0),
    }
    named = f", {CLIENT_ID}" if whose == "agent_id" else ""
    rows = await transaction.all(
        f"""SELECT {COLUMNS}{named} FROM messages
        WHERE {those} AND number > :after AND number < :before
        ORDER BY number {"ASC" if window.from_oldest else "DESC"} LIMIT :limit OFFSET :offset""",
        params,
    )
    total = await transaction.one(f"SELECT COUNT(*) FROM messages WHERE {those}", params)
    if window.order is None and not window.from_oldest:
        rows = rows[::-1]
    return rows, int(total[0]) if total else 0


async def outside(transaction: Transaction, tenant_id: str, said: Message) -> Message:
    """A message without the calls in it that the server made, or was to make."""
    if not said.tool_calls:
        return said
    theirs = await calls.of_client(transaction, tenant_id, said.id)
    return replace(said, tool_calls=tuple(call for call in said.tool_calls if call.id in theirs))


async def page(
    transaction: Transaction, tenant_id: str, whose: Whose, owner_id: str, *, through: int
) -> tuple[int, bool]:
    """Up to which number the oldest messages can be forgotten at once, and whether more are left up to `through`."""
    rows = await transaction.all(
        f"""SELECT number FROM messages WHERE tenant_id = :tenant_id AND {whose} = :owner_id AND number <= :through
        ORDER BY number LIMIT 2 OFFSET :offset""",
        {"tenant_id": tenant_id, "owner_id": owner_id, "through": through, "offset": FORGOTTEN_AT_ONCE - 1},
    )
    return (int(rows[0][0]), True) if len(rows) == 2 else (through, False)


async def forget(
    transaction: Transaction, tenant_id: str, whose: Whose, owner_id: str, *, through: int = ABOVE_ALL
) -> int:
    """Delete messages up to a number, with the logs, calls and idempotency keys of their turns; how many there were."""
    those = f"tenant_id = :tenant_id AND {whose} = :owner_id AND number <= :through"
    turns = f"(SELECT turn_id FROM messages WHERE {those})"
    params = {"tenant_id": tenant_id, "owner_id": owner_id, "through": through}
    spoken = f"message_id IN (SELECT id FROM messages WHERE {those})"
    await attachments.forget(transaction, tenant_id, spoken, params)
    await transaction.run(f"DELETE FROM turn_events WHERE tenant_id = :tenant_id AND turn_id IN {turns}", params)
    await transaction.run(f"DELETE FROM approvals WHERE tenant_id = :tenant_id AND turn_id IN {turns}", params)
    await transaction.run(f"DELETE FROM tool_calls WHERE tenant_id = :tenant_id AND turn_id IN {turns}", params)
    await transaction.run(f"DELETE FROM idempotency WHERE tenant_id = :tenant_id AND turn_id IN {turns}", params)
    return await transaction.run(f"DELETE FROM messages WHERE {those}", params)


def _bounded(given: int | None, otherwise: int) -> int:
    """A number that a client may have written, as large as a database can hold and never negative."""
    return otherwise if given is None else max(0, min(given, ABOVE_ALL))
