"""What a recording is, found in a process of its own that ends with it. Knows no vendor and decodes nothing itself."""

import asyncio
import os
import sys
from contextlib import suppress
from dataclasses import dataclass

import msgspec
import structlog

from dragoman.core.commands import Recording
from dragoman.core.errors import DragomanError, Invalid, TooLarge, Unavailable, UnsupportedMedia
from dragoman.ports.transcribers import FORMATS, MOST_BYTES, MOST_SECONDS

CHILD = "dragoman.adapters.transcribers.examiner_child"
AT_ONCE = 2
PATIENCE_SECONDS = 20.0
NOTHING_SAID = "Nothing that is said could be made out in the recording"

# 16-bit samples, 16,000 a second, and the line before them.
_MOST_ANSWER = MOST_SECONDS * 32_000 + 65_536
_MIB = MOST_BYTES >> 20

_log = structlog.get_logger(__name__)


@dataclass(frozen=True, slots=True)
class Examined:
    """A recording that can be transcribed: its kind, its length in seconds, 16-bit mono samples, 16,000 a second."""

    kind: str
    seconds: float
    samples: bytes


class _Found(msgspec.Struct, frozen=True):
    refusal: str | None = None
    kind: str = ""
    seconds: float = 0.0


class Examiner:
    """Opens recordings, each in a bounded process of its own: what breaks it breaks nothing else and sees no other."""

    def __init__(self) -> None:
        self._free = asyncio.Semaphore(AT_ONCE)

    async def examine(self, recording: Recording) -> Examined:
        """What a recording is.

        Raises:
            UnsupportedMedia, TooLarge, Invalid: as `ports.transcribers.Transcribers` says.
            Unavailable: no process can be started.
        """
        if len(recording.data) > MOST_BYTES:
            raise TooLarge(f"The recording is over {_MIB} MiB")
        async with self._free:
            answer = await self._answer(recording.data)
        line, _, samples = answer.partition(b"\n")
        try:
            found = msgspec.json.decode(line, type=_Found)
        except msgspec.DecodeError:
            # It took too much of something, or it broke the decoder.
            _log.warning("recording_not_examined", bytes=len(recording.data))
            found = _Found("broken")
        if found.refusal is not None:
            raise _refused(found.refusal)
        return Examined(found.kind, found.seconds, samples)

    async def _answer(self, data: bytes) -> bytes:
        try:
            process = await asyncio.create_subprocess_exec(
                *(sys.executable, "-P", "-m", CHILD),
                stdin=asyncio.subprocess.PIPE,
                stdout=asyncio.subprocess.PIPE,
                stderr=asyncio.subprocess.DEVNULL,
            )
        except OSError as error:
            _log.warning("examiner_not_started", error=str(error))
            raise Unavailable("Recordings cannot be read now") from error
        try:
            async with asyncio.timeout(PATIENCE_SECONDS):
                return await _exchange(process, data)
        except TimeoutError:
            return b""
        finally:
            with suppress(ProcessLookupError):
                process.kill()
            await process.wait()


async def _exchange(process: asyncio.subprocess.Process, data: bytes) -> bytes:
    if process.stdin is None or process.stdout is None:
        raise AssertionError("what was asked for as a pipe is none")
    order = {"parent": os.getpid(), "most_seconds": MOST_SECONDS}
    with suppress(ConnectionError):
        process.stdin.write(msgspec.json.encode(order) + b"\n")
        process.stdin.write(data)
        await process.stdin.drain()
        process.stdin.close()
    answer = bytearray()
    while len(answer) <= _MOST_ANSWER and (some := await process.stdout.read(1 << 20)):
        answer += some
    if process.stdout.at_eof():
        # To signal one that is just ending is to snatch its end from the loop, which waits for it.
        await process.wait()
    return bytes(answer) if len(answer) <= _MOST_ANSWER else b""


def _refused(refusal: str) -> DragomanError:
    match refusal:
        case "unsupported":
            return UnsupportedMedia(f"The recording is to be one of {', '.join(FORMATS)}")
        case "soundless":
            return UnsupportedMedia("There is no sound in this file")
        case "long":
            return TooLarge(f"The recording is longer than {MOST_SECONDS} s")
        case "silent":
            return Invalid(NOTHING_SAID)
    return Invalid("The recording is cut off or broken")
