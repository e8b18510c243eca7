"""Agents as their owners change them: a draft, its publishing, versions to go back to. Knows no header and no SQL.

What a manifest made belongs to the manifest: here it can be read, and not changed.
"""

import json
from collections.abc import Callable, Collection, Iterator, Mapping, Sequence
from typing import Any

import msgspec

from dragoman.core.agents import ModelChoice
from dragoman.core.clock import now_us
from dragoman.core.errors import AgentNotFound, Conflict, Forbidden, Invalid, NotFound, PreconditionFailed
from dragoman.core.ids import new_id, prefixed
from dragoman.core.tenants import Principal
from dragoman.ports.audit import Act, Place
from dragoman.ports.drafts import AgentChange, AgentVersion, Decide, Definition, NewAgent, StoredAgent
from dragoman.ports.store import Store
from dragoman.services.audit import actor_of
from dragoman.services.manifest import format as manifest

NAMES = ("name", "slug")

# Revisions of which one must be the agent's; None where the caller does not care.
Expected = Collection[str] | None


class Agents:
    """The agents of tenants. `check_model` raises ValueError for a choice that its provider cannot use."""

    def __init__(self, store: Store, check_model: Callable[[ModelChoice], None]) -> None:
        self._store = store
        self._check_model = check_model

    async def page(self, tenant_id: str, limit: int, before: Place | None) -> Sequence[StoredAgent]:
        """Agents before a place, newest first."""
        return await self._store.drafts.page(tenant_id, limit, before)

    async def get(self, tenant_id: str, reference: str) -> StoredAgent:
        """The agent of this id or slug.

        Raises:
            AgentNotFound
        """
        found = await self._store.drafts.get(tenant_id, reference)
        if found is None:
            raise AgentNotFound(reference)
        return found

    async def create(self, principal: Principal, wanted: manifest.Agent) -> StoredAgent:
        """Make an agent and publish its first version. Its ids are new, whatever is wanted.

        Raises:
            Invalid: the definition breaks a rule; the message names the path.
            Forbidden: it says what only the operator may.
            NameTaken: the slug belongs to another.
        """
        definition = self._checked(wanted, await self._lent(principal.tenant_id))
        agent_id = new_id()
        deployments = [(new_id(), each.channel, each.region) for each in wanted.deployments]
        new = NewAgent(agent_id, wanted.slug, wanted.name, definition, deployments)
        act = Act(actor_of(principal), "agent.created", prefixed("agent", agent_id), {"name": wanted.name})
        return await self._store.drafts.create(principal.tenant_id, new, act, now_us())

    async def amend(
        self, principal: Principal, reference: str, changes: Mapping[str, Any], expected: Expected = None
    ) -> StoredAgent:
        """Change an agent's names at once, and its draft, which begins as what is published.

        Each field that is given takes the place of the whole field. A draft that says what is published is none.

        Raises:
            AgentNotFound, PreconditionFailed, Conflict, NameTaken
            Invalid, Forbidden: as in `create`.
        """
        lent = await self._lent(principal.tenant_id)

        def decide(found: StoredAgent) -> AgentChange | None:
            names = {"name": found.name, "slug": found.slug}
            told = {**(found.draft or found.definition), **names, **changes}
            wanted = _convert(told)
            draft: Definition | None = found.draft
            if changes.keys() - set(NAMES):
                definition = self._checked(wanted, lent)
                draft = None if _same(definition, found.definition) else definition
            slug = wanted.slug or found.slug
            if (wanted.name, slug) == (found.name, found.slug) and _same(draft, found.draft):
                return None
            return AgentChange(
                slug, wanted.name, draft, _act(principal, "agent.changed", found, fields=sorted(changes))
            )

        return await self._change(principal, reference, expected, decide)

    async def publish(self, principal: Principal, reference: str, expected: Expected = None) -> StoredAgent:
        """Make the draft the agent's next version; without a draft nothing changes.

        Raises:
            AgentNotFound, PreconditionFailed, Conflict
        """

        def decide(found: StoredAgent) -> AgentChange | None:
            if found.draft is None:
                return None
            act = _act(principal, "agent.published", found, version=found.version + 1)
            return AgentChange(found.slug, found.name, None, act, published=found.draft)

        return await self._change(principal, reference, expected, decide)

    async def give_tools(
        self, principal: Principal, reference: str, tools: Sequence[Mapping[str, Any]]
    ) -> tuple[StoredAgent, bool]:
        """Add tools to an agent, in place of those of their names; it, and whether that is published.

        What a manifest made is left as it is. A draft with other changes takes the tools and is not published.

        Raises:
            AgentNotFound
            Invalid, Forbidden: as in `create`.
        """
        found = await self.get(principal.tenant_id, reference)
        if found.managed == "manifest":
            return found, False
        names = {tool.get("name") for tool in tools}
        kept = [tool for tool in (found.draft or found.definition).get("tools", ()) if tool.get("name") not in names]
        drafted = await self.amend(principal, found.id, {"tools": [*kept, *tools]}, {found.revision})
        if found.draft is not None or drafted.draft is None:
            return drafted, False
        return await self.publish(principal, found.id, {drafted.revision}), True

    async def roll_back(
        self, principal: Principal, reference: str, version: int, expected: Expected = None
    ) -> StoredAgent:
        """Publish once more what an earlier version told, as a new version. A draft stays as it is.

        Raises:
            AgentNotFound, PreconditionFailed, Conflict
            NotFound: there is no such version.
        """
        agent = await self.get(principal.tenant_id, reference)
        earlier = await self.version(principal.tenant_id, agent.id, version)

        def decide(found: StoredAgent) -> AgentChange | None:
            if _same(earlier.definition, found.definition):
                return None
            detail = {"version": found.version + 1, "from": version}
            act = _act(principal, "agent.rolled_back", found, **detail)
            return AgentChange(found.slug, found.name, found.draft, act, published=earlier.definition)

        return await self._change(principal, agent.id, expected, decide)

    async def delete(self, principal: Principal, reference: str, expected: Expected = None) -> None:
        """Take an agent away. Its conversations stay, its slug is free for another.

        Raises:
            AgentNotFound, PreconditionFailed, Conflict
        """

        def decide(found: StoredAgent) -> AgentChange:
            act = _act(principal, "agent.deleted", found, slug=found.slug)
            return AgentChange(found.slug, found.name, found.draft, act, deleted=True)

        await self._change(principal, reference, expected, decide)

    async def versions(self, tenant_id: str, agent_id: str, limit: int, below: int | None) -> Sequence[AgentVersion]:
        """Versions under a number, newest first."""
        return await self._store.drafts.versions(tenant_id, agent_id, limit, below)

    async def version(self, tenant_id: str, agent_id: str, version: int) -> AgentVersion:
        """What an agent was told in one version.

        Raises:
            NotFound: there is no such version.
        """
        found = await self._store.drafts.version(tenant_id, agent_id, version)
        if found is None:
            raise NotFound("This agent has no such version")
        return found

    async def _change(self, principal: Principal, reference: str, expected: Expected, decide: Decide) -> StoredAgent:
        def allowed(found: StoredAgent) -> AgentChange | None:
            if expected is not None and found.revision not in expected:
                raise PreconditionFailed
            if found.managed == "manifest":
                raise Conflict(
                    "A manifest made this agent: its name, its slug and all that it is told are changed there, "
                    "and it can be neither rolled back nor deleted here"
                )
            return decide(found)

        return await self._store.drafts.change(principal.tenant_id, reference, allowed, now_us())

    async def _lent(self, tenant_id: str) -> Collection[tuple[str, Any]]:
        """What of this machine the operator lets the tenant's agents use: what manifests of its agents name."""
        told = await self._store.drafts.from_manifests(tenant_id)
        return [loan for definition in told for _, loan in _loans(definition)]

    def _checked(self, wanted: manifest.Agent, lent: Collection[tuple[str, Any]]) -> dict[str, Any]:
        """The definition, when all is well with it."""
        _check_rules(wanted)
        definition = manifest.definition_of(wanted)
        try:
            self._check_model(msgspec.convert(definition["model"], ModelChoice))
        except ValueError as error:
            raise Invalid(f"model: {error}", field="model") from error
        for path, loan in _loans(definition):
            if loan not in lent:
                raise Forbidden(
                    f"{path}: only the operator can say this, in a manifest; then this tenant's other agents can too"
                )
        return definition


def _check_rules(agent: manifest.Agent) -> None:
    """What a manifest would be told of this agent beside its types."""
    try:
        manifest.check_agent(agent)
    except manifest.ManifestError as error:
        raise Invalid(error.message) from error


def _loans(definition: Definition) -> Iterator[tuple[str, tuple[str, Any]]]:
    """What of this machine a definition uses, each with its path: variables of the environment, and files.

    A variable is lent together with the address that it is sent to, or any address could be sent any secret.
    """
    for part in ("model", "embedder", "transcriber"):
        vendor = definition.get(part) or {}
        if variable := vendor.get("api_key_env"):
            yield f"{part}.api_key_env", (variable, vendor.get("base_url"))
        if path := vendor.get("path"):
            yield f"{part}.path", ("file", path)
    for index, known in enumerate(definition.get("knowledge") or ()):
        if path := known.get("path"):
            yield f"knowledge[{index}].path", ("file", path)


def _convert(told: Mapping[str, Any]) -> manifest.Agent:
    try:
        return msgspec.convert(told, manifest.Agent)
    except msgspec.ValidationError as error:
        raise Invalid(str(error)) from error


def _same(one: Definition | None, other: Definition | None) -> bool:
    return json.dumps(one, sort_keys=True) == json.dumps(other, sort_keys=True)


def _act(principal: Principal, action: str, agent: StoredAgent, **detail: Any) -> Act:
    return Act(actor_of(principal), action, prefixed("agent", agent.id), detail)
