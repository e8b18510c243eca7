"""S0: forms as cURL sends them, and forms that no client should send."""

import asyncio
import io
import json
import subprocess
import time
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import pytest

from tests.dialects.aloochat.scene import ANSWER_FIELDS, CHAT, PREFIX, STREAM, Chat, agent_key, form_of
from tests.support.server import KEY, ServerProcess

MIB = 1024 * 1024
END = b"\r\n--b--\r\n"


@pytest.fixture(autouse=True)
async def still_answering(chat: Chat) -> AsyncIterator[None]:
    """After each test the server answers as before."""
    yield
    assert (await chat.say("Hello"))["agent_response_text"] == "You said: Hello"


def part(name: str, value: bytes, rest: str = "") -> bytes:
    """A part with its boundary before it."""
    return f'--b\r\nContent-Disposition: form-data; name="{name}"{rest}\r\n\r\n'.encode() + value + b"\r\n"


GOOD = part("agent_key", agent_key().encode()) + part("query", b"Hello")


async def send(chat: Chat, body: bytes | AsyncIterator[bytes], boundary: str = "b") -> tuple[int, Any]:
    """The status and the body of the answer to a multipart form of these bytes."""
    data = io.BytesIO(body) if isinstance(body, bytes) else body
    headers = {"Content-Type": f"multipart/form-data; boundary={boundary}"}
    return await chat.told("POST", CHAT, data=data, headers=headers)


async def refused(chat: Chat, status: int, body: bytes, boundary: str = "b") -> str:
    headers = {"Content-Type": f"multipart/form-data; boundary={boundary}"}
    return await chat.refused(status, "POST", CHAT, data=io.BytesIO(body), headers=headers)


def curl(server: ServerProcess, path: str, *options: str) -> bytes:
    """What cURL prints."""
    command = ["curl", "-sS", "-X", "POST", server.url + PREFIX + path, "-H", f"x-api-token: {KEY}", *options]
    return subprocess.run(command, capture_output=True, check=True, timeout=20).stdout


@pytest.mark.requirement("S0-7", "S0-10", "S0-12")
def test_curl_sends_a_form(server: ServerProcess) -> None:
    form = ("-F", f"agent_key={agent_key()}", "-F", "query=What are your business hours?")
    for options in (form, (*form, "-F", 'messages=[{"role":"user","content":"Hello"}]')):
        told = json.loads(curl(server, CHAT, *options))
        assert list(told) == ANSWER_FIELDS
        assert told["agent_response_text"] == "You said: What are your business hours?"


@pytest.mark.requirement("S0-7")
def test_curl_sends_an_urlencoded_form(server: ServerProcess) -> None:
    options = ("-d", f"agent_key={agent_key()}", "--data-urlencode", "query=50% & more + 1 = ü?")
    assert json.loads(curl(server, CHAT, *options))["agent_response_text"] == "You said: 50% & more + 1 = ü?"


@pytest.mark.requirement("S0-13", "S0-15")
def test_curl_reads_a_stream(server: ServerProcess) -> None:
    form = ("-N", "-H", "Accept: text/event-stream", "-F", f"agent_key={agent_key()}", "-F", "query=greet me")
    lines = [line for line in curl(server, STREAM, *form).decode().split("\n") if line and not line.startswith(":")]
    frames = [json.loads(line.removeprefix("data: ")) for line in lines]
    assert [frames[0]["type"], frames[-1]["type"]] == ["start", "end"]
    assert {frame["type"] for frame in frames[1:-1]} == {"agent_text_chunk"}


@pytest.mark.requirement("S0-7")
def test_a_long_text_may_come_from_a_file(server: ServerProcess, tmp_path: Path) -> None:
    text = tmp_path / "query.txt"
    text.write_text("word " * 20_000)
    told = json.loads(curl(server, CHAT, "-F", f"agent_key={agent_key()}", "-F", f"query=<{text}"))
    assert told["agent_response_text"] == "You said: " + "word " * 20_000
    told = json.loads(curl(server, CHAT, "-F", f"agent_key={agent_key()}", "-F", f"query=@{text}"))
    assert (told["statusCode"], told["message"]) == (400, "query is text, not a file")


@pytest.mark.requirement("S0-16", "S0-19")
@pytest.mark.parametrize("name", ["audio", "audio_file", "file"])
async def test_a_recording_is_a_file_and_one_without_sound_is_refused(chat: Chat, name: str) -> None:
    for path in (CHAT, STREAM):
        for content, status, why in ((b"no sound", 415, "to be one of"), (b"", 400, "is empty")):
            form = form_of({"agent_key": agent_key(), "query": "Hello", name: content})
            assert why in await chat.refused(status, "POST", path, data=form)
    text = form_of({"agent_key": agent_key(), "query": "Hello", name: "a field, not a file"})
    assert (await chat.told("POST", CHAT, data=text))[0] == 200


@pytest.mark.requirement("S0-16", "S0-19")
async def test_files_over_25_mib_together_are_a_413(chat: Chat) -> None:
    half = part("audio", b"x" * (25 * MIB // 2), '; filename="a.wav"')
    named = part("agent_key", agent_key().encode())
    assert "takes one recording" in await refused(chat, 400, named + half * 2 + b"--b--\r\n")
    for form in (half + half + part("file", b"x", '; filename="b"'), part("a", b"x" * (26 * MIB), '; filename="a"')):
        assert "Files are over" in await refused(chat, 413, form + b"--b--\r\n")


@pytest.mark.requirement("S0-7")
async def test_a_file_of_another_name_is_passed_over(chat: Chat) -> None:
    form = GOOD + part("attachment", b"\xff\x00\xfe", '; filename="../../etc/passwd"') + b"--b--"
    assert (await send(chat, form))[0] == 200


@pytest.mark.requirement("S0-7")
async def test_a_file_input_that_was_left_empty_is_no_file(chat: Chat) -> None:
    form = GOOD + part("audio", b"", '; filename=""\r\nContent-Type: application/octet-stream') + b"--b--"
    assert (await send(chat, form))[0] == 200


CUT = {
    "nothing": b"",
    "boundary alone": b"--b",
    "end of another": b"--c--\r\n",
    "no end": GOOD,
    "half an end": GOOD + b"--b-",
    "cut in a header": GOOD + b"--b\r\nContent-Dispo",
    "cut in a value": GOOD + b'--b\r\nContent-Disposition: form-data; name="x"\r\n\r\nabc',
    "no headers": GOOD + b"--b\r\n\r\nvalue" + END,
    "no name": GOOD + b"--b\r\nContent-Disposition: form-data\r\n\r\nvalue" + END,
    "name of another header": GOOD + b'--b\r\nContent-Type: form-data; name="x"\r\n\r\nvalue' + END,
    "extended name only": GOOD + b"--b\r\nContent-Disposition: form-data; name*=utf-8''x\r\n\r\nv" + END,
    "line feeds alone": GOOD.replace(b"\r\n", b"\n") + b"--b--\n",
    "words": b"Hello",
    "JSON": b'{"agent_key": "x"}',
    "header without a colon": b"--b\r\nContent-Disposition\r\n\r\nv" + END,
    "space in a header's name": b'--b\r\nContent Disposition: form-data; name="x"\r\n\r\nv' + END,
    "nine headers": b"--b\r\n" + b"X: y\r\n" * 9 + b"\r\nv" + END,
    "a header of 1 MiB": b'--b\r\nContent-Disposition: form-data; name="' + b"x" * MIB + b'"\r\n\r\nv' + END,
    "a header's name of 1 MiB": b"--b\r\n" + b"x" * MIB + b": y\r\n\r\nv" + END,
    "a header of spaces": b"--b\r\nX:" + b" " * MIB + b"\r\n\r\nv" + END,
    "text that is no UTF-8": GOOD + part("note", b"\xff\xfe") + b"--b--",
    "overlong UTF-8": GOOD + part("note", b"\xc0\x80") + b"--b--",
    "a surrogate": GOOD + part("note", b"\xed\xa0\x80") + b"--b--",
    "U+0000": GOOD + part("note", b"a\x00b") + b"--b--",
    "U+0000 in a name": GOOD + part("no\x00te", b"ab") + b"--b--",
    "a name that is no UTF-8": GOOD + b'--b\r\nContent-Disposition: form-data; name="\xff"\r\n\r\nv' + END,
    "query twice": GOOD + part("query", b"Hello") + b"--b--",
    "agent_key twice": GOOD + part("agent_key", b"x") + b"--b--",
    "query as a file": part("agent_key", agent_key().encode()) + part("query", b"Hi", '; filename="q"') + b"--b--",
}


@pytest.mark.requirement("S0-7", "S0-19")
@pytest.mark.parametrize("body", CUT.values(), ids=CUT)
async def test_a_form_that_is_none_is_a_400(chat: Chat, body: bytes) -> None:
    await refused(chat, 400, body)


@pytest.mark.requirement("S0-7", "S0-19")
@pytest.mark.parametrize("boundary", ["", '""', "x" * 300, '"b', "é", "b;b"])
async def test_a_boundary_that_is_none_is_a_400(chat: Chat, boundary: str) -> None:
    await refused(chat, 400, GOOD + (b"--b--" if boundary != "b;b" else b""), boundary)
    body = io.BytesIO(GOOD + b"--b--")
    await chat.refused(400, "POST", CHAT, data=body, headers={"Content-Type": "multipart/form-data"})


@pytest.mark.requirement("S0-7")
async def test_what_stands_around_the_parts_is_passed_over(chat: Chat) -> None:
    for body in (b"\r\n" + GOOD + b"--b--", GOOD + b"--b--\r\nan epilogue", GOOD + b"--b--" + b"x" * MIB):
        assert (await send(chat, body))[0] == 200


@pytest.mark.requirement("S0-7", "S0-19")
async def test_more_than_64_parts_are_a_413(chat: Chat) -> None:
    def extra(count: int) -> bytes:
        return GOOD + part("tag", b"x") * count + b"--b--"

    assert (await send(chat, extra(62)))[0] == 200
    for count in (63, 10_000):
        assert "64 parts" in await refused(chat, 413, extra(count))
    fields = {"agent_key": agent_key(), "query": "Hello"}
    pairs = "&".join([f"{name}={value}" for name, value in fields.items()])
    headers = {"Content-Type": "application/x-www-form-urlencoded"}
    for count, status in ((62, 200), (63, 413), (100_000, 413)):
        body = io.BytesIO((pairs + "&x=1" * count).encode())
        assert (await chat.told("POST", CHAT, data=body, headers=headers))[0] == status


@pytest.mark.requirement("S0-7", "S0-19")
async def test_text_over_1_mib_in_all_is_a_413(chat: Chat) -> None:
    room = MIB - len("agent_key" + agent_key() + "query" + "Hello" + "a" + "b")
    for first, second, status in ((room // 2, room - room // 2, 200), (room // 2, room - room // 2 + 1, 413)):
        form = GOOD + part("a", b"x" * first) + part("b", b"x" * second) + b"--b--"
        assert (await send(chat, form))[0] == status
    body = io.BytesIO(b"query=" + b"x" * MIB)
    headers = {"Content-Type": "application/x-www-form-urlencoded"}
    await chat.refused(413, "POST", CHAT, data=body, headers=headers)


@pytest.mark.requirement("S0-7", "S0-19")
async def test_a_form_of_nothing_but_what_stands_around_parts_is_bounded(chat: Chat) -> None:
    async def endless() -> AsyncIterator[bytes]:
        yield GOOD + b"--b--"
        for _ in range(40):
            yield b"x" * MIB

    status, told = await send(chat, endless())
    assert (status, told["message"]) == (413, "The form is too large")


HOSTILE = {
    "boundaries with a letter behind": b"\r\n--bx",
    "boundaries with a hyphen behind": b"\r\n--b-x",
    "boundaries with a return behind": b"\r\n--b\rx",
    "beginnings of boundaries": b"\r\n--",
    "returns": b"\r",
}


@pytest.mark.requirement("S0-7", "S0-19")
@pytest.mark.parametrize("piece", HOSTILE.values(), ids=HOSTILE)
async def test_a_hostile_form_holds_nobody_up(chat: Chat, piece: bytes) -> None:
    head = b'--b\r\nContent-Disposition: form-data; name="a"; filename="x"\r\n\r\n'
    sending = asyncio.create_task(send(chat, head + piece * (8 * MIB // len(piece))))
    waits = []
    while not sending.done():
        began = time.monotonic()
        assert (await chat.told("GET", "/conversations?limit=1"))[0] == 200
        waits.append(time.monotonic() - began)
    assert (await sending)[0] == 400
    assert max(waits) < 2


@pytest.mark.requirement("S0-7")
async def test_a_form_may_come_in_any_pieces(chat: Chat) -> None:
    text = "Grüße\r\n--bar\r\n-"
    form = part("agent_key", agent_key().encode()) + part("query", text.encode()) + b"--b--"
    for size in (1, 2, 7, 64):

        async def pieces(size: int = size) -> AsyncIterator[bytes]:
            for start in range(0, len(form), size):
                yield form[start : start + size]

        status, told = await send(chat, pieces())
        assert (status, told["agent_response_text"]) == (200, f"You said: {text}")
