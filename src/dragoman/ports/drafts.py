"""The port to agents as their owners change them: drafts, versions, deployments. Knows no SQL.

Each method is one transaction, and what it changes is in the audit log when it ends.
"""

import hashlib
import json
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Literal, Protocol

from dragoman.ports.audit import Act, Place

# What an agent is told and how it behaves, as a manifest says it.
Definition = Mapping[str, Any]


@dataclass(frozen=True, slots=True)
class StoredAgent:
    """An agent with what is published and what is not yet. Times are microseconds since the epoch."""

    id: str
    tenant_id: str
    slug: str
    name: str
    version: int
    managed: Literal["manifest", "api"]
    definition: Definition
    draft: Definition | None
    created_at: int
    updated_at: int

    @property
    def revision(self) -> str:
        """A text that is another after every change."""
        told = json.dumps([self.slug, self.name, self.managed, self.draft, self.updated_at], sort_keys=True)
        return f"{self.version}-{hashlib.sha256(told.encode()).hexdigest()[:32]}"

    @property
    def place(self) -> Place:
        """Where a page ends that ends with it."""
        return self.created_at, self.id


@dataclass(frozen=True, slots=True)
class AgentChange:
    """What an agent is to be. `published` is what it tells from now on, as a new version; None leaves that as it is."""

    slug: str
    name: str
    draft: Definition | None
    act: Act
    published: Definition | None = None
    deleted: bool = False


@dataclass(frozen=True, slots=True)
class NewAgent:
    """An agent that is to be made, with its deployments as (id, channel, region); without a slug one is derived."""

    id: str
    slug: str | None
    name: str
    definition: Definition
    deployments: Sequence[tuple[str, str, str]]


@dataclass(frozen=True, slots=True)
class AgentVersion:
    """What an agent was told in one version, which never changes."""

    version: int
    definition: Definition
    created_at: int


Decide = Callable[[StoredAgent], AgentChange | None]


class DraftStore(Protocol):
    """Agents, their drafts and their versions."""

    async def page(self, tenant_id: str, limit: int, before: Place | None) -> Sequence[StoredAgent]:
        """Agents before a place, newest first."""
        ...

    async def get(self, tenant_id: str, reference: str) -> StoredAgent | None:
        """The tenant's agent of this id or slug."""
        ...

    async def create(self, tenant_id: str, agent: NewAgent, act: Act, now: int) -> StoredAgent:
        """Make an agent and publish its first version.

        Raises:
            NameTaken: its id, its slug or one of its deployments belongs to another.
        """
        ...

    async def change(self, tenant_id: str, reference: str, decide: Decide, now: int) -> StoredAgent:
        """Change an agent as `decide` says of what it is; nobody else changes it meanwhile.

        `decide` may be called twice and in any thread, and what it raises is raised here. None changes nothing.

        Raises:
            AgentNotFound
            NameTaken: the slug belongs to another agent.
        """
        ...

    async def versions(self, tenant_id: str, agent_id: str, limit: int, below: int | None) -> Sequence[AgentVersion]:
        """Versions under a number, newest first."""
        ...

    async def version(self, tenant_id: str, agent_id: str, version: int) -> AgentVersion | None:
        """One version."""
        ...

    async def from_manifests(self, tenant_id: str) -> Sequence[Definition]:
        """What manifests say of the tenant's agents."""
        ...

    async def deploy(self, tenant_id: str, agent_id: str, deployment: tuple[str, str, str], act: Act, now: int) -> None:
        """Add a deployment: its id, channel and region.

        Raises:
            NameTaken: the agent is on that channel in that region already, or the id is in use.
        """
        ...

    async def withdraw(self, tenant_id: str, agent_id: str, deployment_id: str, act: Act, now: int) -> bool:
        """Forget a deployment; False where the agent has none of this id."""
        ...
