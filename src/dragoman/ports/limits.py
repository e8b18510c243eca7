"""The ports to limits: who counts requests and open connections, and where counts of days are kept. Knows no plan."""

from collections.abc import Sequence
from typing import Protocol

from dragoman.core.limits import Admission, Window


class Limiter(Protocol):
    """Counts requests."""

    async def take(self, tenant_id: str, windows: Sequence[Window], now_us: int) -> Admission:
        """Count one request of a tenant in all of these windows, or in none of them where one is full.

        A count in a window of a day is durable when this returns, unless the store is away.
        """
        ...


class Slots(Protocol):
    """Counts what is open at one time."""

    async def take(self, tenant_id: str, name: str, maximum: int) -> bool:
        """Take one of so many; False where all are taken."""
        ...

    async def release(self, tenant_id: str, name: str) -> None:
        """Give back one that was taken."""
        ...


class LimitStore(Protocol):
    """Counts that a restart must not forget. `starts_at`, in microseconds, says of which window."""

    async def load(self, tenant_id: str, bucket: str, starts_at: int) -> int:
        """The count that is kept, 0 where there is none."""
        ...

    async def keep(self, tenant_id: str, bucket: str, starts_at: int, count: int) -> None:
        """Keep a count, unless a higher one is kept; counts of long ago are forgotten."""
        ...
