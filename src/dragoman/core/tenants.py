"""Tenants, their API keys, and who acts. Knows no credential's value and no header."""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Literal

from dragoman.core.agents import Agent
from dragoman.core.ids import parse_id

KeyType = Literal["secret", "publishable"]

# What each plan allows: requests in a UTC minute, and in a UTC day where there is a bound.
PLANS: Mapping[str, tuple[int, int | None]] = {
    "free": (10, 100),
    "starter": (60, 1_000),
    "pro": (300, 10_000),
    "enterprise": (6_000, None),
}


@dataclass(frozen=True, slots=True)
class Tenant:
    """An owner of agents and conversations; `credits` is None where turns are not metered."""

    id: str
    name: str
    plan: str = "enterprise"
    credits: int | None = None
    per_minute: int | None = None
    per_day: int | None = None
    default_agent_id: str | None = None
    allow_private: bool = False

    @property
    def limits(self) -> tuple[int, int | None]:
        """Requests in a UTC minute and a UTC day (None: unbounded): the tenant's own, else its plan's."""
        minute, day = PLANS[self.plan]
        return self.per_minute or minute, self.per_day or day


@dataclass(frozen=True, slots=True)
class ApiKey:
    """A credential as it may be shown: by its prefix, never by its value. Times are microseconds since the epoch."""

    id: str
    tenant_id: str
    name: str
    type: KeyType
    prefix: str
    created_at: int
    expires_at: int | None = None
    revoked_at: int | None = None
    last_used_at: int | None = None
    agents: tuple[str, ...] = ()
    origins: tuple[str, ...] = ()
    limits: tuple[tuple[str, int], ...] = ()

    def is_good(self, now: int) -> bool:
        """Whether the key opens anything at `now`, in microseconds since the epoch."""
        return self.revoked_at is None and (self.expires_at is None or now < self.expires_at)


@dataclass(frozen=True, slots=True)
class Principal:
    """Who acts: a secret key for its whole tenant, or a visitor behind a publishable key or a public agent.

    `agents` are what a visitor may talk to, by id or slug; `limits` are the key's own. With `relayed` it is the key of
    somebody who has let an end user speak, as over a ticket.
    """

    tenant_id: str
    key_id: str | None
    type: Literal["secret", "publishable", "public"]
    visitor_id: str | None = None
    agents: tuple[str, ...] = ()
    limits: tuple[tuple[str, int], ...] = ()
    relayed: bool = False

    @property
    def vouches(self) -> bool:
        """Whether what is said beside a message, such as who the user is, comes from the tenant's own server."""
        return self.type == "secret" and not self.relayed

    @property
    def scope(self) -> str:
        """Whose an Idempotency-Key is: the visitor's, else the key's."""
        return self.visitor_id or self.key_id or ""

    def may_use(self, agent: Agent) -> bool:
        """Whether this principal may talk to an agent of its tenant."""
        return self.type == "secret" or any(
            agent.id == parse_id("agent", named) or agent.slug == named for named in self.agents
        )

    def may_read(self, visitor_id: str | None) -> bool:
        """Whether a conversation that belongs to this visitor, None for nobody's, is open to this principal."""
        return self.type == "secret" or (visitor_id is not None and visitor_id == self.visitor_id)
