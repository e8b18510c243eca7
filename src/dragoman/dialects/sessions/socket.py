"""S3's socket: who is let in, what he has missed, what he says. How it is written is in server/sockets.py."""

import asyncio
import contextlib
import time
from typing import NamedTuple

import structlog
from starlette.requests import HTTPConnection
from starlette.types import Receive, Scope, Send

from dragoman.core.clock import now_us
from dragoman.core.commands import Cursor, StartTurn
from dragoman.core.conversations import Conversation
from dragoman.core.errors import ConversationNotFound, DragomanError, FieldMissing, Invalid, RateLimited, Unavailable
from dragoman.core.tenants import Principal
from dragoman.dialects.sessions import errors, wire
from dragoman.server.access import VISITOR_HEADER, address_of
from dragoman.server.errors import core_error
from dragoman.server.protocols import OPENING_SECONDS, TIMED_OUT
from dragoman.server.requests import conversation_id_of, known_cursor
from dragoman.server.services import Services, services_of
from dragoman.server.sockets import Gone, Socket, unseen, write
from dragoman.services.missed import missed
from dragoman.services.runs import Run

SLOTS = "sockets"
MOST_CONNECTIONS = 50
MESSAGES_PER_SECOND = 10.0
SHUTTING_DOWN = 1012

_log = structlog.get_logger(__name__)


class Entrance(NamedTuple):
    """Who was let in from which address, as which user, to which chat, and what he has seen of it."""

    principal: Principal
    user_id: str
    chat: Conversation
    address: str
    last_event_id: str | None


class SocketApp:
    """What serves /ws/chat. A browser cannot read a refused handshake: every socket is accepted, then told."""

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Serve one socket to its end."""
        began = time.monotonic()
        await receive()
        await send({"type": "websocket.accept"})
        services = services_of(HTTPConnection(scope))
        if services.turns.draining:
            await _refuse(send, Unavailable("The server is shutting down", retry_after=5), SHUTTING_DOWN)
            return
        try:
            async with asyncio.timeout(OPENING_SECONDS):
                entrance = await _let_in(HTTPConnection(scope), services)
        except TimeoutError:
            await _refuse(send, errors.ConnectionTimedOut())
            return
        except Exception as error:
            await _refuse(send, core_error(error))
            return
        tenant_id = entrance.principal.tenant_id
        if not await services.slots.take(tenant_id, SLOTS, MOST_CONNECTIONS):
            await _refuse(send, errors.TooManyConnections())
            return
        try:
            await ChatSocket(services, entrance, send).serve(receive)
        except Gone:
            pass
        except Exception as error:
            await _refuse(send, core_error(error))
        finally:
            await services.slots.release(tenant_id, SLOTS)
            _log.info("socket", path=scope["path"], tenant_id=tenant_id, seconds=round(time.monotonic() - began, 1))


async def _refuse(send: Send, error: DragomanError, code: int | None = None) -> None:
    with contextlib.suppress(Gone, OSError):
        await write(send, wire.error_frame(error))
        await send({"type": "websocket.close", "code": code or errors.refusal_code(error)})


async def _let_in(connection: HTTPConnection, services: Services) -> Entrance:
    """Who comes, by ticket or by key.

    Raises:
        FieldMissing, Unauthenticated, Forbidden, ConversationNotFound, Invalid, Unavailable
    """
    origin, ticket = connection.headers.get("origin"), connection.query_params.get("ticket")
    if ticket:
        principal, user_id, chat_id = await services.tickets.redeem(ticket, origin)
    else:
        key = _given(connection, "api_key")
        visitor_token = connection.query_params.get("visitor_token") or connection.headers.get(VISITOR_HEADER)
        principal = (await services.access.authenticate(key, origin, visitor_token or None)).principal
        user_id = wire.user_id(_given(connection, "user_id"))
        chat_id = conversation_id_of(_given(connection, "chat_id"))
    chat = await services.conversations.get(principal, chat_id)
    if chat.user_id not in (None, user_id):
        raise ConversationNotFound
    last_event_id = connection.query_params.get("last_event_id") or connection.headers.get("x-last-event-id")
    return Entrance(principal, user_id, chat, address_of(connection), last_event_id or None)


def _given(connection: HTTPConnection, name: str) -> str:
    """A parameter, in the query or in its header; what is empty is not given.

    Raises:
        FieldMissing
    """
    header = f"x-{name.replace('_', '-')}"
    given = connection.query_params.get(name) or connection.headers.get(header)
    if not given:
        raise FieldMissing(name)
    return given


def _spell(error: DragomanError) -> tuple[str, int | None]:
    return wire.error_frame(error), errors.close_code(error)


class ChatSocket:
    """A socket that was let in."""

    def __init__(self, services: Services, entrance: Entrance, send: Send) -> None:
        self._services = services
        self._principal, self._user_id, self._chat, self._address, self._last_event_id = entrance
        self._send = send
        self._socket = Socket(send, self._principal, _spell)
        self._attached = ""
        self._tokens = MESSAGES_PER_SECOND
        self._filled_at = time.monotonic()

    async def serve(self, receive: Receive) -> None:
        """Tell what there is and listen, until the client leaves or is closed.

        Raises:
            Gone, Unavailable
        """
        services, socket, place = self._services, self._socket, (self._chat.tenant_id, self._chat.id)
        services.sockets.add(socket)
        services.turns.followers.add(*place, self._follow)
        try:
            await self._greet()
            await self._catch_up()
            socket.start()
            while (message := await receive())["type"] == "websocket.receive" and not socket.closing:
                await self._hear(message.get("text") or message.get("bytes") or "")
            if message.get("code") == TIMED_OUT:
                socket.say(errors.ConnectionTimedOut())
        finally:
            services.turns.followers.remove(*place, self._follow)
            services.sockets.remove(socket)
            socket.end()

    async def _greet(self) -> None:
        about = {"user_id": self._user_id, "chat_id": self._chat.id, "tenant_id": self._chat.tenant_id}
        await write(self._send, wire.own_frame("connection_established", **about))
        # A visitor's users are his own: he is not told which users the tenant knows, nor makes them known.
        visitor_id = self._principal.visitor_id
        met = self._user_id if visitor_id is None else f"{visitor_id}/{self._user_id}"
        if await self._services.store.conversations.meet_user(self._chat.tenant_id, met, now_us()):
            await write(self._send, wire.own_frame("user_created", user_id=self._user_id))

    async def _catch_up(self) -> None:
        """Write what was missed, and follow what runs. Whatever begins from now on is followed already."""
        cursor = known_cursor(self._last_event_id) if self._last_event_id else None
        run = self._services.turns.running_in(self._chat.tenant_id, self._chat.id)
        if run is not None:
            # It may be seen when its beginning is durable; where it is not yet, we are told when it is.
            turn = run.begun.turn
            stored = await self._services.store.turns.get(turn.tenant_id, turn.id)
            if stored is not None and stored.answer_id == turn.answer_id and not self._socket.follows(turn.answer_id):
                self._follow(run, cursor)
                self._attached = turn.answer_id
        if cursor is not None:
            await self._replay(cursor)
        elif self._last_event_id:
            await write(self._send, wire.error_frame(errors.ResumeGap()))
        self._last_event_id = None

    async def _replay(self, cursor: Cursor) -> None:
        """Write every segment that has closed since the cursor."""
        turns = self._services.store.turns
        async for each in missed(turns, self._chat.tenant_id, self._chat.id, cursor, self._socket.follows):
            if each is None:
                await write(self._send, wire.error_frame(errors.ResumeGap()))
                continue
            turn, segment = each
            encoder = wire.Frames(turn)
            for group in segment:
                for sequence, event in enumerate(group.events, start=group.first_sequence):
                    frames = encoder(group.epoch, sequence, event)
                    if turn.id == cursor.turn_id:
                        frames = unseen(frames, cursor, group.epoch, sequence)
                    for frame in frames:
                        await write(self._send, frame)

    def _follow(self, run: Run, cursor: Cursor | None = None) -> None:
        """A segment runs: it is written, from the cursor on where that stands in its turn."""
        turn = run.begun.turn
        if turn.answer_id != self._attached:
            if cursor is not None and cursor.turn_id != turn.id:
                cursor = None
            self._socket.follow(self._services.sockets.encoded(run, wire.Frames), cursor)

    async def _hear(self, text: str | bytes) -> None:
        """Take a message, or say why not. It is sent beside us: we go on to listen."""
        try:
            if not self._may_send():
                raise RateLimited(1)
            admission = await self._services.metering.admit(self._principal, self._address, sends=True)
            if admission.refused:
                raise RateLimited(admission.retry_after)
            content, metadata = wire.user_message(text)
        except Exception as error:
            self._socket.say(core_error(error))
            return
        command = StartTurn(
            principal=self._principal,
            agent_reference=self._chat.agent_id,
            text=content,
            conversation_id=self._chat.id,
            metadata=metadata,
        )
        self._services.sockets.do(self._start(command))

    def _may_send(self) -> bool:
        """Whether the connection has a message left: ten, and ten more a second."""
        now = time.monotonic()
        self._tokens = min(MESSAGES_PER_SECOND, self._tokens + (now - self._filled_at) * MESSAGES_PER_SECOND)
        self._filled_at = now
        if self._tokens < 1:
            return False
        self._tokens -= 1
        return True

    async def _start(self, command: StartTurn) -> None:
        try:
            watch = await self._services.turns.start(command)
        except Invalid as error:
            self._socket.say(errors.InvalidMessage(error.message))
            return
        except Exception as error:
            self._socket.say(core_error(error))
            return
        # Whoever watches was told before; where all have left by now, the turn may have to end.
        watch.listen(_unmoved)
        watch.leave()


def _unmoved() -> None:
    """Hears and does nothing."""
