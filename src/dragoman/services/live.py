"""The turn log: events of running turns, appended without gaps, watched, flushed together. Knows no wire."""

import asyncio
from collections.abc import AsyncIterator, Iterable, Sequence

import structlog

from dragoman.core.errors import Unavailable
from dragoman.core.events import CLOSING, TurnEvent
from dragoman.ports.store import LoggedEvent, LogRow, Store

FLUSH_INTERVAL = 0.25

_log = structlog.get_logger(__name__)


class TurnLog:
    """The events of one turn's segment, numbered without a gap."""

    def __init__(self, tenant_id: str, turn_id: str) -> None:
        self.tenant_id = tenant_id
        self.turn_id = turn_id
        self.epoch = 1
        self.events: list[LoggedEvent] = []
        self.closed = False
        self.watchers = 0
        self._sequence = 1
        self._taken = 0
        self._sleepers: list[asyncio.Future[None]] = []
        self.flushing: asyncio.Future[None] | None = None

    def number_from(self, epoch: int, sequence: int) -> None:
        """Say, before the first event, where the numbers begin."""
        self.epoch, self._sequence = epoch, sequence

    def append(self, events: Iterable[TurnEvent]) -> None:
        """Add events that came together and wake each watcher once."""
        for event in events:
            self.events.append(LoggedEvent(self.epoch, self._sequence, event))
            self._sequence += 1
            if isinstance(event, CLOSING):
                self.closed = True
        sleepers, self._sleepers = self._sleepers, []
        for sleeper in sleepers:
            if not sleeper.done():
                sleeper.set_result(None)

    def last_row(self, closing: TurnEvent) -> LogRow:
        """What no flush has taken, with the closing event that is to be appended after it."""
        waiting = [logged.event for logged in self.events[self._taken :]]
        first = self._sequence - len(waiting)
        return LogRow(self.tenant_id, self.turn_id, self.epoch, first, [*waiting, closing])

    def take(self) -> LogRow | None:
        """The events since the last flush, as one row; None where there are none."""
        waiting = self.events[self._taken :]
        if not waiting:
            return None
        self._taken = len(self.events)
        return LogRow(
            self.tenant_id, self.turn_id, self.epoch, waiting[0].sequence, [logged.event for logged in waiting]
        )

    def give_back(self, row: LogRow) -> None:
        """A flush did not happen: its events wait for the next."""
        self._taken -= len(row.events)

    async def watch(self) -> AsyncIterator[Sequence[LoggedEvent]]:
        """All events from the first on, in the groups in which they became ready, until the log is closed."""
        position = 0
        while True:
            ready = self.events[position:]
            position += len(ready)
            if ready:
                yield ready
            elif self.closed:
                return
            else:
                sleeper = asyncio.get_running_loop().create_future()
                self._sleepers.append(sleeper)
                await sleeper


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
        self._logs.pop(log.turn_id, None)

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
