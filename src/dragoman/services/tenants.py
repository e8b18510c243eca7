"""A tenant as its own keys see and change it. Knows no plan's meaning."""

from collections.abc import Mapping
from dataclasses import replace
from typing import Any

from dragoman.core.clock import now_us
from dragoman.core.errors import AgentNotFound, NotFound
from dragoman.core.tenants import Principal, Tenant
from dragoman.ports.store import Store
from dragoman.services.audit import Audit, actor_of


class Tenants:
    """The tenants of this server. Operators make them, and say what they may ask for and what they pay."""

    def __init__(self, store: Store, audit: Audit) -> None:
        self._store = store
        self._audit = audit

    async def get(self, tenant_id: str) -> Tenant:
        """The tenant of this id.

        Raises:
            NotFound
        """
        found = await self._store.tenants.get(tenant_id)
        if found is None:
            raise NotFound
        return found

    async def amend(self, principal: Principal, changes: Mapping[str, Any]) -> Tenant:
        """Change the tenant's `name` or its `default_agent`, an id or a slug, None for none.

        Raises:
            NotFound
            AgentNotFound: the tenant has no such agent.
        """
        tenant = await self.get(principal.tenant_id)
        default = tenant.default_agent_id
        if (reference := changes.get("default_agent")) is not None:
            agent = await self._store.drafts.get(tenant.id, reference)
            if agent is None:
                raise AgentNotFound(reference)
            default = agent.id
        elif "default_agent" in changes:
            default = None
        name = changes.get("name", tenant.name)
        if (name, default) == (tenant.name, tenant.default_agent_id):
            return tenant
        if name != tenant.name:
            # Without credits, so that none are granted.
            await self._store.tenants.put(replace(tenant, name=name, credits=None), now_us())
        if default != tenant.default_agent_id:
            await self._store.agents.set_default(tenant.id, default)
        await self._audit.record(tenant.id, actor_of(principal), "tenant.changed", tenant.id, fields=sorted(changes))
        return replace(tenant, name=name, default_agent_id=default)
