"""The process that reads documents for its parent, one after another. Knows formats, no tenant and no network.

On standard input comes a line of JSON that names the parent (`parent`), then for each document a line (`kind`, `bytes`)
and its bytes. On standard output goes `ready`, then for each document lines of JSON: `pieces`, pairs of title and text,
and at last `end`; or `refused`, the reason for its owner, with `why` for the operator where it was not foreseen.
It ends with standard input, or without an answer when its memory does.
"""

import ctypes
import json
import os
import resource
import signal
import sys
from collections.abc import Callable, Iterator
from typing import Any

from dragoman.adapters.parsing.chunks import pieces_of
from dragoman.adapters.parsing.csvtable import csv_table
from dragoman.adapters.parsing.markdown import markdown
from dragoman.adapters.parsing.pdf import pdf
from dragoman.adapters.parsing.sections import Section
from dragoman.adapters.parsing.text import plain_text
from dragoman.adapters.parsing.webpage import webpage
from dragoman.adapters.parsing.word import word_document
from dragoman.ports.parsers import Unreadable

MEMORY_BYTES = 1 << 30
OPEN_FILES = 64
PIECES_PER_LINE = 100

READERS: dict[str, Callable[[bytes], list[Section]]] = {
    "pdf": pdf,
    "docx": word_document,
    "md": markdown,
    "html": webpage,
    "txt": plain_text,
    "csv": csv_table,
}

_BROKEN = "The document is broken; save it anew, or upload it in another format"
_NO_TEXT = "The document holds no text; upload one that does"
_TOO_DEEP = "The document is nested deeper than a document may be; save it anew in a simpler form"
_MOST_WHY = 300
_PR_SET_PDEATHSIG = 1
_FORBIDDEN = (
    "socket.",
    "subprocess.",
    "os.exec",
    "os.fork",
    "os.posix_spawn",
    "os.spawn",
    "os.system",
    "ctypes.dlopen",
)


def main() -> None:
    """Read until the parent has no more."""
    # The parent ends this when it is done itself; a terminal or a supervisor signals the whole group.
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    signal.signal(signal.SIGTERM, signal.SIG_IGN)
    order = json.loads(sys.stdin.buffer.readline())
    if sys.platform == "linux":
        ctypes.CDLL(None).prctl(_PR_SET_PDEATHSIG, signal.SIGKILL)
    if os.getppid() != order["parent"]:
        return
    os.nice(5)
    answers = os.fdopen(os.dup(sys.stdout.fileno()), "wb")
    os.dup2(sys.stderr.fileno(), sys.stdout.fileno())
    confine()
    answers.write(b"ready\n")
    answers.flush()
    while line := sys.stdin.buffer.readline():
        asked = json.loads(line)
        try:
            for answer in _answers(asked["kind"], sys.stdin.buffer.read(asked["bytes"])):
                answers.write(json.dumps(answer, ensure_ascii=False).encode() + b"\n")
            answers.flush()
        except MemoryError:
            # What is left of it is no place to read the next document in.
            os._exit(1)


def _answers(kind: str, data: bytes) -> Iterator[dict[str, Any]]:
    try:
        pieces = [[_kept(piece.title), _kept(piece.text)] for piece in pieces_of(READERS[kind](data))]
    except Unreadable as error:
        yield {"refused": str(error)}
        return
    except RecursionError:
        yield {"refused": _TOO_DEEP}
        return
    except MemoryError:
        raise
    # The readers' libraries promise nothing about what they raise over a document that was made to break them.
    except Exception as error:
        yield {"refused": _BROKEN, "why": f"{type(error).__name__}: {error}"[:_MOST_WHY]}
        return
    if not pieces:
        yield {"refused": _NO_TEXT}
        return
    for start in range(0, len(pieces), PIECES_PER_LINE):
        yield {"pieces": pieces[start : start + PIECES_PER_LINE]}
    yield {"end": True}


def _kept(text: str) -> str:
    """Without what no database keeps: U+0000 and halves of surrogate pairs."""
    return text.replace("\0", "").encode(errors="replace").decode()


def confine() -> None:
    """From here on: bounded memory, no files written, no processes, no network."""
    sys.dont_write_bytecode = True
    if sys.platform == "linux":
        for what, most in (
            (resource.RLIMIT_AS, MEMORY_BYTES),
            (resource.RLIMIT_NOFILE, OPEN_FILES),
            (resource.RLIMIT_NPROC, 0),
            (resource.RLIMIT_FSIZE, 0),
            (resource.RLIMIT_CORE, 0),
        ):
            resource.setrlimit(what, (most, most))
    sys.addaudithook(_refuse)


def _refuse(event: str, _: tuple[Any, ...]) -> None:
    if event.startswith(_FORBIDDEN):
        raise PermissionError(f"a parser does no {event}")


if __name__ == "__main__":
    main()
