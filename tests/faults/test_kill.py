"""The plug is pulled in the middle of answers (RELIABILITY row 1): nothing acknowledged is lost."""

import asyncio
import random
import time
from pathlib import Path

import aiohttp
import pytest

from faults.checker import check
from faults.seen import Exchange, Record
from tests.faults.conftest import count
from tests.support.client import Client, frames_of
from tests.support.server import KEY, ServerProcess, manifest, scripted

pytestmark = pytest.mark.alone

STORED_AFTER = 0.5
TOKENS = [f"word{number} " for number in range(80)]


async def stream(client: Client, exchange: Exchange, record: Record) -> None:
    """One streamed turn, written down as far as it came."""
    try:
        async with client.s2(exchange.message, stream=True, Idempotency_Key=exchange.message) as response:
            if response.status != 200:
                exchange.outcome = "refused"
                return
            exchange.acknowledged = True
            exchange.conversation = response.headers["X-Conversation-Id"]
            exchange.turn = response.headers["X-Turn-Id"]
            async for frame in frames_of(response):
                if frame.data == "[DONE]":
                    exchange.outcome = "closed"
                else:
                    exchange.pieces.append(frame.json["chunk"])
                    exchange.piece_times.append(frame.at)
                    exchange.ids.append(frame.id or "")
    except (aiohttp.ClientError, ConnectionError):
        pass
    finally:
        record.add(exchange)


@pytest.mark.parametrize("seed", [7])
async def test_after_kill_9_under_streams_nothing_acknowledged_is_lost(
    server: ServerProcess, session: aiohttp.ClientSession, tmp_path: Path, seed: int
) -> None:
    chance = random.Random(seed)
    record = Record(tmp_path / "seen.jsonl")
    # Nobody listens there: what is told waits, and is looked for after every kill.
    told = {"webhooks": [{"url": "http://127.0.0.1:9/hook"}], "egress": {"allow_private": True}}
    server.apply(manifest(scripted("Support Agent", {"tokens": TOKENS, "delay": 0.03}), credits=1_000_000, **told))
    postgres = server.environment.get("DRAGOMAN_DATABASE_URL")
    database = postgres or server.data_dir / "dragoman.db"
    rounds = count(2, 20) if postgres else count(5, 20)
    for number in range(rounds):
        server.start()
        client = Client(session, server.url)
        streams = [
            asyncio.create_task(stream(client, Exchange(f"round {number} message {index}"), record))
            for index in range(count(50, 200))
        ]
        await asyncio.sleep(chance.uniform(0.4, 2.0))
        killed = time.monotonic()
        server.kill9()
        await asyncio.gather(*streams)
        server.start()
        client = Client(session, server.url)
        ours = [each for each in record.exchanges if each.message.startswith(f"round {number} ")]
        assert any(each.pieces for each in ours), "the kill came before anything was streamed"
        for exchange in ours:
            if exchange.acknowledged and exchange.outcome == "unknown":
                turn = await client.turn(exchange.turn)
                assert turn["state"] == "interrupted"
                said = [each["content"] for each in await client.history(exchange.conversation)]
                partial = said[1] if len(said) > 1 else ""
                assert partial.startswith(exchange.text_before(killed - STORED_AFTER))
                assert "".join(TOKENS).startswith(partial)
        await check(record.exchanges, session, server.url, KEY, database)
        assert server.stop() == 0


async def test_a_stream_that_a_kill_cut_is_resumed_with_a_gap_and_its_closing_event(
    server: ServerProcess, session: aiohttp.ClientSession, tmp_path: Path
) -> None:
    server.apply(manifest(scripted("Support Agent", {"tokens": TOKENS, "delay": 0.02})))
    server.start()
    exchange = Exchange("hello")
    streaming = asyncio.create_task(stream(Client(session, server.url), exchange, Record(tmp_path / "seen.jsonl")))
    while len(exchange.pieces) < 20:
        await asyncio.sleep(0.01)
    server.kill9()
    await streaming
    server.start()
    client = Client(session, server.url)
    again = {"Idempotency_Key": "hello", "Last_Event_ID": exchange.ids[-1]}
    async with client.s2("hello", stream=True, **again) as response:
        assert response.status == 200
        body = await response.text()
    assert ": gap\n\n" in body
    assert '"name":"ServiceUnavailableError"' in body
    assert body.endswith("data: [DONE]\n\n")
    async with client.s2("hello", stream=True, Idempotency_Key="hello") as response:
        pieces = [frame.json["chunk"] async for frame in frames_of(response) if frame.data != "[DONE]"]
    assert pieces == TOKENS, "the same key without a place to go on from runs the turn again"
    said = await client.history(response.headers["X-Conversation-Id"])
    assert [message["content"] for message in said if message["role"] == "user"] == ["hello"]
