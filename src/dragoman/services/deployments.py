"""Where agents are deployed: on which channels, in which regions. Knows no contract's name for them."""

from collections.abc import Sequence

from dragoman.core.clock import now_us
from dragoman.core.errors import NotFound
from dragoman.core.ids import new_id, prefixed
from dragoman.core.tenants import Principal
from dragoman.ports.audit import Act
from dragoman.ports.drafts import StoredAgent
from dragoman.ports.store import Store
from dragoman.services.audit import actor_of


class Deployments:
    """The deployments of agents. Those of a manifest's agents too: the next `apply` makes again what it names."""

    def __init__(self, store: Store) -> None:
        self._store = store

    async def list(self, agent: StoredAgent) -> Sequence[tuple[str, str, str]]:
        """The agent's deployments, oldest first: id, channel, region."""
        return await self._store.agents.deployments(agent.tenant_id, agent.id)

    async def create(self, principal: Principal, agent: StoredAgent, channel: str, region: str) -> tuple[str, str, str]:
        """Add a deployment.

        Raises:
            NameTaken: the agent is on that channel in that region already.
        """
        made = (new_id(), channel, region)
        act = _act(principal, "deployment.created", agent, id=made[0], channel=made[1], region=made[2])
        await self._store.drafts.deploy(agent.tenant_id, agent.id, made, act, now_us())
        return made

    async def delete(self, principal: Principal, agent: StoredAgent, deployment_id: str) -> None:
        """Forget a deployment.

        Raises:
            NotFound: the agent has none of this id.
        """
        act = _act(principal, "deployment.deleted", agent, id=deployment_id)
        if not await self._store.drafts.withdraw(agent.tenant_id, agent.id, deployment_id, act, now_us()):
            raise NotFound("This agent has no such deployment")


def _act(principal: Principal, action: str, agent: StoredAgent, **detail: str) -> Act:
    return Act(actor_of(principal), action, prefixed("agent", agent.id), detail)
