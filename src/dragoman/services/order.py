"""One running turn per conversation, a bounded queue behind it, first come first served. Knows no turn."""

import asyncio
from collections import deque

from dragoman.core.errors import Conflict, Unavailable

MAX_WAITING = 16


class Order:
    """Who may run in which conversation."""

    def __init__(self) -> None:
        self._waiting: dict[str, deque[asyncio.Future[None]]] = {}

    async def enter(self, conversation_id: str, timeout: float) -> None:
        """Wait for the conversation to be free, then hold it until `leave`.

        Raises:
            Conflict: too many wait already.
            Unavailable: it was not free within `timeout` seconds.
        """
        queue = self._waiting.get(conversation_id)
        if queue is None:
            self._waiting[conversation_id] = deque()
            return
        if len(queue) >= MAX_WAITING:
            raise Conflict("Too many messages wait in this conversation; send again when an answer has come")
        place = asyncio.get_running_loop().create_future()
        queue.append(place)
        try:
            async with asyncio.timeout(timeout):
                await place
        except BaseException as error:
            if place.done() and not place.cancelled():
                self.leave(conversation_id)
            elif place in queue:
                queue.remove(place)
            if isinstance(error, TimeoutError):
                raise Unavailable("The conversation was busy for too long") from error
            raise

    def leave(self, conversation_id: str) -> None:
        """Let the next one in."""
        queue = self._waiting[conversation_id]
        while queue:
            place = queue.popleft()
            if not place.done():
                place.set_result(None)
                return
        del self._waiting[conversation_id]
