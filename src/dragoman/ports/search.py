"""The port that finds conversations for their tenant. Each method is one transaction; knows no SQL."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Protocol

from dragoman.core.conversations import Conversation, Message
from dragoman.ports.audit import Place


@dataclass(frozen=True, slots=True)
class Wanted:
    """Which conversations are looked for; what is None or empty asks for nothing.

    They began from `since` on and before `until`, in microseconds since the epoch; `metadata` is what their metadata
    says under these keys; `text` stands in their title or in a message, whatever its case.
    """

    agent_id: str | None = None
    user_id: str | None = None
    since: int | None = None
    until: int | None = None
    metadata: Sequence[tuple[str, str]] = ()
    text: str | None = None


@dataclass(frozen=True, slots=True)
class Found:
    """A page of what was found, and where to look on: None when everything has been looked at.

    A page may be short, even empty, and yet not be the last: so much is looked at in one go and no more.
    """

    conversations: Sequence[Conversation]
    next: Place | None


@dataclass(frozen=True, slots=True)
class Recorded:
    """A message, and which version of the agent said it or was told it, in which turn."""

    message: Message
    agent_version: int | None
    turn_id: str | None


class SearchStore(Protocol):
    """Conversations and messages as their tenant looks for them."""

    async def conversations(self, tenant_id: str, wanted: Wanted, limit: int, before: Place | None) -> Found:
        """Conversations that began before a place, newest first."""
        ...

    async def messages(self, tenant_id: str, conversation_id: str, limit: int, after: int) -> Sequence[Recorded]:
        """Messages numbered above `after`, of every role, oldest first."""
        ...
