"""A coroutine that is stepped by whoever has news for it, not by a task of the loop. Knows no stream.

A task that waits for news is woken through the loop: a future, a callback and a turn of the loop for each token and
watcher, 6 us of the 60 that a token at pace costs (docs/decisions/0006-own-route-call.md).
"""

import asyncio
from collections.abc import Coroutine, Generator
from typing import Any


class _Parked:
    def __await__(self) -> Generator[None, None, None]:
        yield


PARKED = _Parked()
"""Awaited by a stepped coroutine to wait for the next step."""


class Stepped:
    """Runs a coroutine up to each place where it parks, or waits for a future; `done` has its end."""

    def __init__(self, coroutine: Coroutine[Any, Any, None]) -> None:
        self._coroutine = coroutine
        self._busy = False
        self.done: asyncio.Future[None] = asyncio.get_running_loop().create_future()

    def step(self) -> None:
        """There is news. A coroutine that waits for a future looks for news by itself when that is done."""
        if self._busy or self.done.done():
            return
        self._busy = True
        try:
            awaited = self._coroutine.send(None)
        except StopIteration:
            self.done.set_result(None)
        except Exception as error:
            self.done.set_exception(error)
        else:
            if awaited is None:
                self._busy = False
            else:
                # What a task does with a future that its coroutine awaits.
                awaited._asyncio_future_blocking = False
                awaited.add_done_callback(self._go_on)

    def _go_on(self, _: "asyncio.Future[Any]") -> None:
        self._busy = False
        self.step()

    def close(self) -> None:
        """Run it no more."""
        self._busy = True
        self._coroutine.close()
        self.done.cancel()
