"""The port to durable storage, a Protocol per noun. Each method is one transaction; knows no SQL and no driver."""

import asyncio
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Generic, Protocol, TypeVar

from dragoman.core.agents import Agent
from dragoman.core.commands import Idempotency
from dragoman.core.conversations import Conversation, Message, Turn, TurnState
from dragoman.core.events import Group, TurnEvent
from dragoman.core.prompt import PromptMessage
from dragoman.core.tenants import ApiKey, Tenant

T = TypeVar("T")


class StoreUnusable(Exception):
    """The store cannot be opened as it is; the text says why and what to do about it."""


class Fenced(Exception):
    """Somebody else has taken the turn over: what this owner would have written is refused."""


class Pending(Generic[T]):
    """A write under way. `applied` has its result, `durable` says that no power cut can undo it."""

    __slots__ = ("applied", "durable")

    def __init__(self, loop: asyncio.AbstractEventLoop) -> None:
        self.applied: asyncio.Future[T] = loop.create_future()
        self.durable: asyncio.Future[None] = loop.create_future()


@dataclass(frozen=True, slots=True)
class TurnRequest:
    """What the first transaction of a turn needs. Ids of what may be made are chosen by the caller; `now` is in µs."""

    tenant_id: str
    key_id: str
    agent_reference: str
    conversation_id: str | None
    new_conversation_id: str
    turn_id: str
    message_id: str
    answer_id: str
    text: str
    title: str
    metadata: Mapping[str, Any] | None
    idempotency: Idempotency | None
    resuming: bool
    owner: int
    now: int


@dataclass(frozen=True, slots=True)
class Begun:
    """The turn runs and is ours. `history` is newest first, at least as much as fits the model's window."""

    turn: Turn
    agent: Agent
    history: tuple[PromptMessage, ...]
    text: str
    price: int
    next_sequence: int


@dataclass(frozen=True, slots=True)
class Existing:
    """The Idempotency-Key has begun this turn before."""

    turn: Turn


@dataclass(frozen=True, slots=True)
class LogRow:
    """Events of one flush, with the sequence number of the first; the others follow without a gap."""

    tenant_id: str
    turn_id: str
    epoch: int
    first_sequence: int
    events: Sequence[TurnEvent]


@dataclass(frozen=True, slots=True)
class TurnEnd:
    """What the last transaction of a turn stores; `last_row` holds the events that no flush has taken."""

    tenant_id: str
    turn_id: str
    epoch: int
    owner: int
    state: TurnState
    text: str
    prompt_tokens: int
    completion_tokens: int
    credits: int
    error: str | None
    last_row: LogRow
    now: int


class TenantStore(Protocol):
    """Tenants and the price table."""

    async def put(self, tenant: Tenant, now: int) -> str:
        """Make the tenant what it says; `created`, `updated` or `unchanged`."""
        ...

    async def get(self, tenant_id: str) -> Tenant | None:
        """The tenant of this id."""
        ...

    async def all(self) -> Sequence[Tenant]:
        """Every tenant, by id."""
        ...

    async def set_price(self, model: str, credits_per_turn: int) -> str:
        """What a turn of this model costs; `created`, `updated` or `unchanged`."""
        ...

    async def prices(self) -> Sequence[tuple[str, int]]:
        """The price table, by model."""
        ...


class KeyStore(Protocol):
    """API keys, by their hash."""

    async def add(self, key: ApiKey, digest: str) -> None:
        """Keep a new key.

        Raises:
            NameTaken: the value is in use.
        """
        ...

    async def find(self, digest: str) -> ApiKey | None:
        """The key with this hash, good or not."""
        ...

    async def all(self, tenant_id: str) -> Sequence[ApiKey]:
        """The tenant's keys, oldest first."""
        ...

    async def rotate(self, tenant_id: str, key: ApiKey, digest: str, old_until: int) -> None:
        """Keep a new key in place of those of its name, which expire at `old_until` at the latest."""
        ...

    async def update(self, tenant_id: str, key: ApiKey) -> None:
        """Change what may be changed of a key: its expiry, agents, origins and limits."""
        ...

    async def revoke(self, tenant_id: str, name: str, now: int) -> int:
        """Close every key of this name for good; how many were open."""
        ...

    async def touch(self, used: Mapping[str, int]) -> None:
        """Note when keys were last used: id to microseconds."""
        ...


class AgentStore(Protocol):
    """Agents and the versions of what they are told."""

    async def put(
        self, tenant_id: str, agent_id: str | None, slug: str | None, name: str, definition: Mapping[str, Any], now: int
    ) -> tuple[Agent, str]:
        """Make an agent what it says, publishing a new version where it differs; and what was done.

        It is the one of this id, else of this slug; a new one's slug is derived from its name where none is given.
        """
        ...

    async def definitions(self, tenant_id: str) -> Sequence[tuple[Agent, Mapping[str, Any]]]:
        """The tenant's agents with their published definitions as the manifest gave them, by slug."""
        ...

    async def set_default(self, tenant_id: str, agent_id: str | None) -> None:
        """Which agent answers where a contract names none."""
        ...

    async def deploy(self, tenant_id: str, agent_id: str, deployment_id: str | None, channel: str, region: str) -> str:
        """Make a deployment; `created`, `updated` or `unchanged`."""
        ...

    async def deployments(self, tenant_id: str, agent_id: str) -> Sequence[tuple[str, str, str]]:
        """The agent's deployments: id, channel, region."""
        ...


class ConversationStore(Protocol):
    """Conversations and their messages."""

    async def get(self, tenant_id: str, conversation_id: str) -> Conversation | None:
        """The tenant's conversation of this id."""
        ...

    async def messages(
        self, tenant_id: str, conversation_id: str, *, limit: int | None = None, before: int | None = None
    ) -> Sequence[Message]:
        """Messages with text of users and agents, oldest first; the last `limit` of those numbered below `before`."""
        ...

    async def number_of(self, tenant_id: str, conversation_id: str, message_id: str) -> int | None:
        """The number of a message of this conversation."""
        ...


class TurnStore(Protocol):
    """Turns and their logs."""

    def begin(self, request: TurnRequest) -> Pending[Begun | Existing]:
        """Claim the idempotency key, load agent, conversation and history, store the message and the running turn.

        Raises (from `applied`):
            AgentNotFound, ConversationNotFound, KeyReused, Conflict, Unavailable
        """
        ...

    async def claimed(self, tenant_id: str, idempotency: Idempotency) -> Turn | None:
        """The turn that this Idempotency-Key began.

        Raises:
            KeyReused: it came with another body.
        """
        ...

    async def flush(self, rows: Sequence[LogRow]) -> None:
        """Append to the logs of running turns, all in one transaction."""
        ...

    async def finish(self, end: TurnEnd) -> None:
        """Store the answer, the events that are left and the turn's state, all or nothing.

        Raises:
            Fenced: the turn is no longer this owner's.
        """
        ...

    async def get(self, tenant_id: str, turn_id: str) -> Turn | None:
        """The tenant's turn of this id."""
        ...

    async def answer(self, tenant_id: str, turn: Turn) -> str:
        """The text of the turn's answer, empty where there is none."""
        ...

    async def events(self, tenant_id: str, turn_id: str) -> Sequence[Group]:
        """What is kept of the turn's log, in the groups in which it was flushed, in order."""
        ...

    async def interrupt_orphans(self, runs_here: Callable[[str], bool], now: int) -> int:
        """Close every running turn whose owner is dead, or is this process where it does not run; how many there were.

        `runs_here` is asked from any thread, after the turn was seen as running in the store.
        """
        ...

    async def prune(self, events_before: int, keys_before: int) -> None:
        """Forget logs of turns and idempotency keys older than these times, in microseconds."""
        ...


class Store(Protocol):
    """Everything that is kept."""

    @property
    def owner(self) -> int:
        """This process as the owner of turns."""
        ...

    @property
    def tenants(self) -> TenantStore:
        """Tenants and prices."""
        ...

    @property
    def keys(self) -> KeyStore:
        """API keys."""
        ...

    @property
    def agents(self) -> AgentStore:
        """Agents and deployments."""
        ...

    @property
    def conversations(self) -> ConversationStore:
        """Conversations and messages."""
        ...

    @property
    def turns(self) -> TurnStore:
        """Turns and their logs."""
        ...

    def rehearsal(self) -> "Store":
        """A view of this store whose writes tell their results and are undone."""
        ...

    async def check(self) -> None:
        """Whether the database answers and its schema is current.

        Raises:
            Unavailable: it does not; the message says what is wrong.
        """
        ...

    async def close(self) -> None:
        """Let go of the database; nothing is under way any more."""
        ...
