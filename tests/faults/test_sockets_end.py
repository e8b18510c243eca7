"""Sockets that are cut off, shut down, closed out, or watched in the log (RELIABILITY rows 11, 34, 35)."""

import asyncio
import contextlib
import json
import random
import signal
import time
from typing import Any

import aiohttp
import pytest
from yarl import URL

from tests.faults.conftest import count
from tests.faults.test_sockets import agent, raw
from tests.support.chats import USER, Chats, Line
from tests.support.server import KEY, ServerProcess, manifest

pytestmark = pytest.mark.alone


@pytest.mark.requirement("S3-17")
async def test_after_kill_9_a_socket_goes_on_or_is_told_of_the_gap(
    server: ServerProcess, session: aiohttp.ClientSession
) -> None:
    """What was shown and never stored cannot be shown again; whatever was stored is."""
    chance = random.Random(11)
    tokens = [f"word{number} " for number in range(200)]
    server.apply(manifest(agent({"when": "long", "tokens": tokens, "delay": 0.01}), default_agent="support-agent"))
    for _ in range(count(2, 20)):
        server.start()
        chats = Chats(session, server.url)
        chat = await chats.create()
        watcher, early = await chats.open(chat), await chats.open(chat)
        await watcher.say("Hello")
        await early.until("message_stream_ended")
        await watcher.say("long")
        await early.until("message_stream_token", chance.randint(1, 5))
        await early.leave()
        with contextlib.suppress(TimeoutError, AssertionError):
            async with asyncio.timeout(chance.uniform(0.3, 1.2)):
                await watcher.until("message_stream_ended", 2)
        server.kill9()
        with contextlib.suppress(AssertionError):
            await watcher.until("message_stream_ended", 2)
        seen = [text for text in watcher.texts if "event_id" in json.loads(text)]
        server.start()
        chats.url = server.url
        cut = json.loads(early.texts[-1])["event_id"]
        resumed = await chats.open(chat, last_event_id=cut)
        frames = await resumed.until("error")
        assert frames[-1]["error_code"] == "SERVICE_UNAVAILABLE"
        stored = resumed.texts[1:-1]
        at = next(number for number, text in enumerate(seen, start=1) if json.loads(text)["event_id"] == cut)
        missed = seen[at:]
        longest = min(len(stored), len(missed))
        assert stored[:longest] == missed[:longest]
        assert len(missed) - len(stored) < 60, "all but the last 500 ms was stored"
        last = await chats.open(chat, last_event_id=json.loads(watcher.texts[-1])["event_id"])
        told = [frame["error_code"] for frame in await until_interrupted(last) if "error_code" in frame]
        gap = len(missed) > len(stored)
        assert told == ["RESUME_GAP", "SERVICE_UNAVAILABLE"] if gap else ["SERVICE_UNAVAILABLE"]
        assert (await last.exchange("Hello again"))[-1]["content"] == "You said: Hello again"
        server.stop()


async def until_interrupted(line: Line) -> list[dict[str, Any]]:
    frames = await line.until("error")
    if frames[-1]["error_code"] == "RESUME_GAP":
        frames += await line.until("error")
    return frames


@pytest.mark.requirement("S3-17")
async def test_past_the_resume_window_there_is_a_gap(
    sqlite_server: ServerProcess, session: aiohttp.ClientSession
) -> None:
    sqlite_server.environment["DRAGOMAN_RESUME_WINDOW"] = "1"
    sqlite_server.apply(manifest(agent(), default_agent="support-agent"))
    sqlite_server.start()
    chats = Chats(session, sqlite_server.url)
    chat = await chats.create()
    line = await chats.open(chat)
    cut = (await line.exchange("Hello"))[3]["event_id"]
    await asyncio.sleep(1.2)
    sqlite_server.stop()
    sqlite_server.start()
    chats.url = sqlite_server.url
    line = await chats.open(chat, last_event_id=cut)
    assert (await line.next())["error_code"] == "RESUME_GAP"
    assert (await line.exchange("Hello"))[-1]["content"] == "You said: Hello"


@pytest.mark.requirement("S3-18")
async def test_a_shutdown_is_told_once_what_runs_has_ended(
    sqlite_server: ServerProcess, session: aiohttp.ClientSession
) -> None:
    script = {"when": "slowly", "tokens": [f"{number} " for number in range(20)], "delay": 0.1}
    sqlite_server.apply(manifest(agent(script), default_agent="support-agent"))
    sqlite_server.start()
    chats = Chats(session, sqlite_server.url)
    busy, idle = await chats.open(await chats.create()), await chats.open(await chats.create())
    await busy.say("slowly")
    await busy.until("message_stream_token", 3)
    assert sqlite_server.process is not None
    sqlite_server.process.send_signal(signal.SIGTERM)
    await asyncio.sleep(0.3)
    await idle.say("too late")
    assert (await idle.next())["error_code"] == "SERVICE_UNAVAILABLE"
    late = await chats.dial(api_key=KEY, user_id=USER, chat_id="any")
    assert (await late.next())["error_code"] == "SERVICE_UNAVAILABLE"
    assert await late.closed() == 1012
    assert len((await busy.until("message_stream_ended"))[-1]["content"].split()) == 20
    assert await busy.closed() == 1012
    assert await idle.closed() == 1012
    assert await asyncio.to_thread(sqlite_server.process.wait, 10) == 0


async def test_a_key_that_is_closed_closes_its_sockets(
    sqlite_server: ServerProcess, session: aiohttp.ClientSession
) -> None:
    keys = [
        {"name": "backend", "type": "secret", "value": KEY},
        {"name": "other", "type": "secret", "value": KEY.replace("backend", "another")},
    ]
    sqlite_server.apply(manifest(agent(), default_agent="support-agent", keys=keys))
    sqlite_server.start()
    chats = Chats(session, sqlite_server.url)
    staying = Chats(session, sqlite_server.url, KEY.replace("backend", "another"))
    chat = await chats.create()
    line, other = await chats.open(chat), await staying.open(chat)
    await line.until("user_created")
    await asyncio.to_thread(sqlite_server.run, "keys", "revoke", "--tenant", "acme", "backend")
    began = time.monotonic()
    assert (await line.next())["error_code"] == "INVALID_API_KEY"
    assert await line.closed() == 4401
    assert time.monotonic() - began < 3.5
    assert (await other.exchange("Hello"))[-1]["content"] == "You said: Hello"


@pytest.mark.requirement("S3-20")
async def test_the_key_in_an_address_is_nowhere_in_the_log(
    sqlite_server: ServerProcess, session: aiohttp.ClientSession
) -> None:
    canary = "sk_test_canary_in_the_address_000000000"
    keys = [{"name": "backend", "type": "secret", "value": KEY}, {"name": "canary", "type": "secret", "value": canary}]
    sqlite_server.environment["DRAGOMAN_LOG_LEVEL"] = "debug"
    sqlite_server.apply(manifest(agent({"when": "fail", "error": "no"}), default_agent="support-agent", keys=keys))
    sqlite_server.start()
    chats = Chats(session, sqlite_server.url, canary)
    chat = await chats.create()
    line = await chats.open(chat)
    await line.exchange("Hello")
    await line.say("fail")
    await line.until("error")
    await line.socket.send_str("{")
    await line.until("error")
    ticket = (await chats.told("POST", f"/{chat}/tickets", {}, 201))["ticket"]
    for query in (
        {"api_key": canary, "user_id": "thief", "chat_id": chat},
        {"api_key": f"{canary}x", "user_id": USER, "chat_id": chat},
        {"api_key": canary, "chat_id": chat},
    ):
        await chats.refused(**query)
    await (await chats.dial(ticket=ticket)).next()
    assert (await chats.refused(ticket=ticket))[0] == "INVALID_API_KEY"
    address = f"/ws/chat?api_key={canary}"
    url = URL(f"{chats.url}{address}")
    async with session.get(url) as response:
        assert response.status == 404
    for text in (
        f"GET {address}{'x' * 9000} HTTP/1.1\r\nHost: here\r\nConnection: Upgrade\r\nUpgrade: websocket\r\n\r\n",
        f"GET {address} HTTP/1.1\r\nHost: here\r\nConnection: Upgrade\r\nUpgrade: websocket\r\n\r\n",
        f"GET {address} HTTP/9.9\r\nbroken\r\n\r\n",
    ):
        made = await raw(chats, text.encode())
        assert canary.encode() not in await asyncio.get_running_loop().sock_recv(made, 4000)
        made.close()
    async with session.get(f"{chats.url}/metrics") as response:
        assert canary not in await response.text()
    await line.socket.send_str("x" * 70_000)
    assert await line.closed() == 1009
    sqlite_server.stop()
    log = sqlite_server.log_file.read_text()
    assert '"event":"socket"' in log
    assert canary not in log
    assert ticket not in log
