"""A server that transcribes: what it is sent, and how each of its faults is told."""

import asyncio
from collections.abc import AsyncIterator
from typing import Any

import numpy
import pytest
from aiohttp import web

from dragoman.adapters.transcribers import openai
from dragoman.adapters.transcribers.examiner import Examiner
from dragoman.adapters.transcribers.openai import OpenAITranscribers
from dragoman.adapters.transcribers.registry import TranscriberRegistry
from dragoman.core.agents import VendorChoice
from dragoman.core.errors import DragomanError, Invalid, ModelFailed, TooLarge, Unavailable, UnsupportedMedia
from dragoman.ports.transcribers import Transcribers
from tests.adapters.transcribers.sounds import (
    SENTENCES,
    SPEECH,
    TEN_HOURS,
    flac,
    recording,
    sounding,
    spoken,
    video,
    wav,
)

SECRET = "upstream-secret"


class Vendor:
    """A server of OpenAI's transcriptions that remembers what it was sent and answers as it is told."""

    def __init__(self) -> None:
        self.url = ""
        self.answer: Any = web.json_response({"text": " What are your business hours? "})
        self.asked: list[dict[str, Any]] = []
        self.headers: list[Any] = []
        self.pause = 0.0

    async def transcribe(self, request: web.Request) -> web.StreamResponse:
        form = await request.post()
        self.headers.append(request.headers)
        fields = dict(form)
        file = fields["file"]
        assert isinstance(file, web.FileField)
        self.asked.append({**fields, "file": (file.filename, file.file.read())})
        file.file.close()
        await asyncio.sleep(self.pause)
        if self.answer is None:
            assert request.transport is not None
            request.transport.close()
        return self.answer() if callable(self.answer) else self.answer


@pytest.fixture
async def vendor() -> AsyncIterator[Vendor]:
    made = Vendor()
    app = web.Application(client_max_size=1 << 25)
    app.router.add_post("/v1/audio/transcriptions", made.transcribe)
    runner = web.AppRunner(app)
    await runner.setup()
    site = web.TCPSite(runner, "127.0.0.1", 0)
    await site.start()
    [address] = runner.addresses
    made.url = f"http://127.0.0.1:{address[1]}/v1"
    yield made
    await runner.cleanup()


@pytest.fixture
async def transcribers() -> AsyncIterator[Transcribers]:
    made = TranscriberRegistry({"openai": OpenAITranscribers(Examiner())})
    yield made
    await made.close()


def choice(vendor: Vendor, **more: Any) -> VendorChoice:
    return VendorChoice("openai", **{"base_url": vendor.url, **more})


async def refused(transcribers: Transcribers, choice: VendorChoice, kind: type[DragomanError]) -> DragomanError:
    """Assert that a good recording is refused so, in words of our own; the error."""
    with pytest.raises(DragomanError) as failure:
        await transcribers.transcribe(choice, spoken("hours.webm"))
    assert type(failure.value) is kind, failure.value
    assert SECRET not in failure.value.message
    assert "vendor" not in failure.value.message
    return failure.value


async def test_a_recording_is_sent_as_it_came_under_a_name_of_its_kind(
    transcribers: Transcribers, vendor: Vendor, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("SPEECH_KEY", f" {SECRET}\n")
    for name in SENTENCES:
        vendor.answer = web.json_response({"text": " What are your business hours? ", "usage": {}})
        said = await transcribers.transcribe(choice(vendor, name="large", api_key_env="SPEECH_KEY"), spoken(name))
        assert said.text == "What are your business hours?"
        assert 1.5 < said.seconds < 3
        assert vendor.asked[-1] == {
            "model": "large",
            "response_format": "json",
            "file": (f"recording.{name.partition('.')[2]}", (SPEECH / name).read_bytes()),
        }
        assert vendor.headers[-1]["Authorization"] == f"Bearer {SECRET}"


async def test_a_choice_that_names_nothing_asks_for_whisper_without_a_key(
    transcribers: Transcribers, vendor: Vendor
) -> None:
    await transcribers.transcribe(choice(vendor, base_url=vendor.url + "/"), spoken("hours.webm"))
    assert vendor.asked[-1]["model"] == "whisper-1"
    assert "Authorization" not in vendor.headers[-1]


async def test_what_is_no_recording_is_never_sent(transcribers: Transcribers, vendor: Vendor) -> None:
    hostile = {
        b"text": UnsupportedMedia,
        video(): UnsupportedMedia,
        flac(TEN_HOURS, told=False): TooLarge,
        wav(bytes(26 << 20)): TooLarge,
        (SPEECH / "hours.webm").read_bytes()[:-500]: Invalid,
    }
    for data, kind in hostile.items():
        with pytest.raises(DragomanError) as refusal:
            await transcribers.transcribe(choice(vendor), recording(data, "a.wav", "audio/wav"))
        assert type(refusal.value) is kind
    with pytest.raises(Invalid):
        await transcribers.transcribe(choice(vendor), sounding(numpy.zeros(16_000)))
    assert not vendor.asked


async def test_a_text_without_words_is_nothing_said(transcribers: Transcribers, vendor: Vendor) -> None:
    vendor.answer = web.json_response({"text": " \n"})
    await refused(transcribers, choice(vendor), Invalid)


@pytest.mark.parametrize(
    ("status", "kind"),
    [
        (400, ModelFailed),
        (401, ModelFailed),
        (404, ModelFailed),
        (302, ModelFailed),
        (429, Unavailable),
        (500, Unavailable),
        (503, Unavailable),
    ],
)
async def test_a_refusal_is_told_in_our_words(
    transcribers: Transcribers, vendor: Vendor, status: int, kind: type[DragomanError]
) -> None:
    vendor.answer = web.json_response({"error": "vendor says no"}, status=status, headers={"Location": vendor.url})
    failure = await refused(transcribers, choice(vendor), kind)
    assert len(vendor.asked) == 1
    assert getattr(failure, "retry_after", 1) > 0


@pytest.mark.parametrize(
    "body", [b"", b"{}", b"What", b'{"text": 1}', b'{"text": "\xff"}', b'{"text": "' + b"x" * (2 << 20)]
)
async def test_an_answer_that_is_none_is_a_failure(transcribers: Transcribers, vendor: Vendor, body: bytes) -> None:
    vendor.answer = web.Response(body=body, content_type="application/json")
    await refused(transcribers, choice(vendor), ModelFailed)


async def test_a_server_that_is_away_may_come_back(
    transcribers: Transcribers, vendor: Vendor, monkeypatch: pytest.MonkeyPatch
) -> None:
    await refused(transcribers, choice(vendor, base_url="http://127.0.0.1:9/v1"), Unavailable)
    vendor.answer = None
    await refused(transcribers, choice(vendor), Unavailable)
    monkeypatch.setattr(openai, "ANSWER_SECONDS", 0.2)
    vendor.pause = 1.0
    slow = OpenAITranscribers(Examiner())
    await refused(slow, choice(vendor), Unavailable)
    await slow.close()


async def test_what_cannot_be_asked_is_a_failure(transcribers: Transcribers, vendor: Vendor) -> None:
    await refused(transcribers, choice(vendor, base_url="file:///etc"), ModelFailed)
    await refused(transcribers, choice(vendor, api_key_env="DRAGOMAN_NO_SUCH_KEY"), ModelFailed)
    await refused(transcribers, VendorChoice("embedded"), ModelFailed)
    assert not vendor.asked
