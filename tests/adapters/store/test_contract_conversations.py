"""What every store does with conversations, their messages, users that come and tickets that are spent."""

import asyncio
import json
from collections.abc import Sequence
from dataclasses import replace

import pytest

from dragoman.adapters.store import SqlStore
from dragoman.adapters.store.conversations import Conversations
from dragoman.adapters.store.driver import Database, Job, Params, Row, T, Transaction
from dragoman.core.conversations import Conversation
from dragoman.core.errors import AgentNotFound, NameTaken
from dragoman.core.events import ToolCall
from dragoman.core.ids import new_id
from dragoman.ports.conversations import Listed, Window
from tests.adapters.store.scene import NOW, settled
from tests.adapters.store.talks import contents, opened, texts, wrote

SPOKEN_AND_MORE = (
    {"role": "user", "content": "one"},
    {"role": "assistant", "content": None, "tool_calls": json.dumps([["c1", "get_weather", '{"location":"Oslo"}']])},
    {"role": "tool", "content": "12", "tool_call_id": "c1"},
    {"role": "assistant", "content": ""},
    {"role": "assistant", "content": "two", "metadata": '{"a": [1, null]}'},
    {"role": "system", "content": "be brief"},
    {"role": "user", "content": "three"},
)


async def test_a_conversation_comes_back_as_it_was_created_to_its_tenant_alone(store: SqlStore) -> None:
    agent = await settled(store)
    whole = Conversation(
        id=new_id(),
        tenant_id="acme",
        agent_id=agent.id,
        title="Füße \U0001f600",
        created_at=NOW,
        updated_at=NOW + 1,
        client_id="my chat",
        user_id="u1",
        visitor_id="v1",
        deployment_id=new_id(),
        last_message_at=NOW + 2,
        archived_at=NOW + 3,
        metadata={"a": [1, None, {"b": "ü"}]},
        context={"plan": "pro"},
    )
    plain = Conversation(new_id(), "acme", agent.id, "", NOW, NOW, metadata={})
    for conversation in (whole, plain):
        await store.conversations.create(conversation)
        assert await store.conversations.get("acme", conversation.id) == conversation
        assert await store.conversations.get("other", conversation.id) is None
    assert await store.conversations.get("acme", new_id()) is None


async def test_a_conversation_wants_an_agent_of_its_own_tenant(store: SqlStore) -> None:
    foreign = await settled(store, "other")
    for agent_id in (foreign.id, new_id()):
        with pytest.raises(AgentNotFound):
            await store.conversations.create(Conversation(new_id(), "acme", agent_id, "", NOW, NOW))
    assert await store.conversations.list("acme", Listed(10)) == ([], 0)


async def test_an_id_and_a_clients_own_name_are_taken_once(store: SqlStore) -> None:
    agent, foreign = await settled(store), await settled(store, "other")
    first = await opened(store, agent, client_id="mine")
    for more in ({"id": first.id}, {"client_id": "mine"}):
        with pytest.raises(NameTaken):
            await opened(store, agent, **more)
    await opened(store, foreign, client_id="mine")
    assert (await store.conversations.list("acme", Listed(10)))[1] == 1


async def test_what_changes_is_named_and_the_rest_stays(store: SqlStore) -> None:
    agent = await settled(store)
    first = await opened(store, agent, title="Old", metadata={"a": 1}, user_id="u1")
    change = store.conversations.change
    titled = await change("acme", first.id, {"title": "New"}, NOW + 1)
    assert titled == replace(first, title="New", updated_at=NOW + 1)
    archived = await change("acme", first.id, {"archived_at": NOW + 2, "metadata": None}, NOW + 2)
    assert archived == replace(first, title="New", metadata=None, archived_at=NOW + 2, updated_at=NOW + 2)
    restored = await change("acme", first.id, {"archived_at": None, "metadata": {"b": []}}, NOW + 3)
    assert restored == replace(first, title="New", metadata={"b": []}, updated_at=NOW + 3)
    assert await change("acme", first.id, {}, NOW + 4) == restored
    assert await store.conversations.get("acme", first.id) == restored


async def test_a_conversation_of_another_tenant_cannot_be_changed(store: SqlStore) -> None:
    first = await opened(store, await settled(store), title="Old")
    assert await store.conversations.change("other", first.id, {"title": "Mine"}, NOW + 1) is None
    assert await store.conversations.change("acme", new_id(), {"title": "Mine"}, NOW + 1) is None
    assert await store.conversations.get("acme", first.id) == first


async def test_conversations_are_listed_newest_first_then_by_id_and_in_pages(store: SqlStore) -> None:
    agent = await settled(store)
    ids = sorted(new_id() for _ in range(4))
    old = await opened(store, agent, created_at=NOW - 5)
    for each in ids[1:] + ids[:1]:
        await opened(store, agent, id=each)
    await opened(store, await settled(store, "other"))
    expected = [*reversed(ids), old.id]
    listed, total = await store.conversations.list("acme", Listed(10))
    assert ([each.id for each in listed], total) == (expected, 5)
    for offset in range(6):
        page, total = await store.conversations.list("acme", Listed(2, offset))
        assert ([each.id for each in page], total) == (expected[offset : offset + 2], 5)
    behind, total = await store.conversations.list("acme", Listed(2, below=(listed[1].created_at, listed[1].id)))
    assert ([each.id for each in behind], total) == (expected[2:4], 5)


async def test_a_listing_keeps_to_a_user_an_agent_a_visitor_and_to_what_is_archived(store: SqlStore) -> None:
    agent, other = await settled(store), await settled(store, name="Other")
    first = await opened(store, agent, user_id="u1", visitor_id="v1")
    second = await opened(store, agent, user_id="u1", archived_at=NOW, created_at=NOW + 1)
    third = await opened(store, other, user_id="u2", visitor_id="v1", created_at=NOW + 2)
    for wanted, found in (
        (Listed(9), [third, second, first]),
        (Listed(9, user_id="u1"), [second, first]),
        (Listed(9, user_id="u3"), []),
        (Listed(9, agent_id=other.id), [third]),
        (Listed(9, visitor_id="v1"), [third, first]),
        (Listed(9, user_id="u1", visitor_id="v1", agent_id=agent.id), [first]),
        (Listed(9, archived=False), [third, first]),
        (Listed(9, archived=True), [second]),
        (Listed(9, user_id="u1", archived=False), [first]),
    ):
        assert await store.conversations.list("acme", wanted) == (found, len(found)), wanted


async def test_what_was_spoken_is_shown_without_calls_results_and_silence(store: SqlStore) -> None:
    conversation = await opened(store, await settled(store))
    await wrote(store, conversation, *SPOKEN_AND_MORE)
    found, total = await store.conversations.messages("acme", conversation.id)
    assert (contents(found), total) == (["one", "two", "three"], 3)
    assert [each.role for each in found] == ["user", "assistant", "user"]


async def test_everything_is_shown_where_it_is_wanted_as_it_was_stored(store: SqlStore) -> None:
    conversation = await opened(store, await settled(store))
    numbers = await wrote(store, conversation, *SPOKEN_AND_MORE)
    found, total = await store.conversations.messages("acme", conversation.id, Window(spoken=False))
    assert total == len(SPOKEN_AND_MORE)
    assert [each.number for each in found] == numbers
    assert [each.role for each in found] == [entry["role"] for entry in SPOKEN_AND_MORE]
    assert contents(found) == [entry["content"] for entry in SPOKEN_AND_MORE]
    assert {each.conversation_id for each in found} == {conversation.id}
    assert [each.created_at for each in found] == [NOW + number for number in numbers]
    assert found[1].tool_calls == (ToolCall("c1", "get_weather", '{"location":"Oslo"}'),)
    assert [each.tool_call_id for each in found if each.tool_call_id] == ["c1"]
    assert [each.metadata for each in found if each.metadata] == [{"a": [1, None]}]


async def test_a_window_lies_at_its_bound_and_its_rows_ascend(store: SqlStore) -> None:
    conversation = await opened(store, await settled(store))
    one, *_, six = await wrote(store, conversation, *texts(*"123456"))
    three = one + 2
    for window, expected in (
        (Window(), "123456"),
        (Window(limit=2), "56"),
        (Window(limit=9), "123456"),
        (Window(limit=0), ""),
        (Window(before=three), "12"),
        (Window(limit=1, before=three), "2"),
        (Window(limit=2, before=six + 1), "56"),
        (Window(after=three), "456"),
        (Window(limit=2, after=three), "45"),
        (Window(limit=2, after=one - 1), "12"),
        (Window(limit=2, after=six), ""),
        (Window(limit=2, before=one), ""),
        (Window(limit=2, after=one, before=six), "23"),
        (Window(limit=2, offset=1), "45"),
        (Window(before=2**70), "123456"),
        (Window(after=2**70), ""),
        (Window(limit=2**70, offset=2**70), ""),
        (Window(before=-5), ""),
        (Window(after=-(2**70)), "123456"),
    ):
        found, total = await store.conversations.messages("acme", conversation.id, window)
        assert ("".join(map(str, contents(found))), total) == (expected, 6), window


async def test_a_page_is_counted_and_told_from_its_end(store: SqlStore) -> None:
    conversation = await opened(store, await settled(store))
    one, *_ = await wrote(store, conversation, *texts(*"12345"))
    for window, expected in (
        (Window(order="oldest"), "12345"),
        (Window(order="newest"), "54321"),
        (Window(limit=2, order="oldest"), "12"),
        (Window(limit=2, order="newest"), "54"),
        (Window(limit=2, offset=2, order="oldest"), "34"),
        (Window(limit=2, offset=2, order="newest"), "32"),
        (Window(limit=2, offset=4, order="oldest"), "5"),
        (Window(limit=2, offset=5, order="newest"), ""),
        (Window(limit=2, after=one, order="oldest"), "23"),
        (Window(limit=2, after=one, order="newest"), "54"),
        (Window(limit=2, before=one + 3, order="newest"), "32"),
    ):
        found, total = await store.conversations.messages("acme", conversation.id, window)
        assert ("".join(map(str, contents(found))), total) == (expected, 5), window


async def test_a_window_counts_spoken_messages_alone(store: SqlStore) -> None:
    conversation = await opened(store, await settled(store))
    numbers = await wrote(store, conversation, *SPOKEN_AND_MORE)
    found, total = await store.conversations.messages("acme", conversation.id, Window(limit=2, before=numbers[-1]))
    assert (contents(found), total) == (["one", "two"], 3)
    found, total = await store.conversations.messages("acme", conversation.id, Window(2, offset=1, order="oldest"))
    assert (contents(found), total) == (["two", "three"], 3)


async def test_messages_are_of_one_conversation_and_one_tenant(store: SqlStore) -> None:
    agent = await settled(store)
    first, second = await opened(store, agent), await opened(store, agent)
    await wrote(store, first, *texts("here"))
    await wrote(store, second, *texts("elsewhere"))
    assert contents((await store.conversations.messages("acme", first.id))[0]) == ["here"]
    assert await store.conversations.messages("other", first.id) == ([], 0)
    assert await store.conversations.messages("acme", new_id()) == ([], 0)


async def test_messages_of_an_agent_come_from_all_its_conversations_with_clients_names(store: SqlStore) -> None:
    agent, other = await settled(store), await settled(store, name="Other")
    named, plain = await opened(store, agent, client_id="mine"), await opened(store, agent)
    await wrote(store, named, *texts("1"))
    await wrote(store, plain, *texts("2"))
    numbers = await wrote(store, named, *texts("3"))
    await wrote(store, plain, *SPOKEN_AND_MORE[1:3])
    await wrote(store, await opened(store, other, client_id="theirs"), *texts("another agent's"))
    listed = store.conversations.messages_of_agent
    found, total, names = await listed("acme", agent.id, Window(spoken=False))
    assert contents(found) == ["1", "2", "3", None, "12"]
    assert (total, names) == (5, {named.id: "mine"})
    assert [each.conversation_id for each in found[:3]] == [named.id, plain.id, named.id]
    found, total, names = await listed("acme", agent.id, Window(limit=1, before=numbers[0]))
    assert (contents(found), total, names) == (["2"], 3, {})
    found, total, _ = await listed("acme", agent.id, Window(limit=2, after=0))
    assert (contents(found), total) == (["1", "2"], 3)
    assert await listed("other", agent.id, Window()) == ([], 0, {})


async def test_the_number_of_a_message_is_told_for_its_own_conversation(store: SqlStore) -> None:
    agent = await settled(store)
    first, second = await opened(store, agent), await opened(store, agent)
    (number,) = await wrote(store, first, *texts("1"))
    ((message,), _) = await store.conversations.messages("acme", first.id)
    number_of = store.conversations.number_of
    assert await number_of("acme", first.id, message.id) == number
    for elsewhere in (("other", first.id, message.id), ("acme", second.id, message.id), ("acme", first.id, new_id())):
        assert await number_of(*elsewhere) is None


class Watched:
    """A database whose reads tell how each query would be answered, and how many rows came of it."""

    def __init__(self, database: Database) -> None:
        self._database = database
        self.explain = "EXPLAIN QUERY PLAN " if hasattr(database, "path") else "EXPLAIN "
        self.plans: list[str] = []
        self.fetched = 0
        self._within: Transaction

    async def read(self, job: Job[T]) -> T:
        async def watched(transaction: Transaction) -> T:
            self._within = transaction
            return await job(self)

        return await self._database.read(watched)

    async def one(self, sql: str, params: Params, /) -> Row | None:
        return await self._within.one(sql, params)

    async def all(self, sql: str, params: Params, /) -> Sequence[Row]:
        plan = await self._within.all(self.explain + sql, params)
        self.plans.append(" ".join(str(value) for row in plan for value in tuple(row)))
        found = await self._within.all(sql, params)
        self.fetched += len(found)
        return found


async def test_a_window_costs_what_it_shows_however_long_the_conversation_is(store: SqlStore) -> None:
    agent = await settled(store)
    for count in (30, 2000):
        conversation = await opened(store, agent)
        numbers = await wrote(store, conversation, *texts(*["x"] * count))
        await store._database.write(_analyze)
        watched = Watched(store._database)
        shown = Conversations(watched)
        half = numbers[count // 2]
        for window in (Window(10), Window(10, before=half), Window(10, after=half), Window(10, order="oldest")):
            await shown.messages("acme", conversation.id, window)
            await shown.messages_of_agent("acme", agent.id, window)
        assert watched.fetched == 2 * 4 * 10
    for plan in watched.plans:
        for growing in ("SCAN messages", "Seq Scan", "Sort", "TEMP B-TREE"):
            assert growing not in plan


async def test_a_user_is_met_once_in_each_tenant(store: SqlStore) -> None:
    meet = store.conversations.meet_user
    assert [await meet("acme", "u1", NOW), await meet("acme", "u1", NOW + 1), await meet("other", "u1", NOW)] == [
        True,
        False,
        True,
    ]
    assert sum(await asyncio.gather(*(meet("acme", "u2", NOW) for _ in range(20)))) == 1


async def test_a_ticket_is_spent_once(store: SqlStore) -> None:
    spend = store.conversations.spend_ticket
    assert sum(await asyncio.gather(*(spend("acme", "t1", NOW) for _ in range(20)))) == 1
    assert not await spend("acme", "t1", NOW + 1)
    assert await spend("acme", "t2", NOW)


async def _analyze(transaction: Transaction) -> None:
    await transaction.run("ANALYZE messages", {})
