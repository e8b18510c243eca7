"""The bounds of S3's sockets: messages a second and a minute, sizes, waiting messages, connections."""

import asyncio
import json
import time
from urllib.parse import urlencode

import aiohttp
import pytest
from websockets.asyncio.client import connect

from tests.dialects.scene import MINUTE, room_in
from tests.dialects.sessions.scene import secret_key
from tests.dialects.sessions.test_socket import error
from tests.support.chats import USER, Chats
from tests.support.server import ServerProcess

CAP = 64 * 1024


def message_of(size: int) -> str:
    """A message of so many bytes."""
    frame = json.dumps({"content": "say nothing "})
    return frame[:-2] + "x" * (size - len(frame)) + frame[-2:]


@pytest.mark.requirement("S3-15")
async def test_the_11th_message_of_a_second_is_dropped_and_the_socket_stays(chats: Chats) -> None:
    chat = await chats.create()
    line = await chats.open(chat)
    await line.until("user_created")
    for number in range(12):
        await line.say(f"message {number}")
    refused = []
    while len(refused) < 2:
        frame = await line.next()
        if frame["event_type"] == "error":
            refused.append(frame)
    assert [frame["error_code"] for frame in refused] == ["RATE_LIMIT_EXCEEDED"] * 2
    assert refused[0]["details"]["retry_after"] == 1
    ended = [frame for frame in line.frames if frame["event_type"] == "message_stream_ended"]
    if len(ended) < 10:
        await line.until("message_stream_ended", 10 - len(ended))
    await asyncio.sleep(0.3)
    assert (await line.exchange("later"))[-1]["content"] == "You said: later"
    asked = [message["content"] for message in await chats.messages(chat) if message["sender_role"] == "user"]
    assert asked == [*(f"message {number}" for number in range(10)), "later"]


@pytest.mark.requirement("S3-15")
async def test_connections_do_not_share_their_messages(chats: Chats) -> None:
    first, second = await chats.open(await chats.create()), await chats.open(await chats.create())
    for line in (first, second):
        for _ in range(10):
            await line.say("say nothing")
    for line in (first, second):
        await line.until("message_stream_ended", 10)
        assert "error" not in [frame["event_type"] for frame in line.frames]


@pytest.mark.requirement("S3-15", "S3-9")
async def test_what_is_no_message_counts_too(chats: Chats) -> None:
    line = await chats.open(await chats.create())
    await line.until("user_created")
    for _ in range(12):
        await line.socket.send_str("{}")
    codes = [(await error(line))[0] for _ in range(12)]
    assert codes == [*["INVALID_MESSAGE"] * 10, *["RATE_LIMIT_EXCEEDED"] * 2]


@pytest.mark.requirement("S3-15")
async def test_a_frame_of_64_kib_is_taken_and_a_longer_one_closes_the_socket(chats: Chats) -> None:
    chat = await chats.create()
    line = await chats.open(chat)
    await line.until("user_created")
    await line.socket.send_str(message_of(CAP))
    assert (await line.until("message_stream_ended"))[-1]["content"] == ""
    assert len((await chats.messages(chat))[0]["content"]) > CAP - 40
    for size in (CAP + 1, 65 * 1024, 1024 * 1024):
        line = await chats.open(chat)
        await line.socket.send_str(message_of(size))
        assert await line.closed() == 1009
    assert len(await chats.messages(chat)) == 1


async def test_who_sends_too_much_is_told_and_let_go_at_once(chats: Chats) -> None:
    assert chats.key is not None
    query = urlencode({"api_key": chats.key, "user_id": USER, "chat_id": await chats.create()})
    # A client that does as RFC 6455 says: it waits for the server to end the connection.
    async with connect(f"{chats.url.replace('http', 'ws', 1)}/ws/chat?{query}", close_timeout=20) as line:
        await line.recv()
        began = time.monotonic()
        await line.send(message_of(CAP + 1))
        await line.wait_closed()
        assert time.monotonic() - began < 2
        assert line.close_code == 1009


@pytest.mark.requirement("S3-15")
async def test_pieces_of_a_message_count_together(chats: Chats) -> None:
    chat = await chats.create()
    line = await chats.open(chat)
    await line.until("user_created")
    connection = line.socket._response.connection
    assert connection is not None
    assert connection.transport is not None
    text = message_of(60_000).encode()
    for at in range(0, len(text), 20_000):
        connection.transport.write(piece(text[at : at + 20_000], first=at == 0, last=False))
    connection.transport.write(piece(b"", first=False, last=False) * 1000 + piece(b"", first=False, last=True))
    assert (await line.until("message_stream_ended"))[-1]["content"] == ""
    for at in range(4):
        connection.transport.write(piece(b"x" * 20_000, first=at == 0, last=False))
    assert await line.closed() == 1009


def piece(data: bytes, *, first: bool, last: bool) -> bytes:
    """A part of a text message as it stands on the wire, masked by zeros (RFC 6455, 5.2)."""
    head = bytes([(0x80 if last else 0) | (1 if first else 0)])
    length = bytes([0x80 | len(data)]) if len(data) < 126 else bytes([0x80 | 126]) + len(data).to_bytes(2, "big")
    return head + length + bytes(4) + data


@pytest.mark.requirement("S3-9")
async def test_what_is_no_utf_8_or_no_frame_closes_the_socket(chats: Chats) -> None:
    chat = await chats.create()
    for wire, code in (
        (piece(b'{"content": "\xff"}', first=True, last=True), 1007),
        (piece(b"a", first=True, last=False) + piece(b"\xff", first=False, last=True), 1007),
        (piece(b"a", first=False, last=True), 1002),
        (b"\x81\x05Hello", 1002),
    ):
        line = await chats.open(chat)
        connection = line.socket._response.connection
        assert connection is not None
        assert connection.transport is not None
        connection.transport.write(wire)
        while (message := await line.socket.receive(timeout=5)).type is aiohttp.WSMsgType.TEXT:
            assert "user_created" in message.data
        assert line.socket.close_code == code


@pytest.mark.requirement("S3-15", "S3-12")
async def test_sixteen_messages_wait_and_the_next_is_refused(chats: Chats) -> None:
    chat = await chats.create()
    first, second = await chats.open(chat), await chats.open(chat)
    await first.say("think about it")
    await first.until("message_stream_started")
    for number in range(8):
        await first.say(f"message {number}")
        await second.say(f"message {number}")
    await asyncio.sleep(1)
    await second.say("one too many")
    frames = await second.until("error")
    assert frames[-1]["error_code"] == "RATE_LIMIT_EXCEEDED"
    assert len(await chats.messages(chat)) == 1
    await second.until("message_stream_ended", 17)
    assert len(await chats.messages(chat)) == 34


@pytest.mark.requirement("S3-15")
async def test_each_message_counts_in_the_plan_and_the_handshake_does_not(
    server: ServerProcess, session: aiohttp.ClientSession
) -> None:
    await room_in(MINUTE)
    limited = Chats(session, server.url, secret_key("limited"))
    chat = await limited.create()
    lines = [await limited.open(chat) for _ in range(5)]
    for _ in range(3):
        await lines[0].exchange("greet")
    before = time.time()
    await lines[0].say("one too many")
    code, details = await error(lines[0])
    assert code == "RATE_LIMIT_EXCEEDED"
    assert 0 < details["retry_after"] <= 60 - before % 60 + 1
    assert (await limited.told("GET", f"/{chat}", status=429))["code"] == "RATE_LIMIT_EXCEEDED"


@pytest.mark.requirement("S3-16", "S3-12")
async def test_the_51st_connection_is_refused_until_one_is_closed(chats: Chats) -> None:
    named = await chats.create(), await chats.create()
    assert chats.key is not None
    lines = list(await asyncio.gather(*(chats.open(named[number % 2]) for number in range(50))))
    full = ("CONNECTION_LIMIT_EXCEEDED", 4429)
    for chat in named:
        assert await chats.refused(api_key=chats.key, user_id=USER, chat_id=chat) == full
    await lines[0].leave()
    lines[1].vanish()
    await asyncio.sleep(0.2)
    lines += [await chats.open(named[0]), await chats.open(named[1])]
    assert await chats.refused(api_key=chats.key, user_id=USER, chat_id=named[0]) == full


@pytest.mark.requirement("S3-16")
async def test_a_connection_that_is_refused_takes_no_place(chats: Chats) -> None:
    chat = await chats.create()
    assert chats.key is not None
    for _ in range(60):
        assert (await chats.refused(api_key=chats.key, user_id="thief", chat_id=chat))[0] == "CHAT_NOT_FOUND"
    await asyncio.gather(*(chats.open(chat) for _ in range(50)))
