"""A receiver of webhooks that answers as it is told, well or badly. Knows nothing of the product."""

import asyncio
import contextlib
import json
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Any, Self

PATIENCE = 15.0
HUGE_BYTES = 1 << 30
PIECE = b"x" * 65536


@dataclass(frozen=True)
class Received:
    """One request as it came: its path, headers by lower-case name, body, and when by the monotonic clock."""

    path: str
    headers: Mapping[str, str]
    body: bytes
    at: float = field(default_factory=time.monotonic)

    @property
    def json(self) -> Any:
        """The body as JSON."""
        return json.loads(self.body)

    @property
    def event(self) -> str:
        """Which event it tells of."""
        return str(self.json["event"])

    @property
    def id(self) -> str:
        """The id of the event."""
        return self.headers["webhook-id"]


class Receiver:
    """Listens on a port of its own while the block runs; `received` is what came, in order.

    `answer` is what every request is answered with: a status with headers, or `drip` (a byte a second), `huge` (a
    body of 1 GB), `hang` (nothing), `break` (the connection is closed). `answers` has what the first ones get.
    """

    def __init__(self) -> None:
        self.received: list[Received] = []
        self.answer: str | int = 200
        self.answers: list[str | int] = []
        self.headers: dict[str, str] = {}
        self.sent = 0
        self.url = ""
        self._port = 0
        self._server: asyncio.Server | None = None
        self._news = asyncio.Event()
        self._over = asyncio.Event()
        self._serving: set[asyncio.Task[None]] = set()

    async def __aenter__(self) -> Self:
        await self.open()
        return self

    async def __aexit__(self, *_: object) -> None:
        await self.shut()
        self._over.set()
        # One that had just come in is served a moment later.
        await asyncio.sleep(0.02)
        await asyncio.gather(*self._serving)

    async def open(self) -> None:
        """Listen, on the port that it had before if it had one."""
        self._server = await asyncio.start_server(self._serve, "127.0.0.1", self._port)
        self._port = self._server.sockets[0].getsockname()[1]
        self.url = f"http://127.0.0.1:{self._port}"

    async def shut(self) -> None:
        """Refuse connections from now on."""
        if self._server is not None:
            self._server.close()
            self._server = None

    async def until(self, there: Callable[[], bool], patience: float = PATIENCE) -> None:
        """Wait until that is so."""
        async with asyncio.timeout(patience):
            while not there():
                self._news.clear()
                await self._news.wait()

    async def count(self, number: int, patience: float = PATIENCE) -> list[Received]:
        """What came, once there is so much."""
        await self.until(lambda: len(self.received) >= number, patience)
        return self.received

    def _serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        task = asyncio.create_task(self._exchange(reader, writer))
        self._serving.add(task)
        task.add_done_callback(self._serving.discard)

    async def _exchange(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        over = asyncio.create_task(self._over.wait())
        exchange = asyncio.create_task(self._receive(reader, writer))
        await asyncio.wait((over, exchange), return_when=asyncio.FIRST_COMPLETED)
        for task in (over, exchange):
            task.cancel()
        await asyncio.gather(over, exchange, return_exceptions=True)
        if self._over.is_set():
            writer.transport.abort()
        writer.close()
        with contextlib.suppress(ConnectionError):
            await writer.wait_closed()

    async def _receive(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        with contextlib.suppress(ConnectionError, asyncio.IncompleteReadError):
            head = (await reader.readuntil(b"\r\n\r\n")).decode("latin-1")
            line, *lines = head.strip().split("\r\n")
            headers = {name.lower(): value.strip() for name, _, value in (each.partition(":") for each in lines)}
            body = await reader.readexactly(int(headers.get("content-length", 0)))
            self.received.append(Received(line.split(" ")[1], headers, body))
            self._news.set()
            await self._answer(self.answers.pop(0) if self.answers else self.answer, writer)

    async def _answer(self, answer: str | int, writer: asyncio.StreamWriter) -> None:
        if answer == "break":
            return
        if answer == "hang":
            await self._over.wait()
            return
        length = {"huge": HUGE_BYTES, "drip": 600}.get(str(answer), 4)
        status = answer if isinstance(answer, int) else 200
        named = {"Content-Length": str(length), "Connection": "close", **self.headers}
        writer.write(f"HTTP/1.1 {status} Whatever\r\n".encode())
        writer.write("".join(f"{name}: {value}\r\n" for name, value in named.items()).encode() + b"\r\n")
        if answer == "huge":
            while self.sent < HUGE_BYTES:
                writer.write(PIECE)
                await writer.drain()
                self.sent += len(PIECE)
        elif answer == "drip":
            for _ in range(length):
                writer.write(b".")
                await writer.drain()
                await asyncio.sleep(1)
        else:
            writer.write(b"told")
            await writer.drain()
