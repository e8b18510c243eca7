"""The clients: each asks over a connection it keeps, reads a streamed answer to its end, and asks again.

A process of its own that takes jobs on standard input and tells what came of them on standard output, a JSON line
each. Knows no server, only what a whole answer looks like, over SSE or over a WebSocket.
"""

import asyncio
import functools
import itertools
import sys
import time
from collections.abc import Iterator
from typing import cast

import msgspec
import uvloop

JOB_SECONDS = 60
IDLE_SECONDS = 3
_OK = b"HTTP/1.1 200 "
_CONNECTED = b'"connection_established"'


class Job(msgspec.Struct, frozen=True):
    """Turns to make. Each client asks its share of `bodies` in rotation; clients begin over `spread` seconds.

    A whole answer holds `frame` so many times as `frames` says, and `last` once. A client asks again `interval` seconds
    after it did at the earliest. With `sockets`, a path for each client, it speaks over WebSockets; where there
    are no turns to make, they are held open for a while. `port` is filled in when a server is given the job.
    """

    path: str
    headers: dict[str, str]
    bodies: list[str]
    turns: int
    frames: int
    frame: str = "\ndata: "
    last: str = "\ndata: [DONE]\n\n"
    clients: int = 1
    spread: float = 0.0
    interval: float = 0.0
    sockets: list[str] = []
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
        self.job = job
        self.frame, self.last = job.frame.encode(), job.last.encode()
        self.unasked = job.turns
        self.unopened = job.clients
        self.unfinished = job.turns
        self.first_ms: list[float] = []
        self.whole: asyncio.Future[None] = asyncio.get_running_loop().create_future()

    def bodies_of(self, client: int) -> Iterator[bytes]:
        """What a client asks, for ever: with more bodies than clients each has several of its own."""
        return itertools.cycle(
            [body.encode() for body in self.job.bodies[client % len(self.job.bodies) :: self.job.clients]]
        )

    def may_ask(self) -> bool:
        self.unasked -= 1
        return self.unasked >= 0

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
    """Asks over HTTP."""

    def __init__(self, run: _Run, number: int) -> None:
        self.run = run
        self.bodies = run.bodies_of(number)
        headers = {"Host": f"127.0.0.1:{run.job.port}", "Content-Type": "application/json", **run.job.headers}
        lines = "".join(f"{name}: {value}\r\n" for name, value in headers.items())
        self.head = f"POST {run.job.path} HTTP/1.1\r\n{lines}Accept: text/event-stream\r\nContent-Length: "
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
        self.asking = self.run.may_ask()
        if not self.asking:
            self.transport.close()
            return
        self.received = b""
        self.seen = False
        self.asked = time.perf_counter()
        self.transport.write(self.request(next(self.bodies)))

    def request(self, body: bytes) -> bytes:
        return f"{self.head}{len(body)}\r\n\r\n".encode() + body

    def data_received(self, data: bytes) -> None:
        self.received += data
        if not self.seen:
            self.look()
        if self.is_whole(data):
            self.end()

    def is_whole(self, data: bytes) -> bool:
        return data.endswith(b"0\r\n\r\n") and self.received.endswith(b"\r\n0\r\n\r\n")

    def is_good(self) -> bool:
        return self.received.startswith(_OK)

    def look(self) -> None:
        if len(self.received) > len(_OK) and not self.is_good():
            self.run.fail(f"refused: {self.received[:500]!r}")
        elif self.run.frame in self.received:
            self.seen = True
            self.run.first_ms.append((time.perf_counter() - self.asked) * 1000)
            if not self.begun:
                self.begun = True
                self.run.opened()

    def end(self) -> None:
        frames = self.received.count(self.run.frame)
        if self.run.last not in self.received or frames != self.run.job.frames:
            self.run.fail(f"{frames} frames of {self.run.job.frames}, ending: {self.received[-300:]!r}")
            return
        self.run.finished()
        wait = self.asked + self.run.job.interval - time.perf_counter()
        if wait > 0:
            self.asking = False
            asyncio.get_running_loop().call_later(wait, self.ask)
        else:
            self.ask()


class _SocketClient(_Client):
    """Asks over a WebSocket, whose handshake is done before the first turn (RFC 6455)."""

    def __init__(self, run: _Run, number: int) -> None:
        super().__init__(run, number)
        self.path = run.job.sockets[number % len(run.job.sockets)]
        self.ready: asyncio.Future[None] = asyncio.get_running_loop().create_future()

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        super().connection_made(transport)
        self.transport.write(
            f"GET {self.path} HTTP/1.1\r\nHost: 127.0.0.1\r\nUpgrade: websocket\r\nConnection: Upgrade\r\n"
            "Sec-WebSocket-Key: AAAAAAAAAAAAAAAAAAAAAA==\r\nSec-WebSocket-Version: 13\r\n\r\n".encode()
        )

    def request(self, body: bytes) -> bytes:
        # A text frame; a mask of zeros leaves the payload as it is.
        size = bytes([0x80 | len(body)]) if len(body) < 126 else b"\xfe" + len(body).to_bytes(2, "big")
        return b"\x81" + size + bytes(4) + body

    def data_received(self, data: bytes) -> None:
        if self.ready.done():
            super().data_received(data)
            return
        self.received += data
        if _CONNECTED in self.received:
            self.ready.set_result(None)
        elif b'"error_code"' in self.received:
            self.run.fail(f"the socket was refused: {self.received[-300:]!r}")

    def is_whole(self, data: bytes) -> bool:
        return self.run.last in self.received

    def is_good(self) -> bool:
        return b'"error_code"' not in self.received


async def perform(job: Job) -> Done:
    """Make the turns of a job.

    Raises:
        RuntimeError: a turn failed, or its answer was not whole.
    """
    loop = asyncio.get_running_loop()
    run = _Run(job)
    kind = _SocketClient if job.sockets else _Client
    clients = [
        (await loop.create_connection(functools.partial(kind, run, number), "127.0.0.1", job.port))[1]
        for number in range(job.clients)
    ]
    for client in clients:
        if isinstance(client, _SocketClient):
            await client.ready
    if not job.turns:
        _tell(Opened())
        await asyncio.sleep(IDLE_SECONDS)
        run.whole.set_result(None)
    begun = time.perf_counter()
    for position, client in enumerate(clients if job.turns else ()):
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
