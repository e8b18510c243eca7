"""The process that reads: what it bears, what ends it, and that nobody else notices."""

import asyncio
import os
import signal
import subprocess
import sys
import time
from collections.abc import AsyncIterator, Callable
from pathlib import Path

import pytest

from dragoman.adapters.parsing import process
from dragoman.adapters.parsing.child import MEMORY_BYTES
from dragoman.adapters.parsing.process import ChildParsers
from dragoman.ports.parsers import Piece, Unreadable
from tests.adapters.parsing.documents import pdf_of_streams, stream, word_body

HELLO = b"Hello"
GREETING = [Piece("", "Hello")]
# Reading it takes seconds on any machine.
SLOW = pdf_of_streams([stream(b"BT /F1 12 Tf 0 14 Td " + b"(aaaaaaaa) Tj 0 -14 Td " * 90_000 + b"ET")])
# Each element of its three million keeps a dictionary.
HUGE = word_body(b'<a b=""/>' * 3_500_000)
DEATH_SECONDS = 5.0


@pytest.fixture
async def parsers() -> AsyncIterator[ChildParsers]:
    parsers = ChildParsers()
    yield parsers
    await parsers.close()


def children_of(parent: int) -> list[int]:
    """The reading processes that this process started and that are not dead."""
    found = []
    for folder in Path("/proc").glob("[0-9]*"):
        try:
            state, its_parent = (folder / "stat").read_text().rpartition(")")[2].split()[:2]
            command = (folder / "cmdline").read_text()
        except (FileNotFoundError, ProcessLookupError):
            continue
        if int(its_parent) == parent and state != "Z" and process.CHILD in command:
            found.append(int(folder.name))
    return found


def wait_until(happens: Callable[[], object]) -> None:
    deadline = time.monotonic() + DEATH_SECONDS
    while not happens():
        assert time.monotonic() < deadline
        time.sleep(0.01)


def is_dead(pid: int) -> bool:
    try:
        return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0] == "Z"
    except (FileNotFoundError, ProcessLookupError):
        return True


def limits_of(pid: int) -> str:
    return Path(f"/proc/{pid}/limits").read_text()


async def test_one_process_reads_one_document_after_another(parsers: ChildParsers) -> None:
    documents = [parsers.parse("md", f"# Title {number}\n\nText".encode()) for number in range(5)]
    found = await asyncio.gather(*documents)
    assert [pieces[0].text for pieces in found] == [f"Title {number}\nText" for number in range(5)]
    assert len(children_of(os.getpid())) == 1


async def test_a_large_document_comes_back_whole(parsers: ChildParsers) -> None:
    text = "\n\n".join(f"Paragraph {number}: «größer»." for number in range(100_000))
    pieces = await parsers.parse("txt", text.encode())
    assert "\n\n".join(piece.text for piece in pieces) == text


async def test_the_loop_runs_on_while_a_document_is_read(parsers: ChildParsers) -> None:
    reading = asyncio.create_task(parsers.parse("txt", b"word " * 1_500_000))
    ticks = 0
    while not reading.done():
        await asyncio.sleep(0.01)
        ticks += 1
    assert len(await reading) > 10_000
    assert ticks > 10


async def test_a_document_that_takes_too_long_is_given_up_and_the_next_one_is_read() -> None:
    parsers = ChildParsers(seconds=0.7)
    assert await parsers.parse("txt", HELLO) == GREETING
    [slow] = children_of(os.getpid())
    with pytest.raises(Unreadable, match="more memory or time than a document may"):
        await parsers.parse("pdf", SLOW)
    assert is_dead(slow)
    assert await parsers.parse("txt", HELLO) == GREETING
    await parsers.close()


async def test_memory_is_bounded_and_the_next_document_is_read(parsers: ChildParsers) -> None:
    assert await parsers.parse("txt", HELLO) == GREETING
    [pid] = children_of(os.getpid())
    assert f"Max address space         {MEMORY_BYTES} " in limits_of(pid)
    with pytest.raises(Unreadable, match="more memory or time than a document may"):
        await parsers.parse("docx", HUGE)
    assert is_dead(pid)
    assert await parsers.parse("txt", HELLO) == GREETING


async def test_a_process_that_dies_takes_its_document_with_it_and_no_other(parsers: ChildParsers) -> None:
    reading = asyncio.create_task(parsers.parse("pdf", SLOW))
    waiting = asyncio.create_task(parsers.parse("txt", HELLO))
    await asyncio.to_thread(wait_until, lambda: children_of(os.getpid()))
    await asyncio.sleep(0.5)
    [pid] = children_of(os.getpid())
    os.kill(pid, signal.SIGKILL)
    with pytest.raises(Unreadable):
        await reading
    assert await waiting == GREETING


async def test_a_process_that_died_idle_harms_no_document(parsers: ChildParsers) -> None:
    assert await parsers.parse("txt", HELLO) == GREETING
    [pid] = children_of(os.getpid())
    os.kill(pid, signal.SIGKILL)
    await asyncio.to_thread(wait_until, lambda: not children_of(os.getpid()))
    await asyncio.sleep(0.1)
    assert await parsers.parse("txt", HELLO) == GREETING


async def test_a_document_that_is_given_up_by_who_asked_leaves_nothing_for_the_next(parsers: ChildParsers) -> None:
    with pytest.raises(TimeoutError):
        await asyncio.wait_for(parsers.parse("pdf", SLOW), 1.0)
    assert await parsers.parse("txt", HELLO) == GREETING


async def test_a_process_is_replaced_after_so_many_documents() -> None:
    parsers = ChildParsers(documents_per_child=2)
    pids = []
    for _ in range(3):
        assert await parsers.parse("txt", HELLO) == GREETING
        pids += children_of(os.getpid())
    assert len(set(pids)) == 2
    await parsers.close()
    assert children_of(os.getpid()) == []


async def test_a_refused_document_costs_no_process(parsers: ChildParsers) -> None:
    for _ in range(2):
        with pytest.raises(Unreadable, match="holds no text"):
            await parsers.parse("txt", b"\n")
    assert len(children_of(os.getpid())) == 1


async def test_a_terminal_or_supervisor_that_signals_the_group_does_not_end_it(parsers: ChildParsers) -> None:
    await parsers.parse("txt", HELLO)
    [pid] = children_of(os.getpid())
    os.kill(pid, signal.SIGINT)
    os.kill(pid, signal.SIGTERM)
    assert await parsers.parse("txt", HELLO) == GREETING
    assert children_of(os.getpid()) == [pid]


async def test_what_is_closed_reads_no_more_and_says_that_it_may_be_tried_again(parsers: ChildParsers) -> None:
    reading = asyncio.create_task(parsers.parse("pdf", SLOW))
    await asyncio.to_thread(wait_until, lambda: children_of(os.getpid()))
    await asyncio.sleep(0.5)
    await parsers.close()
    for refused in (reading, parsers.parse("txt", HELLO)):
        with pytest.raises(OSError, match="closing"):
            await refused
    assert children_of(os.getpid()) == []


async def test_a_process_that_cannot_start_is_no_fault_of_the_document(
    parsers: ChildParsers, monkeypatch: pytest.MonkeyPatch
) -> None:
    with monkeypatch.context() as broken:
        broken.setattr(process, "CHILD", "dragoman.absent")
        with pytest.raises(OSError, match="does not start"):
            await parsers.parse("txt", HELLO)
    assert await parsers.parse("txt", HELLO) == GREETING


CONFINED = """
import socket, subprocess, sys
from dragoman.adapters.parsing.child import confine

confine()
for attempt in (
    lambda: socket.create_connection(("127.0.0.1", 1)),
    lambda: socket.getaddrinfo("localhost", 80),
    lambda: subprocess.run(["true"]),
    lambda: bytearray(2 << 30),
    lambda: open(sys.argv[1], "w", buffering=1).write("x\\n"),
):
    try:
        attempt()
    except (OSError, MemoryError) as error:
        print(type(error).__name__)
"""


def test_it_reaches_no_network_starts_no_program_and_writes_no_file(tmp_path: Path) -> None:
    path = tmp_path / "written"
    command = [sys.executable, "-c", CONFINED, str(path)]
    told = subprocess.run(command, capture_output=True, text=True, check=True).stdout.split()
    assert told == ["PermissionError", "PermissionError", "PermissionError", "MemoryError", "OSError"]
    assert path.read_bytes() == b""


PARENT = """
import asyncio, sys
from pathlib import Path
from dragoman.adapters.parsing.process import ChildParsers

async def main():
    parsers = ChildParsers()
    await parsers.parse("txt", b"Hello")
    print("ready", flush=True)
    await parsers.parse("pdf", Path(sys.argv[1]).read_bytes())

asyncio.run(main())
"""


@pytest.mark.parametrize("moment", ["while it starts", "while it reads"])
def test_it_dies_with_its_parent(tmp_path: Path, moment: str) -> None:
    document = tmp_path / "slow.pdf"
    document.write_bytes(SLOW)
    with subprocess.Popen([sys.executable, "-c", PARENT, str(document)], stdout=subprocess.PIPE) as parent:
        try:
            assert parent.stdout
            if moment == "while it reads":
                assert parent.stdout.readline() == b"ready\n"
            wait_until(lambda: children_of(parent.pid))
            [pid] = children_of(parent.pid)
        finally:
            parent.kill()
    wait_until(lambda: is_dead(pid))
