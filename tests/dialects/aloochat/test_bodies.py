"""S0: JSON that no client should send, and turns over their limit of time: what the shared suites ask of the others."""

import asyncio
import io
from collections.abc import Iterator
from typing import Any

import aiohttp
import pytest

from tests.dialects.aloochat.scene import CHAT, STREAM, Chat, agent_key, checked, spelled
from tests.dialects.scene import ALONCHAT
from tests.dialects.test_wrong_input import NO_BODY, fuzzed
from tests.support.client import Client, frames_of
from tests.support.server import KEY, ServerProcess

FUZZED = 200
MIB = 1024 * 1024
JSON = {"Content-Type": "application/json"}


def in_s0s_words(body: bytes) -> bytes:
    """A body as the shared suites write it, with the fields that S0 has in its place."""
    return body.replace(b'"message"', b'"agent_key": "%s", "query"' % agent_key().encode())


# S0 has no field `stream`, and no body at all lacks an agent_key.
BODIES = {name: in_s0s_words(body) for name, body in NO_BODY.items() if not name.startswith("stream")}


async def send(chat: Chat, body: bytes, path: str = CHAT) -> tuple[int, Any]:
    return await chat.told("POST", path, data=io.BytesIO(body), headers=JSON)


@pytest.mark.requirement("S0-7", "S0-19")
@pytest.mark.parametrize("body", BODIES.values(), ids=BODIES)
async def test_a_body_that_is_no_message_is_refused(chat: Chat, body: bytes) -> None:
    for path in (CHAT, STREAM):
        status, told = await send(chat, body, path)
        assert status == 400
        checked(told, 400)
    assert (await chat.say("Hello"))["agent_response_text"] == "You said: Hello"


@pytest.mark.requirement("S0-7", "S0-19")
@pytest.mark.parametrize("field", ["agent_key", "query", "messages", "conversation_id"])
@pytest.mark.parametrize("value", [b"5", b"true", b"{}", b"[5]", b'["x"]', b'"\\ud800"', b'"a\\u0000"', b"1e999"])
async def test_a_field_of_a_wrong_type_or_with_text_that_cannot_be_kept_is_refused(
    chat: Chat, field: str, value: bytes
) -> None:
    fields = {"agent_key": b'"%s"' % agent_key().encode(), "query": b'"Hello"', field: value}
    body = b"{%s}" % b", ".join(b'"%s": %s' % (name.encode(), spelled) for name, spelled in fields.items())
    status, told = await send(chat, body)
    assert status == 400
    checked(told, 400)


@pytest.mark.requirement("S0-7")
async def test_a_body_of_exactly_1_mib_is_taken_and_of_one_byte_more_is_not(chat: Chat) -> None:
    body = b'{"agent_key": "%s", "query": "greet me", "x": "%s"}'
    room = MIB - len(body % (agent_key().encode(), b""))
    for more, answered in ((0, 200), (1, 413)):
        status, _ = await send(chat, body % (agent_key().encode(), b"x" * (room + more)))
        assert status == answered


@pytest.mark.requirement("S0-19")
async def test_no_body_makes_the_server_fail(chat: Chat) -> None:
    seen: dict[int, int] = {}

    async def attempt(seed: int) -> None:
        body = in_s0s_words(fuzzed(ALONCHAT, seed))
        status, told = await send(chat, body)
        seen[status] = seen.get(status, 0) + 1
        if status != 200:
            checked(told, status)

    for first in range(0, FUZZED, 20):
        await asyncio.gather(*(attempt(seed) for seed in range(first, first + 20)))
    assert set(seen) == {200, 400, 404}


@pytest.mark.requirement("S0-7")
async def test_a_body_that_is_cut_begins_no_turn(chat: Chat) -> None:
    before = len((await chat.told("GET", "/conversations?limit=100"))[1])
    host, port = chat.client.url.removeprefix("http://").split(":")
    for media, body in (("application/json", b'{"agent_key": '), ("multipart/form-data; boundary=b", b"--b\r\n")):
        reader, writer = await asyncio.open_connection(host, int(port))
        head = f"POST /api/v1/chat{CHAT} HTTP/1.1\r\nHost: here\r\nx-api-token: {KEY}\r\nContent-Length: 200\r\n"
        writer.write(f"{head}Content-Type: {media}\r\n\r\n".encode() + body)
        writer.write_eof()
        assert b"HTTP/1.1 2" not in await reader.read()
        writer.close()
        await writer.wait_closed()
    assert len((await chat.told("GET", "/conversations?limit=100"))[1]) == before


@pytest.fixture(scope="module")
def impatient(tmp_path_factory: pytest.TempPathFactory, upstream: str) -> Iterator[ServerProcess]:
    """A server on which a turn may take one second."""
    process = ServerProcess(tmp_path_factory.mktemp("impatient"), DRAGOMAN_TURN_TIMEOUT="1")
    process.apply(spelled(upstream))
    with process:
        yield process


@pytest.fixture
async def hurried(impatient: ServerProcess, session: aiohttp.ClientSession) -> Chat:
    return Chat(Client(session, impatient.url))


@pytest.mark.requirement("S0-15", "S0-19")
async def test_a_turn_over_its_limit_fails_and_keeps_what_there_is(hurried: Chat) -> None:
    async with hurried.request("POST", STREAM, json={"agent_key": agent_key(), "query": "hang on"}) as response:
        conversation = response.headers["X-Conversation-Id"]
        frames = [frame.json async for frame in frames_of(response)]
    assert [frame["type"] for frame in frames] == ["start", "agent_text_chunk", "error"]
    assert frames[-1]["message"] == "The AI service took too long"
    assert await hurried.history(conversation) == [("user", "hang on"), ("assistant", "Well,")]
    body = {"agent_key": agent_key(), "query": "think for ever"}
    assert await hurried.refused(500, "POST", CHAT, json=body) == "The AI service took too long"
