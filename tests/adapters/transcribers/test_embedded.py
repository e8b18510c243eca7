"""The embedded transcriber hears real speech, invents nothing, survives its crashes and never outlives its parent."""

import asyncio
import fcntl
import os
import signal
import subprocess
import sys
import time
from collections.abc import AsyncIterator
from pathlib import Path

import numpy
import pytest

from dragoman.adapters.models import weights
from dragoman.adapters.models.turnstile import Turnstile
from dragoman.adapters.transcribers import embedded, embedded_child
from dragoman.adapters.transcribers.embedded import EmbeddedTranscribers
from dragoman.adapters.transcribers.examiner import Examiner
from dragoman.core.agents import VendorChoice
from dragoman.core.errors import Invalid, Unavailable
from dragoman.settings import Settings
from tests.adapters.transcribers.processes import children_of, is_dead, limit_of, soon, wait_until
from tests.adapters.transcribers.sounds import RATE, SENTENCES, SPEECH, sounding, spoken

pytestmark = pytest.mark.alone

MODELS_DIR = Settings().models_dir
HOURS = SENTENCES["hours.webm"]


@pytest.fixture
def turnstile() -> Turnstile:
    return Turnstile()


@pytest.fixture
async def transcribers(turnstile: Turnstile) -> AsyncIterator[EmbeddedTranscribers]:
    if weights.locate("transcriber", MODELS_DIR) is None:
        pytest.fail(f"no weights in {MODELS_DIR}; run: dragoman models pull transcriber", pytrace=False)
    made = EmbeddedTranscribers(MODELS_DIR, Examiner(), turnstile)
    yield made
    await made.close()
    assert not mine()


def mine(parent: int | None = None) -> list[int]:
    return children_of(parent or os.getpid(), embedded.CHILD)


async def hear(transcribers: EmbeddedTranscribers, name: str = "hours.webm") -> str:
    return (await transcribers.transcribe(VendorChoice(), spoken(name))).text


async def test_every_format_is_heard_one_recording_after_the_other(transcribers: EmbeddedTranscribers) -> None:
    heard = await asyncio.gather(*(hear(transcribers, name) for name in SENTENCES))
    assert heard == list(SENTENCES.values())
    [pid] = mine()
    assert limit_of(pid, "Max address space") == embedded_child.MEMORY_BYTES
    assert os.getpriority(os.PRIO_PROCESS, pid) > os.getpriority(os.PRIO_PROCESS, 0)
    os.kill(pid, signal.SIGINT)
    os.kill(pid, signal.SIGTERM)
    assert await hear(transcribers) == HOURS
    assert mine() == [pid]


async def test_noise_is_not_made_into_words(transcribers: EmbeddedTranscribers) -> None:
    random, at = numpy.random.default_rng(1), numpy.arange(RATE * 4) / RATE
    sounds = [
        random.uniform(-0.5, 0.5, RATE * 4),
        0.5 * numpy.sin(2 * numpy.pi * 440 * at),
        0.3 * numpy.sin(2 * numpy.pi * 50 * at) + 0.1 * numpy.sin(2 * numpy.pi * 150 * at),
        0.5 * numpy.sin(2 * numpy.pi * (200 + 400 * at) * at),
        (random.random(RATE * 4) < 0.001) * 0.9,
        numpy.append(numpy.zeros(RATE * 3), 0.2 * random.uniform(-1, 1, RATE // 4)),
    ]
    for sound in sounds:
        with pytest.raises(Invalid, match="Nothing that is said"):
            await transcribers.transcribe(VendorChoice(), sounding(sound))


async def test_a_long_recording_lets_generations_through_between_its_pieces(
    transcribers: EmbeddedTranscribers, turnstile: Turnstile
) -> None:
    hearing = asyncio.create_task(transcribers.transcribe(VendorChoice(), spoken("story.ogg")))
    waits = []
    while not hearing.done():
        began = time.monotonic()
        async with turnstile.generating():
            waits.append(time.monotonic() - began)
        await asyncio.sleep(0.01)
    transcript = await hearing
    assert transcript.seconds == pytest.approx(38.3, abs=0.2)
    for words in ("floor lamp", "last Tuesday", "a few pictures", "bank transfer", "dark green", "your help"):
        assert words in transcript.text
    # Once for what is said at all, and once for each of two pieces at least.
    assert len([wait for wait in waits if wait > 0.05]) >= 3


async def test_nothing_is_heard_beside_a_generation(transcribers: EmbeddedTranscribers, turnstile: Turnstile) -> None:
    async with turnstile.generating():
        hearing = asyncio.create_task(hear(transcribers))
        await soon(mine)
        await asyncio.sleep(3)
        assert not hearing.done()
    assert await hearing == HOURS


async def test_a_process_that_dies_is_replaced_and_nothing_is_lost(transcribers: EmbeddedTranscribers) -> None:
    assert await hear(transcribers) == HOURS
    [first] = mine()
    os.kill(first, signal.SIGKILL)
    assert await hear(transcribers) == HOURS
    [second] = mine()
    assert second != first
    hearing = asyncio.create_task(hear(transcribers, "story.ogg"))
    await asyncio.sleep(1)
    os.kill(second, signal.SIGKILL)
    assert "floor lamp" in await hearing


async def test_one_who_goes_away_leaves_nothing_to_the_next(transcribers: EmbeddedTranscribers) -> None:
    await hear(transcribers)
    [pid] = mine()
    hearing = asyncio.create_task(hear(transcribers, "story.ogg"))
    await asyncio.sleep(1.5)
    hearing.cancel()
    with pytest.raises(asyncio.CancelledError):
        await hearing
    assert await hear(transcribers) == HOURS
    assert mine() == [pid]


async def test_a_process_that_says_nothing_is_given_up(
    transcribers: EmbeddedTranscribers, monkeypatch: pytest.MonkeyPatch
) -> None:
    await hear(transcribers)
    [pid] = mine()
    monkeypatch.setattr(embedded, "PIECE_SECONDS", 0.2)
    os.kill(pid, signal.SIGSTOP)
    with pytest.raises(Unavailable) as failure:
        await hear(transcribers)
    assert failure.value.retry_after > 0
    await soon(lambda: is_dead(pid))
    monkeypatch.undo()
    assert await hear(transcribers) == HOURS


async def test_memory_is_given_back_after_a_while(
    transcribers: EmbeddedTranscribers, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(embedded, "IDLE_SECONDS", 0.3)
    assert await hear(transcribers) == HOURS
    [pid] = mine()
    await soon(lambda: is_dead(pid))
    assert await hear(transcribers) == HOURS


async def test_weights_that_cannot_be_had_are_told_and_not_asked_for_again_at_once(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("no folder")
    transcribers = EmbeddedTranscribers(tmp_path / "file" / "models", Examiner(), Turnstile())
    for _ in range(2):
        began = time.monotonic()
        with pytest.raises(Unavailable, match="cannot be made ready") as failure:
            await hear(transcribers)
        assert failure.value.retry_after > 0
    assert time.monotonic() - began < 1
    await transcribers.close()


async def test_weights_that_are_broken_are_told(tmp_path: Path) -> None:
    whole = weights.locate("transcriber", MODELS_DIR)
    assert whole is not None
    broken = tmp_path / whole.parent.name
    broken.mkdir()
    for file in whole.parent.iterdir():
        (broken / file.name).write_bytes(bytes(file.stat().st_size))
    transcribers = EmbeddedTranscribers(tmp_path, Examiner(), Turnstile())
    with pytest.raises(Unavailable, match="cannot be made ready"):
        await hear(transcribers)
    await transcribers.close()


async def test_nobody_waits_long_for_weights_that_are_being_fetched(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(embedded, "READY_SECONDS", 0.5)
    with (tmp_path / ".lock").open("w") as held:
        # Another process fetches them: this one waits for it, for as long as that takes.
        fcntl.flock(held, fcntl.LOCK_EX)
        transcribers = EmbeddedTranscribers(tmp_path, Examiner(), Turnstile())
        with pytest.raises(Unavailable, match="being made ready") as failure:
            await hear(transcribers)
        assert failure.value.retry_after > 0
        [pid] = mine()
        await transcribers.close()
        assert is_dead(pid)


async def test_after_the_end_nothing_is_begun(transcribers: EmbeddedTranscribers) -> None:
    hearing = asyncio.create_task(hear(transcribers))
    await soon(mine)
    await transcribers.close()
    with pytest.raises(Unavailable):
        await hearing
    with pytest.raises(Unavailable, match="shutting down"):
        await hear(transcribers)


PARENT = """
import asyncio, sys
from pathlib import Path
from dragoman.adapters.models.turnstile import Turnstile
from dragoman.adapters.transcribers.embedded import EmbeddedTranscribers
from dragoman.adapters.transcribers.examiner import Examiner
from dragoman.core.agents import VendorChoice
from dragoman.core.commands import Recording

async def main():
    transcribers = EmbeddedTranscribers(Path(sys.argv[1]), Examiner(), Turnstile())
    await transcribers.transcribe(VendorChoice(), Recording("", "", Path(sys.argv[2]).read_bytes()))
    print("ready", flush=True)
    await asyncio.sleep(600)

asyncio.run(main())
"""


@pytest.mark.parametrize("moment", ["while it loads", "while it waits"])
def test_it_dies_with_its_parent(moment: str) -> None:
    command = [sys.executable, "-c", PARENT, str(MODELS_DIR), str(SPEECH / "hours.webm")]
    with subprocess.Popen(command, stdout=subprocess.PIPE) as parent:
        try:
            assert parent.stdout
            if moment == "while it waits":
                assert parent.stdout.readline() == b"ready\n"
            wait_until(lambda: mine(parent.pid))
            [pid] = mine(parent.pid)
        finally:
            parent.kill()
    wait_until(lambda: is_dead(pid))
