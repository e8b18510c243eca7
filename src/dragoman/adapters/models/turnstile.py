"""Who may use the processors that the embedded models share. Knows no model and no transcriber."""

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager


class Turnstile:
    """Lets any number of generations through together, and a transcription only alone, in the order they came in.

    So neither kind is starved: a transcription waits for the generations that run, and those that come after it
    wait for it.
    """

    def __init__(self) -> None:
        self._door = asyncio.Lock()
        self._running = 0
        self._empty = asyncio.Event()
        self._empty.set()

    @asynccontextmanager
    async def generating(self) -> AsyncIterator[None]:
        """Beside other generations, and beside no transcription."""
        async with self._door:
            self._running += 1
            self._empty.clear()
        try:
            yield
        finally:
            self._running -= 1
            if not self._running:
                self._empty.set()

    @asynccontextmanager
    async def transcribing(self) -> AsyncIterator[None]:
        """Beside nothing else."""
        async with self._door:
            await self._empty.wait()
            yield
