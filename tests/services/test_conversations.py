"""Who may see, change and forget which conversation, against a real store."""

from collections.abc import AsyncIterator, Awaitable, Callable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import pytest

from dragoman.adapters.store import SqlStore, messages, open_store
from dragoman.adapters.store.driver import Transaction
from dragoman.core.agents import Agent
from dragoman.core.conversations import Conversation
from dragoman.core.errors import AgentNotFound, Conflict, ConversationNotFound, Forbidden, Invalid, NotFound
from dragoman.core.ids import new_id, prefixed
from dragoman.core.tenants import Principal
from dragoman.ports.conversations import Listed, Window
from dragoman.services import conversations
from dragoman.services.conversations import STOPS, Conversations
from tests.adapters.store.scene import settled
from tests.adapters.store.talks import contents, insert, opened, texts, wrote

SECRET = Principal("acme", "key", "secret")
STRANGER = Principal("other", "key", "secret")


def visitor(name: str, *agents: str) -> Principal:
    return Principal("acme", "pk", "publishable", name, agents)


@dataclass
class World:
    """The service over a store with two agents, and which turns it has stopped."""

    store: SqlStore
    service: Conversations
    agent: Agent
    other: Agent
    stopped: list[str] = field(default_factory=list)
    stubborn: bool = False

    async def stop(self, tenant_id: str, turn_id: str) -> None:
        self.stopped.append(turn_id)
        if not self.stubborn:
            await self._state("completed", turn_id, tenant_id)

    async def run(self, conversation: Conversation) -> str:
        """A turn that runs in a conversation."""
        turn = {"id": new_id(), "tenant_id": "acme", "conversation_id": conversation.id, "agent_version": 1}
        turn |= {"agent_id": conversation.agent_id, "state": "running", "epoch": 1, "owner": 1, "model": "m"}
        turn |= {"message_id": new_id(), "answer_id": new_id(), "answer_number": 1, "created_at": 1}
        await insert(self.store, "turns", {**turn, "prompt_tokens": 0, "completion_tokens": 0, "credits": 0})
        return str(turn["id"])

    async def _state(self, state: str, turn_id: str, tenant_id: str) -> None:
        async def job(transaction: Transaction) -> None:
            of_turn = {"state": state, "id": turn_id, "tenant_id": tenant_id}
            await transaction.run("UPDATE turns SET state = :state WHERE id = :id AND tenant_id = :tenant_id", of_turn)

        await self.store._database.write(job)


@pytest.fixture
async def world(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> AsyncIterator[World]:
    monkeypatch.setattr(conversations, "PAUSE", 0.001)
    store = await open_store(f"sqlite:///{tmp_path / 'conversations.db'}")

    async def stop(tenant_id: str, turn_id: str) -> None:
        await made.stop(tenant_id, turn_id)

    agent, other = await settled(store), await settled(store, name="Other")
    await settled(store, "other", "Foreign")
    made = World(store, Conversations(store, stop), agent, other)
    yield made
    await store.close()


async def test_a_secret_key_reads_whatever_its_tenant_has(world: World) -> None:
    for more in ({}, {"visitor_id": "v1"}, {"user_id": "u1"}):
        conversation = await opened(world.store, world.agent, **more)
        await wrote(world.store, conversation, *texts("1", "2"))
        found, said, total = await world.service.read(SECRET, conversation.id)
        assert (found, contents(said), total) == (conversation, ["1", "2"], 2)


async def test_a_conversation_is_hidden_from_other_tenants_other_visitors_and_other_agents_keys(world: World) -> None:
    theirs = await opened(world.store, world.agent, visitor_id="v1")
    nobodys = await opened(world.store, world.agent)
    slug = world.agent.slug
    assert await world.service.get(visitor("v1", slug), theirs.id) == theirs
    for principal, conversation in (
        (STRANGER, theirs),
        (visitor("v2", slug), theirs),
        (visitor("v1", world.other.slug), theirs),
        (visitor("v1"), theirs),
        (visitor("v1", slug), nobodys),
        (Principal("acme", "pk", "publishable", None, (slug,)), nobodys),
        (Principal("acme", None, "public", "v2", (world.agent.id,)), theirs),
        (SECRET, Conversation(new_id(), "acme", world.agent.id, "", 1, 1)),
    ):
        for look in (world.service.get, world.service.read):
            with pytest.raises(ConversationNotFound):
                await look(principal, conversation.id)
        if principal.tenant_id == "acme" and principal.may_use(world.agent):
            found = await world.service.history(principal, slug, conversation.id, Window())
            assert found == ((), 0, {})


async def test_reading_before_a_message_takes_a_message_of_that_conversation(world: World) -> None:
    conversation, beside = await opened(world.store, world.agent), await opened(world.store, world.agent)
    await wrote(world.store, conversation, *texts("1", "2", "3"))
    await wrote(world.store, beside, *texts("elsewhere"))
    _, (_, two, _), _ = await world.service.read(SECRET, conversation.id)
    _, said, total = await world.service.read(SECRET, conversation.id, Window(limit=5), before=two.id)
    assert (contents(said), total) == (["1"], 3)
    _, (elsewhere,), _ = await world.service.read(SECRET, beside.id)
    for before in (elsewhere.id, new_id()):
        with pytest.raises(Invalid) as told:
            await world.service.read(SECRET, conversation.id, before=before)
        assert told.value.field == "before"


async def test_the_history_of_an_agent_is_a_secret_keys_alone(world: World) -> None:
    named = await opened(world.store, world.agent, client_id="mine", visitor_id="v1")
    plain = await opened(world.store, world.agent)
    await wrote(world.store, named, *texts("1"))
    await wrote(world.store, plain, *texts("2"))
    slug = world.agent.slug
    history = world.service.history
    said, total, names = await history(SECRET, slug, None, Window())
    assert (contents(said), total, names) == (["1", "2"], 2, {named.id: "mine"})
    with pytest.raises(Forbidden):
        await history(visitor("v1", slug), slug, None, Window())
    said, total, names = await history(visitor("v1", slug), slug, named.id, Window())
    assert (contents(said), total, names) == (["1"], 1, {named.id: "mine"})
    said, total, names = await history(SECRET, slug, plain.id, Window())
    assert (contents(said), total, names) == (["2"], 1, {})
    assert await history(SECRET, world.other.slug, named.id, Window()) == ((), 0, {})
    assert await history(SECRET, slug, new_id(), Window()) == ((), 0, {})
    for principal, reference in ((SECRET, "nobody"), (visitor("v1", slug), world.other.slug), (STRANGER, slug)):
        with pytest.raises(AgentNotFound):
            await history(principal, reference, named.id, Window())


async def test_a_conversation_begins_with_an_agent_by_any_of_its_names(world: World) -> None:
    agent = world.agent
    for reference in (agent.id, agent.id.upper(), prefixed("agent", agent.id), agent.slug):
        made = await world.service.create(SECRET, reference, title="T", user_id="u1", metadata={"a": 1})
        assert (made.agent_id, made.title, made.user_id, made.metadata) == (agent.id, "T", "u1", {"a": 1})
        assert (made.visitor_id, made.created_at, made.last_message_at) == (None, made.updated_at, None)
        assert await world.service.get(SECRET, made.id) == made


async def test_a_conversation_begins_with_the_default_agent_where_none_is_named(world: World) -> None:
    with pytest.raises(AgentNotFound):
        await world.service.create(SECRET, None)
    await world.store.agents.set_default("acme", world.other.id)
    assert (await world.service.create(SECRET, None)).agent_id == world.other.id
    with pytest.raises(AgentNotFound):
        await world.service.create(visitor("v1", world.agent.slug), None)


async def test_a_title_of_nothing_is_none(world: World) -> None:
    for title in (None, "", " \n"):
        made = await world.service.create(SECRET, world.agent.slug, title=title)
        assert made.title == ""
    changed = await world.service.change(SECRET, made.id, {"title": " "})
    assert changed.title == ""


async def test_a_visitor_begins_conversations_of_its_own_with_its_keys_agents_alone(world: World) -> None:
    principal = visitor("v1", world.agent.slug)
    made = await world.service.create(principal, world.agent.slug, user_id="u1")
    assert (made.visitor_id, made.user_id) == ("v1", "u1")
    assert await world.service.get(principal, made.id) == made
    for who, reference in (
        (principal, world.other.slug),
        (principal, new_id()),
        (STRANGER, world.agent.id),
        (SECRET, ""),
    ):
        with pytest.raises(AgentNotFound):
            await world.service.create(who, reference)


async def test_a_deployment_belongs_to_the_agent_of_its_conversation(world: World) -> None:
    mine, theirs = new_id(), new_id()
    await world.store.agents.deploy("acme", world.agent.id, mine, "voice", "eu")
    await world.store.agents.deploy("acme", world.other.id, theirs, "voice", "eu")
    made = await world.service.create(SECRET, world.agent.slug, deployment_id=mine)
    assert made.deployment_id == mine
    for wrong in (theirs, new_id()):
        with pytest.raises(NotFound, match="Deployment"):
            await world.service.create(SECRET, world.agent.slug, deployment_id=wrong)


async def test_conversations_are_listed_and_changed_by_a_secret_key(world: World) -> None:
    one = await opened(world.store, world.agent, user_id="u1")
    assert await world.service.list(SECRET, Listed(9, user_id="u1")) == ([one], 1)
    assert await world.service.list(STRANGER, Listed(9)) == ([], 0)
    changed = await world.service.change(SECRET, one.id, {"title": "New", "metadata": {"a": 1}})
    assert (changed.title, changed.metadata, changed.user_id) == ("New", {"a": 1}, "u1")
    assert changed.updated_at != one.updated_at
    for principal, conversation_id in ((STRANGER, one.id), (SECRET, new_id())):
        with pytest.raises(ConversationNotFound):
            await world.service.change(principal, conversation_id, {"title": "Mine"})


async def test_a_visitor_lists_changes_and_forgets_nothing_not_even_its_own(world: World) -> None:
    own = await opened(world.store, world.agent, visitor_id="v1")
    await wrote(world.store, own, *texts("1"))
    slug = world.agent.slug
    deeds: tuple[Callable[[Principal], Awaitable[Any]], ...] = (
        lambda who: world.service.list(who, Listed(9, visitor_id="v1")),
        lambda who: world.service.change(who, own.id, {"title": "New"}),
        lambda who: world.service.delete(who, own.id),
        lambda who: world.service.clear(who, slug, own.id),
        lambda who: world.service.clear(who, slug, None),
    )
    for principal in (visitor("v1", slug), Principal("acme", None, "public", "v1", (slug,))):
        for deed in deeds:
            with pytest.raises(Forbidden):
                await deed(principal)
    assert (await world.service.read(SECRET, own.id))[::2] == (own, 1)


async def test_a_deletion_stops_what_runs_there_and_leaves_nothing(world: World) -> None:
    conversation, beside = await opened(world.store, world.agent), await opened(world.store, world.agent)
    await wrote(world.store, conversation, *texts("1", "2"))
    turn, elsewhere = await world.run(conversation), await world.run(beside)
    await world.service.delete(SECRET, conversation.id)
    assert world.stopped == [turn]
    assert elsewhere not in world.stopped
    for _ in range(2):
        with pytest.raises(ConversationNotFound):
            await world.service.delete(SECRET, conversation.id)
    with pytest.raises(ConversationNotFound):
        await world.service.delete(STRANGER, beside.id)
    assert await world.service.get(SECRET, beside.id) == beside


async def test_a_turn_that_cannot_be_stopped_is_a_conflict_and_loses_nothing(world: World) -> None:
    conversation = await opened(world.store, world.agent)
    await wrote(world.store, conversation, *texts("1"))
    turn = await world.run(conversation)
    world.stubborn = True
    for forgetting in (
        world.service.delete(SECRET, conversation.id),
        world.service.clear(SECRET, world.agent.slug, conversation.id),
        world.service.clear(SECRET, world.agent.slug, None),
    ):
        world.stopped.clear()
        with pytest.raises(Conflict):
            await forgetting
        assert world.stopped == [turn] * STOPS
    assert contents((await world.service.read(SECRET, conversation.id))[1]) == ["1"]


async def test_a_clearing_counts_the_messages_of_all_its_pieces(world: World, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(messages, "FORGOTTEN_AT_ONCE", 2)
    one, two = await opened(world.store, world.agent), await opened(world.store, world.agent)
    for conversation in (one, two):
        await wrote(world.store, conversation, *texts(*"12345"))
    running = await world.run(one)
    slug = world.agent.slug
    assert await world.service.clear(SECRET, slug, one.id) == 5
    assert world.stopped == [running]
    assert await world.service.clear(SECRET, slug, one.id) == 0
    assert await world.service.clear(SECRET, slug, new_id()) == 0
    assert await world.service.clear(SECRET, world.other.slug, two.id) == 0
    assert await world.service.clear(SECRET, slug, None) == 5
    assert (await world.service.read(SECRET, two.id))[1:] == ([], 0)
    for principal, reference in ((SECRET, "nobody"), (STRANGER, slug)):
        with pytest.raises(AgentNotFound):
            await world.service.clear(principal, reference, None)
