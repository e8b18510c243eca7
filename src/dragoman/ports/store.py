"""The port to durable storage: tenants, keys, and all the other nouns in one. Each method is one transaction."""

from collections.abc import Mapping, Sequence
from typing import Protocol

from dragoman.core.tenants import ApiKey, Tenant
from dragoman.ports.agents import AgentStore
from dragoman.ports.audit import AuditStore
from dragoman.ports.conversations import ConversationStore
from dragoman.ports.drafts import DraftStore
from dragoman.ports.handovers import HandoverStore
from dragoman.ports.knowledge import AttachmentStore, DocumentStore, PassageStore
from dragoman.ports.limits import LimitStore
from dragoman.ports.search import SearchStore
from dragoman.ports.secrets import SecretStore
from dragoman.ports.turns import TurnStore
from dragoman.ports.usage import UsageStore
from dragoman.ports.webhooks import DeliveryStore, EndpointStore


class StoreUnusable(Exception):
    """The store cannot be opened as it is; the text says why and what to do about it."""


class TenantStore(Protocol):
    """Tenants and the price table."""

    async def put(self, tenant: Tenant, now: int) -> str:
        """Make the tenant what it says; `created`, `updated` or `unchanged`.

        Its credits are what it was ever granted: the balance moves by the difference to what that was before.
        """
        ...

    async def granted(self, tenant_id: str) -> int:
        """The credits that the tenant was ever granted."""
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
    def drafts(self) -> DraftStore:
        """Agents as their owners change them."""
        ...

    @property
    def conversations(self) -> ConversationStore:
        """Conversations and messages."""
        ...

    @property
    def search(self) -> SearchStore:
        """Conversations as their tenant looks for them."""
        ...

    @property
    def documents(self) -> DocumentStore:
        """What agents are given to know."""
        ...

    @property
    def passages(self) -> PassageStore:
        """What questions find in it."""
        ...

    @property
    def attachments(self) -> AttachmentStore:
        """Files that stand with messages."""
        ...

    @property
    def secrets(self) -> SecretStore:
        """Secrets that tools use, sealed."""
        ...

    @property
    def turns(self) -> TurnStore:
        """Turns and their logs."""
        ...

    @property
    def handovers(self) -> HandoverStore:
        """Conversations that persons answer in."""
        ...

    @property
    def endpoints(self) -> EndpointStore:
        """Where events of tenants go to."""
        ...

    @property
    def deliveries(self) -> DeliveryStore:
        """Events on their way there."""
        ...

    @property
    def usage(self) -> UsageStore:
        """What turns have used."""
        ...

    @property
    def audit(self) -> AuditStore:
        """Who changed what, when."""
        ...

    @property
    def limits(self) -> LimitStore:
        """Counts of requests that a restart must not forget."""
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
