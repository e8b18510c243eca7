"""The clients: each asks over a connection it keeps, reads a streamed answer to its end, and asks again.

A process of its own that takes jobs on standard input and tells what came of them on standard output, a JSON line
each. Knows no server, only what a whole answer looks like.
"""

import asyncio
import sys
import time
from typing import cast

import msgspec
import uvloop

JOB_SECONDS = 60
_OK = b"HTTP/1.1 200 "


class Job(msgspec.Struct, frozen=True):
    """Turns to make. `bodies` are asked in rotation; clients begin over `spread` seconds; a whole answer has `frames`.

    `port` is filled in when a server is given the job.
    """

    path: str
    key: str
    bodies: list[str]
    turns: int
    frames: int
    clients: int = 1
    spread: float = 0.0
    port: int = 0


class Opened(msgspec.Struct, tag=True):
    """Every client has seen the first frame of its first answer."""


class Done(msgspec.Struct, tag=True):
    """All turns ended well: seconds they took together, milliseconds each to its first frame."""

    seconds: float
    first_ms: list[float]


class Failed(msgspec.Struct, tag=True):
    """A turn did not end well, and so the job is void."""

    reason: str


Report = Opened | Done | Failed


class _Run:
    """One job under way."""

    def __init__(self, job: Job) -> None:
        head = f"POST {job.path} HTTP/1.1\r\nHost: 127.0.0.1:{job.port}\r\nAuthorization: Bearer {job.key}\r\n"
        head += "Content-Type: application/json\r\nAccept: text/event-stream\r\nContent-Length: "
        bodies = [body.encode() for body in job.bodies]
        requests = [f"{head}{len(body)}\r\n\r\n".encode() + body for body in bodies]
        self.frames = job.frames
        self.requests = (requests[turn % len(requests)] for turn in range(job.turns))
        self.unopened = job.clients
        self.unfinished = job.turns
        self.first_ms: list[float] = []
        self.whole: asyncio.Future[None] = asyncio.get_running_loop().create_future()

    def opened(self) -> None:
        self.unopened -= 1
        if not self.unopened:
            _tell(Opened())

    def finished(self) -> None:
        self.unfinished -= 1
        if not self.unfinished and not self.whole.done():
            self.whole.set_result(None)

    def fail(self, reason: str) -> None:
        if not self.whole.done():
            self.whole.set_exception(RuntimeError(reason))


class _Client(asyncio.Protocol):
    def __init__(self, run: _Run) -> None:
        self.run = run
        self.received = b""
        self.seen = False
        self.asking = self.begun = False
        self.asked = 0.0

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self.transport = cast("asyncio.Transport", transport)

    def connection_lost(self, error: Exception | None) -> None:
        if self.asking:
            self.run.fail(f"the connection was closed in mid-turn ({error}) after: {self.received[-500:]!r}")

    def ask(self) -> None:
        request = next(self.run.requests, None)
        self.asking = request is not None
        if request is None:
            self.transport.close()
            return
        self.received = b""
        self.seen = False
        self.asked = time.perf_counter()
        self.transport.write(request)

    def data_received(self, data: bytes) -> None:
        self.received += data
        if not self.seen:
            self.look()
        if data.endswith(b"0\r\n\r\n") and self.received.endswith(b"\r\n0\r\n\r\n"):
            self.end()

    def look(self) -> None:
        if len(self.received) > len(_OK) and not self.received.startswith(_OK):
            self.run.fail(f"not a 200: {self.received[:500]!r}")
        elif b"\ndata: " in self.received:
            self.seen = True
            self.run.first_ms.append((time.perf_counter() - self.asked) * 1000)
            if not self.begun:
                self.begun = True
                self.run.opened()

    def end(self) -> None:
        frames = self.received.count(b"\ndata: ")
        if b"\ndata: [DONE]\n\n" not in self.received or frames != self.run.frames:
            self.run.fail(f"{frames} frames of {self.run.frames}, ending: {self.received[-300:]!r}")
            return
        self.run.finished()
        self.ask()


async def perform(job: Job) -> Done:
    """Make the turns of a job.

    Raises:
        RuntimeError: a turn failed, or its answer was not whole.
    """
    loop = asyncio.get_running_loop()
    run = _Run(job)
    clients = [
        (await loop.create_connection(lambda: _Client(run), "127.0.0.1", job.port))[1] for _ in range(job.clients)
    ]
    begun = time.perf_counter()
    for position, client in enumerate(clients):
        loop.call_later(job.spread * position / job.clients, client.ask)
    try:
        async with asyncio.timeout(JOB_SECONDS):
            await run.whole
    except TimeoutError:
        raise RuntimeError(f"{run.unfinished} of {job.turns} turns had no end after {JOB_SECONDS} s") from None
    finally:
        for client in clients:
            client.asking = False
            client.transport.close()
    return Done(time.perf_counter() - begun, run.first_ms)


def _tell(report: Report) -> None:
    sys.stdout.buffer.write(msgspec.json.encode(report) + b"\n")
    sys.stdout.buffer.flush()


async def _work() -> None:
    decode = msgspec.json.Decoder(Job).decode
    while line := await asyncio.to_thread(sys.stdin.buffer.readline):
        try:
            _tell(await perform(decode(line)))
        except (OSError, RuntimeError) as error:
            _tell(Failed(str(error)))


if __name__ == "__main__":
    uvloop.run(_work())
