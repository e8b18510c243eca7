"""Wall-clock time as it is kept and shown: microseconds since the epoch, ISO 8601 with Z. Not for durations."""

import time
from datetime import UTC, datetime


def now_us() -> int:
    """The time in microseconds since the epoch."""
    return time.time_ns() // 1000


def iso(microseconds: int) -> str:
    """ISO 8601 in UTC to the second with Z, such as ``2026-01-23T10:00:00Z``."""
    return datetime.fromtimestamp(microseconds // 1_000_000, UTC).strftime("%Y-%m-%dT%H:%M:%SZ")
