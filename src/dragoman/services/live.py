"""The turn log: events of running turns, appended without gaps, watched, flushed together. Knows no wire."""

import asyncio
from collections.abc import Callable, Sequence

import structlog

from dragoman.core.errors import Unavailable
from dragoman.core.events import CLOSING, Group, TurnEvent
from dragoman.ports.store import Store
from dragoman.ports.turns import LogRow

FLUSH_INTERVAL = 0.25

_log = structlog.get_logger(__name__)


class TurnLog:
    """The events of one turn's segment, numbered without a gap.

    A listener is called where the events are appended, not through the loop: a wake-up of its own for every token and
    watcher costs more than all else that is done for the token.
    """

    __slots__ = (
        "_first",
        "_taken",
        "closed",
        "epoch",
        "events",
        "flushing",
        "listeners",
        "tenant_id",
        "turn_id",
    )

    def __init__(self, tenant_id: str, turn_id: str) -> None:
        self.tenant_id = tenant_id
        self.turn_id = turn_id
        self.epoch = 1
        self.events: list[TurnEvent] = []
        self.closed = False
        self.flushing: asyncio.Future[None] | None = None
        self.listeners: list[Callable[[], None]] = []
        self._first = 1
        self._taken = 0

    def number_from(self, epoch: int, sequence: int) -> None:
        """Say, before the first event, where the numbers begin."""
        self.epoch, self._first = epoch, sequence

    def append(self, events: Sequence[TurnEvent]) -> None:
        """Add events that came together and tell each listener once; nothing follows a closing event."""
        self.events += events
        self.closed = isinstance(events[-1], CLOSING)
        for listener in tuple(self.listeners):
            listener()

    def last_row(self, closing: TurnEvent) -> LogRow:
        """What no flush has taken, with the closing event that is to be appended after it; no flush takes it now."""
        row = self._row([*self.events[self._taken :], closing])
        self._taken = len(self.events)
        return row

    def take(self) -> LogRow | None:
        """The events since the last flush, as one row; None where there are none."""
        waiting = self.events[self._taken :]
        if not waiting:
            return None
        row = self._row(waiting)
        self._taken += len(waiting)
        return row

    def give_back(self, row: LogRow) -> None:
        """A flush did not happen: its events wait for the next."""
        self._taken -= len(row.events)

    def _row(self, events: Sequence[TurnEvent]) -> LogRow:
        return LogRow(self.tenant_id, self.turn_id, self.epoch, self._first + self._taken, events)

    def since(self, position: int) -> Group | None:
        """The events from a position (counted from 0) on; None where there are none yet."""
        ready = self.events[position:]
        return Group(self.epoch, self._first + position, ready) if ready else None


class Live:
    """The logs of every turn that runs in this process, and the one flusher for all of them."""

    def __init__(self, store: Store) -> None:
        self._store = store
        self._logs: dict[str, TurnLog] = {}

    def open(self, log: TurnLog) -> None:
        """Begin to flush a log and let it be found."""
        self._logs[log.turn_id] = log

    def close(self, log: TurnLog) -> None:
        """The turn is stored as closed: its log is the database's from here on."""
        if self._logs.get(log.turn_id) is log:
            del self._logs[log.turn_id]

    def find(self, turn_id: str) -> TurnLog | None:
        """The log of a turn that runs here."""
        return self._logs.get(turn_id)

    def runs(self, turn_id: str) -> bool:
        """Whether a turn runs here; may be asked from any thread."""
        return turn_id in self._logs

    async def flush_for_ever(self) -> None:
        """Write what has come to the store, all turns in one transaction, until cancelled."""
        while True:
            await asyncio.sleep(FLUSH_INTERVAL)
            await self._flush()

    async def _flush(self) -> None:
        taken = [(log, row) for log in self._logs.values() if (row := log.take()) is not None]
        if not taken:
            return
        done = asyncio.get_running_loop().create_future()
        for log, _ in taken:
            log.flushing = done
        try:
            await self._store.turns.flush([row for _, row in taken])
        except Exception as error:
            for log, row in taken:
                log.give_back(row)
            level = _log.warning if isinstance(error, Unavailable) else _log.exception
            level("turn_log_not_flushed", turns=len(taken), error=str(error))
        finally:
            done.set_result(None)
            for log, _ in taken:
                log.flushing = None


async def settle_flush(log: TurnLog) -> None:
    """Wait until no flush of this log is under way, so that its last rows follow without a gap."""
    while log.flushing is not None:
        await asyncio.shield(log.flushing)
