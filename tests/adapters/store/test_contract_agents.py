"""What every store does with agents as their owners change them: drafts, versions, deletion, a manifest's word."""

import asyncio
from typing import Any

import pytest

from dragoman.adapters.store import SqlStore
from dragoman.core.errors import AgentNotFound, Conflict, NameTaken
from dragoman.core.ids import new_id, prefixed
from dragoman.core.tenants import Tenant
from dragoman.ports.audit import Act
from dragoman.ports.drafts import AgentChange, Decide, NewAgent, StoredAgent
from tests.adapters.store.scene import NOW, SCRIPTED, begun, settled

LATER = NOW + 1_000_000


def act(action: str = "agent.changed", **detail: Any) -> Act:
    return Act("key_1", action, "agent_1", detail)


async def made(store: SqlStore, name: str = "Sales Bot", tenant: str = "acme", **more: Any) -> StoredAgent:
    """An agent that a tenant made by itself."""
    await store.tenants.put(Tenant(tenant, tenant.title()), NOW)
    now = more.pop("now", NOW)
    wanted = {"id": new_id(), "slug": None, "definition": SCRIPTED, "deployments": (), **more}
    return await store.drafts.create(tenant, NewAgent(name=name, **wanted), act("agent.created"), now)


def becomes(**changed: Any) -> Decide:
    """A decision that changes this of an agent and nothing else."""

    def decide(found: StoredAgent) -> AgentChange:
        kept: dict[str, Any] = {"slug": found.slug, "name": found.name, "draft": found.draft}
        return AgentChange(**{**kept, "act": act(), **changed})

    return decide


async def change(store: SqlStore, agent: StoredAgent, now: int = LATER, **changed: Any) -> StoredAgent:
    return await store.drafts.change(agent.tenant_id, agent.id, becomes(**changed), now)


async def actions(store: SqlStore, tenant: str = "acme") -> list[str]:
    """What the audit log says was done, oldest first."""
    return [entry.act.action for entry in await store.audit.page(tenant, 100, None)][::-1]


async def test_a_new_agent_has_a_first_version_and_is_found_by_id_and_by_slug(store: SqlStore) -> None:
    agent = await made(store, deployments=[(new_id(), "web", "eu")])
    assert (agent.slug, agent.version, agent.managed, agent.draft) == ("sales-bot", 1, "api", None)
    assert agent.definition == SCRIPTED
    for reference in (agent.id, prefixed("agent", agent.id), "sales-bot"):
        assert await store.drafts.get("acme", reference) == agent
        answering = await store.agents.find("acme", reference)
        assert answering is not None
        assert answering.definition.model.name == "scripted"
    assert [each[1:] for each in await store.agents.deployments("acme", agent.id)] == [("web", "eu")]
    assert await actions(store) == ["agent.created"]
    assert (await begun(store, answering)).turn.agent_id == agent.id


async def test_a_slug_that_is_asked_for_must_be_free_and_one_that_is_derived_makes_way(store: SqlStore) -> None:
    await made(store, slug="sales-bot")
    assert (await made(store)).slug == "sales-bot-2"
    with pytest.raises(NameTaken, match="'sales-bot'"):
        await made(store, slug="sales-bot")


async def test_an_id_in_use_is_taken_also_by_another_tenant_and_nothing_is_left_behind(store: SqlStore) -> None:
    agent = await made(store)
    with pytest.raises(NameTaken):
        await made(store, "Thief", "other", id=agent.id)
    assert await store.drafts.page("other", 10, None) == []
    assert await actions(store, "other") == []


async def test_nothing_of_an_agent_is_made_when_one_of_its_deployments_cannot_be(store: SqlStore) -> None:
    with pytest.raises(NameTaken, match="channel 'web'"):
        await made(store, deployments=[(new_id(), "web", "eu"), (new_id(), "web", "eu")])
    assert await store.drafts.get("acme", "sales-bot") is None
    assert await actions(store) == []


async def test_pages_show_every_agent_once_newest_first_and_none_of_another_tenant(store: SqlStore) -> None:
    names = [(await made(store, f"A{index}", now=NOW + index // 2)).id for index in range(5)]
    await made(store, "Foreign", "other")
    seen: list[StoredAgent] = []
    while page := await store.drafts.page("acme", 2, seen[-1].place if seen else None):
        seen += page
    assert sorted(agent.id for agent in seen) == sorted(names)
    assert [agent.place for agent in seen] == sorted((agent.place for agent in seen), reverse=True)


async def test_a_draft_changes_nothing_that_is_told_until_it_is_published(store: SqlStore) -> None:
    agent = await made(store)
    told = {**SCRIPTED, "instructions": "Be kind.", "public": True}
    drafted = await change(store, agent, draft=told)
    assert (drafted.draft, drafted.definition, drafted.version) == (told, SCRIPTED, 1)
    answering = await store.agents.find("acme", agent.id)
    assert answering is not None
    assert answering.definition.instructions == ""
    assert await store.agents.find_public(agent.id) is None
    published = await change(store, agent, draft=None, published=told)
    assert (published.draft, published.definition, published.version) == (None, told, 2)
    answering = await store.agents.find("acme", agent.id)
    assert answering is not None
    assert (answering.version, answering.definition.instructions) == (2, "Be kind.")
    assert await store.agents.find_public(agent.id) == "acme"


async def test_versions_are_kept_as_they_were_and_read_newest_first(store: SqlStore) -> None:
    agent = await made(store)
    for number in (2, 3):
        await change(store, agent, NOW + number, published={**SCRIPTED, "instructions": f"{number}"})
    numbers = [each.version for each in await store.drafts.versions("acme", agent.id, 10, None)]
    assert numbers == [3, 2, 1]
    assert [each.version for each in await store.drafts.versions("acme", agent.id, 1, 3)] == [2]
    first = await store.drafts.version("acme", agent.id, 1)
    assert first is not None
    assert (first.definition, first.created_at) == (SCRIPTED, NOW)
    for tenant, number in (("acme", 4), ("acme", 0), ("other", 1)):
        assert await store.drafts.version(tenant, agent.id, number) is None


async def test_every_change_makes_another_revision_and_no_change_makes_none(store: SqlStore) -> None:
    agent = await made(store)
    unchanged = await store.drafts.change("acme", agent.id, lambda found: None, LATER)
    assert unchanged.revision == agent.revision
    revisions = {agent.revision}
    for changed in ({"name": "B"}, {"slug": "b"}, {"draft": {}}, {"draft": None}, {"published": {}}, {"name": "B"}):
        revisions.add((await change(store, agent, NOW, **changed)).revision)
    assert len(revisions) == 7


async def test_what_a_decision_raises_is_raised_and_nothing_has_happened(store: SqlStore) -> None:
    agent = await made(store)

    def refuse(found: StoredAgent) -> AgentChange:
        raise Conflict("not now")

    with pytest.raises(Conflict, match="not now"):
        await store.drafts.change("acme", agent.id, refuse, LATER)
    assert await store.drafts.get("acme", agent.id) == agent
    assert await actions(store) == ["agent.created"]


async def test_changes_at_one_time_are_made_one_after_another(store: SqlStore) -> None:
    agent = await made(store)

    def longer(found: StoredAgent) -> AgentChange:
        said = str((found.draft or {}).get("instructions", ""))
        return AgentChange(found.slug, found.name, {"instructions": f"{said}x"}, act())

    await asyncio.gather(*(store.drafts.change("acme", agent.id, longer, LATER) for _ in range(12)))
    changed = await store.drafts.get("acme", agent.id)
    assert changed is not None
    assert changed.draft == {"instructions": "x" * 12}
    assert (await actions(store)).count("agent.changed") == 12


async def test_a_slug_that_belongs_to_another_agent_is_not_given_twice(store: SqlStore) -> None:
    agent, other = await made(store), await made(store, "Other Bot")
    with pytest.raises(NameTaken):
        await change(store, agent, slug=other.slug)
    assert await store.drafts.get("acme", agent.id) == agent


async def test_an_agent_of_another_tenant_is_as_one_that_is_not_there(store: SqlStore) -> None:
    agent = await made(store)
    assert await store.drafts.get("other", agent.id) is None
    for reference in (agent.id, "nobody"):
        with pytest.raises(AgentNotFound):
            await store.drafts.change("other", reference, becomes(name="X"), LATER)
    assert await store.drafts.get("acme", agent.id) == agent


async def test_a_deleted_agent_is_gone_with_its_place_as_default_and_its_slug_is_free(store: SqlStore) -> None:
    agent = await made(store)
    conversation = (await begun(store, await _found(store, agent.id))).turn.conversation_id
    await store.agents.set_default("acme", agent.id)
    await change(store, agent, deleted=True)
    assert await store.drafts.get("acme", agent.id) is None
    assert await store.agents.find("acme", "sales-bot") is None
    assert await store.drafts.page("acme", 10, None) == []
    tenant = await store.tenants.get("acme")
    assert tenant is not None
    assert tenant.default_agent_id is None
    assert await store.conversations.get("acme", conversation) is not None
    assert (await made(store)).slug == "sales-bot"
    with pytest.raises(AgentNotFound):
        await change(store, agent, name="X")


async def test_the_default_of_a_tenant_outlives_the_deletion_of_another_agent(store: SqlStore) -> None:
    kept, deleted = await made(store), await made(store, "Other Bot")
    await store.agents.set_default("acme", kept.id)
    await change(store, deleted, deleted=True)
    tenant = await store.tenants.get("acme")
    assert tenant is not None
    assert tenant.default_agent_id == kept.id


async def test_a_manifest_takes_an_agent_over_with_its_draft(store: SqlStore) -> None:
    agent = await made(store)
    await change(store, agent, draft={"instructions": "Wait."})
    for outcome in ("updated", "unchanged"):
        assert (await store.agents.put("acme", None, None, "Sales Bot", SCRIPTED, LATER))[1] == outcome
    taken = await store.drafts.get("acme", agent.id)
    assert taken is not None
    assert (taken.managed, taken.draft, taken.version) == ("manifest", None, 1)


async def test_a_manifest_that_names_a_deleted_agent_by_its_id_brings_it_back(store: SqlStore) -> None:
    agent = await made(store)
    await change(store, agent, deleted=True)
    back, outcome = await store.agents.put("acme", agent.id, None, "Sales Bot", SCRIPTED, LATER)
    assert (back.id, back.slug, outcome) == (agent.id, "sales-bot", "updated")
    assert (await _found(store, "sales-bot")).id == agent.id


async def test_a_deleted_agent_does_not_take_its_slug_back_from_another(store: SqlStore) -> None:
    agent = await made(store)
    await change(store, agent, deleted=True)
    heir = await made(store)
    with pytest.raises(NameTaken):
        await store.agents.put("acme", agent.id, None, "Sales Bot", SCRIPTED, LATER)
    assert await store.drafts.get("acme", agent.id) is None
    back, _ = await store.agents.put("acme", agent.id, "old-bot", "Sales Bot", SCRIPTED, LATER)
    assert (back.slug, heir.slug) == ("old-bot", "sales-bot")


async def test_only_what_manifests_say_is_told_as_theirs(store: SqlStore) -> None:
    await settled(store, instructions="From a manifest.")
    await settled(store, "other", instructions="Of another tenant.")
    await made(store)
    assert [each["instructions"] for each in await store.drafts.from_manifests("acme")] == ["From a manifest."]


async def test_a_deployment_is_made_once_and_withdrawn_once_by_its_own_agent(store: SqlStore) -> None:
    agent, other = await made(store), await made(store, "Other Bot")
    deployment = (new_id(), "web", "eu")
    await store.drafts.deploy("acme", agent.id, deployment, act("deployment.created"), NOW)
    with pytest.raises(NameTaken, match="channel 'web' in region 'eu'"):
        await store.drafts.deploy("acme", agent.id, (new_id(), "web", "eu"), act("never"), NOW)
    with pytest.raises(NameTaken, match="is in use"):
        await store.drafts.deploy("acme", other.id, (deployment[0], "web", "us"), act("never"), NOW)
    for tenant, agent_id in (("other", agent.id), ("acme", other.id)):
        assert not await store.drafts.withdraw(tenant, agent_id, deployment[0], act("never"), NOW)
    assert await store.drafts.withdraw("acme", agent.id, deployment[0], act("deployment.deleted"), NOW)
    assert not await store.drafts.withdraw("acme", agent.id, deployment[0], act("never"), NOW)
    assert await store.agents.deployments("acme", agent.id) == []
    assert sorted(await actions(store)) == [*(["agent.created"] * 2), "deployment.created", "deployment.deleted"]


async def _found(store: SqlStore, reference: str) -> Any:
    found = await store.agents.find("acme", reference)
    assert found is not None
    return found
