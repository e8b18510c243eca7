"""uvicorn's two protocols within our bounds: time to open, peers that vanish, readers that do not read. Know no route.

Silence alone closes nothing. What is buffered for a reader is bounded by pieces: uvicorn writes no further while the
transport holds more than its high-water mark.
"""

import asyncio
from collections.abc import Sequence
from typing import Any, ClassVar, cast

from uvicorn._types import ASGISendEvent, WebSocketSendEvent
from uvicorn.protocols.http.httptools_impl import HttpToolsProtocol
from uvicorn.protocols.utils import ClientDisconnected
from uvicorn.protocols.websockets.websockets_sansio_impl import WebSocketsSansIOProtocol
from websockets.exceptions import InvalidState
from websockets.frames import Frame
from websockets.protocol import OPEN

# Seconds: to send the whole head of a request and have a socket accepted, then to answer a close, to read something.
OPENING_SECONDS = 5.0
CLOSING_SECONDS = 5.0
STALLED_SECONDS = 30.0
# A ping every so often, and so long for its pong: together they bound how long a vanished peer is not noticed.
PING_SECONDS = 20.0
PONG_SECONDS = 25.0
# Connections that have not sent a whole head; one more, and the oldest of them goes.
MOST_OPENING = 1024
# Bytes: of a socket's message as it comes, of a piece of one as it goes, and of what waits for one reader.
MESSAGE_CAP = 64 * 1024
PIECE = 64 * 1024
MOST_BUFFERED = 256 * 1024
# What an app's `websocket.disconnect` says of a peer that answers no ping; the app may still close the socket itself.
TIMED_OUT = 4408
NO_TEXT = 1007


class HttpConnection(HttpToolsProtocol):
    """A connection that is closed where the head of a request does not come whole in time."""

    _opening: ClassVar[dict["HttpConnection", asyncio.TimerHandle]] = {}
    _in_head = True

    def connection_made(self, transport: asyncio.Transport) -> None:  # type: ignore[override]
        """It may send."""
        super().connection_made(transport)
        self._begin_to_open()
        if len(self._opening) > MOST_OPENING:
            next(iter(self._opening))._give_up()

    def connection_lost(self, exc: Exception | None) -> None:
        """It is gone."""
        super().connection_lost(exc)
        self._opened()

    def on_message_begin(self) -> None:
        """The head of a request begins."""
        super().on_message_begin()
        self._in_head = True

    def on_headers_complete(self) -> None:
        """The head is whole."""
        super().on_headers_complete()
        self._in_head = False
        self._opened()

    def data_received(self, data: bytes) -> None:
        """Something came."""
        super().data_received(data)
        if self._in_head and self not in self._opening and not self.transport.is_closing():
            self._begin_to_open()

    def _begin_to_open(self) -> None:
        self._opening[self] = self.loop.call_later(OPENING_SECONDS, self._give_up)

    def _opened(self) -> None:
        timer = self._opening.pop(self, None)
        if timer is not None:
            timer.cancel()

    def _give_up(self) -> None:
        self._opened()
        self.transport.close()


class SocketConnection(WebSocketsSansIOProtocol):
    """A socket whose end is always found."""

    _deadline: asyncio.TimerHandle | None = None
    _broken = False

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        """An upgrade was asked for."""
        super().connection_made(transport)
        self._deadline = self.loop.call_later(OPENING_SECONDS, self.transport.abort)

    def connection_lost(self, exc: Exception | None) -> None:
        """It is gone."""
        super().connection_lost(exc)
        self._forget_deadline()

    def data_received(self, data: bytes) -> None:
        """Something came."""
        if self._broken:
            return
        super().data_received(data)
        if self.conn.handshake_exc is not None and not self.handshake_initiated:
            # A head that is no request, or is too long: the library has said so and waits for us to close.
            self.transport.write(b"".join(self.conn.data_to_send()))
            self.transport.close()

    def handle_cont(self, event: Frame) -> None:
        """A piece of a message. Empty ones count for nothing in its bound, and so could be kept without end."""
        if event.data or event.fin:
            super().handle_cont(event)

    def send_receive_event_to_app(self) -> None:
        """A message is whole. Text that is no UTF-8 is the peer's fault, and nothing for our log."""
        if self.curr_msg_data_type == "text" and not self.close_sent:
            try:
                b"".join(self.frames).decode()
            except UnicodeDecodeError:
                self.conn.send_close(NO_TEXT)
                self.handle_parser_exception()
                return
        super().send_receive_event_to_app()

    def handle_ping(self) -> None:
        """The peer pings; it may do so faster than it reads the answers."""
        super().handle_ping()
        if self.transport.get_write_buffer_size() > MOST_BUFFERED:
            self.transport.abort()

    def handle_parser_exception(self) -> None:
        """Say what was wrong and that nothing follows, then pass over what comes until the peer ends too.

        Closed at once, the peer might be reset before it reads.
        """
        close = self.conn.close_sent
        self._broken = self.close_sent = True
        self.queue.put_nowait({"type": "websocket.disconnect", "code": close.code if close else 1006})
        self.transport.write(b"".join(self.conn.data_to_send()))
        self.transport.write_eof()
        if self.read_paused:
            self.read_paused = False
            self.transport.resume_reading()
        self.close_timer = self.loop.call_later(CLOSING_SECONDS, self.transport.abort)

    def keepalive_timeout(self) -> None:
        """Leave the last words to the app; a peer that is gone does not hear them."""
        self.pong_timer = None
        self.pending_ping_payload = None
        if not self.close_sent and not self.transport.is_closing():
            self.queue.put_nowait({"type": "websocket.disconnect", "code": TIMED_OUT})
            self.close_timer = self.loop.call_later(CLOSING_SECONDS, self.transport.abort)

    def pause_writing(self) -> None:
        """The reader is behind."""
        super().pause_writing()
        self._deadline = self.loop.call_later(STALLED_SECONDS, self.transport.abort)

    def resume_writing(self) -> None:
        """The reader has caught up."""
        super().resume_writing()
        self._forget_deadline()

    async def send(self, message: ASGISendEvent) -> None:
        """As uvicorn does, but for long messages, which go in pieces, and the end, which does not wait for the peer."""
        if self.close_sent:
            raise ClientDisconnected
        if (texts := cast(Any, message).get("texts")) is not None:
            await self._send_together(texts)
            return
        if message["type"] == "websocket.send" and 4 * len(cast(Any, message).get("text") or "") > PIECE:
            await self._send_in_pieces(message)
            return
        await super().send(message)
        if message["type"] == "websocket.accept":
            self._forget_deadline()
        elif message["type"] == "websocket.close" and self.close_timer is not None:
            self.close_timer.cancel()
            self.close_timer = self.loop.call_later(CLOSING_SECONDS, self.transport.abort)

    async def _send_together(self, texts: Sequence[str]) -> None:
        """Several messages, one write: each through the library, state and all, takes four times as long."""
        if any(4 * len(text) > PIECE for text in texts):
            for text in texts:
                await self.send({"type": "websocket.send", "text": text})
            return
        await self.writable.wait()
        if self.disconnected or self.close_sent or self.conn.state is not OPEN:
            raise ClientDisconnected
        self.transport.write(b"".join([_text_message(text.encode()) for text in texts]))

    async def _send_in_pieces(self, message: WebSocketSendEvent) -> None:
        data = (message["text"] or "").encode()
        for start in range(0, len(data), PIECE):
            await self.writable.wait()
            if self.disconnected or self.close_sent:
                raise ClientDisconnected
            put = self.conn.send_continuation if start else self.conn.send_text
            try:
                put(data[start : start + PIECE], start + PIECE >= len(data))
            except InvalidState as error:
                raise ClientDisconnected from error
            self.transport.write(b"".join(self.conn.data_to_send()))

    def _forget_deadline(self) -> None:
        if self._deadline is not None:
            self._deadline.cancel()
            self._deadline = None


def _text_message(data: bytes) -> bytes:
    """A whole, unmasked text message of less than 64 KiB (RFC 6455, 5.2)."""
    size = len(data)
    return (bytes((0x81, size)) if size < 126 else b"\x81\x7e" + size.to_bytes(2, "big")) + data
