"""Sockets under load and abuse, and those whose peers are gone (RELIABILITY rows 13, 15, 16, 17)."""

import asyncio
import itertools
import json
import os
import re
import socket
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager, nullcontext
from pathlib import Path
from typing import Any

import aiohttp
import pytest
from yarl import URL

from tests.faults.conftest import FULL, count
from tests.support import server as support
from tests.support.chats import USER, Chats, Line
from tests.support.server import KEY, ServerProcess, manifest, scripted

# The command itself, but for its patience with clients.
IMPATIENT = """
from dragoman.cli import main
from dragoman.server import protocols
{changes}
main()
"""
EACH_IDLE = 40_000
IDLE_CPU = 0.05
EACH_SLOW = 256 * 1024

pytestmark = pytest.mark.alone


@contextmanager
def impatient(**seconds: float) -> Iterator[None]:
    """Servers that are started here wait less."""
    changes = "\n".join(f"protocols.{name} = {value}" for name, value in seconds.items())
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(support, "COMMAND", (sys.executable, "-c", IMPATIENT.format(changes=changes)))
        yield


def agent(*script: Any) -> dict[str, Any]:
    return scripted("Support Agent", *script, slug="support-agent")


async def open_sockets(chats: Chats) -> int:
    """How many the server counts."""
    async with chats.session.get(f"{chats.url}/metrics") as response:
        found = re.search(r"^dragoman_sockets_open (\d+)", await response.text(), re.MULTILINE)
    assert found is not None
    return int(found[1])


def private_bytes(pid: int) -> int:
    """Memory that only this process has."""
    lines = Path(f"/proc/{pid}/smaps_rollup").read_text().splitlines()
    return sum(int(line.split()[1]) * 1024 for line in lines if line.startswith(("Private_Clean", "Private_Dirty")))


async def come_to(chats: Chats, expected: int, within: float) -> float:
    """Wait until so many sockets are open; how long it took."""
    began = time.monotonic()
    async with asyncio.timeout(within):
        while await open_sockets(chats) != expected:
            await asyncio.sleep(0.02)
    return time.monotonic() - began


async def raw(chats: Chats, text: bytes, receive_buffer: int | None = None) -> socket.socket:
    """A connection that has sent this and is not read."""
    url = URL(chats.url)
    made = socket.socket()
    if receive_buffer is not None:
        made.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, receive_buffer)
    made.setblocking(False)
    loop = asyncio.get_running_loop()
    await loop.sock_connect(made, (url.host, url.port))
    await loop.sock_sendall(made, text)
    return made


def handshake(chat: str) -> bytes:
    lines = (
        f"GET /ws/chat?api_key={KEY}&user_id={USER}&chat_id={chat} HTTP/1.1",
        "Host: here",
        "Connection: Upgrade",
        "Upgrade: websocket",
        "Sec-WebSocket-Version: 13",
        "Sec-WebSocket-Key: AAAAAAAAAAAAAAAAAAAAAA==",
    )
    return "\r\n".join((*lines, "", "")).encode()


def cpu_seconds(pid: int) -> float:
    """The processor time that a process has used."""
    fields = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()
    return sum(map(int, fields[11:13])) / os.sysconf("SC_CLK_TCK")


async def test_idle_sockets_cost_little_and_none_is_dropped(
    sqlite_server: ServerProcess, session: aiohttp.ClientSession
) -> None:
    tenants = count(5, 40)
    key = "sk_test_tenant_{:04}_000000000000000000000"
    spelled = manifest(agent())
    first = spelled["tenants"][0]
    spelled["tenants"] = [
        {
            **first,
            "id": f"tenant-{number}",
            "keys": [{"name": "backend", "type": "secret", "value": key.format(number)}],
            "default_agent": "support-agent",
        }
        for number in range(tenants)
    ]
    sqlite_server.apply(spelled)
    # In full they idle as long as they would in use, at the pace of the pings that is then the server's own.
    with nullcontext() if FULL else impatient(PING_SECONDS=0.5, PONG_SECONDS=5.0):
        sqlite_server.start()
    clients = [Chats(session, sqlite_server.url, key.format(number)) for number in range(tenants)]
    chat_of = {client: await client.create() for client in clients}
    await (await clients[0].open(chat_of[clients[0]])).leave()
    await come_to(clients[0], 0, 5)
    before = private_bytes(sqlite_server.pid)
    lines: list[Line] = []
    for client in clients:
        lines += await asyncio.gather(*(client.open(chat_of[client]) for _ in range(50)))
    each = (private_bytes(sqlite_server.pid) - before) / len(lines)
    assert each < EACH_IDLE, f"{each:.0f} bytes a socket"
    idle = count(3, 600)
    for line in lines:
        line.patience += idle
    listening = [asyncio.create_task(line.until("message_stream_ended")) for line in lines]
    used = cpu_seconds(sqlite_server.pid)
    await asyncio.sleep(idle)
    used = cpu_seconds(sqlite_server.pid) - used
    assert not FULL or used < IDLE_CPU * idle, f"{used:.1f} s of CPU in {idle} s"
    assert await open_sockets(clients[0]) == len(lines)
    for client in clients:
        full = await client.refused(api_key=str(client.key), user_id=USER, chat_id=chat_of[client])
        assert full == ("CONNECTION_LIMIT_EXCEEDED", 4429)
        await lines[50 * clients.index(client)].say("Hello")
    for frames in await asyncio.gather(*listening):
        assert frames[-1]["content"] == "You said: Hello"


async def test_a_reader_that_does_not_read_is_bounded_and_dropped_and_the_others_do_not_notice(
    sqlite_server: ServerProcess, session: aiohttp.ClientSession
) -> None:
    """Two megabytes of tokens for each reader; the last frame repeats them all at once."""
    token, tokens, slow = "x" * 20_000 + " ", 100, count(20, 40)
    script = {"when": "much", "tokens": [token] * tokens, "delay": 0.01}
    sqlite_server.apply(manifest(agent(script), default_agent="support-agent"))
    with impatient(STALLED_SECONDS=4.0):
        sqlite_server.start()
    chats = Chats(session, sqlite_server.url)
    chat, other = await chats.create(), await chats.create()
    reader, bystander = await chats.open(chat), await chats.open(other)
    for _ in range(2):
        await reader.exchange("much")
    before = private_bytes(sqlite_server.pid)
    lazy = [await raw(chats, handshake(chat), 4096) for _ in range(slow)]
    await come_to(chats, slow + 2, 5)
    await reader.say("much")
    await reader.until("message_stream_token", 5)
    waits = []
    for _ in range(8):
        began = time.monotonic()
        await bystander.exchange("Hello")
        waits.append(time.monotonic() - began)
    assert (await reader.until("message_stream_ended"))[-1]["content"] == token * tokens
    grown = private_bytes(sqlite_server.pid) - before
    shared = 4 * len(token) * tokens  # the turn that they hold: its events, their frames, the text and the last frame
    assert grown < shared + slow * EACH_SLOW, f"{grown} bytes"
    assert max(waits) < 1.0
    took = await come_to(chats, 2, 20)
    assert took < 12
    for each in lazy:
        each.close()
    started = [at for at, frame in enumerate(reader.frames) if frame["event_type"] == "message_stream_started"][-1]
    resumed = await chats.open(chat, last_event_id=reader.frames[started]["event_id"])
    await resumed.until("message_stream_ended")
    assert resumed.texts[1:] == reader.texts[started + 1 :]


@pytest.mark.requirement("S3-17", "S3-12")
async def test_a_peer_that_answers_no_ping_is_found_and_a_silent_one_stays(
    sqlite_server: ServerProcess, session: aiohttp.ClientSession
) -> None:
    sqlite_server.apply(manifest(agent(), default_agent="support-agent"))
    with impatient(PING_SECONDS=0.4, PONG_SECONDS=0.6, CLOSING_SECONDS=0.5):
        sqlite_server.start()
    chats = Chats(session, sqlite_server.url)
    chat = await chats.create()
    address = f"{chats.url}/ws/chat?api_key={KEY}&user_id={USER}&chat_id={chat}"
    deaf = Line(await session.ws_connect(address, autoping=False))
    gone = await raw(chats, handshake(chat))
    silent = await chats.open(chat)
    listening = asyncio.create_task(silent.until("message_stream_ended"))
    began = time.monotonic()
    await asyncio.sleep(0.1)
    texts = []
    while (message := await deaf.socket.receive(timeout=10)).type is not aiohttp.WSMsgType.CLOSE:
        if message.type is aiohttp.WSMsgType.TEXT:
            texts.append(json.loads(message.data))
    assert 0.9 < time.monotonic() - began < 3
    assert texts[-1]["error_code"] == "CONNECTION_TIMEOUT"
    assert deaf.socket.close_code == 4408
    await come_to(chats, 1, 3)
    await asyncio.sleep(2)
    await silent.say("Still here")
    assert (await listening)[-1]["content"] == "You said: Still here"
    gone.close()


@pytest.mark.requirement("S3-15", "S3-7")
async def test_abuse_is_refused_and_hurts_nobody_else(
    sqlite_server: ServerProcess, session: aiohttp.ClientSession
) -> None:
    sqlite_server.apply(manifest(agent(), default_agent="support-agent"))
    with impatient(OPENING_SECONDS=2.0, MOST_OPENING=count(100, 400)):
        sqlite_server.start()
    chats = Chats(session, sqlite_server.url)
    chat = await chats.create()
    line = await chats.open(chat)
    await line.exchange("Hello")
    before = private_bytes(sqlite_server.pid)
    opened = handshake(chat)
    texts = (b"", b"G", opened[:-2], b"GET /ws/chat HTTP/1.1\r\nHost: here\r\nX-Drip: ", b"\x16\x03\x01", b"\r\n" * 50)
    half_open = [await raw(chats, texts[number % len(texts)]) for number in range(count(120, 500))]

    async def knock(number: int) -> None:
        key = ("wrong", "", KEY)[number % 3]
        code, _ = await chats.refused(api_key=key, user_id=USER, chat_id="wrong")
        assert code == ("INVALID_API_KEY", "MISSING_PARAMETER", "CHAT_NOT_FOUND")[number % 3]

    knocking = asyncio.gather(*(knock(number) for number in range(count(60, 500))))
    waits = []
    for _ in range(10):
        began = time.monotonic()
        assert (await line.exchange("Hello"))[-1]["content"] == "You said: Hello"
        waits.append(time.monotonic() - began)
        await asyncio.sleep(0.1)
    await knocking
    assert max(waits) < 1.0
    assert (private_bytes(sqlite_server.pid) - before) / len(half_open) < EACH_IDLE
    loop = asyncio.get_running_loop()
    async with asyncio.timeout(10):
        for each in half_open:
            while True:
                try:
                    if not await loop.sock_recv(each, 1000):
                        break
                except ConnectionError:
                    break
            each.close()
    assert (await line.exchange("Hello"))[-1]["content"] == "You said: Hello"
    assert '"event":"unforeseen"' not in sqlite_server.log_file.read_text()


async def test_a_head_that_drips_is_not_waited_for(
    sqlite_server: ServerProcess, session: aiohttp.ClientSession
) -> None:
    sqlite_server.apply(manifest(agent(), default_agent="support-agent"))
    with impatient(OPENING_SECONDS=1.0):
        sqlite_server.start()
    chats = Chats(session, sqlite_server.url)
    loop = asyncio.get_running_loop()
    dripping = await raw(chats, b"GET /livez HTTP/1.1\r\nHost: here\r\n\r\n")
    assert b"200" in await loop.sock_recv(dripping, 1000)
    began = time.monotonic()
    try:
        for piece in itertools.chain((b"GET /",), itertools.repeat(b"x", 80)):
            await loop.sock_sendall(dripping, piece)
            await asyncio.sleep(0.1)
    except ConnectionError:
        pass
    assert 0.9 < time.monotonic() - began < 4
    dripping.close()
