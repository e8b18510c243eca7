"""Bringing the store to what a manifest says, and writing the manifest of what is there. Knows no YAML dialect."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import msgspec
import yaml

from dragoman.core.agents import ModelChoice
from dragoman.core.clock import iso, now_us
from dragoman.core.errors import AgentNotFound, NotFound
from dragoman.core.tenants import ApiKey
from dragoman.core.tenants import Tenant as CoreTenant
from dragoman.ports.store import Store
from dragoman.services.access import Access, NewKey
from dragoman.services.knowledge import Given, Knowledge
from dragoman.services.manifest.format import Agent, Key, Manifest, ManifestError, Tenant, Webhook, definition_of
from dragoman.services.manifest.given import document_id, read_gifts
from dragoman.services.webhooks import Webhooks


@dataclass(slots=True)
class Applied:
    """What was done, thing by thing; a key's value is there only where it has just been made.

    `webhooks` are those whose secrets have just been made here, with them.
    """

    created: list[str] = field(default_factory=list)
    updated: list[str] = field(default_factory=list)
    unchanged: list[str] = field(default_factory=list)
    keys: list[dict[str, str]] = field(default_factory=list)
    webhooks: list[dict[str, str]] = field(default_factory=list)
    notes: list[str] = field(default_factory=list)

    def note(self, outcome: str, what: str) -> None:
        """Enter one thing under `created`, `updated` or `unchanged`."""
        {"created": self.created, "updated": self.updated, "unchanged": self.unchanged}[outcome].append(what)

    def add(self, done: "Applied") -> None:
        """Enter all that is in another."""
        for name in ("created", "updated", "unchanged", "keys", "webhooks", "notes"):
            getattr(self, name).extend(getattr(done, name))


class Manifests:
    """Applies and exports manifests. `check_model` raises ValueError for a choice that its provider cannot use."""

    def __init__(
        self,
        store: Store,
        access: Access,
        knowledge: Knowledge,
        check_model: Callable[[ModelChoice], None],
        webhooks: Webhooks,
    ) -> None:
        self._store = store
        self._knowledge = knowledge
        self._access = access
        self._check_model = check_model
        self._webhooks = webhooks

    async def apply(self, manifest: Manifest, folder: Path) -> Applied:
        """Make everything that the manifest names what it says. Nothing is deleted; a second time changes nothing.

        Paths in it that are not absolute are taken from `folder`.

        Raises:
            ManifestError: a model's script is wrong, a file cannot be read, or `default_agent` is not there.
            NameTaken: an id, slug or key value belongs to another.
        """
        self._check_models(manifest)
        gifts = read_gifts(manifest, folder)
        applied = Applied()
        for price in manifest.models:
            outcome = await self._store.tenants.set_price(price.name, price.credits_per_turn)
            applied.note(outcome, f"price {price.name}")
        for tenant, given in zip(manifest.tenants, gifts, strict=True):
            await self._apply_tenant(tenant, given, folder, applied)
        return applied

    def _check_models(self, manifest: Manifest) -> None:
        for at, tenant in enumerate(manifest.tenants):
            for index, agent in enumerate(tenant.agents):
                try:
                    self._check_model(msgspec.convert(definition_of(agent)["model"], ModelChoice))
                except ValueError as error:
                    raise ManifestError(f"tenants[{at}].agents[{index}].model: {error}") from error

    async def _apply_tenant(
        self, tenant: Tenant, gifts: Sequence[Sequence[Given]], folder: Path, applied: Applied
    ) -> None:
        limits = tenant.limits
        wanted = CoreTenant(
            tenant.id,
            tenant.name or tenant.id,
            tenant.plan,
            tenant.credits,
            limits.per_minute if limits else None,
            limits.per_day if limits else None,
            allow_private=tenant.egress is not None and tenant.egress.allow_private,
        )
        before = await self._store.tenants.get(tenant.id)
        outcome = await self._store.tenants.put(wanted, now_us())
        agents = Applied()
        slugs: dict[str, str] = {}
        for agent, given in zip(tenant.agents, gifts, strict=True):
            await self._apply_agent(tenant, agent, given, folder, agents, slugs)
        if tenant.default_agent is not None:
            default = await self._set_default(tenant, tenant.default_agent, slugs)
            if outcome == "unchanged" and before is not None and before.default_agent_id != default:
                outcome = "updated"
        applied.note(outcome, f"tenant {tenant.id}")
        applied.add(agents)
        for key in tenant.keys:
            await self._apply_key(tenant.id, key, applied)
        for webhook in tenant.webhooks:
            await self._apply_webhook(wanted, webhook, applied)

    async def _apply_webhook(self, tenant: CoreTenant, webhook: Webhook, applied: Applied) -> None:
        outcome, secret = await self._webhooks.bring_to(
            tenant.id, webhook.url, webhook.events, webhook.secret, allow_private=tenant.allow_private
        )
        applied.note(outcome, f"webhook {tenant.id}/{webhook.url}")
        if secret is not None:
            applied.webhooks.append({"tenant": tenant.id, "url": webhook.url, "secret": secret})

    async def _apply_agent(
        self,
        tenant: Tenant,
        agent: Agent,
        gifts: Sequence[Given],
        folder: Path,
        applied: Applied,
        slugs: dict[str, str],
    ) -> None:
        kept, outcome = await self._store.agents.put(
            tenant.id, agent.id, agent.slug, agent.name, definition_of(agent, folder), now_us()
        )
        slugs[kept.slug] = kept.id
        what = f"agent {tenant.id}/{kept.slug}"
        applied.note(outcome, what)
        for deployment in agent.deployments:
            done = await self._store.agents.deploy(
                tenant.id, kept.id, deployment.id, deployment.channel, deployment.region
            )
            applied.note(done, f"deployment {tenant.id}/{kept.slug}/{deployment.channel}/{deployment.region}")
        for given in gifts:
            identity = document_id(kept.id, given)
            _, done = await self._knowledge.add(tenant.id, kept.id, given, document_id=identity, managed="manifest")
            applied.note(done, f"document {tenant.id}/{kept.slug}/{given.title}")

    async def _set_default(self, tenant: Tenant, reference: str, slugs: dict[str, str]) -> str:
        agent_id = slugs.get(reference)
        if agent_id is None:
            try:
                agent_id = await self.agent_id(tenant.id, reference)
            except AgentNotFound as error:
                raise ManifestError(f"tenant {tenant.id}: default_agent {reference!r} is no agent of it") from error
        await self._store.agents.set_default(tenant.id, agent_id)
        return agent_id

    async def agent_id(self, tenant_id: str, reference: str) -> str:
        """The id of the tenant's agent of this slug or id.

        Raises:
            AgentNotFound
        """
        for known, _ in await self._store.agents.definitions(tenant_id):
            if reference in (known.slug, known.id):
                return known.id
        raise AgentNotFound(reference)

    async def _apply_key(self, tenant_id: str, key: Key, applied: Applied) -> None:
        wanted = NewKey(
            name=key.name,
            type=key.type,
            value=key.value,
            agents=key.agents,
            origins=key.origins,
            limits=_given(key.limits),
            expires_at=int(key.expires_at.timestamp() * 1_000_000) if key.expires_at else None,
        )
        outcome, value = await self._access.bring_to(tenant_id, wanted)
        applied.note(outcome, f"key {tenant_id}/{key.name}")
        shown = {"tenant": tenant_id, "name": key.name, "type": key.type}
        applied.keys.append(shown if value is None else {**shown, "value": value})

    async def export(self, tenant_id: str | None = None) -> str:
        """The manifest that would make this state, as YAML, secrets left out.

        Raises:
            NotFound: no such tenant.
        """
        tenants = [each for each in await self._store.tenants.all() if tenant_id in (None, each.id)]
        if tenant_id is not None and not tenants:
            raise NotFound(f"there is no tenant {tenant_id!r}")
        prices = [{"name": name, "credits_per_turn": price} for name, price in await self._store.tenants.prices()]
        whole = {"models": prices, "tenants": [await self._export_tenant(tenant) for tenant in tenants]}
        return yaml.safe_dump(whole, sort_keys=False, allow_unicode=True)

    async def _export_tenant(self, tenant: CoreTenant) -> dict[str, Any]:
        found: dict[str, Any] = {"id": tenant.id, "name": tenant.name, "plan": tenant.plan}
        if tenant.credits is not None:
            found["credits"] = await self._store.tenants.granted(tenant.id)
        limits = {"per_minute": tenant.per_minute, "per_day": tenant.per_day}
        if given := {name: value for name, value in limits.items() if value is not None}:
            found["limits"] = given
        agents = await self._store.agents.definitions(tenant.id)
        for agent, _ in agents:
            if agent.id == tenant.default_agent_id:
                found["default_agent"] = agent.slug
        found["keys"] = _exported_keys(await self._store.keys.all(tenant.id))
        if tenant.allow_private:
            found["egress"] = {"allow_private": True}
        webhooks = [each for each in await self._webhooks.all(tenant.id) if each.managed != "listen"]
        if webhooks:
            found["webhooks"] = [
                {"url": each.url, **({"events": list(each.events)} if each.events else {})} for each in webhooks[::-1]
            ]
        found["agents"] = []
        for agent, definition in agents:
            deployments = [
                {"id": deployment_id, "channel": channel, "region": region}
                for deployment_id, channel, region in await self._store.agents.deployments(tenant.id, agent.id)
            ]
            names = {"id": agent.id, "name": agent.name, "slug": agent.slug}
            found["agents"].append({**names, **definition, **({"deployments": deployments} if deployments else {})})
        return found


def _given(limits: Any) -> dict[str, int] | None:
    return msgspec.to_builtins(limits) if limits is not None else None


def _exported_keys(keys: Sequence[ApiKey]) -> list[dict[str, Any]]:
    """One entry a name, the newest; revoked ones would come to life, so they are left out."""
    newest = {key.name: key for key in keys if key.revoked_at is None}
    return [
        {
            "name": key.name,
            "type": key.type,
            **({"agents": list(key.agents)} if key.agents else {}),
            **({"origins": list(key.origins)} if key.origins else {}),
            **({"limits": dict(key.limits)} if key.limits else {}),
            **({"expires_at": iso(key.expires_at)} if key.expires_at else {}),
        }
        for key in newest.values()
    ]
