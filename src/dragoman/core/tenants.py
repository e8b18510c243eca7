"""Tenants, their API keys, and who acts. Knows no credential's value and no header."""

from dataclasses import dataclass
from typing import Literal

KeyType = Literal["secret", "publishable"]


@dataclass(frozen=True, slots=True)
class Tenant:
    """An owner of agents and conversations; `credits` is None where turns are not metered."""

    id: str
    name: str
    plan: str = "free"
    credits: int | None = None
    per_minute: int | None = None
    per_day: int | None = None
    default_agent_id: str | None = None


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
    """Who acts: a key of a tenant."""

    tenant_id: str
    key_id: str
    type: KeyType
