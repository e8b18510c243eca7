"""Reading conversations. Knows no rendering of an id or a time."""

from collections.abc import Sequence

from dragoman.core.conversations import Conversation, Message
from dragoman.core.errors import ConversationNotFound, Invalid
from dragoman.core.tenants import Principal
from dragoman.ports.store import Store


class Conversations:
    """The conversations that a principal may read."""

    def __init__(self, store: Store) -> None:
        self._store = store

    async def read(
        self, principal: Principal, conversation_id: str, *, limit: int | None = None, before: str | None = None
    ) -> tuple[Conversation, Sequence[Message]]:
        """A conversation and its messages, oldest first: all, or the last `limit` of those before a message.

        Raises:
            ConversationNotFound
            Invalid: `before` is no message of it.
        """
        conversation = await self._store.conversations.get(principal.tenant_id, conversation_id)
        if conversation is None:
            raise ConversationNotFound
        number = None
        if before is not None:
            number = await self._store.conversations.number_of(principal.tenant_id, conversation_id, before)
            if number is None:
                raise Invalid("before is no message of this conversation", field="before")
        messages = await self._store.conversations.messages(
            principal.tenant_id, conversation_id, limit=limit, before=number
        )
        return conversation, messages
