"""Limits of requests: fixed windows that begin and end with the UTC minute or day. Knows no header, keeps no count."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Literal

MINUTE: Literal[60] = 60
DAY: Literal[86_400] = 86_400
_SECOND = 1_000_000


@dataclass(frozen=True, slots=True)
class Bucket:
    """What a route counts its requests in, beside the tenant's plan: for each key, or for the whole tenant.

    `override` names the limit that a key may have of its own in place of `per_minute`.
    """

    name: str
    per_minute: int
    per: Literal["key", "tenant"]
    override: str | None = None


@dataclass(frozen=True, slots=True)
class Window:
    """So many requests: the tenant's in a minute or a day, or those of one key or from one address in a minute."""

    bucket: str
    limit: int
    seconds: Literal[60, 86_400]
    key_id: str = ""
    address: str = ""


@dataclass(frozen=True, slots=True)
class Count:
    """How often a window has been used since it began; `starts_at` is in microseconds since the epoch."""

    window: Window
    used: int
    starts_at: int

    @property
    def remaining(self) -> int:
        """How many requests are left; none where the limit has been lowered below what was used."""
        return max(0, self.window.limit - self.used)

    @property
    def resets_at(self) -> int:
        """When the window ends, in seconds since the epoch."""
        return self.starts_at // _SECOND + self.window.seconds

    def seconds_left(self, now_us: int) -> int:
        """Until the window ends, rounded up: from 1 to the window's length for any time in it."""
        return -(-(self.starts_at - now_us) // _SECOND) + self.window.seconds


@dataclass(frozen=True, slots=True)
class Admission:
    """Whether a request was counted, at `now_us`, and how its windows stand after that."""

    counts: Sequence[Count]
    refused: bool
    now_us: int

    @property
    def tightest(self) -> Count:
        """The window with the fewest left; of several, the one that ends last."""
        return min(self.counts, key=lambda count: (count.remaining, -count.resets_at))

    @property
    def retry_after(self) -> int:
        """Seconds until every window that is full has ended; 0 where none is."""
        return max((count.seconds_left(self.now_us) for count in self.counts if not count.remaining), default=0)


def start_of(seconds: int, now_us: int) -> int:
    """When the window of this length began in which a time lies; both in microseconds since the epoch."""
    return now_us - now_us % (seconds * _SECOND)
