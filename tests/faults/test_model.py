"""The model stalls, breaks off, sends rubbish or refuses (RELIABILITY rows 7, 8 and 9)."""

import asyncio
from collections.abc import AsyncIterator
from pathlib import Path

import aiohttp
import pytest

from tests.support.client import Client, frames_of
from tests.support.server import ServerProcess, manifest, upstream_agent
from tests.support.upstream import Upstream

TIMEOUTS = {"DRAGOMAN_MODEL_FIRST_TOKEN_TIMEOUT": "0.5", "DRAGOMAN_MODEL_IDLE_TIMEOUT": "0.5"}
MEMORY_BOUND_KB = 20 * 1024


@pytest.fixture
async def upstream() -> AsyncIterator[Upstream]:
    async with Upstream() as made:
        yield made


def serve(server: ServerProcess, upstream: Upstream, *models: str) -> None:
    """Start a server with an agent for each model; the first is `agent-0`."""
    server.environment.update(TIMEOUTS)
    agents = [upstream_agent(upstream.url, model, f"Agent {index}") for index, model in enumerate(models)]
    server.apply(manifest(*agents))
    server.start()


def resident_kb(pid: int) -> int:
    """The memory of a process."""
    status = Path(f"/proc/{pid}/status").read_text()
    return int(status.partition("VmRSS:")[2].split()[0])


async def streamed(client: Client, message: str = "hi") -> tuple[list[str], dict[str, str] | None, str]:
    """One streamed turn over S2: its pieces, its error where there is one, and its turn's id."""
    pieces: list[str] = []
    error = None
    async with client.s2(message, stream=True) as response:
        assert response.status == 200
        last = ""
        async for frame in frames_of(response):
            last = frame.data
            if last != "[DONE]":
                told = frame.json
                error = told.get("error")
                pieces += [told["chunk"]] if "chunk" in told else []
        assert last == "[DONE]"
        return pieces, error, response.headers["X-Turn-Id"]


@pytest.mark.parametrize("fault", ["stall_before", "stall_within"])
async def test_a_model_that_stalls_fails_the_turn_and_its_partial_is_kept(
    server: ServerProcess, session: aiohttp.ClientSession, upstream: Upstream, fault: str
) -> None:
    serve(server, upstream, f"tokens=8,fault={fault}")
    client = Client(session, server.url, "agent-0")
    pieces, error, turn_id = await streamed(client)
    assert error is not None
    assert error["name"] == "InternalServerError"
    turn = await client.turn(turn_id)
    assert turn["state"] == "failed"
    assert turn["credits"] == 0
    said = [message["content"] for message in await client.history(turn["conversation_id"])]
    assert said == ["hi", *(["".join(pieces)] if pieces else [])]
    assert bool(pieces) == (fault == "stall_within")


FAULTS = ["reset", "truncate", "bad_utf8", "bad_json", "huge_line", "error", "no_finish", "endless"]


@pytest.mark.parametrize("fault", FAULTS)
async def test_a_model_that_breaks_its_protocol_ends_the_turn_cleanly_within_bounds_of_memory(
    sqlite_server: ServerProcess, session: aiohttp.ClientSession, upstream: Upstream, fault: str
) -> None:
    serve(sqlite_server, upstream, f"tokens=8,fault={fault}", "tokens=3")
    healthy = Client(session, sqlite_server.url, "agent-1")
    await healthy.say("warm up")
    before = resident_kb(sqlite_server.pid)
    client = Client(session, sqlite_server.url, "agent-0")
    pieces, error, turn_id = await streamed(client)
    grown = resident_kb(sqlite_server.pid) - before
    assert error is not None
    assert pieces
    turn = await client.turn(turn_id)
    assert turn["state"] == "failed"
    said = [message["content"] for message in await client.history(turn["conversation_id"])]
    assert said == ["hi", "".join(pieces)]
    assert "Traceback" not in str(error)
    if fault != "endless":  # its answer is kept, up to its own cap of 4 MiB
        assert grown < MEMORY_BOUND_KB
    assert (await healthy.say("still there?"))["response"]


async def test_a_model_that_leaves_out_the_end_mark_has_answered_all_the_same(
    sqlite_server: ServerProcess, session: aiohttp.ClientSession, upstream: Upstream
) -> None:
    serve(sqlite_server, upstream, "tokens=8,fault=no_done", "tokens=8,crlf,split")
    whole = "".join(f"tok{number} " for number in range(8))
    assert (await Client(session, sqlite_server.url, "agent-0").say("hi"))["response"] == whole
    assert (await Client(session, sqlite_server.url, "agent-1").say("hi"))["response"] == whole


@pytest.mark.parametrize("refusal", ["status=429,retry_after=1", "status=500", "status=503"])
async def test_a_model_that_refuses_twice_is_asked_a_third_time(
    sqlite_server: ServerProcess, session: aiohttp.ClientSession, upstream: Upstream, refusal: str
) -> None:
    serve(sqlite_server, upstream, f"tokens=3,{refusal},times=2")
    assert (await Client(session, sqlite_server.url, "agent-0").say("hi"))["response"] == "tok0 tok1 tok2 "
    assert upstream.stats()["requests"] == 3


async def test_a_model_that_goes_on_refusing_fails_the_turn_after_three_tries_without_its_own_words(
    sqlite_server: ServerProcess, session: aiohttp.ClientSession, upstream: Upstream
) -> None:
    serve(sqlite_server, upstream, "tokens=3,status=503", "tokens=3,status=401")
    for slug, tries in (("agent-0", 3), ("agent-1", 1)):
        upstream.reset()
        async with Client(session, sqlite_server.url, slug).s2("hi") as response:
            told = await response.json()
        assert response.status == 500
        assert told["error"] == {
            "name": "InternalServerError",
            "message": "The AI service could not answer",
            "details": {},
        }
        assert upstream.stats()["requests"] == tries


async def test_nothing_is_asked_again_once_a_token_has_come(
    sqlite_server: ServerProcess, session: aiohttp.ClientSession, upstream: Upstream
) -> None:
    serve(sqlite_server, upstream, "tokens=8,fault=reset")
    await streamed(Client(session, sqlite_server.url, "agent-0"))
    assert upstream.stats()["requests"] == 1


async def test_the_breaker_opens_after_many_failures_and_lets_one_probe_close_it(
    sqlite_server: ServerProcess, session: aiohttp.ClientSession, upstream: Upstream
) -> None:
    serve(sqlite_server, upstream, "tokens=3,status=500,times=10")
    client = Client(session, sqlite_server.url, "agent-0")
    for _ in range(4):
        async with client.s2("hi") as response:
            assert response.status == 500
    asked = upstream.stats()["requests"]
    async with client.s2("hi") as response:
        assert response.status == 500
    assert upstream.stats()["requests"] == asked == 10, "an open breaker asks nobody"
    async with asyncio.timeout(15):
        while True:
            async with client.s2("hi") as response:
                if response.status == 200:
                    break
            await asyncio.sleep(0.25)
    assert upstream.stats()["requests"] == 11
