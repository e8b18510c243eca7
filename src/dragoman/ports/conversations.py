"""The port to stored conversations and their messages. Each method is one transaction; knows no SQL."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Literal, Protocol, TypedDict

from dragoman.core.conversations import Conversation, Message


@dataclass(frozen=True, slots=True)
class Listed:
    """Which conversations a listing shows: newest first, those of one user, agent or visitor where one is given.

    `below` goes on behind a conversation, by its `created_at` and id; `archived` False leaves archived ones out, True
    leaves out all others.
    """

    limit: int
    offset: int = 0
    below: tuple[int, str] | None = None
    user_id: str | None = None
    agent_id: str | None = None
    visitor_id: str | None = None
    archived: bool | None = None


@dataclass(frozen=True, slots=True)
class Window:
    """Which messages a listing shows: at most `limit` of those behind `after` and before `before`, exclusive numbers.

    Without an `order` it is those next to a bound, the oldest first: the first behind `after` where that is given, else
    the last. With one it is a page: counted from that end, and its rows come in that order, newest first for "newest".
    Either way `offset` messages are passed over at the end from which it is counted.

    `spoken` leaves out what nobody has said or been told: roles other than user and assistant, messages without text.
    Not `inside` leaves out what the server called, and what that brought.
    """

    limit: int | None = None
    before: int | None = None
    after: int | None = None
    offset: int = 0
    order: Literal["oldest", "newest"] | None = None
    spoken: bool = True
    inside: bool = True

    @property
    def from_oldest(self) -> bool:
        """Whether it is counted from the oldest message on."""
        return self.order == "oldest" or (self.order is None and self.after is not None)


ALL = Window()


class Changes(TypedDict, total=False):
    """What is to change of a conversation; what is not named stays. `archived_at` None takes it out of the archive."""

    title: str
    metadata: dict[str, Any] | None
    archived_at: int | None


@dataclass(frozen=True, slots=True)
class Cleared:
    """What was deleted: messages, and whether there are more of them for another transaction.

    `busy` says that nothing was, for these turns run there: stop them and ask again.
    """

    messages: int = 0
    more: bool = False
    busy: tuple[str, ...] = ()


class ConversationStore(Protocol):
    """Conversations and their messages, and who comes to them."""

    async def create(self, conversation: Conversation) -> None:
        """Keep a new conversation.

        Raises:
            AgentNotFound: its tenant has no such agent.
            NameTaken: its id, or the client's own name for it, is in use.
        """
        ...

    async def change(self, tenant_id: str, conversation_id: str, changes: Changes, now: int) -> Conversation | None:
        """Change a conversation; what it is then, None where there is no such one."""
        ...

    async def get(self, tenant_id: str, conversation_id: str) -> Conversation | None:
        """The tenant's conversation of this id."""
        ...

    async def list(self, tenant_id: str, listed: Listed) -> tuple[Sequence[Conversation], int]:
        """Conversations, newest first, and how many there are on all pages."""
        ...

    async def messages(
        self, tenant_id: str, conversation_id: str, window: Window = ALL
    ) -> tuple[Sequence[Message], int]:
        """Messages of a conversation, and how many of that kind it has inside and outside of the window's bounds."""
        ...

    async def messages_of_agent(
        self, tenant_id: str, agent_id: str, window: Window
    ) -> tuple[Sequence[Message], int, Mapping[str, str]]:
        """The same over all conversations of an agent, and the client's own name for each of them that has one."""
        ...

    async def number_of(self, tenant_id: str, conversation_id: str, message_id: str) -> int | None:
        """The number of a message of this conversation."""
        ...

    async def delete(self, tenant_id: str, conversation_id: str) -> Cleared:
        """Forget a conversation with all that is in it, for good, in one go. A turn that is paused there is cancelled.

        What turns have used is still counted. Clear a conversation first: its length is then no burden on others.
        """
        ...

    async def clear(self, tenant_id: str, agent_id: str, conversation_id: str | None) -> Cleared:
        """Forget the oldest messages of an agent's conversation, or of all of them; the conversations stay.

        It is a bounded number of them, for a long transaction holds up every writer; `more` says whether to ask again.
        Turns that are paused there are cancelled. Numbers of messages are never used again.
        """
        ...

    async def meet_user(self, tenant_id: str, user_id: str, now: int) -> bool:
        """Note that a user has come; whether it is for the first time."""
        ...

    async def spend_ticket(self, tenant_id: str, ticket_id: str, now: int) -> bool:
        """Use a ticket up; False where that has been done before."""
        ...
