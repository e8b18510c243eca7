"""Credits under load and under a kill (RELIABILITY row 25): never spent twice, never lost."""

import asyncio

import aiohttp
import pytest

from faults.checker import check_credits, query
from tests.support.client import Client
from tests.support.server import ServerProcess, manifest, scripted

SCRIPT = (
    {"when": "hang", "tokens": ["Well,", " then"], "delay": 60},
    {"when": "fail", "error": "no answer"},
)


async def balance(client: Client) -> int:
    async with client.get("/manage/v1/tenant") as response:
        told = await response.json()
        assert response.status == 200, told
        return int(told["credits"])


@pytest.mark.requirement("S1-5", "X-3")
async def test_of_three_hundred_at_once_as_many_succeed_as_there_are_credits(
    server: ServerProcess, session: aiohttp.ClientSession
) -> None:
    server.apply(manifest(scripted("Support Agent", *SCRIPT), credits=100))
    server.start()
    client = Client(session, server.url)

    async def ask(number: int) -> int:
        async with client.s2(f"message {number}") as response:
            told = await response.json()
            if response.status == 402:
                assert told["error"]["name"] == "InsufficientCreditsError"
            return int(response.status)

    statuses = await asyncio.gather(*(ask(number) for number in range(300)))
    assert sorted(set(statuses)) == [200, 402]
    assert statuses.count(200) == 100
    assert await balance(client) == 0
    await check_credits(server.environment.get("DRAGOMAN_DATABASE_URL") or server.data_dir / "dragoman.db")


@pytest.mark.requirement("S1-15", "X-3")
async def test_failed_and_killed_turns_give_their_credits_back_once(
    server: ServerProcess, session: aiohttp.ClientSession
) -> None:
    server.apply(manifest(scripted("Support Agent", *SCRIPT), credits=30))
    server.start()
    client = Client(session, server.url)
    database = server.environment.get("DRAGOMAN_DATABASE_URL") or server.data_dir / "dragoman.db"
    await client.say("hello")
    async with client.s2("fail") as response:
        assert response.status == 500
    assert await balance(client) == 29
    hanging = [asyncio.create_task(client.s2("hang", stream=True).__aenter__()) for _ in range(20)]
    await asyncio.gather(*hanging)
    assert await balance(client) == 9
    for _ in range(2):
        server.kill9()
        server.start()
        client = Client(session, server.url)
        assert await balance(client) == 29
        await check_credits(database)
    ends = await query(
        database, "SELECT kind, COUNT(*) FROM ledger WHERE turn_id IS NOT NULL GROUP BY kind ORDER BY kind"
    )
    assert [tuple(row) for row in ends] == [("reserve", 22), ("settle", 22)]


async def test_a_stopped_turn_costs_its_price_where_it_has_said_anything(
    server: ServerProcess, session: aiohttp.ClientSession
) -> None:
    server.apply(manifest(scripted("Support Agent", *SCRIPT), credits=5))
    server.start()
    client = Client(session, server.url)
    async with client.s2("hang", stream=True) as response:
        while b"Well" not in await response.content.readany():
            pass
        async with client.post(f"/manage/v1/turns/{response.headers['X-Turn-Id']}/stop", None) as stopped:
            assert (await stopped.json())["credits"] == 1
    assert await balance(client) == 4
