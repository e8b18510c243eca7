"""S0: users who speak, heard by the embedded transcriber in the real server."""

import asyncio
import io
import json
import time
from collections.abc import AsyncIterator, Callable
from typing import Any

import aiohttp
import numpy
import pytest

from tests.adapters.transcribers.sounds import (
    SENTENCES,
    SPEECH,
    TEN_HOURS,
    flac,
    sounding,
    video,
    wav,
)
from tests.dialects.aloochat.scene import ANSWER_FIELDS, CHAT, CONVERSATIONS, STREAM, Chat, agent_key
from tests.support.client import frames_of
from tests.support.server import KEY, OTHER_KEY

pytestmark = pytest.mark.alone

HOURS = SENTENCES["hours.webm"]
REFUSED_SECONDS = 2.0


@pytest.fixture(autouse=True)
async def still_answering(chat: Chat) -> AsyncIterator[None]:
    """After each test the server answers as before."""
    yield
    assert (await chat.say("Hello"))["agent_response_text"] == "You said: Hello"


def spoken(data: bytes, field: str = "audio", filename: str = "blob", **fields: str) -> aiohttp.FormData:
    """A form with a recording."""
    form = aiohttp.FormData(default_to_multipart=True)
    for name, value in {"agent_key": agent_key(), **fields}.items():
        form.add_field(name, value)
    form.add_field(field, io.BytesIO(data), filename=filename, content_type="audio/webm;codecs=opus")
    return form


def speech(name: str) -> bytes:
    return (SPEECH / name).read_bytes()


async def heard(chat: Chat, name: str = "hours.webm", field: str = "audio", **fields: str) -> dict[str, Any]:
    """The whole answer to a recording."""
    status, told = await chat.told("POST", CHAT, data=spoken(speech(name), field, **fields))
    assert status == 200, told
    assert list(told) == ANSWER_FIELDS
    return dict(told)


async def streamed(chat: Chat, form: aiohttp.FormData, **headers: str) -> list[Any]:
    """The frames' data of the stream that answers a form."""
    async with chat.request("POST", STREAM, data=form, headers=headers) as response:
        assert response.status == 200, await response.text()
        return [json.loads(frame.data) async for frame in frames_of(response)]


@pytest.mark.requirement("S0-16")
async def test_what_a_recording_says_is_the_users_message_in_every_format(chat: Chat) -> None:
    names = ["audio", "audio_file", "file"] * 2
    for (name, sentence), field in zip(SENTENCES.items(), names, strict=True):
        told = await heard(chat, name, field)
        assert told["agent_response_text"] == f"You said: {sentence}"
        assert (await chat.history(told["conversation_id"]))[0] == ("user", sentence)


@pytest.mark.requirement("S0-16")
async def test_the_recording_is_kept_as_an_attachment_of_the_message(chat: Chat) -> None:
    told = await heard(chat, "payment.m4a")
    kept = f"{chat.client.url}/manage/v1/conversations/{told['conversation_id']}/attachments"
    bearer = {"Authorization": f"Bearer {KEY}"}
    async with chat.client.session.get(kept, headers=bearer) as response:
        [attachment] = (await response.json())["data"]
    _, history = await chat.told("GET", f"{CONVERSATIONS}/{told['conversation_id']}/messages")
    assert attachment["message_id"] == history[0]["id"]
    assert (attachment["name"], attachment["media_type"]) == ("blob", "audio/webm;codecs=opus")
    bytes_at = f"{chat.client.url}/manage/v1/attachments/{attachment['id']}"
    async with chat.client.session.get(bytes_at, headers=bearer) as response:
        assert await response.read() == speech("payment.m4a")
    async with chat.client.session.get(bytes_at, headers={"Authorization": f"Bearer {OTHER_KEY}"}) as response:
        assert response.status in (401, 404)


@pytest.mark.requirement("S0-14", "S0-15", "S0-16")
async def test_a_stream_tells_the_transcript_right_after_its_start(chat: Chat) -> None:
    first, second, *answer, last = await streamed(chat, spoken(speech("hours.webm")))
    conversation = first["conversation_id"]
    assert first == {"type": "start", "content": "", "conversation_id": conversation}
    assert second == {"type": "transcribed_text", "content": HOURS, "conversation_id": conversation}
    assert {frame["type"] for frame in answer} == {"agent_text_chunk"}
    assert "".join(frame["content"] for frame in answer) == f"You said: {HOURS}"
    assert last["type"] == "end"


@pytest.mark.requirement("S0-10", "S0-16")
async def test_a_query_stands_before_the_transcript_and_messages_before_both(chat: Chat) -> None:
    both = f"Please answer:\n\n{HOURS}"
    frames = await streamed(chat, spoken(speech("hours.webm"), query="Please answer:"))
    assert frames[1]["content"] == HOURS
    assert (await chat.history(frames[0]["conversation_id"]))[0] == ("user", both)
    before = [{"role": "assistant", "content": "Hi"}, {"role": "user", "content": "An earlier question"}]
    fields = {"agent_key": agent_key("prompted-agent"), "messages": json.dumps(before), "query": "  "}
    told = await heard(chat, **fields)
    prompt = json.loads(told["agent_response_text"])
    assert prompt[1:] == [*before, {"role": "user", "content": HOURS}]
    assert (await chat.history(told["conversation_id"]))[0] == ("user", HOURS)


@pytest.mark.requirement("S0-16")
async def test_a_recording_goes_on_with_a_conversation(chat: Chat) -> None:
    began = await chat.say("Hello")
    told = await heard(chat, conversation_id=began["conversation_id"])
    assert told["conversation_id"] == began["conversation_id"]
    assert [text for _, text in await chat.history(told["conversation_id"])][::2] == ["Hello", HOURS]


@pytest.mark.requirement("S0-16")
async def test_a_request_that_is_repeated_is_heard_once(chat: Chat) -> None:
    key = {"Idempotency-Key": f"audio-{time.monotonic_ns()}"}
    first = await streamed(chat, spoken(speech("shipping.ogg")), **key)
    again = await streamed(chat, spoken(speech("shipping.ogg"), filename="renamed.ogg"), **key)
    assert [frame["type"] for frame in first][:2] == ["start", "transcribed_text"]
    assert again == first
    form = spoken(speech("hours.webm"))
    await chat.refused(422, "POST", STREAM, data=form, headers=key)


# Recordings that are none, each with the status and words of its refusal.
HOSTILE: dict[str, tuple[int, Callable[[], bytes], str]] = {
    "text.wav": (415, lambda: b"What are your business hours?", "to be one of"),
    "video.mp4": (415, video, "no sound"),
    "ten-hours.flac": (413, lambda: flac(TEN_HOURS, told=True), "longer than 600 s"),
    "ten-hours-untold.flac": (413, lambda: flac(TEN_HOURS, told=False), "longer than 600 s"),
    "large.wav": (413, lambda: wav(bytes(26 << 20)), "over"),
    "cut.webm": (400, lambda: speech("hours.webm")[:-900], "cut off or broken"),
    "cut.wav": (400, lambda: speech("returns.wav")[:20_000], "cut off or broken"),
    "empty.ogg": (400, lambda: b"", "is empty"),
    "silence.wav": (400, lambda: sounding(numpy.zeros(48_000)).data, "Nothing that is said"),
}


@pytest.mark.requirement("S0-16", "S0-19")
@pytest.mark.parametrize("name", HOSTILE)
async def test_a_recording_that_is_none_is_refused_at_once_and_begins_nothing(chat: Chat, name: str) -> None:
    status, made, why = HOSTILE[name]
    data = made()
    for path in (CHAT, STREAM):
        began = time.monotonic()
        assert why in await chat.refused(status, "POST", path, data=spoken(data, filename=name))
        assert time.monotonic() - began < REFUSED_SECONDS
    conversation = (await chat.create())["id"]
    await chat.refused(status, "POST", CHAT, data=spoken(data, filename=name, conversation_id=conversation))
    assert await chat.history(conversation) == []


@pytest.mark.requirement("S0-16")
async def test_noise_is_refused_and_not_made_into_words(chat: Chat) -> None:
    noise = numpy.random.default_rng(3).uniform(-0.4, 0.4, 16_000 * 3)
    message = await chat.refused(400, "POST", STREAM, data=spoken(sounding(noise).data))
    assert "Nothing that is said" in message


@pytest.mark.requirement("S0-16")
async def test_a_form_takes_one_recording_and_json_none(chat: Chat) -> None:
    form = spoken(speech("hours.webm"))
    form.add_field("file", speech("hours.webm"), filename="b.webm", content_type="audio/webm")
    assert "takes one recording" in await chat.refused(400, "POST", CHAT, data=form)
    asked = {"agent_key": agent_key(), "audio": "UklGRg=="}
    for body in ({"json": asked}, {"data": asked}):
        assert "Query field is required" in await chat.refused(400, "POST", CHAT, **body)


@pytest.mark.requirement("S0-16")
async def test_others_are_answered_while_a_recording_is_heard(chat: Chat) -> None:
    hearing = asyncio.create_task(heard(chat, "story.ogg"))
    await asyncio.sleep(0.5)
    waits = []
    while not hearing.done():
        began = time.monotonic()
        await chat.say("Hello")
        waits.append(time.monotonic() - began)
    assert "floor lamp" in (await hearing)["agent_response_text"]
    assert len(waits) > 5
    assert max(waits) < 1.0


@pytest.mark.requirement("S0-16")
async def test_a_recording_for_an_agent_that_nobody_has_is_a_404(chat: Chat) -> None:
    key = f"agent:{'0' * 8}-0000-4000-8000-{'0' * 12}:voice:us-east-1"
    form = spoken(speech("hours.webm"), agent_key=key)
    await chat.refused(404, "POST", CHAT, data=form)
