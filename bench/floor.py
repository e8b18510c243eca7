"""The durable floor: the least that a chat server with a memory costs in Starlette, written by hand for this purpose.

It speaks the same wire as Dragoman's slug contract, keeps conversations in SQLite under Dragoman's own PRAGMAs, and
does nothing else: no limits, no resume, no log of events, one key. Knows Dragoman by those PRAGMAs only.
"""

import argparse
import asyncio
import contextlib
import queue
import sqlite3
import threading
import time
import uuid
from collections.abc import AsyncIterator, Callable, Sequence
from pathlib import Path
from typing import Any, NamedTuple, TypeVar

import aiohttp
import msgspec
import uvicorn
from starlette.applications import Starlette
from starlette.requests import Request
from starlette.responses import Response, StreamingResponse
from starlette.routing import Route

from dragoman.adapters.store.sqlite import PRAGMAS

T = TypeVar("T")
Job = tuple[Callable[[sqlite3.Connection], Any], asyncio.Future[Any]]
Settled = tuple[asyncio.Future[Any], Any]

SCHEMA = """
CREATE TABLE IF NOT EXISTS conversations (id TEXT PRIMARY KEY, tenant TEXT, agent TEXT, created_at INT) WITHOUT ROWID;
CREATE TABLE IF NOT EXISTS messages (
    id INTEGER PRIMARY KEY, conversation TEXT, role TEXT, content TEXT, created_at INT);
CREATE INDEX IF NOT EXISTS messages_of ON messages (conversation, id);
CREATE TABLE IF NOT EXISTS turns (
    id TEXT PRIMARY KEY, conversation TEXT, state TEXT, tokens INT, created_at INT, finished_at INT) WITHOUT ROWID;
"""
WINDOW = 128
MAX_BATCH = 64


class Question(msgspec.Struct, rename="camel"):
    """The body of a request; every answer is streamed."""

    message: str
    conversation_id: str | None = None


class _Delta(msgspec.Struct):
    content: str | None = None


class _Choice(msgspec.Struct):
    delta: _Delta


class _Usage(msgspec.Struct):
    total_tokens: int


class _Chunk(msgspec.Struct):
    choices: list[_Choice]
    usage: _Usage | None = None


class Turn(NamedTuple):
    """A turn that is under way."""

    id: str
    conversation: str
    model: str
    prompt: list[dict[str, str]]


decode_question = msgspec.json.Decoder(Question).decode
decode_chunk = msgspec.json.Decoder(_Chunk).decode
encode = msgspec.json.Encoder().encode


class Writer:
    """One thread that writes: what waits together is committed together, a savepoint each."""

    def __init__(self, path: Path) -> None:
        self.path = path
        self.loop = asyncio.get_running_loop()
        self.waiting: queue.SimpleQueue[Job | None] = queue.SimpleQueue()
        self.thread = threading.Thread(target=self._work, name="writer")
        self.thread.start()

    async def run(self, write: Callable[[sqlite3.Connection], T]) -> T:
        """Run a write in the thread; what it returned, once that is durable."""
        future: asyncio.Future[T] = self.loop.create_future()
        self.waiting.put((write, future))
        return await future

    def close(self) -> None:
        """Finish what waits and end the thread."""
        self.waiting.put(None)
        self.thread.join()

    def _work(self) -> None:
        connection = sqlite3.connect(self.path, isolation_level=None, cached_statements=256)
        for pragma in PRAGMAS:
            connection.execute(f"PRAGMA {pragma}")
        connection.executescript(SCHEMA)
        while batch := self._gather():
            self.loop.call_soon_threadsafe(_settle, self._commit(connection, batch))
        connection.close()

    def _gather(self) -> list[Job]:
        batch: list[Job] = []
        job = self.waiting.get()
        with contextlib.suppress(queue.Empty):
            while job is not None:
                batch.append(job)
                if len(batch) == MAX_BATCH:
                    return batch
                job = self.waiting.get_nowait()
            if batch:
                self.waiting.put(None)  # the end comes after this batch
        return batch

    def _commit(self, connection: sqlite3.Connection, batch: Sequence[Job]) -> list[Settled]:
        settled: list[Settled] = []
        try:
            connection.execute("BEGIN IMMEDIATE")
            for write, future in batch:
                connection.execute("SAVEPOINT one")
                try:
                    settled.append((future, write(connection)))
                except sqlite3.Error as error:
                    connection.execute("ROLLBACK TO one")
                    settled.append((future, error))
                connection.execute("RELEASE one")
            connection.execute("COMMIT")
        except sqlite3.Error as error:
            if connection.in_transaction:
                connection.execute("ROLLBACK")
            return [(future, error) for _, future in batch]
        return settled


def _settle(settled: Sequence[Settled]) -> None:
    for future, result in settled:
        if future.done():
            continue
        if isinstance(result, BaseException):
            future.set_exception(result)
        else:
            future.set_result(result)


def begin(question: Question, model: str, tenant: str) -> Callable[[sqlite3.Connection], Turn]:
    """The first transaction: the conversation, what was said before, the user's message, the turn."""

    def write(connection: sqlite3.Connection) -> Turn:
        now = time.time_ns() // 1000
        turn, conversation = uuid.uuid4().hex, question.conversation_id
        prompt = [{"role": "user", "content": question.message}]
        if conversation is None:
            conversation = f"conv_{uuid.uuid4().hex}"
            connection.execute("INSERT INTO conversations VALUES (?, ?, ?, ?)", (conversation, tenant, model, now))
        else:
            before = connection.execute(
                "SELECT role, content FROM messages WHERE conversation = ? ORDER BY id DESC LIMIT ?",
                (conversation, WINDOW),
            )
            prompt += [{"role": role, "content": content} for role, content in before]
            prompt.reverse()
        connection.execute(
            "INSERT INTO messages (conversation, role, content, created_at) VALUES (?, 'user', ?, ?)",
            (conversation, question.message, now),
        )
        connection.execute("INSERT INTO turns VALUES (?, ?, 'running', 0, ?, NULL)", (turn, conversation, now))
        return Turn(turn, conversation, model, prompt)

    return write


def finish(turn: Turn, text: str, tokens: int) -> Callable[[sqlite3.Connection], None]:
    """The last transaction: the answer, and the turn's end."""

    def write(connection: sqlite3.Connection) -> None:
        now = time.time_ns() // 1000
        connection.execute(
            "INSERT INTO messages (conversation, role, content, created_at) VALUES (?, 'assistant', ?, ?)",
            (turn.conversation, text, now),
        )
        connection.execute(
            "UPDATE turns SET state = 'completed', tokens = ?, finished_at = ? WHERE id = ?", (tokens, now, turn.id)
        )

    return write


class Floor:
    """The server: a key, a database, a model server."""

    def __init__(self, upstream: str, database: Path, key: str) -> None:
        self.url = f"{upstream}/chat/completions"
        self.database = database
        self.tenants = {key: "bench"}

    @contextlib.asynccontextmanager
    async def lifespan(self, app: Starlette) -> AsyncIterator[None]:
        """Hold the database and the connections to the model."""
        self.writer = Writer(self.database)
        async with aiohttp.ClientSession(connector=aiohttp.TCPConnector(limit=0)) as self.session:
            yield
        self.writer.close()

    async def chat(self, request: Request) -> Response:
        """One streamed turn."""
        scheme, _, key = request.headers.get("authorization", "").partition(" ")
        tenant = self.tenants.get(key) if scheme == "Bearer" else None
        if tenant is None:
            return Response(status_code=401)
        try:
            question = decode_question(await request.body())
        except msgspec.DecodeError:
            return Response(status_code=400)
        turn = await self.writer.run(begin(question, request.path_params["slug"], tenant))
        headers = {"X-Conversation-Id": turn.conversation, "Cache-Control": "no-cache"}
        return StreamingResponse(self.answer(turn), media_type="text/event-stream", headers=headers)

    async def answer(self, turn: Turn) -> AsyncIterator[bytes]:
        """The frames of an answer, those of one read together."""
        asked = encode(
            {"model": turn.model, "messages": turn.prompt, "stream": True, "stream_options": {"include_usage": True}}
        )
        text: list[str] = []
        tokens = 0
        rest = b""
        async with self.session.post(
            self.url, data=asked, headers={"Content-Type": "application/json"}, raise_for_status=True
        ) as reply:
            async for data in reply.content.iter_any():
                *lines, rest = (rest + data).split(b"\n")
                frames: list[bytes] = []
                for line in lines:
                    if not line.startswith(b"data: ") or line == b"data: [DONE]":
                        continue
                    chunk = decode_chunk(line[6:])
                    if chunk.usage is not None:
                        tokens = chunk.usage.total_tokens
                    if chunk.choices and (piece := chunk.choices[0].delta.content):
                        text.append(piece)
                        frames.append(b'data: {"chunk":' + encode(piece) + b"}\n\n")
                if frames:
                    yield b"".join(frames)
        await self.writer.run(finish(turn, "".join(text), tokens))
        yield b"data: [DONE]\n\n"


def main(arguments: Sequence[str] | None = None) -> None:
    """Serve until terminated."""
    parser = argparse.ArgumentParser(prog="python -m bench.floor", description="The floor, as a server of its own.")
    parser.add_argument("--port", type=int, required=True)
    parser.add_argument("--upstream", required=True, help="base address of the model server, such as http://host:1/v1")
    parser.add_argument("--database", type=Path, required=True)
    parser.add_argument("--key", required=True)
    given = parser.parse_args(arguments)
    floor = Floor(given.upstream, given.database, given.key)
    app = Starlette(
        routes=[Route("/v1/api/chat/{slug}", floor.chat, methods=["POST"])],
        lifespan=floor.lifespan,
    )
    uvicorn.run(
        app, host="127.0.0.1", port=given.port, loop="uvloop", http="httptools", access_log=False, log_level="warning"
    )


if __name__ == "__main__":
    main()
