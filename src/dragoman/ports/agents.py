"""The port to stored agents, their versions and deployments. Each method is one transaction; knows no SQL."""

from collections.abc import Mapping, Sequence
from typing import Any, Protocol

from dragoman.core.agents import Agent


class AgentStore(Protocol):
    """Agents and the versions of what they are told."""

    async def put(
        self, tenant_id: str, agent_id: str | None, slug: str | None, name: str, definition: Mapping[str, Any], now: int
    ) -> tuple[Agent, str]:
        """Make an agent what it says, publishing a new version where it differs; and what was done.

        It is the one of this id, else of this slug; a new one's slug is derived from its name where none is given.
        """
        ...

    async def find(self, tenant_id: str, reference: str) -> Agent | None:
        """The tenant's agent of this id, in any spelling, or slug, as it is published."""
        ...

    async def find_public(self, agent_id: str) -> str | None:
        """Whose agent this is, where it is public."""
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
