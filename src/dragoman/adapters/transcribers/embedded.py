"""The transcriber that runs beside the server: whisper in a process of its own. Knows no weights and no wire format."""

import asyncio
import itertools
import os
import signal
import sys
from asyncio.subprocess import DEVNULL, PIPE, Process
from collections.abc import Mapping
from contextlib import suppress
from pathlib import Path
from typing import Any

import msgspec
import structlog

from dragoman.adapters.models.turnstile import Turnstile
from dragoman.adapters.transcribers.examiner import NOTHING_SAID, Examiner
from dragoman.core.agents import VendorChoice
from dragoman.core.commands import Recording
from dragoman.core.errors import Invalid, Unavailable
from dragoman.ports.transcribers import Transcript

CHILD = "dragoman.adapters.transcribers.embedded_child"
IDLE_SECONDS = 300.0
# How long a recording waits for the weights: where they must be fetched first, it had better come again.
READY_SECONDS = 60.0
# A piece is heard in some 2 s on two processors that have nothing else to do.
PIECE_SECONDS = 60.0
REST_SECONDS = 30.0
END_SECONDS = 2.0
TRIES = 2

_log = structlog.get_logger(__name__)


class _Died(Exception):
    """The process ended, or had to be ended, within an order."""


class EmbeddedTranscribers:
    """The provider `embedded`: one process for all, which hears one recording at a time, the others wait in order.

    It is started at its first use, ended after IDLE_SECONDS without one, and another takes its place when it dies.
    `turnstile` is shared with what else computes on this machine.
    Use it from the main thread's loop: the kernel ends a child with the THREAD that started it.
    """

    def __init__(self, models_dir: Path, examiner: Examiner, turnstile: Turnstile) -> None:
        self._models_dir = models_dir
        self._examiner = examiner
        self._turnstile = turnstile
        self._one = asyncio.Lock()
        self._whisper: _Whisper | None = None
        self._using = 0
        self._idle: asyncio.TimerHandle | None = None
        self._ending: set[asyncio.Task[None]] = set()
        self._closed = False

    async def transcribe(self, choice: VendorChoice, recording: Recording) -> Transcript:
        """What a recording says, as `ports.transcribers.Transcribers` tells; the choice names nothing more."""
        examined = await self._examiner.examine(recording)
        self._using += 1
        try:
            text = await self._heard(examined.samples)
        finally:
            self._using -= 1
            self._rest()
        if not text:
            raise Invalid(NOTHING_SAID)
        return Transcript(text, examined.seconds)

    async def close(self) -> None:
        """End the process."""
        self._closed = True
        self._let_go()
        await asyncio.gather(*self._ending)

    async def _heard(self, samples: bytes) -> str:
        for _ in range(TRIES):
            whisper = self._started()
            try:
                await whisper.ready()
                async with self._one:
                    return await self._hear(whisper, samples)
            except _Died as death:
                _log.warning("embedded_transcriber_died", why=str(death))
                if self._whisper is whisper:
                    self._let_go()
        raise Unavailable("The transcriber failed", retry_after=5)

    async def _hear(self, whisper: "_Whisper", samples: bytes) -> str:
        async with self._turnstile.transcribing():
            pieces = await whisper.take(samples)
        heard = []
        # A long recording lets others through between its pieces.
        for _ in range(pieces):
            async with self._turnstile.transcribing():
                heard.append(await whisper.hear())
        return " ".join(filter(None, heard))

    def _started(self) -> "_Whisper":
        if self._closed:
            raise Unavailable("The server is shutting down", retry_after=5)
        if self._idle is not None:
            self._idle.cancel()
            self._idle = None
        if self._whisper is None or self._whisper.has_rested():
            self._let_go()
            self._whisper = _Whisper(self._models_dir)
        return self._whisper

    def _rest(self) -> None:
        """Give the memory back when nothing has come for a while."""
        if not self._using and self._whisper is not None:
            self._idle = asyncio.get_running_loop().call_later(IDLE_SECONDS, self._let_go)

    def _let_go(self) -> None:
        if self._idle is not None:
            self._idle.cancel()
            self._idle = None
        if self._whisper is not None:
            ending = asyncio.create_task(self._whisper.end())
            self._ending.add(ending)
            ending.add_done_callback(self._ending.discard)
            self._whisper = None


class _Answer(msgspec.Struct, frozen=True):
    ready: bool = False
    failed: str = ""
    number: int = 0
    pieces: int = 0
    text: str = ""


class _Whisper:
    """One process, from its start to its end."""

    def __init__(self, models_dir: Path) -> None:
        self._models_dir = models_dir
        self._process: Process | None = None
        self._numbers = itertools.count(1)
        self._failed_at: float | None = None
        self._loading = asyncio.create_task(self._load())

    def has_rested(self) -> bool:
        """Whether it failed to start so long ago that another may try."""
        return self._failed_at is not None and asyncio.get_running_loop().time() - self._failed_at > REST_SECONDS

    async def ready(self) -> None:
        """Wait until it has its weights.

        Raises:
            Unavailable: it has none, or not yet.
            _Died: it was ended.
        """
        await asyncio.wait([self._loading], timeout=READY_SECONDS)
        if not self._loading.done():
            raise Unavailable("The transcriber is being made ready", retry_after=30)
        if self._loading.cancelled():
            raise _Died("it was ended while it was being started")
        if self._loading.result():
            raise Unavailable("The transcriber cannot be made ready", retry_after=round(REST_SECONDS))

    async def take(self, samples: bytes) -> int:
        """Give it a recording; the number of pieces to hear of it. Raises _Died."""
        return (await self._ask({"bytes": len(samples)}, samples)).pieces

    async def hear(self) -> str:
        """What is said in the next piece. Raises _Died."""
        return (await self._ask({})).text

    async def end(self) -> None:
        """End the process, and what it may have started."""
        self._loading.cancel()
        await asyncio.wait([self._loading])
        process = self._process
        if process is None:
            return
        # While it fetches its weights it ends what helps it; after that it keeps nothing that needs an order.
        for how in (signal.SIGKILL,) if self._is_ready else (signal.SIGTERM, signal.SIGKILL):
            with suppress(ProcessLookupError):
                process.send_signal(how)
            with suppress(TimeoutError):
                async with asyncio.timeout(END_SECONDS):
                    await process.wait()
                    return

    @property
    def _is_ready(self) -> bool:
        return self._loading.done() and not self._loading.cancelled() and not self._loading.result()

    async def _load(self) -> str:
        """Start it; why it cannot work, empty where it can."""
        try:
            self._process = await asyncio.create_subprocess_exec(
                *(sys.executable, "-P", "-m", CHILD), stdin=PIPE, stdout=PIPE, stderr=DEVNULL
            )
            self._write({"parent": os.getpid(), "models_dir": str(self._models_dir)})
            answer = await self._read()
            failure = "" if answer.ready else answer.failed
        except (OSError, _Died) as error:
            failure = str(error)
        if failure:
            _log.warning("embedded_transcriber_not_ready", why=failure)
            self._failed_at = asyncio.get_running_loop().time()
        return failure

    async def _ask(self, order: Mapping[str, Any], data: bytes = b"") -> _Answer:
        number = next(self._numbers)
        try:
            async with asyncio.timeout(PIECE_SECONDS):
                self._write({**order, "number": number}, data)
                answer = await self._read()
                # One who went away has left an answer behind.
                while answer.number < number:
                    answer = await self._read()
        except TimeoutError as error:
            raise _Died(f"no answer within {PIECE_SECONDS:.0f} s") from error
        return answer

    def _write(self, order: Mapping[str, Any], data: bytes = b"") -> None:
        if self._process is None or self._process.stdin is None:
            raise AssertionError("a process that was not started is given no order")
        # Not waited for: whoever goes away in the middle must leave a whole order behind.
        self._process.stdin.write(msgspec.json.encode(order) + b"\n" + data)

    async def _read(self) -> _Answer:
        if self._process is None or self._process.stdout is None:
            raise AssertionError("a process that was not started gives no answer")
        line = await self._process.stdout.readline()
        if not line.endswith(b"\n"):
            raise _Died(f"exit code {await self._process.wait()}")
        return msgspec.json.decode(line, type=_Answer)
