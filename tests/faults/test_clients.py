"""Clients leave, stop, repeat themselves and wait in line (RELIABILITY rows 10, 12 and 20)."""

import asyncio
import contextlib
import itertools
import time
from collections.abc import AsyncIterator

import aiohttp
import pytest

from tests.support.client import Client, frames_of
from tests.support.server import ServerProcess, manifest, scripted, upstream_agent
from tests.support.upstream import Upstream

pytestmark = pytest.mark.alone

CLOSED_WITHIN = 0.25
STORED_WITHIN = 0.5


@pytest.fixture
async def upstream() -> AsyncIterator[Upstream]:
    async with Upstream() as made:
        yield made


async def settled(client: Client, turn_id: str, timeout: float) -> dict[str, str]:
    """The turn, when it runs no more."""
    async with asyncio.timeout(timeout):
        while (turn := await client.turn(turn_id))["state"] == "running":
            await asyncio.sleep(0.02)
    return turn


async def leave_in_the_middle(client: Client, **headers: str) -> str:
    """Begin a stream, read three tokens of it and hang up; the turn's id."""
    async with client.s2("hi", stream=True, **headers) as response:
        async with contextlib.aclosing(frames_of(response)) as frames:
            for _ in range(3):
                await anext(frames)
        response.close()
        return str(response.headers["X-Turn-Id"])


async def test_a_turn_goes_on_when_its_client_leaves_and_can_be_replayed(
    server: ServerProcess, session: aiohttp.ClientSession, upstream: Upstream
) -> None:
    server.apply(manifest(upstream_agent(upstream.url, "tokens=30,delay=0.02")))
    server.start()
    client = Client(session, server.url)
    turn_id = await leave_in_the_middle(client, Idempotency_Key="mine")
    turn = await settled(client, turn_id, 10)
    assert turn["state"] == "completed"
    whole = "".join(f"tok{number} " for number in range(30))
    assert (await client.history(turn["conversation_id"]))[1]["content"] == whole
    async with client.s2("hi", stream=True, Idempotency_Key="mine") as response:
        assert response.headers["Idempotent-Replayed"] == "true"
        pieces = [frame.json["chunk"] async for frame in frames_of(response) if frame.data != "[DONE]"]
    assert "".join(pieces) == whole
    assert upstream.stats()["requests"] == 1


@pytest.mark.parametrize("stream", [True, False])
async def test_with_the_cancel_policy_a_client_that_leaves_closes_the_upstream_and_keeps_the_partial(
    server: ServerProcess, session: aiohttp.ClientSession, upstream: Upstream, stream: bool
) -> None:
    server.apply(manifest(upstream_agent(upstream.url, "tokens=500,delay=0.02", on_disconnect="cancel")))
    server.start()
    client = Client(session, server.url)
    if stream:
        turn_id = await leave_in_the_middle(client)
    else:
        with pytest.raises(TimeoutError):
            async with asyncio.timeout(0.5), client.s2("hi"):
                pass
    left = time.monotonic()
    closing = await upstream.next_closing()
    assert closing["at"] - left < CLOSED_WITHIN
    if stream:
        turn = await settled(client, turn_id, STORED_WITHIN)
        assert turn["state"] == "cancelled"
        assert (await client.history(turn["conversation_id"]))[1]["content"].startswith("tok0 tok1 tok2 ")


async def test_an_explicit_stop_closes_the_upstream_and_ends_the_stream_as_a_completed_one(
    server: ServerProcess, session: aiohttp.ClientSession, upstream: Upstream
) -> None:
    server.apply(manifest(upstream_agent(upstream.url, "tokens=500,delay=0.02")))
    server.start()
    client = Client(session, server.url)
    async with client.s2("hi", stream=True) as response:
        frames = frames_of(response)
        pieces = [(await anext(frames)).json["chunk"] for _ in range(3)]
        stopping = time.monotonic()
        async with client.post(f"/manage/v1/turns/{response.headers['X-Turn-Id']}/stop", {}) as stopped:
            turn = await stopped.json()
        assert (await upstream.next_closing())["at"] - stopping < CLOSED_WITHIN
        rest = [frame.data async for frame in frames]
    assert rest[-1] == "[DONE]"
    assert turn["state"] == "cancelled"
    assert turn["credits"] == 1, "what was said is charged once"
    said = (await client.history(turn["conversation_id"]))[1]["content"]
    assert said.startswith("".join(pieces))


async def test_a_turn_that_is_stopped_before_its_first_token_costs_nothing(
    server: ServerProcess, session: aiohttp.ClientSession, upstream: Upstream
) -> None:
    server.apply(manifest(upstream_agent(upstream.url, "tokens=5,slow_first=30")))
    server.start()
    client = Client(session, server.url)
    async with client.s2("hi", stream=True) as response:
        conversation = response.headers["X-Conversation-Id"]
        async with client.post(f"/manage/v1/conversations/{conversation}/stop", {}) as stopped:
            turn = (await stopped.json())["stopped"]
        assert [frame.data async for frame in frames_of(response)] == ["[DONE]"]
    assert (turn["state"], turn["credits"]) == ("cancelled", 0)


@pytest.mark.parametrize("stream", [True, False])
async def test_fifty_requests_with_one_idempotency_key_are_one_turn(
    server: ServerProcess, session: aiohttp.ClientSession, upstream: Upstream, stream: bool
) -> None:
    server.apply(manifest(upstream_agent(upstream.url, "tokens=20,delay=0.01")))
    server.start()
    client = Client(session, server.url)

    async def ask() -> tuple[str, str]:
        async with client.s2("hi", stream=stream, Idempotency_Key="one") as response:
            assert response.status == 200
            return response.headers["X-Turn-Id"], await response.text()

    told = set(await asyncio.gather(*(ask() for _ in range(50))))
    assert len(told) == 1, "all see one turn and the same bytes"
    assert upstream.stats()["requests"] == 1
    async with client.s2("other", stream=stream, Idempotency_Key="one") as response:
        assert response.status == 422
        assert (await response.json())["error"]["name"] == "IdempotencyError"

    server.stop()
    server.start()
    client = Client(session, server.url)
    async with client.s2("hi", stream=stream, Idempotency_Key="one") as response:
        assert response.headers["Idempotent-Replayed"] == "true"
        assert (response.headers["X-Turn-Id"], await response.text()) in told
    assert upstream.stats()["requests"] == 1


async def test_one_turn_runs_in_a_conversation_sixteen_wait_and_the_next_is_a_conflict(
    server: ServerProcess, session: aiohttp.ClientSession
) -> None:
    server.apply(manifest(scripted("Support Agent", {"text": "You said {message}", "first_delay": 0.05})))
    server.start()
    client = Client(session, server.url)
    conversation = (await client.say("begin"))["conversationId"]

    async def ask(number: int) -> int:
        async with client.s2(f"message {number}", conversation) as response:
            return int(response.status)

    statuses = await asyncio.gather(*(ask(number) for number in range(20)))
    assert sorted(statuses) == [200] * 17 + [409] * 3
    said = await client.history(conversation)
    assert [message["role"] for message in said] == ["user", "assistant"] * 18
    for question, answer in zip(said[::2], said[1::2], strict=True):
        assert answer["content"] == f"You said {question['content']}"


@pytest.mark.parametrize("contract", ["S1", "S2"])
async def test_a_client_has_each_token_before_the_model_has_sent_two_more(
    server: ServerProcess, session: aiohttp.ClientSession, contract: str
) -> None:
    """The model's pace is known, so the place of a token's arrival among the sendings is."""
    pace, tokens = 0.2, 8
    async with Upstream() as upstream:
        server.apply(manifest(upstream_agent(upstream.url, f"tokens={tokens},delay={pace}")))
        server.start()
        client = Client(session, server.url)
        agent_id = next(
            line.split()[-1] for line in server.run("export").stdout.splitlines() if line.strip().startswith("- id: 0")
        )
        asked = client.s2("hi", stream=True) if contract == "S2" else client.s1(agent_id, "hi", stream=True)
        async with asked as response:
            frames = [frame async for frame in frames_of(response) if frame.data != "[DONE]"]
    arrivals = [frame.at for frame in frames if frame.event in (None, "text")]
    assert len(arrivals) == tokens
    spread = [late - early for early, late in itertools.pairwise(arrivals)]
    assert max(spread) < 2 * pace, "no token came together with the one after the next"


async def test_a_conversation_with_a_waiting_turn_stops_and_goes_on(
    sqlite_server: ServerProcess, session: aiohttp.ClientSession
) -> None:
    sqlite_server.apply(manifest(scripted("Support Agent", "first", {"tokens": ["a"] * 100, "delay": 0.05}, "third")))
    sqlite_server.start()
    client = Client(session, sqlite_server.url)
    conversation = (await client.say("begin"))["conversationId"]
    long = asyncio.create_task(client.say("long", conversation))
    await asyncio.sleep(0.3)
    waiting = asyncio.create_task(client.say("next", conversation))
    await asyncio.sleep(0.1)
    async with client.post(f"/manage/v1/conversations/{conversation}/stop", {}) as response:
        assert (await response.json())["stopped"]["state"] == "cancelled"
    assert (await long)["response"].strip("a") == ""
    assert (await waiting)["response"] == "third"
