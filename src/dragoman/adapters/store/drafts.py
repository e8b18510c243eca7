"""Agents as their owners change them, each change with its row in the audit log. Knows no rule of a definition."""

import json
from collections.abc import Mapping, Sequence
from typing import Any

from dragoman.adapters.store import agents, audit
from dragoman.adapters.store.agents import Definitions
from dragoman.adapters.store.audit import NEWEST
from dragoman.adapters.store.driver import Database, Row, Transaction
from dragoman.core.errors import AgentNotFound, NameTaken
from dragoman.ports.audit import Act, Place
from dragoman.ports.drafts import AgentChange, AgentVersion, Decide, Definition, NewAgent, StoredAgent

_AGENTS = """SELECT a.id, a.tenant_id, a.slug, a.name, a.version, a.managed, v.definition, a.draft, a.created_at,
        a.updated_at
    FROM agents a JOIN agent_versions v ON v.agent_id = a.id AND v.version = a.version
    WHERE a.tenant_id = :tenant_id AND a.deleted_at IS NULL"""

PAGE = f"{_AGENTS} AND (a.created_at, a.id) < (:at, :id) ORDER BY a.created_at DESC, a.id DESC LIMIT :limit"
AGENT = f"{_AGENTS} AND a.id = :agent_id"
MANAGED = f"{_AGENTS} AND a.managed = 'manifest'"
# Changes nothing and takes the row for this transaction, on either database.
TAKE = """UPDATE agents SET updated_at = updated_at
    WHERE id = :agent_id AND tenant_id = :tenant_id AND deleted_at IS NULL"""
CHANGE = """UPDATE agents SET slug = :slug, name = :name, version = :version, public = :public, draft = :draft,
        updated_at = :now, deleted_at = :deleted_at
    WHERE id = :agent_id AND tenant_id = :tenant_id"""
NO_DEFAULT = "UPDATE tenants SET default_agent_id = NULL WHERE id = :tenant_id AND default_agent_id = :agent_id"
VERSIONS = """SELECT version, definition, created_at FROM agent_versions
    WHERE agent_id = :agent_id AND tenant_id = :tenant_id AND version < :below ORDER BY version DESC LIMIT :limit"""
WITHDRAW = "DELETE FROM deployments WHERE id = :id AND agent_id = :agent_id AND tenant_id = :tenant_id"

_ABOVE_ALL = 2**62


class Drafts:
    """The agents of every tenant, with what is not published yet."""

    def __init__(self, database: Database, definitions: Definitions) -> None:
        self._database = database
        self._definitions = definitions

    async def page(self, tenant_id: str, limit: int, before: Place | None) -> Sequence[StoredAgent]:
        at, last = before or NEWEST

        async def job(transaction: Transaction) -> list[StoredAgent]:
            rows = await transaction.all(PAGE, {"tenant_id": tenant_id, "at": at, "id": last, "limit": limit})
            return [_agent(row) for row in rows]

        return await self._database.read(job)

    async def get(self, tenant_id: str, reference: str) -> StoredAgent | None:
        async def job(transaction: Transaction) -> StoredAgent | None:
            row = await agents.find_row(transaction, tenant_id, reference)
            return await _read(transaction, tenant_id, row[0]) if row else None

        return await self._database.read(job)

    async def create(self, tenant_id: str, agent: NewAgent, act: Act, now: int) -> StoredAgent:
        row = {
            "tenant_id": tenant_id,
            "definition": _text(agent.definition),
            "name": agent.name,
            "managed": "api",
            "public": _public(agent.definition),
            "now": now,
        }

        async def job(transaction: Transaction) -> StoredAgent:
            await agents.create(transaction, row, agent.id, agent.slug)
            for deployment in agent.deployments:
                await _deploy(transaction, tenant_id, agent.id, deployment, now)
            await audit.enter(transaction, tenant_id, act, now)
            return await _read(transaction, tenant_id, agent.id)

        return await self._database.write(job)

    async def change(self, tenant_id: str, reference: str, decide: Decide, now: int) -> StoredAgent:
        async def job(transaction: Transaction) -> StoredAgent:
            row = await agents.find_row(transaction, tenant_id, reference)
            if row is None or not await transaction.run(TAKE, {"agent_id": row[0], "tenant_id": tenant_id}):
                raise AgentNotFound(reference)
            found = await _read(transaction, tenant_id, row[0])
            change = decide(found)
            if change is None:
                return found
            await _change(transaction, found, change, now)
            await audit.enter(transaction, tenant_id, change.act, now)
            return found if change.deleted else await _read(transaction, tenant_id, found.id)

        changed = await self._database.write(job)
        self._definitions.forget()
        return changed

    async def versions(self, tenant_id: str, agent_id: str, limit: int, below: int | None) -> Sequence[AgentVersion]:
        wanted = {"agent_id": agent_id, "tenant_id": tenant_id, "limit": limit, "below": below or _ABOVE_ALL}

        async def job(transaction: Transaction) -> list[AgentVersion]:
            return [_version(row) for row in await transaction.all(VERSIONS, wanted)]

        return await self._database.read(job)

    async def version(self, tenant_id: str, agent_id: str, version: int) -> AgentVersion | None:
        found = await self.versions(tenant_id, agent_id, 1, version + 1)
        return found[0] if found and found[0].version == version else None

    async def from_manifests(self, tenant_id: str) -> Sequence[Definition]:
        async def job(transaction: Transaction) -> list[Definition]:
            return [_agent(row).definition for row in await transaction.all(MANAGED, {"tenant_id": tenant_id})]

        return await self._database.read(job)

    async def deploy(self, tenant_id: str, agent_id: str, deployment: tuple[str, str, str], act: Act, now: int) -> None:
        async def job(transaction: Transaction) -> None:
            await _deploy(transaction, tenant_id, agent_id, deployment, now)
            await audit.enter(transaction, tenant_id, act, now)

        await self._database.write(job)

    async def withdraw(self, tenant_id: str, agent_id: str, deployment_id: str, act: Act, now: int) -> bool:
        ours = {"id": deployment_id, "agent_id": agent_id, "tenant_id": tenant_id}

        async def job(transaction: Transaction) -> bool:
            if not await transaction.run(WITHDRAW, ours):
                return False
            await audit.enter(transaction, tenant_id, act, now)
            return True

        return await self._database.write(job)


async def _read(transaction: Transaction, tenant_id: str, agent_id: str) -> StoredAgent:
    row = await transaction.one(AGENT, {"tenant_id": tenant_id, "agent_id": agent_id})
    if row is None:
        raise AgentNotFound(agent_id)
    return _agent(row)


async def _change(transaction: Transaction, found: StoredAgent, change: AgentChange, now: int) -> None:
    ours = {"tenant_id": found.tenant_id, "agent_id": found.id, "now": max(now, found.updated_at + 1)}
    if change.slug != found.slug and await transaction.one(agents.TAKEN, {**ours, "slug": change.slug}):
        raise NameTaken(f"the slug {change.slug!r} belongs to another agent of tenant {found.tenant_id!r}")
    version, definition = found.version, found.definition
    if change.published is not None:
        version, definition = version + 1, change.published
        await transaction.run(agents.NEW_VERSION, {**ours, "version": version, "definition": _text(definition)})
    wanted: dict[str, Any] = {
        "slug": f"{change.slug}{agents.TOMBSTONE}{found.id}" if change.deleted else change.slug,
        "name": change.name,
        "version": version,
        "public": _public(definition),
        "draft": None if change.draft is None else _text(change.draft),
        "deleted_at": now if change.deleted else None,
    }
    await transaction.run(CHANGE, {**ours, **wanted})
    if change.deleted:
        await transaction.run(NO_DEFAULT, ours)


async def _deploy(
    transaction: Transaction, tenant_id: str, agent_id: str, deployment: tuple[str, str, str], now: int
) -> None:
    deployment_id, channel, region = deployment
    row = {"tenant_id": tenant_id, "agent_id": agent_id, "channel": channel, "region": region, "now": now}
    if not await transaction.run(agents.DEPLOY, {**row, "id": deployment_id}):
        taken = await transaction.one(agents.DEPLOYMENT, row)
        raise NameTaken(
            f"the agent has a deployment on channel {channel!r} in region {region!r}"
            if taken
            else f"the deployment id {deployment_id} is in use"
        )


def _agent(row: Row) -> StoredAgent:
    agent_id, tenant_id, slug, name, version, managed, definition, draft, created_at, updated_at = row
    told, waiting = json.loads(definition), json.loads(draft) if draft else None
    return StoredAgent(agent_id, tenant_id, slug, name, version, managed, told, waiting, created_at, updated_at)


def _version(row: Row) -> AgentVersion:
    return AgentVersion(row[0], json.loads(row[1]), row[2])


def _text(definition: Mapping[str, Any]) -> str:
    """A definition as it is kept: the same text for the same definition."""
    return json.dumps(definition, ensure_ascii=False, sort_keys=True)


def _public(definition: Mapping[str, Any]) -> int:
    return int(bool(definition.get("public")))
