"""What a look-up told, for a few seconds. Knows nothing of what is looked up."""

import time
from collections.abc import Awaitable, Callable
from typing import Generic, TypeVar

K = TypeVar("K")
V = TypeVar("V")

# A running server follows what is changed within this time.
REMEMBERED_SECONDS = 3.0
MOST_REMEMBERED = 10_000


class Remembered(Generic[K, V]):
    """Look-ups whose answers may be as old as that. What was not found is remembered too."""

    def __init__(self, look_up: Callable[[K], Awaitable[V]]) -> None:
        self._look_up = look_up
        self._known: dict[K, tuple[float, V]] = {}

    async def get(self, key: K) -> V:
        """What the look-up tells, or told not long ago."""
        known = self._known
        told = known.get(key)
        if told is not None and time.monotonic() < told[0]:
            return told[1]
        until = time.monotonic() + REMEMBERED_SECONDS
        value = await self._look_up(key)
        if len(known) >= MOST_REMEMBERED:
            known.clear()
        known[key] = (until, value)
        return value

    def forget(self) -> None:
        """Something has changed here. What is being looked up just now may be old, and goes to the old dict."""
        self._known = {}
