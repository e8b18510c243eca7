"""What users say is heard within bounds, whoever transcribes it."""

import asyncio

import pytest

from dragoman.core.agents import VendorChoice
from dragoman.core.commands import Recording
from dragoman.core.errors import Invalid, ModelFailed, TooLarge, Unavailable
from dragoman.ports.transcribers import MOST_BYTES, Transcript
from dragoman.services import transcription
from dragoman.services.transcription import MOST_WAITING, Transcription

CHOICE = VendorChoice("openai", "large")
SAID = Recording("a.webm", "audio/webm", b"sound")


class Transcribers:
    """Hears the same in every recording, once it is allowed to."""

    def __init__(self, text: str = "Hello") -> None:
        self.text = text
        self.asked: list[tuple[VendorChoice, Recording]] = []
        self.allowed = asyncio.Event()
        self.allowed.set()
        self.failure: Exception | None = None

    async def transcribe(self, choice: VendorChoice, recording: Recording) -> Transcript:
        self.asked.append((choice, recording))
        await self.allowed.wait()
        if self.failure:
            raise self.failure
        return Transcript(self.text, 2.5)

    async def close(self) -> None:
        raise AssertionError("not the service's to close")


async def test_what_is_said_is_told_without_the_white_space_around_it() -> None:
    transcribers = Transcribers(" What are\nyour hours? \n")
    assert await Transcription(transcribers).heard(CHOICE, SAID) == "What are\nyour hours?"
    assert transcribers.asked == [(CHOICE, SAID)]


async def test_what_is_too_large_or_empty_is_not_even_asked_for() -> None:
    transcribers = Transcribers()
    service = Transcription(transcribers)
    with pytest.raises(TooLarge):
        await service.heard(CHOICE, Recording("", "", bytes(MOST_BYTES + 1)))
    with pytest.raises(Invalid, match="empty"):
        await service.heard(CHOICE, Recording("", "", b""))
    assert not transcribers.asked
    assert await service.heard(CHOICE, Recording("", "", bytes(MOST_BYTES))) == "Hello"


async def test_a_text_without_words_is_nothing_said() -> None:
    with pytest.raises(Invalid, match="Nothing that is said"):
        await Transcription(Transcribers(" \n")).heard(CHOICE, SAID)


async def test_so_many_wait_and_no_more() -> None:
    transcribers = Transcribers()
    transcribers.allowed.clear()
    service = Transcription(transcribers)
    waiting = [asyncio.create_task(service.heard(CHOICE, SAID)) for _ in range(MOST_WAITING)]
    await asyncio.sleep(0)
    with pytest.raises(Unavailable, match="Too many") as refusal:
        await service.heard(CHOICE, SAID)
    assert refusal.value.retry_after > 0
    waiting[0].cancel()
    await asyncio.sleep(0)
    waiting.append(asyncio.create_task(service.heard(CHOICE, SAID)))
    await asyncio.sleep(0)
    transcribers.allowed.set()
    assert await asyncio.gather(*waiting[1:]) == ["Hello"] * MOST_WAITING
    assert len(transcribers.asked) == MOST_WAITING + 1


async def test_a_failure_makes_room_for_the_next() -> None:
    transcribers = Transcribers()
    transcribers.failure = ModelFailed()
    service = Transcription(transcribers)
    for _ in range(MOST_WAITING + 1):
        with pytest.raises(ModelFailed):
            await service.heard(CHOICE, SAID)


async def test_nobody_waits_for_ever(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(transcription, "PATIENCE_SECONDS", 0.05)
    transcribers = Transcribers()
    transcribers.allowed.clear()
    with pytest.raises(Unavailable, match="in time") as failure:
        await Transcription(transcribers).heard(CHOICE, SAID)
    assert failure.value.retry_after > 0
