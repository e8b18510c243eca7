"""Counts in the memory of one process; those of days are also kept by a port. Knows no database and no plan.

All windows of one length begin and end together, so when they end they are forgotten together.
"""

import asyncio
from collections import Counter
from collections.abc import Sequence

import structlog

from dragoman.core.errors import Unavailable
from dragoman.core.limits import DAY, MINUTE, Admission, Count, Window, start_of
from dragoman.ports.limits import LimitStore

# Addresses cost a client nothing: those of one minute may fill so much memory, and then the oldest is forgotten.
MOST_ADDRESSES = 50_000

_log = structlog.get_logger(__name__)


class _Tally:
    """How often one window has been used."""

    __slots__ = ("used",)

    def __init__(self) -> None:
        self.used = 0


class _KeptTally(_Tally):
    """A tally that begins with what is stored, and is stored as it rises: one write at a time, for all that wait."""

    __slots__ = ("_loaded", "_loading", "_place", "_store", "_stored", "_writing")

    def __init__(self, store: LimitStore, tenant_id: str, bucket: str, starts_at: int) -> None:
        super().__init__()
        self._store = store
        self._place = (tenant_id, bucket, starts_at)
        self._loaded = False
        self._loading: asyncio.Task[None] | None = None
        self._stored = 0
        self._writing: asyncio.Task[bool] | None = None

    async def load(self) -> None:
        """Begin with what is stored. While the store is away this counts from nothing, and tries again."""
        if not self._loaded:
            if self._loading is None:
                self._loading = asyncio.create_task(self._load())
            await asyncio.shield(self._loading)

    async def _load(self) -> None:
        try:
            self._stored = await self._store.load(*self._place)
            self.used += self._stored
            self._loaded = True
        except Unavailable as error:
            _log.warning("limit_not_loaded", tenant_id=self._place[0], error=error.message)
        finally:
            self._loading = None

    async def keep(self) -> None:
        """Wait until what is counted now is stored, or cannot be."""
        wanted = self.used
        while self._loaded and self._stored < wanted:
            if self._writing is None:
                self._writing = asyncio.create_task(self._write())
            if not await asyncio.shield(self._writing):
                return

    async def _write(self) -> bool:
        count = self.used
        try:
            await self._store.keep(*self._place, count)
        except Unavailable as error:
            _log.warning("limit_not_kept", tenant_id=self._place[0], error=error.message)
            return False
        finally:
            self._writing = None
        self._stored = count
        return True


# Tenant, bucket, key and address; the last two are empty where the window is not theirs.
_Name = tuple[str, str, str, str]


class _Tallies:
    """The windows of one length that are open now."""

    def __init__(self, seconds: int) -> None:
        self._seconds = seconds
        self.starts_at = -1
        self.of_tenants: dict[_Name, _Tally] = {}
        self.of_addresses: dict[_Name, _Tally] = {}

    def move_to(self, now_us: int) -> None:
        """Forget what is not open at this time, whichever way the clock went."""
        starts_at = start_of(self._seconds, now_us)
        if starts_at != self.starts_at:
            self.starts_at = starts_at
            self.of_tenants = {}
            self.of_addresses = {}


class MemoryLimiter:
    """Counts requests; `ports.limits.Limiter`."""

    def __init__(self, store: LimitStore) -> None:
        self._store = store
        self._open = {MINUTE: _Tallies(MINUTE), DAY: _Tallies(DAY)}

    async def take(self, tenant_id: str, windows: Sequence[Window], now_us: int) -> Admission:
        found = [self._tally(tenant_id, window, now_us) for window in windows]
        kept = [tally for tally in found if isinstance(tally, _KeptTally)]
        for each in kept:
            await each.load()
        refused = any(tally.used >= window.limit for tally, window in zip(found, windows, strict=True))
        if not refused:
            for tally in found:
                tally.used += 1
        counts = [
            Count(window, tally.used, start_of(window.seconds, now_us))
            for tally, window in zip(found, windows, strict=True)
        ]
        if not refused:
            for each in kept:
                await each.keep()
        return Admission(counts, refused, now_us)

    def _tally(self, tenant_id: str, window: Window, now_us: int) -> _Tally:
        tallies = self._open[window.seconds]
        tallies.move_to(now_us)
        known = tallies.of_addresses if window.address else tallies.of_tenants
        name = (tenant_id, window.bucket, window.key_id, window.address)
        tally = known.get(name)
        if tally is None:
            if window.address and len(known) >= MOST_ADDRESSES:
                del known[next(iter(known))]
            kept = window.seconds == DAY
            tally = _KeptTally(self._store, tenant_id, window.bucket, tallies.starts_at) if kept else _Tally()
            known[name] = tally
        return tally


class MemorySlots:
    """Counts what is open at one time; `ports.limits.Slots`."""

    def __init__(self) -> None:
        self._taken: Counter[tuple[str, str]] = Counter()

    async def take(self, tenant_id: str, name: str, maximum: int) -> bool:
        if self._taken[tenant_id, name] >= maximum:
            return False
        self._taken[tenant_id, name] += 1
        return True

    async def release(self, tenant_id: str, name: str) -> None:
        self._taken[tenant_id, name] -= 1
        if self._taken[tenant_id, name] <= 0:
            del self._taken[tenant_id, name]
