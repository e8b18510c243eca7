"""A turn's answer on its way out: whole, or frame by frame over SSE. Knows no dialect's fields.

One event, one write; events that are ready together, one write. A raw ASGI response: no iterator, task or memory
stream of a framework stands between the log and the socket.
"""

import asyncio
from collections.abc import Callable, Mapping, Sequence
from typing import Any

from starlette.requests import Request
from starlette.responses import Response
from starlette.types import Receive, Scope, Send

from dragoman.core.answers import Answer
from dragoman.core.events import Group, TurnEvent
from dragoman.core.ids import prefixed
from dragoman.server.answers import json_answer
from dragoman.server.requests import note, tell
from dragoman.server.stepped import PARKED, Stepped
from dragoman.services.runs import Watch

DONE = b"data: [DONE]\n\n"
COMMENT = b":\n\n"
GAP = b": gap\n\n"
KEEP_ALIVE_SECONDS = 15.0

Encoder = Callable[[TurnEvent], Sequence[bytes]]

EXPOSED = (
    *("X-Conversation-Id", "X-Message-Id", "X-Turn-Id", "X-Request-Id", "Idempotent-Replayed", "Retry-After"),
    *("Link", "X-Total-Count", "X-Next-Cursor"),
)


def turn_headers(request: Request, watch: Watch) -> dict[str, str]:
    """The ids of a turn, in headers; and its id for the log line of this request."""
    turn = watch.turn
    headers = {
        "X-Conversation-Id": prefixed("conv", turn.conversation_id),
        "X-Message-Id": prefixed("msg", turn.answer_id),
        "X-Turn-Id": prefixed("turn", turn.id),
    }
    if watch.replayed:
        headers["Idempotent-Replayed"] = "true"
    note(request, turn_id=headers["X-Turn-Id"])
    return headers


async def whole_reply(request: Request, watch: Watch, body: Callable[[Answer], Any]) -> Response:
    """The answer in one piece, when the turn has closed.

    Raises:
        ModelFailed, Unavailable: there is none.
    """
    # An answer that says a failure names its turn too.
    tell(request, [(name.lower().encode(), value.encode()) for name, value in turn_headers(request, watch).items()])
    leaving = asyncio.create_task(_notice_leaving(request.receive, watch)) if watch.ends_when_left else None
    try:
        answer = await watch.answer()
    finally:
        if leaving is not None:
            leaving.cancel()
    answer.check()
    return json_answer(body(answer))


async def _notice_leaving(receive: Receive, watch: Watch) -> None:
    while (await receive())["type"] != "http.disconnect":
        pass
    watch.leave()


class EventStream(Response):
    """A turn as server-sent events. `ids` asks for ``id:`` lines, with which a client can go on after a cut."""

    def __init__(self, watch: Watch, encoder: Encoder, headers: Mapping[str, str], *, ids: bool) -> None:
        self.status_code = 200
        self.background = None
        self.body = b""
        self.media_type = "text/event-stream"
        self._watch = watch
        self._encoder = encoder
        self._ids = ids
        self._gap_said = False
        self.written_at = 0.0
        self.init_headers(
            {
                **headers,
                "Cache-Control": "no-cache, no-transform",
                "X-Accel-Buffering": "no",
            }
        )
        del self.headers["content-length"]

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Write the stream to its end."""
        await send({"type": "http.response.start", "status": 200, "headers": self.raw_headers})
        await send({"type": "http.response.body", "body": COMMENT, "more_body": True})
        loop = asyncio.get_running_loop()
        self.written_at = loop.time()
        keep_alive = _KeepAlive(self, send)
        leaving = asyncio.create_task(_notice_leaving(receive, self._watch)) if self._watch.ends_when_left else None
        writing = Stepped(self._write(send))
        self._watch.listen(writing.step)
        try:
            writing.step()
            await writing.done
        finally:
            writing.close()
            self._watch.leave()
            keep_alive.cancel()
            if leaving is not None:
                leaving.cancel()

    @property
    def ended(self) -> bool:
        """Whether its last frame is written, or being written."""
        return self._watch.ended

    async def _write(self, send: Send) -> None:
        """Write what the log has, and again when it has more, until it has been closed."""
        loop, watch = asyncio.get_running_loop(), self._watch
        while True:
            while (group := watch.take()) is None and not watch.ended:
                await PARKED
            frames = self._frames(group) if group is not None else b""
            if frames or watch.ended:
                self.written_at = loop.time()
                await send({"type": "http.response.body", "body": frames, "more_body": not watch.ended})
            if watch.ended:
                return

    def _frames(self, group: Group) -> bytes:
        if not self._ids:
            return b"".join([frame for event in group.events for frame in self._encoder(event)])
        cursor = self._watch.cursor
        pieces: list[bytes] = []
        for sequence, event in enumerate(group.events, start=group.first_sequence):
            frames = self._encoder(event)
            seen = 0
            if cursor is not None:
                if group.epoch > cursor.epoch and sequence <= cursor.sequence and not self._gap_said:
                    # What the client saw was never stored: its place is not in the log.
                    self._gap_said = True
                    pieces.append(GAP)
                seen = sum(cursor.covers(group.epoch, sequence, index) for index in range(len(frames)))
            pieces.append(self._numbered(group.epoch, sequence, frames, seen))
        return b"".join(pieces)

    def _numbered(self, epoch: int, sequence: int, frames: Sequence[bytes], seen: int) -> bytes:
        """The frames from `seen` on with an id each; the last frame's says that the event was seen whole."""
        event_id = b"id: %s.%d.%d" % (self._watch.turn.id.encode(), epoch, sequence)
        last = len(frames) - 1
        pieces: list[bytes] = []
        for index, frame in enumerate(frames[seen:], start=seen):
            if frame != DONE:
                pieces.append(event_id + (b"\n" if index == last else b".%d\n" % (index + 1)))
            pieces.append(frame)
        return b"".join(pieces)


class _KeepAlive:
    """Writes a comment where nothing else was written for a while. A timer, for a task a stream would cost more."""

    def __init__(self, stream: EventStream, send: Send) -> None:
        self._stream = stream
        self._send = send
        self._loop = asyncio.get_running_loop()
        self._writing: asyncio.Task[None] | None = None
        self._timer = self._loop.call_later(KEEP_ALIVE_SECONDS, self._beat)

    def _beat(self) -> None:
        now = self._loop.time()
        if now - self._stream.written_at >= KEEP_ALIVE_SECONDS and (self._writing is None or self._writing.done()):
            self._stream.written_at = now
            self._writing = self._loop.create_task(self._write())
        self._timer = self._loop.call_at(self._stream.written_at + KEEP_ALIVE_SECONDS, self._beat)

    async def _write(self) -> None:
        if self._stream.ended:
            return
        await self._send({"type": "http.response.body", "body": COMMENT, "more_body": True})

    def cancel(self) -> None:
        """Write no more."""
        self._timer.cancel()
        if self._writing is not None:
            self._writing.cancel()
