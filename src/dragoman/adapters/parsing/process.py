"""Documents read by a child process that is bounded and that can be killed. Knows no format."""

import asyncio
import os
import sys
from asyncio.subprocess import PIPE, Process
from collections.abc import Sequence
from contextlib import suppress

import msgspec
import structlog

from dragoman.ports.parsers import Kind, Piece, Unreadable

CHILD = "dragoman.adapters.parsing.child"
SECONDS_PER_DOCUMENT = 30.0
DOCUMENTS_PER_CHILD = 100

_SECONDS_TO_START = 30.0
_MAX_LINE_BYTES = 4 << 20
_MAX_ANSWER_BYTES = 64 << 20
_TOO_MUCH = "The document needed more memory or time than a document may; upload it in parts"

_log = structlog.get_logger(__name__)


class _Answer(msgspec.Struct, frozen=True):
    """A part of what the child found; the last one has `end`, or says why there is nothing."""

    pieces: list[tuple[str, str]] = []
    end: bool = False
    refused: str = ""
    why: str = ""


_decoder = msgspec.json.Decoder(_Answer)


class ChildParsers:
    """Reads one document at a time, in a process that is started at the first and replaced after many of them.

    A process that takes longer than `seconds` is killed; one that dies takes its document with it and no other.
    Use it from the main thread's loop: the kernel ends a child with the THREAD that started it.
    """

    def __init__(
        self, *, seconds: float = SECONDS_PER_DOCUMENT, documents_per_child: int = DOCUMENTS_PER_CHILD
    ) -> None:
        self._seconds = seconds
        self._documents_per_child = documents_per_child
        self._one_at_a_time = asyncio.Lock()
        self._process: Process | None = None
        self._given = 0
        self._is_closed = False

    async def parse(self, kind: Kind, data: bytes) -> Sequence[Piece]:
        async with self._one_at_a_time:
            process = await self._started()
            self._given += 1
            is_sound = False
            try:
                async with asyncio.timeout(self._seconds):
                    pieces = await _ask(process, kind, data)
                is_sound = True
            except Unreadable:
                is_sound = True
                raise
            except (TimeoutError, EOFError, ConnectionError, ValueError, msgspec.MsgspecError) as error:
                if self._is_closed:
                    raise OSError("documents are no longer read: the server is closing") from error
                _log.warning("parser_gave_up", kind=kind, size=len(data), why=repr(error), code=process.returncode)
                raise Unreadable(_TOO_MUCH) from error
            finally:
                if not is_sound or self._given >= self._documents_per_child:
                    await self._end()
        return pieces

    async def close(self) -> None:
        self._is_closed = True
        await self._end()

    async def _started(self) -> Process:
        if self._is_closed:
            raise OSError("documents are no longer read: the server is closing")
        if self._process is not None and self._process.returncode is None:
            return self._process
        self._given = 0
        process = self._process = await asyncio.create_subprocess_exec(
            *(sys.executable, "-P", "-m", CHILD),
            stdin=PIPE,
            stdout=PIPE,
            # What libraries say of a document is its owner's, and no line of our log.
            stderr=asyncio.subprocess.DEVNULL,
            limit=_MAX_LINE_BYTES,
        )
        try:
            async with asyncio.timeout(_SECONDS_TO_START):
                _to(process).write(msgspec.json.encode({"parent": os.getpid()}) + b"\n")
                is_ready = await _from(process).readline() == b"ready\n"
        except BaseException:
            await self._end()
            raise
        if not is_ready:
            await self._end()
            raise OSError(f"the process that reads documents does not start (exit code {process.returncode})")
        return process

    async def _end(self) -> None:
        process, self._process = self._process, None
        if process is not None:
            # Its end needs no order: it keeps nothing.
            with suppress(ProcessLookupError):
                process.kill()
            await process.wait()


async def _ask(process: Process, kind: Kind, data: bytes) -> list[Piece]:
    _to(process).write(msgspec.json.encode({"kind": kind, "bytes": len(data)}) + b"\n")
    _to(process).write(data)
    await _to(process).drain()
    pieces: list[Piece] = []
    left = _MAX_ANSWER_BYTES
    while True:
        line = await _from(process).readline()
        left -= len(line)
        if not line.endswith(b"\n"):
            raise EOFError("it died")
        if left < 0:
            raise ValueError("it answers without end")
        answer = _decoder.decode(line)
        if answer.why:
            _log.warning("parser_failed", kind=kind, size=len(data), why=answer.why)
        if answer.refused:
            raise Unreadable(answer.refused)
        pieces += [Piece(title, text) for title, text in answer.pieces]
        if answer.end:
            return pieces


def _to(process: Process) -> asyncio.StreamWriter:
    if process.stdin is None:
        raise AssertionError("what was asked for as a pipe is none")
    return process.stdin


def _from(process: Process) -> asyncio.StreamReader:
    if process.stdout is None:
        raise AssertionError("what was asked for as a pipe is none")
    return process.stdout
