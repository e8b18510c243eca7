"""Open sockets: what each is told of its conversation, in order, by one writer. Knows no dialect and no credential.

A socket is one task, which listens to its client; its writer is stepped by whoever has news. It holds places in logs
and no frames of its own: those of a turn are made once for all who watch it. `texts` of a `websocket.send` are several
messages in one write, which server/protocols.py knows beside what ASGI has.
"""

import asyncio
import contextlib
from collections.abc import Callable, Coroutine, Sequence
from typing import Any
from weakref import WeakValueDictionary

import structlog
from prometheus_client import Gauge
from starlette.types import Send

from dragoman.core.clock import now_us
from dragoman.core.commands import Cursor
from dragoman.core.conversations import Turn
from dragoman.core.errors import DragomanError, Unauthenticated
from dragoman.core.events import TurnEvent
from dragoman.core.tenants import Principal
from dragoman.ports.store import KeyStore
from dragoman.server.stepped import PARKED, Stepped
from dragoman.services.runs import Run, Watch

CHECK_SECONDS = 2.0
# A reader that is so many turns behind, or frames of its own, is let go: what it holds in memory is not bounded else.
MOST_BEHIND = 16
MOST_OWN = 64
MOST_TOGETHER = 32 * 1024
TOO_SLOW = 1013
BROKEN = 1011

# The frames of one event, by its epoch and sequence in the turn's log.
Encoder = Callable[[int, int, TurnEvent], Sequence[str]]
# An error as a frame, and the code with which it closes the socket, if it does.
Spelling = Callable[[DragomanError], tuple[str, int | None]]

OPEN = Gauge("dragoman_sockets_open", "Sockets that are open.")

_log = structlog.get_logger(__name__)


class Encoded:
    """A segment that runs, or has run here, with the frames of each event, made once."""

    __slots__ = ("__weakref__", "_encoder", "_first", "_frames", "_watch", "run")

    def __init__(self, run: Run, encoder: Encoder) -> None:
        self.run = run
        self._encoder = encoder
        self._watch = Watch(run.begun.turn, None, False, run)
        self._first = 0
        self._frames: list[Sequence[str]] = []

    def at(self, position: int) -> Sequence[str] | None:
        """The frames of the event at this position, counted from 0; None where there is none yet."""
        if position == len(self._frames) and (group := self._watch.take()) is not None:
            self._first = self._first or group.first_sequence
            self._frames += [
                self._encoder(group.epoch, sequence, event)
                for sequence, event in enumerate(group.events, start=group.first_sequence)
            ]
        return self._frames[position] if position < len(self._frames) else None

    def sequence_of(self, position: int) -> int:
        """The number of the event at this position in the turn's log."""
        return self._first + position

    def ends_at(self, position: int) -> bool:
        """Whether nothing comes from this position on."""
        return self.run.log.closed and position == len(self.run.log.events)


def unseen(frames: Sequence[str], cursor: Cursor, epoch: int, sequence: int) -> Sequence[str]:
    """The frames of an event that a client with this cursor has not had."""
    return [frame for index, frame in enumerate(frames) if not cursor.covers(epoch, sequence, index)]


class _Following:
    """One socket's place in a segment."""

    __slots__ = ("_cursor", "_encoded", "_position", "_watch")

    def __init__(self, encoded: Encoded, cursor: Cursor | None, listener: Callable[[], None]) -> None:
        self._encoded = encoded
        self._cursor = cursor
        self._position = 0
        self._watch = Watch(encoded.run.begun.turn, None, False, encoded.run)
        self._watch.listen(listener)

    @property
    def answer_id(self) -> str:
        """Names the segment."""
        return self._encoded.run.begun.turn.answer_id

    def take(self) -> Sequence[str] | None:
        """The frames of the next event; None where there is none yet."""
        frames = self._encoded.at(self._position)
        if frames is None:
            return None
        if self._cursor is not None:
            epoch, sequence = self._encoded.run.log.epoch, self._encoded.sequence_of(self._position)
            frames = unseen(frames, self._cursor, epoch, sequence)
        self._position += 1
        return frames

    @property
    def ended(self) -> bool:
        """Whether nothing more comes."""
        return self._encoded.ends_at(self._position)

    def leave(self) -> None:
        """Watch no more."""
        self._watch.leave()


class Gone(Exception):
    """The client has left."""


async def write(send: Send, frame: str) -> None:
    """Write a frame, before a socket's writer does.

    Raises:
        Gone
    """
    try:
        await send({"type": "websocket.send", "text": frame})
    except OSError as error:
        raise Gone from error


class Socket:
    """One connection that is open: frames of its own, and those of the segments that it follows."""

    __slots__ = ("_code", "_followed", "_own", "_send", "_spell", "_writing", "principal")

    def __init__(self, send: Send, principal: Principal, spell: Spelling) -> None:
        self.principal = principal
        self._send = send
        self._spell = spell
        self._own: list[str] = []
        self._followed: list[_Following] = []
        self._code: int | None = None
        self._writing: Stepped | None = None

    @property
    def closing(self) -> bool:
        """Whether it has been closed from here."""
        return self._code is not None

    def start(self) -> None:
        """Begin to write."""
        self._writing = Stepped(self._write())
        self._writing.step()

    def end(self) -> None:
        """Write and watch no more."""
        if self._writing is not None:
            self._writing.close()
            self._writing = None
        self._leave_all()

    def tell(self, frame: str) -> None:
        """Write a frame of this connection alone, before all that waits."""
        if self._code is not None:
            return
        self._own.append(frame)
        if len(self._own) > MOST_OWN:
            self.close(TOO_SLOW)
        self._step()

    def say(self, error: DragomanError) -> None:
        """Tell an error, and close where it is one that closes."""
        frame, code = self._spell(error)
        self.tell(frame)
        if code is not None:
            self.close(code)

    def close(self, code: int) -> None:
        """Write what is the connection's own, then close."""
        if self._code is None:
            self._code = code
            self._leave_all()
            self._step()

    def follow(self, encoded: Encoded, cursor: Cursor | None = None) -> None:
        """Write a segment from its start, or from a client's cursor on, after those that are followed already."""
        if self._code is None:
            self._followed.append(_Following(encoded, cursor, self._step))
            if len(self._followed) > MOST_BEHIND:
                self.close(TOO_SLOW)
            self._step()

    def follows(self, answer_id: str) -> bool:
        """Whether it is to write the segment with this answer, or is writing it."""
        return any(each.answer_id == answer_id for each in self._followed)

    def _leave_all(self) -> None:
        while self._followed:
            self._followed.pop(0).leave()

    def _step(self) -> None:
        if self._writing is not None:
            self._writing.step()

    def _next(self) -> Sequence[str]:
        """The frames that are to be written next; none where there is no news."""
        if self._own:
            return (self._own.pop(0),)
        while self._followed and self._code is None:
            first = self._followed[0]
            frames = first.take()
            if frames:
                return frames
            if frames is None:
                if not first.ended:
                    return ()
                self._followed.pop(0).leave()
        return ()

    def _ready(self) -> Sequence[str]:
        """All frames that can be written now, up to so many characters: they are one write."""
        frames = list(self._next())
        size = sum(map(len, frames))
        while frames and size < MOST_TOGETHER and (following := self._next()):
            frames += following
            size += sum(map(len, following))
        return frames

    async def _write(self) -> None:
        """Write what there is, and again when there is more, until it is to be closed or is gone."""
        try:
            while True:
                while not (frames := self._ready()):
                    if self._code is not None:
                        await self._send({"type": "websocket.close", "code": self._code})
                        return
                    await PARKED
                if len(frames) == 1:
                    await self._send({"type": "websocket.send", "text": frames[0]})
                else:
                    await self._send({"type": "websocket.send", "texts": frames})
        except OSError:
            return  # the client has left; whoever listens to it hears so too
        except Exception:
            _log.exception("socket_not_written")
            with contextlib.suppress(OSError):
                await self._send({"type": "websocket.close", "code": BROKEN})


class OpenSockets:
    """Every socket that is open in this process."""

    def __init__(self, keys: KeyStore) -> None:
        self._keys = keys
        self._open: set[Socket] = set()
        self._encoded: WeakValueDictionary[str, Encoded] = WeakValueDictionary()
        self._under_way: set[asyncio.Task[None]] = set()

    def add(self, socket: Socket) -> None:
        """A socket was let in."""
        self._open.add(socket)
        OPEN.inc()

    def remove(self, socket: Socket) -> None:
        """It is gone."""
        self._open.remove(socket)
        OPEN.dec()

    def encoded(self, run: Run, encoder_of: Callable[[Turn], Encoder]) -> Encoded:
        """A segment with its frames, the same for all who ask while one of them holds it."""
        turn = run.begun.turn
        known = self._encoded.get(turn.answer_id)
        if known is None:
            known = self._encoded[turn.answer_id] = Encoded(run, encoder_of(turn))
        return known

    def do(self, work: Coroutine[Any, Any, None]) -> None:
        """Do something that goes on when the socket that asked for it is gone."""
        task = asyncio.create_task(work)
        self._under_way.add(task)
        task.add_done_callback(self._under_way.discard)

    async def check_for_ever(self) -> None:
        """Close the sockets whose keys are closed, until cancelled."""
        while True:
            await asyncio.sleep(CHECK_SECONDS)
            try:
                await self._check()
            except Exception as error:
                _log.warning("sockets_not_checked", error=str(error))

    async def _check(self) -> None:
        for tenant_id in {socket.principal.tenant_id for socket in self._open}:
            known = await self._keys.all(tenant_id)
            good = {key.id for key in known if key.is_good(now_us())}
            for socket in tuple(self._open):
                if socket.principal.tenant_id == tenant_id and socket.principal.key_id not in good:
                    socket.say(Unauthenticated("This key is no longer good"))
