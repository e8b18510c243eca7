"""Agents and the versions of what they are told. A version never changes, so it is decoded once. Knows no manifest."""

import json
import time
from collections.abc import Mapping, Sequence
from typing import Any, NamedTuple

import msgspec

from dragoman.adapters.store.driver import Database, Row, Transaction, across_tenants
from dragoman.core.agents import Agent, AgentDefinition, slugify
from dragoman.core.clock import now_us
from dragoman.core.errors import NameTaken
from dragoman.core.ids import new_id, parse_id

BY_ID = """SELECT id, slug, name, version FROM agents
    WHERE id = :reference AND tenant_id = :tenant_id AND deleted_at IS NULL"""
BY_SLUG = """SELECT id, slug, name, version FROM agents
    WHERE slug = :reference AND tenant_id = :tenant_id AND deleted_at IS NULL"""
PUBLIC = "SELECT tenant_id FROM agents WHERE id = :agent_id AND public = 1 AND deleted_at IS NULL"
DEFINITION = """SELECT definition FROM agent_versions
    WHERE agent_id = :agent_id AND version = :version AND tenant_id = :tenant_id"""
ALL = """SELECT a.id, a.slug, a.name, a.version, v.definition FROM agents a
    JOIN agent_versions v ON v.agent_id = a.id AND v.version = a.version
    WHERE a.tenant_id = :tenant_id AND a.deleted_at IS NULL ORDER BY a.slug"""
TAKEN = "SELECT 1 FROM agents WHERE tenant_id = :tenant_id AND slug = :slug"
NEW_AGENT = """INSERT INTO agents (id, tenant_id, slug, name, version, managed, public, created_at, updated_at)
    VALUES (:agent_id, :tenant_id, :slug, :name, 1, :managed, :public, :now, :now) ON CONFLICT DO NOTHING"""
NEW_COUNTER = "INSERT INTO agent_counters (agent_id, tenant_id, last_number) VALUES (:agent_id, :tenant_id, 0)"
NEW_VERSION = """INSERT INTO agent_versions (agent_id, version, tenant_id, definition, created_at)
    VALUES (:agent_id, :version, :tenant_id, :definition, :now)"""
PUBLISH = """UPDATE agents
    SET slug = :slug, name = :name, version = :version, public = :public, managed = 'manifest', draft = NULL,
        updated_at = :now
    WHERE id = :agent_id AND tenant_id = :tenant_id"""
FROM_MANIFEST = "SELECT 1 FROM agents WHERE id = :agent_id AND tenant_id = :tenant_id AND managed = 'manifest'"
LENDING = """SELECT v.definition FROM agents a
    JOIN agent_versions v ON v.agent_id = a.id AND v.version = a.version AND v.tenant_id = :tenant_id
    WHERE a.tenant_id = :tenant_id AND a.managed = 'manifest' AND a.deleted_at IS NULL"""
MAY_REACH_PRIVATE = "SELECT 1 FROM tenants WHERE id = :tenant_id AND allow_private = 1"
# The slug of a deleted agent is free for another: until somebody names the agent by its id again, its own has the id
# behind it, and no slug that can be asked for has this sign.
TOMBSTONE = "~"
REVIVE = """UPDATE agents SET deleted_at = NULL
    WHERE id = :agent_id AND tenant_id = :tenant_id AND deleted_at IS NOT NULL"""
SET_DEFAULT = "UPDATE tenants SET default_agent_id = :agent_id WHERE id = :tenant_id"
DEPLOYMENT = """SELECT id FROM deployments
    WHERE tenant_id = :tenant_id AND agent_id = :agent_id AND channel = :channel AND region = :region"""
DEPLOYMENTS = """SELECT id, channel, region FROM deployments
    WHERE tenant_id = :tenant_id AND agent_id = :agent_id ORDER BY created_at, id"""
DEPLOY = """INSERT INTO deployments (id, tenant_id, agent_id, channel, region, created_at)
    VALUES (:id, :tenant_id, :agent_id, :channel, :region, :now) ON CONFLICT DO NOTHING"""
REPLACE_DEPLOYMENT = """UPDATE deployments SET id = :id
    WHERE tenant_id = :tenant_id AND agent_id = :agent_id AND channel = :channel AND region = :region
        AND NOT EXISTS (SELECT 1 FROM deployments taken WHERE taken.id = :id)"""

KNOWS = "SELECT 1 FROM knowledge WHERE agent_id = :agent_id AND tenant_id = :tenant_id AND chunks > 0"
PRICE = "SELECT credits_per_turn FROM prices WHERE model = :model"

DEFAULT_PRICE = 1
REMEMBERED_SECONDS = 2.0
REMEMBERED = 10_000

_decoder = msgspec.json.Decoder(AgentDefinition)


class Published(NamedTuple):
    """An agent as a turn reads it, and what a turn of its model costs, in credits."""

    agent: Agent
    price: int


class Definitions:
    """Published agents as turns read them: looked up anew when they may have changed, decoded once a version."""

    def __init__(self) -> None:
        self._decoded: dict[tuple[str, int], AgentDefinition] = {}
        self._published: dict[tuple[str, str], tuple[float, Published]] = {}

    def forget(self) -> None:
        """Something has changed here; what changes elsewhere is seen within two seconds."""
        self._published.clear()

    async def published(self, transaction: Transaction, tenant_id: str, reference: str) -> Published | None:
        """The tenant's agent of this id or slug."""
        now = time.monotonic()
        known = self._published.get((tenant_id, reference))
        if known is not None and now < known[0]:
            return known[1]
        row = await find_row(transaction, tenant_id, reference)
        if row is None:
            return None
        agent_id, slug, name, version = row
        definition = self._decoded.get((agent_id, version))
        if definition is None:
            wanted = {"agent_id": agent_id, "version": version, "tenant_id": tenant_id}
            found = await transaction.one(DEFINITION, wanted)
            definition = _decoder.decode(found[0]) if found else AgentDefinition()
            self._decoded[agent_id, version] = definition
        definition = await _guarded(transaction, tenant_id, agent_id, definition)
        price = await transaction.one(PRICE, {"model": definition.model.name})
        knows = await transaction.one(KNOWS, {"agent_id": agent_id, "tenant_id": tenant_id}) is not None
        agent = Agent(agent_id, tenant_id, slug, name, version, definition, knows)
        published = Published(agent, int(price[0]) if price else DEFAULT_PRICE)
        if len(self._published) >= REMEMBERED:
            self._published.clear()
        self._published[tenant_id, reference] = (now + REMEMBERED_SECONDS, published)
        return published


class Agents:
    """The agents of every tenant."""

    def __init__(self, database: Database, definitions: Definitions) -> None:
        self._database = database
        self._definitions = definitions

    async def put(
        self, tenant_id: str, agent_id: str | None, slug: str | None, name: str, definition: Mapping[str, Any], now: int
    ) -> tuple[Agent, str]:
        text = json.dumps(definition, ensure_ascii=False, sort_keys=True)

        async def job(transaction: Transaction) -> tuple[Agent, str]:
            if agent_id is not None:
                await transaction.run(REVIVE, {"agent_id": agent_id, "tenant_id": tenant_id})
            row = await find_row(transaction, tenant_id, agent_id or slug or slugify(name))
            ours = {
                "tenant_id": tenant_id,
                "definition": text,
                "name": name,
                "managed": "manifest",
                "public": int(bool(definition.get("public"))),
                "now": now,
            }
            if row is None:
                return await create(transaction, ours, agent_id or new_id(), slug), "created"
            found, old_slug, old_name, version = row
            wanted_slug = slug or old_slug.partition(TOMBSTONE)[0]
            current = await transaction.one(DEFINITION, {"agent_id": found, "version": version, "tenant_id": tenant_id})
            same = current is not None and current[0] == text
            agent = Agent(found, tenant_id, wanted_slug, name, version + (not same), _decoder.decode(text))
            known = await transaction.one(FROM_MANIFEST, {"agent_id": found, "tenant_id": tenant_id})
            if same and known and (old_slug, old_name) == (wanted_slug, name):
                return agent, "unchanged"
            if wanted_slug != old_slug and await transaction.one(TAKEN, {**ours, "slug": wanted_slug}):
                raise NameTaken(f"the slug {wanted_slug!r} belongs to another agent of tenant {tenant_id!r}")
            ours = {**ours, "agent_id": found, "version": agent.version, "slug": wanted_slug}
            if not same:
                await transaction.run(NEW_VERSION, ours)
            await transaction.run(PUBLISH, ours)
            return agent, "updated"

        done = await self._database.write(job)
        self._definitions.forget()
        return done

    async def find(self, tenant_id: str, reference: str) -> Agent | None:
        async def job(transaction: Transaction) -> Agent | None:
            published = await self._definitions.published(transaction, tenant_id, reference)
            return published.agent if published else None

        return await self._database.read(job)

    @across_tenants("who asks for a public agent has no credential: the agent says which tenant it is")
    async def find_public(self, agent_id: str) -> str | None:
        async def job(transaction: Transaction) -> str | None:
            row = await transaction.one(PUBLIC, {"agent_id": agent_id})
            return str(row[0]) if row else None

        return await self._database.read(job)

    async def definitions(self, tenant_id: str) -> Sequence[tuple[Agent, Mapping[str, Any]]]:
        async def job(transaction: Transaction) -> list[tuple[Agent, Mapping[str, Any]]]:
            found = []
            for agent_id, slug, name, version, text in await transaction.all(ALL, {"tenant_id": tenant_id}):
                definition = await _guarded(transaction, tenant_id, agent_id, _decoder.decode(text))
                found.append((Agent(agent_id, tenant_id, slug, name, version, definition), json.loads(text)))
            return found

        return await self._database.read(job)

    async def set_default(self, tenant_id: str, agent_id: str | None) -> None:
        async def job(transaction: Transaction) -> None:
            await transaction.run(SET_DEFAULT, {"tenant_id": tenant_id, "agent_id": agent_id})

        await self._database.write(job)

    async def deploy(self, tenant_id: str, agent_id: str, deployment_id: str | None, channel: str, region: str) -> str:
        ours = {"tenant_id": tenant_id, "agent_id": agent_id, "channel": channel, "region": region}

        async def job(transaction: Transaction) -> str:
            row = await transaction.one(DEPLOYMENT, ours)
            if row is not None and deployment_id in (None, row[0]):
                return "unchanged"
            wanted = {**ours, "id": deployment_id or new_id()}
            if row is None:
                done = await transaction.run(DEPLOY, {**wanted, "now": now_us()})
            else:
                done = await transaction.run(REPLACE_DEPLOYMENT, wanted)
            if not done:
                raise NameTaken(f"the deployment id {deployment_id} is in use")
            return "updated" if row else "created"

        return await self._database.write(job)

    async def deployments(self, tenant_id: str, agent_id: str) -> Sequence[tuple[str, str, str]]:
        async def job(transaction: Transaction) -> list[tuple[str, str, str]]:
            rows = await transaction.all(DEPLOYMENTS, {"tenant_id": tenant_id, "agent_id": agent_id})
            return [(str(row[0]), str(row[1]), str(row[2])) for row in rows]

        return await self._database.read(job)


async def _guarded(
    transaction: Transaction, tenant_id: str, agent_id: str, definition: AgentDefinition
) -> AgentDefinition:
    """A definition with a guard on the addresses that are its tenant's word, and not that of the tenant's manifests.

    It is decided as the definition is read: what a manifest lends, or takes back, holds for what stands there already.
    """
    ours = {"tenant_id": tenant_id, "agent_id": agent_id}
    if not definition.addresses or await transaction.one(FROM_MANIFEST, ours):
        return definition
    lending = [_decoder.decode(text) for (text,) in await transaction.all(LENDING, {"tenant_id": tenant_id})]
    lent = {address for each in lending for address in each.addresses}
    private = await transaction.one(MAY_REACH_PRIVATE, {"tenant_id": tenant_id})
    return definition.guarded("private" if private else "public", lent)


async def find_row(transaction: Transaction, tenant_id: str, reference: str) -> Row | None:
    """The id, slug, name and version of the tenant's agent of this id or slug."""
    uuid = parse_id("agent", reference)
    by = {"reference": uuid or reference, "tenant_id": tenant_id}
    return await transaction.one(BY_ID if uuid else BY_SLUG, by)


async def create(transaction: Transaction, ours: Mapping[str, Any], agent_id: str, slug: str | None) -> Agent:
    """Keep a new agent and its first version; without a slug it gets the first that is free for its name.

    Raises:
        NameTaken: the slug or the id belongs to another.
    """
    tenant_id, name = str(ours["tenant_id"]), str(ours["name"])
    wanted = free = slug or slugify(name)
    copies = 1
    while await transaction.one(TAKEN, {"tenant_id": tenant_id, "slug": free}):
        if slug is not None:
            raise NameTaken(f"the slug {slug!r} belongs to another agent of tenant {tenant_id!r}")
        copies += 1
        free = f"{wanted}-{copies}"
    row = {**ours, "agent_id": agent_id, "slug": free, "version": 1}
    if not await transaction.run(NEW_AGENT, row):
        raise NameTaken(f"the agent id {agent_id} is in use")
    await transaction.run(NEW_COUNTER, row)
    await transaction.run(NEW_VERSION, row)
    return Agent(agent_id, tenant_id, free, name, 1, _decoder.decode(ours["definition"]))
