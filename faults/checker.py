"""The one checker, run after every fault: the invariants, against what the API shows and what the database holds.

I1 every acknowledged message is there exactly once; I2 no turn runs without a live owner; I3 sequence numbers are
gapless and rise; I4 the ledger sums up to the balance, and each turn is settled once; I6 every event that an endpoint
takes has its delivery.
"""

import json
import sqlite3
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import aiohttp
import asyncpg

from dragoman.core.ids import prefixed
from dragoman.core.webhooks import wants
from faults.seen import Exchange

CLOSED = {"paused", "completed", "failed", "cancelled", "interrupted"}
LOGS = "SELECT turn_id, first_sequence, epoch, events FROM turn_events ORDER BY turn_id, first_sequence"
RUNNING = "SELECT id FROM turns WHERE state = 'running'"
MESSAGES = "SELECT role, content FROM messages ORDER BY number"

BALANCES = """SELECT id, credits, (SELECT COALESCE(SUM(amount), 0) FROM ledger WHERE tenant_id = tenants.id)
    FROM tenants WHERE credits IS NOT NULL"""
SETTLED = """SELECT turn_id, SUM(CASE kind WHEN 'reserve' THEN 1 ELSE 0 END),
        SUM(CASE kind WHEN 'settle' THEN 1 ELSE 0 END), -SUM(amount),
        (SELECT credits FROM turns WHERE id = ledger.turn_id)
    FROM ledger WHERE turn_id IS NOT NULL GROUP BY turn_id"""

ENDPOINTS = "SELECT tenant_id, id, events FROM endpoints"
DELIVERIES = """SELECT deliveries.endpoint_id, outbox.event, outbox.data FROM deliveries
    JOIN outbox ON outbox.id = deliveries.event_id"""
# What is told, of which tenant, and the id in its data: of a message, or of a turn.
HAPPENED = {
    ("message.received", "message_id", "msg"): "SELECT tenant_id, id FROM messages WHERE role = 'user'",
    ("message.sent", "message_id", "msg"): """SELECT turns.tenant_id, messages.id FROM turns
        JOIN messages ON messages.id = turns.answer_id WHERE turns.state = 'completed' AND messages.content <> ''""",
    ("turn.failed", "turn_id", "turn"): "SELECT tenant_id, id FROM turns WHERE state IN ('failed', 'interrupted')",
}


async def query(database: Path | str, sql: str) -> list[tuple[Any, ...]]:
    """The rows of a query on a SQLite file, or on PostgreSQL by its URL, beside the server that runs on it."""
    if isinstance(database, Path):
        connection = sqlite3.connect(f"file:{database}?mode=ro", uri=True)
        try:
            return connection.execute(sql).fetchall()
        finally:
            connection.close()
    postgres = await asyncpg.connect(database)
    try:
        return [tuple(row) for row in await postgres.fetch(sql)]
    finally:
        await postgres.close()


async def check(
    exchanges: Sequence[Exchange], session: aiohttp.ClientSession, url: str, key: str, database: Path | str
) -> None:
    """Hold everything that clients saw against a server that is at rest.

    Raises:
        AssertionError: an invariant does not hold; the message says which, and of what.
    """
    await _check_messages(exchanges, database)
    running = await query(database, RUNNING)
    assert not running, f"I2: turns run although nobody runs them: {running}"
    await _check_logs(database)
    await check_credits(database)
    await _check_deliveries(database)
    headers = {"Authorization": f"Bearer {key}"}
    for exchange in exchanges:
        if not exchange.acknowledged:
            continue
        async with session.get(f"{url}/manage/v1/turns/{exchange.turn}", headers=headers) as response:
            turn = await response.json()
            assert response.status == 200, f"I1: the acknowledged turn {exchange.turn} is gone: {turn}"
        assert turn["state"] in CLOSED, f"I2: {turn}"
        if exchange.outcome == "closed":
            assert turn["state"] == "completed", f"I1: a client saw the end of {turn}"
        async with session.get(f"{url}/v1/conversations/{exchange.conversation}", headers=headers) as response:
            shown = await response.json()
        said = [message["content"] for message in shown["messages"] if message["role"] == "user"]
        assert said.count(exchange.message) == 1, f"I1: {exchange.message!r} in {said}"


async def _check_messages(exchanges: Sequence[Exchange], database: Path | str) -> None:
    stored = [content for role, content in await query(database, MESSAGES) if role == "user"]
    for exchange in exchanges:
        count = stored.count(exchange.message)
        assert count <= 1, f"I1: {exchange.message!r} is there {count} times"
        assert count or not exchange.acknowledged, f"I1: the acknowledged {exchange.message!r} is lost"


async def check_credits(database: Path | str) -> None:
    """Hold balances against the ledger, and the ledger against what turns say that they cost (I4).

    Raises:
        AssertionError: they differ.
    """
    for tenant, balance, entered in await query(database, BALANCES):
        assert balance == entered, f"I4: the balance of {tenant} is {balance}, its ledger sums up to {entered}"
        assert balance >= 0, f"I4: the balance of {tenant} is {balance}"
    for turn_id, reserved, settled, cost, credits in await query(database, SETTLED):
        assert reserved == settled, f"I4: turn {turn_id} was reserved for {reserved} times and settled {settled} times"
        assert cost == credits, f"I4: turn {turn_id} took {cost} credits and says {credits}"


async def _check_deliveries(database: Path | str) -> None:
    told = {
        (endpoint_id, event, json.loads(data).get(key))
        for endpoint_id, event, data in await query(database, DELIVERIES)
        for known, key, _ in HAPPENED
        if known == event
    }
    for (event, _, prefix), happened in HAPPENED.items():
        found = await query(database, happened)
        for tenant, endpoint_id, events in await query(database, ENDPOINTS):
            if wants(json.loads(events), event):
                wanted = {(endpoint_id, event, prefixed(prefix, id)) for of, id in found if of == tenant}
                assert wanted <= told, f"I6: no delivery to {endpoint_id} of {wanted - told}"


async def _check_logs(database: Path | str) -> None:
    expected: dict[str, tuple[int, int]] = {}
    for turn_id, first, epoch, events in await query(database, LOGS):
        following, last_epoch = expected.get(turn_id, (1, 0))
        assert first == following, f"I3: the log of turn {turn_id} goes on at {first}, not {following}"
        assert epoch >= last_epoch, f"I3: the epoch of turn {turn_id} falls to {epoch}"
        expected[turn_id] = (first + len(json.loads(events)), epoch)
