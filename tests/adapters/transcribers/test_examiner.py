"""What a recording is, is found within bounds, and what is none is told so at once."""

import asyncio
import json
import os
import subprocess
import sys
import time

import numpy
import pytest

from dragoman.adapters.transcribers import examiner, examiner_child
from dragoman.adapters.transcribers.examiner import Examined, Examiner
from dragoman.core.commands import Recording
from dragoman.core.errors import DragomanError, Invalid, TooLarge, UnsupportedMedia
from dragoman.ports.transcribers import MOST_BYTES
from tests.adapters.transcribers.processes import children_of, limit_of, wait_until
from tests.adapters.transcribers.sounds import (
    RATE,
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

REFUSED_SECONDS = 2.0
TONE = numpy.sin(numpy.arange(RATE) / 8)


async def refused(found: Recording, kind: type[DragomanError]) -> str:
    """Assert that a recording is refused so, soon and with no process left; the message."""
    began = time.monotonic()
    with pytest.raises(DragomanError) as refusal:
        await Examiner().examine(found)
    assert type(refusal.value) is kind, refusal.value
    assert time.monotonic() - began < REFUSED_SECONDS
    assert not children_of(os.getpid(), examiner.CHILD)
    return refusal.value.message


@pytest.mark.parametrize("name", SENTENCES)
async def test_a_recording_is_what_its_bytes_are_whatever_it_is_called(name: str) -> None:
    data = (SPEECH / name).read_bytes()
    for called, declared in ((name, "audio/x"), ("../../song.mp3", "text/plain"), ("", "")):
        found = await Examiner().examine(Recording(called, declared, data))
        assert found.kind == name.partition(".")[2]
        assert 1.5 < found.seconds < 3
        assert len(found.samples) == pytest.approx(found.seconds * RATE * 2, rel=0.05)


async def test_sound_is_brought_to_one_channel_and_one_rate() -> None:
    found = await Examiner().examine(sounding(TONE))
    heard = numpy.frombuffer(found.samples, numpy.int16)
    assert found.seconds == 1.0
    assert len(heard) == RATE
    assert abs(int(heard.max()) - 32_767) < 300
    half = await Examiner().examine(recording(wav((TONE[::2] * 32_767).astype("<i2").tobytes(), rate=RATE // 2)))
    assert half.seconds == 1.0
    assert len(half.samples) == pytest.approx(len(found.samples), rel=0.01)


@pytest.mark.parametrize("name", SENTENCES)
async def test_half_a_recording_is_told_to_be_cut_off(name: str) -> None:
    data = (SPEECH / name).read_bytes()
    for size in (len(data) // 2, len(data) * 9 // 10, len(data) // 20):
        assert "cut off or broken" in await refused(recording(data[:size], name), Invalid)


async def test_ten_hours_in_less_than_1_mib_are_too_long() -> None:
    counted, uncounted = flac(TEN_HOURS, told=True), flac(TEN_HOURS, told=False)
    slow = wav(b"\x10\x20" * 500_000, rate=14)
    open_ended = wav(b"\x10\x20" * 500_000, rate=14, size=0xFFFFFFFF)
    for data in (counted, uncounted, slow, open_ended):
        assert len(data) < 1 << 20
        assert "longer than 600 s" in await refused(recording(data), TooLarge)


async def test_ten_minutes_are_taken() -> None:
    noise = numpy.random.default_rng(1).integers(-9_000, 9_000, 8_000 * 600, dtype="<i2")
    found = await Examiner().examine(recording(wav(noise.tobytes(), rate=8_000)))
    assert found.seconds == 600
    over = numpy.append(noise, [0] * 80).astype("<i2")
    await refused(recording(wav(over.tobytes(), rate=8_000)), TooLarge)


async def test_what_is_no_sound_is_another_medium() -> None:
    text = recording(b"What are your business hours?", "question.wav", "audio/wav")
    assert "one of wav, mp3, m4a, webm, ogg, flac" in await refused(text, UnsupportedMedia)
    assert "no sound" in await refused(recording(video(), "clip.mp4", "audio/mp4"), UnsupportedMedia)


async def test_more_than_25_mib_are_not_even_opened(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(examiner, "CHILD", "no.such.module")
    await refused(recording(wav(bytes(MOST_BYTES))), TooLarge)


@pytest.mark.parametrize("loudness", [0.0, 0.0008])
async def test_silence_says_nothing(loudness: float) -> None:
    assert "Nothing that is said" in await refused(sounding(TONE * loudness), Invalid)
    assert "Nothing that is said" in await refused(sounding(TONE[:1_500]), Invalid)


@pytest.mark.parametrize(
    "data",
    [
        b"ID3" + b"\x04\x00\x00\x00\x00\x00\x00" + b"lyrics " * 500,
        b"RIFF\xff\xff\xff\xffWAVE",
        b"fLaC" + bytes(500),
        b"OggS" + bytes(500),
        b"\x1a\x45\xdf\xa3" + bytes(500),
        b"\x00\x00\x00\x18ftypM4A " + bytes(500),
        wav(b""),
    ],
)
async def test_a_beginning_with_nothing_behind_it_is_broken(data: bytes) -> None:
    await refused(recording(data), Invalid)


async def test_any_bytes_in_the_middle_break_nothing() -> None:
    random = numpy.random.default_rng(2)
    for name in SENTENCES:
        data = bytearray((SPEECH / name).read_bytes())
        for at in random.integers(60, len(data), 200):
            data[at] = int(random.integers(256))
        try:
            assert isinstance(await Examiner().examine(recording(bytes(data))), Examined)
        except (Invalid, TooLarge, UnsupportedMedia):
            continue


async def test_what_takes_too_long_is_given_up(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(examiner, "PATIENCE_SECONDS", 0.01)
    await refused(spoken("hours.webm"), Invalid)


async def test_what_breaks_the_process_is_told_to_be_broken(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(examiner, "CHILD", "no.such.module")
    await refused(spoken("hours.webm"), Invalid)


async def test_one_who_goes_away_leaves_no_process() -> None:
    examining = asyncio.create_task(Examiner().examine(spoken("hours.webm")))
    async with asyncio.timeout(5):
        while not children_of(os.getpid(), examiner.CHILD):
            await asyncio.sleep(0.005)
    examining.cancel()
    with pytest.raises(asyncio.CancelledError):
        await examining
    assert not children_of(os.getpid(), examiner.CHILD)


async def test_a_few_are_opened_at_a_time_and_all_in_the_end() -> None:
    one, most = Examiner(), 0
    working = [asyncio.create_task(one.examine(spoken(name))) for name in [*SENTENCES] * 2]
    while not all(task.done() for task in working):
        most = max(most, len(children_of(os.getpid(), examiner.CHILD)))
        await asyncio.sleep(0.01)
    assert [task.result().kind for task in working] == [name.partition(".")[2] for name in SENTENCES] * 2
    assert 1 <= most <= examiner.AT_ONCE


def test_its_process_is_bounded_and_ends_with_its_parent() -> None:
    command = [sys.executable, "-P", "-m", examiner.CHILD]
    with subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE) as process:
        assert process.stdin
        process.stdin.write(json.dumps({"parent": os.getpid(), "most_seconds": 600}).encode() + b"\n")
        process.stdin.flush()
        wait_until(lambda: limit_of(process.pid, "Max cpu time") == examiner_child.CPU_SECONDS)
        assert limit_of(process.pid, "Max address space") == examiner_child.MEMORY_BYTES
        assert os.getpriority(os.PRIO_PROCESS, process.pid) > os.getpriority(os.PRIO_PROCESS, 0)
        process.kill()
    with subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE) as process:
        said, _ = process.communicate(json.dumps({"parent": 1, "most_seconds": 600}).encode() + b"\n")
        assert (said, process.returncode) == (b"", 0)
