"""What every store does with tenants, keys, agents, deployments and conversations."""

import asyncio
from dataclasses import replace
from typing import Any

import pytest

from dragoman.adapters.store import SqlStore, open_store
from dragoman.core.errors import NameTaken
from dragoman.core.ids import new_id
from dragoman.core.tenants import ApiKey, Tenant
from dragoman.ports.conversations import Window
from tests.adapters.store.scene import NOW, SCRIPTED, balance, begun, key, said, settled

OTHER_MODEL = {"model": {"provider": "scripted", "name": "another"}}


async def test_a_tenant_is_created_then_unchanged_then_updated(store: SqlStore) -> None:
    acme = Tenant("acme", "Acme", "pro", 100, 60, 1000)
    assert await store.tenants.put(acme, NOW) == "created"
    assert await store.tenants.put(acme, NOW) == "unchanged"
    for changed in (replace(acme, name="ACME"), replace(acme, plan="free"), replace(acme, per_minute=None)):
        assert await store.tenants.put(changed, NOW) == "updated"
        assert await store.tenants.get("acme") == changed
        assert await store.tenants.put(acme, NOW) == "updated"


async def test_a_grant_is_given_once_and_a_higher_one_adds_its_difference(store: SqlStore) -> None:
    await store.tenants.put(Tenant("acme", "Acme", credits=100), NOW)
    assert await store.tenants.put(Tenant("acme", "Acme", credits=100), NOW) == "unchanged"
    assert await balance(store) == 100
    assert await store.tenants.put(Tenant("acme", "Acme", credits=900), NOW) == "updated"
    assert await balance(store) == 900
    assert await store.tenants.granted("acme") == 900
    assert await store.tenants.put(Tenant("acme", "Acme"), NOW) == "unchanged"
    assert await balance(store) == 900


async def test_a_tenant_that_was_not_metered_is_from_its_first_grant_on(store: SqlStore) -> None:
    await store.tenants.put(Tenant("acme", "Acme"), NOW)
    assert await balance(store) is None
    assert await store.tenants.put(Tenant("acme", "Acme", credits=0), NOW) == "unchanged"
    assert await balance(store) == 0


async def test_tenants_are_listed_by_id_and_an_unknown_one_is_none(store: SqlStore) -> None:
    for tenant_id in ("b", "a", "c"):
        await store.tenants.put(Tenant(tenant_id, tenant_id), NOW)
    assert [tenant.id for tenant in await store.tenants.all()] == ["a", "b", "c"]
    assert await store.tenants.get("d") is None


async def test_a_price_is_created_then_unchanged_then_updated(store: SqlStore) -> None:
    assert await store.tenants.set_price("gpt", 5) == "created"
    assert await store.tenants.set_price("gpt", 5) == "unchanged"
    assert await store.tenants.set_price("gpt", 0) == "updated"
    await store.tenants.set_price("a", 1)
    assert await store.tenants.prices() == [("a", 1), ("gpt", 0)]


async def test_a_key_is_found_by_its_digest_as_it_was_added(store: SqlStore) -> None:
    whole = key(expires_at=NOW + 9, agents=("a", "b"), origins=("http://x",), limits=(("chat_per_minute", 5),))
    await store.keys.add(whole, "digest")
    assert await store.keys.find("digest") == whole
    assert await store.keys.find("another") is None


async def test_a_key_value_in_use_is_taken_even_for_another_tenant(store: SqlStore) -> None:
    await store.keys.add(key(), "digest")
    with pytest.raises(NameTaken, match="'mine' is in use"):
        await store.keys.add(key("mine", "other"), "digest")
    assert await store.keys.all("other") == []


async def test_keys_are_listed_oldest_first_and_by_tenant(store: SqlStore) -> None:
    for age, name in enumerate(("new", "old", "older")):
        await store.keys.add(key(name, created_at=NOW - age), name)
    await store.keys.add(key("foreign", "other"), "foreign")
    assert [each.name for each in await store.keys.all("acme")] == ["older", "old", "new"]


async def test_a_rotation_ends_the_old_keys_at_the_overlap_and_never_later(store: SqlStore) -> None:
    soon, late, endless = key(expires_at=NOW + 5), key(expires_at=NOW + 500), key()
    for index, old in enumerate((soon, late, endless)):
        await store.keys.add(old, str(index))
    await store.keys.rotate("acme", key(created_at=NOW + 1), "new", NOW + 50)
    expiries = {each.id: each.expires_at for each in await store.keys.all("acme")}
    assert [expiries[old.id] for old in (soon, late, endless)] == [NOW + 5, NOW + 50, NOW + 50]
    assert (await _found(store, "new")).expires_at is None


async def test_a_rotation_to_a_value_in_use_leaves_the_old_key_alone(store: SqlStore) -> None:
    await store.keys.add(key(), "old")
    await store.keys.add(key("another"), "taken")
    with pytest.raises(NameTaken):
        await store.keys.rotate("acme", key(), "taken", NOW)
    assert (await _found(store, "old")).expires_at is None


async def test_a_rotation_touches_no_other_name_and_no_other_tenant(store: SqlStore) -> None:
    await store.keys.add(key("another"), "another")
    await store.keys.add(key(tenant="other"), "other")
    await store.keys.rotate("acme", key(), "new", NOW)
    assert (await _found(store, "another")).expires_at is None
    assert (await _found(store, "other")).expires_at is None


async def test_revoking_closes_every_key_of_the_name_once(store: SqlStore) -> None:
    await store.keys.add(key(), "1")
    await store.keys.add(key(), "2")
    await store.keys.add(key(tenant="other"), "3")
    assert await store.keys.revoke("acme", "backend", NOW) == 2
    assert await store.keys.revoke("acme", "backend", NOW + 1) == 0
    assert (await _found(store, "1")).revoked_at == NOW
    assert (await _found(store, "3")).revoked_at is None


async def test_a_key_is_updated_by_its_own_tenant_alone(store: SqlStore) -> None:
    mine = key()
    await store.keys.add(mine, "1")
    changed = replace(mine, expires_at=NOW, agents=("a",), origins=("o",), limits=(("stream_per_minute", 1),))
    await store.keys.update("other", changed)
    assert await _found(store, "1") == mine
    await store.keys.update("acme", changed)
    assert await _found(store, "1") == changed


async def test_the_last_use_of_many_keys_is_noted(store: SqlStore) -> None:
    one, two = key("one"), key("two", created_at=NOW + 1)
    await store.keys.add(one, "1")
    await store.keys.add(two, "2")
    await store.keys.touch({one.id: NOW + 1, two.id: NOW + 2, new_id(): NOW})
    assert [each.last_used_at for each in await store.keys.all("acme")] == [NOW + 1, NOW + 2]


async def test_an_agent_is_created_then_unchanged_then_updated(store: SqlStore) -> None:
    made, outcome = await store.agents.put("acme", None, None, "Support Agent", SCRIPTED, NOW)
    assert (outcome, made.slug, made.version) == ("created", "support-agent", 1)
    assert await store.agents.put("acme", None, None, "Support Agent", SCRIPTED, NOW) == (made, "unchanged")
    changed, outcome = await store.agents.put("acme", None, "support-agent", "Support Agent", OTHER_MODEL, NOW)
    assert (outcome, changed.id, changed.version) == ("updated", made.id, 2)
    assert changed.definition.model.name == "another"


async def test_a_version_is_published_only_when_the_definition_differs(store: SqlStore) -> None:
    agent = await settled(store)
    renamed, outcome = await store.agents.put("acme", agent.id, None, "Help Desk", SCRIPTED, NOW)
    assert (outcome, renamed.version) == ("updated", 1)
    reordered = {"public": False, **SCRIPTED}
    assert (await store.agents.put("acme", agent.id, None, "Help Desk", reordered, NOW))[0].version == 2
    assert (await store.agents.put("acme", agent.id, None, "Help Desk", SCRIPTED, NOW))[0].version == 3


async def test_a_slug_is_stable_when_its_agent_is_renamed(store: SqlStore) -> None:
    agent = await settled(store)
    renamed, _ = await store.agents.put("acme", agent.id, None, "Help Desk", SCRIPTED, NOW)
    assert (renamed.slug, renamed.name) == ("support-agent", "Help Desk")
    moved, outcome = await store.agents.put("acme", agent.id, "help-desk", "Help Desk", SCRIPTED, NOW)
    assert (moved.id, moved.slug, outcome) == (agent.id, "help-desk", "updated")


async def test_a_derived_slug_that_is_taken_gets_a_number(store: SqlStore) -> None:
    await settled(store)
    slugs = [(await store.agents.put("acme", new_id(), None, "Support Agent", SCRIPTED, NOW))[0].slug for _ in "ab"]
    assert slugs == ["support-agent-2", "support-agent-3"]
    assert (await settled(store, "other")).slug == "support-agent"


async def test_a_given_slug_that_is_taken_is_refused(store: SqlStore) -> None:
    agent = await settled(store)
    other = await settled(store, name="Other")
    with pytest.raises(NameTaken, match="support-agent"):
        await store.agents.put("acme", new_id(), "support-agent", "New", SCRIPTED, NOW)
    with pytest.raises(NameTaken, match="support-agent"):
        await store.agents.put("acme", other.id, "support-agent", "Other", SCRIPTED, NOW)
    assert [each.id for each, _ in await store.agents.definitions("acme")] == [other.id, agent.id]


async def test_an_agent_id_of_another_tenant_is_refused_and_changes_nothing(store: SqlStore) -> None:
    agent = await settled(store)
    with pytest.raises(NameTaken):
        await store.agents.put("other", agent.id, None, "Mine Now", SCRIPTED, NOW)
    assert await store.agents.definitions("other") == []
    assert [each.name for each, _ in await store.agents.definitions("acme")] == ["Support Agent"]


async def test_definitions_come_back_as_the_manifest_gave_them(store: SqlStore) -> None:
    given: dict[str, Any] = {
        **SCRIPTED,
        "instructions": "Füße \u2028 \U0001f600",
        "tools": [{"type": "client", "name": "x"}],
    }
    agent = await settled(store, **given)
    assert await store.agents.definitions("acme") == [(agent, given)]
    assert await store.agents.definitions("other") == []


async def test_the_default_agent_is_kept_with_its_tenant(store: SqlStore) -> None:
    agent = await settled(store)
    await store.agents.set_default("acme", agent.id)
    tenants = await store.tenants.all()
    assert [tenant.default_agent_id for tenant in tenants] == [agent.id]
    await store.agents.set_default("acme", None)
    assert (await store.tenants.all())[0].default_agent_id is None


async def test_a_deployment_is_created_then_unchanged_then_updated(store: SqlStore) -> None:
    agent = await settled(store)
    assert await store.agents.deploy("acme", agent.id, None, "voice", "eu") == "created"
    assert await store.agents.deploy("acme", agent.id, None, "voice", "eu") == "unchanged"
    wanted = new_id()
    assert await store.agents.deploy("acme", agent.id, wanted, "voice", "eu") == "updated"
    assert await store.agents.deploy("acme", agent.id, wanted, "voice", "eu") == "unchanged"
    assert await store.agents.deployments("acme", agent.id) == [(wanted, "voice", "eu")]
    assert await store.agents.deployments("other", agent.id) == []


async def test_a_deployment_id_in_use_is_taken_for_a_new_deployment_and_for_an_old_one(store: SqlStore) -> None:
    agent = await settled(store)
    taken = new_id()
    await store.agents.deploy("acme", agent.id, taken, "voice", "eu")
    await store.agents.deploy("acme", agent.id, None, "voice", "us")
    for region in ("asia", "us"):
        with pytest.raises(NameTaken, match=taken):
            await store.agents.deploy("acme", agent.id, taken, "voice", region)


async def test_a_conversation_and_its_messages_are_there_for_their_tenant_alone(store: SqlStore) -> None:
    agent = await settled(store)
    turn = await said(store, agent, "Hello", "Hi", metadata={"a": [1, None]})
    found = await store.conversations.get("acme", turn.conversation_id)
    assert found is not None
    assert (found.agent_id, found.title, found.created_at) == (agent.id, "Hello", NOW)
    messages = (await store.conversations.messages("acme", turn.conversation_id))[0]
    assert [(each.id, each.role, each.content, each.metadata) for each in messages] == [
        (turn.message_id, "user", "Hello", {"a": [1, None]}),
        (turn.answer_id, "assistant", "Hi", None),
    ]
    number = await store.conversations.number_of("acme", turn.conversation_id, turn.message_id)
    assert number == messages[0].number
    assert await store.conversations.get("other", turn.conversation_id) is None
    assert (await store.conversations.messages("other", turn.conversation_id))[0] == []
    assert await store.conversations.number_of("other", turn.conversation_id, turn.message_id) is None
    assert await store.conversations.number_of("acme", new_id(), turn.message_id) is None


async def test_messages_are_paged_from_the_newest_back(store: SqlStore) -> None:
    agent = await settled(store)
    first = await said(store, agent, "1", "2")
    for question in ("3", "5"):
        await said(store, agent, question, str(int(question) + 1), conversation_id=first.conversation_id)
    listed = store.conversations.messages
    last, total = await listed("acme", first.conversation_id, Window(limit=2))
    assert ([each.content for each in last], total) == (["5", "6"], 6)
    before, total = await listed("acme", first.conversation_id, Window(limit=3, before=last[0].number))
    assert ([each.content for each in before], total) == (["2", "3", "4"], 6)
    assert await listed("acme", first.conversation_id, Window(before=0)) == ([], 6)


async def test_a_rehearsal_tells_results_and_undoes_writes(store: SqlStore) -> None:
    rehearsal = store.rehearsal()
    assert await rehearsal.tenants.put(Tenant("acme", "Acme"), NOW) == "created"
    assert await store.tenants.all() == []
    agent = await settled(store)
    changed, outcome = await rehearsal.agents.put("acme", agent.id, None, "Other", OTHER_MODEL, NOW)
    assert (outcome, changed.version, changed.name) == ("updated", 2, "Other")
    await rehearsal.keys.add(key(), "digest")
    assert await store.keys.find("digest") is None
    assert await store.agents.definitions("acme") == [(agent, SCRIPTED)]


async def test_a_rehearsal_fails_as_the_deed_would(store: SqlStore) -> None:
    await store.keys.add(key(), "digest")
    with pytest.raises(NameTaken):
        await store.rehearsal().keys.add(key("another"), "digest")
    with pytest.raises(RuntimeError, match="rehearsed"):
        await begun(store.rehearsal(), await settled(store))


async def test_a_store_that_was_just_opened_is_current(store: SqlStore) -> None:
    await store.check()


async def test_what_was_written_is_there_when_the_store_is_opened_again(url: str) -> None:
    store = await open_store(url)
    agent = await settled(store)
    turn = await said(store, agent, "Hello", "Hi")
    await store.close()
    store = await open_store(url)
    kept = await asyncio.gather(
        store.turns.get("acme", turn.id), store.conversations.messages("acme", turn.conversation_id)
    )
    await store.close()
    assert kept[0] is not None
    assert kept[0].state == "completed"
    assert [each.content for each in kept[1][0]] == ["Hello", "Hi"]


async def _found(store: SqlStore, digest: str) -> ApiKey:
    found = await store.keys.find(digest)
    assert found is not None
    return found
