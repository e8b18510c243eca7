"""Conversations as their tenant looks for them. Knows no rendering of an id."""

from collections.abc import AsyncIterator, Sequence

from dragoman.core.conversations import Conversation
from dragoman.core.errors import ConversationNotFound
from dragoman.ports.audit import Place
from dragoman.ports.search import Found, Recorded, Wanted
from dragoman.ports.store import Store

PAGE = 50
MESSAGES = 200


class Search:
    """Finds conversations and reads what was said in them."""

    def __init__(self, store: Store) -> None:
        self._store = store

    async def conversations(self, tenant_id: str, wanted: Wanted, limit: int, before: Place | None) -> Found:
        """Conversations before a place, newest first."""
        return await self._store.search.conversations(tenant_id, wanted, limit, before)

    async def read(
        self, tenant_id: str, conversation_id: str, limit: int, after: int
    ) -> tuple[Conversation, Sequence[Recorded]]:
        """A conversation and its messages numbered above `after`, oldest first.

        Raises:
            ConversationNotFound
        """
        found = await self._store.conversations.get(tenant_id, conversation_id)
        if found is None:
            raise ConversationNotFound
        return found, await self._store.search.messages(tenant_id, conversation_id, limit, after)

    async def every(self, tenant_id: str, wanted: Wanted) -> AsyncIterator[Conversation]:
        """Every conversation that is wanted, newest first, looked up page by page."""
        place: Place | None = None
        while True:
            found = await self._store.search.conversations(tenant_id, wanted, PAGE, place)
            for conversation in found.conversations:
                yield conversation
            if found.next is None:
                return
            place = found.next

    async def said(self, tenant_id: str, conversation_id: str) -> AsyncIterator[Recorded]:
        """Every message of a conversation, oldest first, read page by page."""
        after = 0
        while page := await self._store.search.messages(tenant_id, conversation_id, MESSAGES, after):
            for recorded in page:
                yield recorded
            after = page[-1].message.number
