"""What every store finds of conversations, of what was used, and of what was changed."""

from dataclasses import replace
from typing import Any

import pytest

from dragoman.adapters.store import SqlStore, search
from dragoman.core.agents import Agent
from dragoman.core.conversations import Conversation
from dragoman.core.ids import new_id
from dragoman.core.tenants import Principal
from dragoman.ports.audit import Act
from dragoman.ports.search import Wanted
from dragoman.ports.usage import Spent
from tests.adapters.store.scene import NOW, begun, ending, key, said, settled

DAY = 86_400_000_000
FIRST_DAY = NOW // DAY


async def begin_at(store: SqlStore, agent: Agent, title: str, age: int = 0, **more: Any) -> Conversation:
    """A conversation with nothing in it that began so many microseconds ago."""
    at = NOW - age
    whole = Conversation(new_id(), agent.tenant_id, agent.id, title, at, at, **more)
    await store.conversations.create(whole)
    return whole


async def titles(store: SqlStore, tenant: str = "acme", limit: int = 50, **wanted: Any) -> list[str]:
    found = await store.search.conversations(tenant, Wanted(**wanted), limit, None)
    assert found.next is None
    return [conversation.title for conversation in found.conversations]


async def test_conversations_are_found_newest_first_and_by_tenant(store: SqlStore) -> None:
    agent, foreign = await settled(store), await settled(store, "other")
    whole = await begin_at(store, agent, "old", 9, user_id="u", metadata={"plan": "pro"}, context={"a": 1})
    await begin_at(store, agent, "new")
    await begin_at(store, foreign, "foreign")
    assert await titles(store) == ["new", "old"]
    found = await store.search.conversations("acme", Wanted(user_id="u"), 5, None)
    assert found.conversations == [whole]


async def test_every_filter_leaves_out_what_is_not_so(store: SqlStore) -> None:
    agent, other = await settled(store), await settled(store, name="Other Bot")
    await begin_at(store, agent, "mine", 10, user_id="ann")
    await begin_at(store, other, "theirs", 20, user_id="bob")
    assert await titles(store, agent_id=agent.id) == ["mine"]
    assert await titles(store, user_id="bob") == ["theirs"]
    assert await titles(store, since=NOW - 10) == ["mine"]
    assert await titles(store, until=NOW - 10) == ["theirs"]
    assert await titles(store, agent_id=agent.id, user_id="bob") == []


async def test_metadata_is_compared_as_the_text_of_its_value(store: SqlStore) -> None:
    agent = await settled(store)
    await begin_at(store, agent, "text", 1, metadata={"plan": "pro", "city": "Zürich", "sign up-date": "x"})
    await begin_at(store, agent, "rest", 2, metadata={"plan": 5, "vip": True, "deep": {"plan": "pro"}})
    await begin_at(store, agent, "none", 3)
    for pairs, expected in (
        ([("plan", "pro")], ["text"]),
        ([("plan", "5")], ["rest"]),
        ([("vip", "true")], ["rest"]),
        ([("city", "Zürich")], ["text"]),
        ([("sign up-date", "x")], ["text"]),
        ([("plan", "pro"), ("city", "Zürich")], ["text"]),
        ([("plan", "pro"), ("vip", "true")], []),
        ([("plan", "pr")], []),
        ([("nothing", "pro")], []),
    ):
        assert await titles(store, metadata=pairs) == expected, pairs


async def test_text_is_found_in_titles_and_messages_whatever_its_case_and_its_wildcards_are_literal(
    store: SqlStore,
) -> None:
    agent, foreign = await settled(store), await settled(store, "other")
    await said(store, agent, "How do I get a Refund?", "Within 100% of 14 days_", title="first")
    await said(store, agent, "Hello", "Hi!", title="A refund indeed")
    await said(store, foreign, "refund", title="foreign")
    assert sorted(await titles(store, text="REFUND")) == ["A refund indeed", "first"]
    assert await titles(store, text="100%") == ["first"]
    assert await titles(store, text="days_") == ["first"]
    assert await titles(store, text="hi!") == ["A refund indeed"]
    for nowhere in ("1%0", "day_", "%%", "\\", "!%"):
        assert await titles(store, text=nowhere) == [], nowhere


@pytest.mark.parametrize("text", [None, "even"])
async def test_pages_hold_every_conversation_once(store: SqlStore, text: str | None) -> None:
    agent = await settled(store)
    for index in range(7):
        await begin_at(store, agent, "even" if index % 2 == 0 else "odd", index // 2)
    seen: list[Conversation] = []
    place, pages = None, 0
    while True:
        found = await store.search.conversations("acme", Wanted(text=text), 2, place)
        seen += found.conversations
        place, pages = found.next, pages + 1
        if place is None:
            break
    expected = 4 if text else 7
    assert len({conversation.id for conversation in seen}) == len(seen) == expected
    assert pages <= 4
    at = [(conversation.created_at, conversation.id) for conversation in seen]
    assert at == sorted(at, reverse=True)


async def test_one_search_looks_at_so_much_and_says_where_to_go_on(
    store: SqlStore, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(search, "STEP", 2)
    monkeypatch.setattr(search, "LOOKED_AT", 4)
    agent = await settled(store)
    for index in range(9):
        await begin_at(store, agent, "wanted" if index == 8 else "other", index)
    pages = []
    place = None
    while True:
        found = await store.search.conversations("acme", Wanted(text="wanted"), 5, place)
        pages.append(len(found.conversations))
        if (place := found.next) is None:
            break
    assert pages == [0, 0, 1]


async def test_messages_of_every_role_are_read_with_the_version_that_said_them(store: SqlStore) -> None:
    agent = await settled(store)
    turn = await said(store, agent, "Hello")
    agent = await settled(store, instructions="Anew.")
    await said(store, agent, "Again", conversation_id=turn.conversation_id)
    found = await store.search.messages("acme", turn.conversation_id, 10, 0)
    assert [(each.message.content, each.agent_version) for each in found] == [
        ("Hello", 1),
        ("Hi there", 1),
        ("Again", 2),
        ("Hi there", 2),
    ]
    assert found[0].turn_id == found[1].turn_id == turn.id
    after = found[1].message.number
    assert await store.search.messages("acme", turn.conversation_id, 1, after) == [found[2]]
    assert await store.search.messages("other", turn.conversation_id, 10, 0) == []


async def spend(store: SqlStore, agent: Agent, key_id: str, at: int, **more: Any) -> None:
    """A turn that began at a time, with 7 tokens asked, 3 answered and 5 credits unless it says otherwise."""
    beginning = await begun(store, agent, principal=Principal(agent.tenant_id, key_id, "secret"), now=at)
    await store.turns.finish(ending(store, beginning, **more))


async def test_usage_is_counted_by_every_group_over_utc_days(store: SqlStore) -> None:
    agent, other = await settled(store), await settled(store, name="Other Bot", model={"name": "gpt"})
    backend = key()
    await store.keys.add(backend, "digest")
    midnight = FIRST_DAY * DAY + DAY
    await spend(store, agent, backend.id, midnight - 1)
    await spend(store, agent, backend.id, midnight)
    await spend(store, other, "gone", midnight + 1, state="cancelled", credits=2)
    await spend(store, other, "gone", midnight + 2, state="failed", credits=0, charged=0)
    await spend(store, await settled(store, "foreign"), "theirs", midnight)
    span = ("acme", midnight - DAY, midnight + DAY)

    def told(rows: Any, *names: str) -> list[Any]:
        return [(*[getattr(row, name) for name in names], row.spent.turns, row.spent.credits) for row in rows]

    by_day = await store.usage.rows(*span, ["day"], 9)
    assert told(by_day, "day") == [(FIRST_DAY, 1, 5), (FIRST_DAY + 1, 3, 7)]
    assert (by_day[1].spent.prompt_tokens, by_day[1].spent.completion_tokens) == (21, 9)
    by_agent = await store.usage.rows(*span, ["agent"], 9)
    assert sorted(told(by_agent, "agent")) == [("Other Bot", 2, 2), ("Support Agent", 2, 10)]
    assert {row.agent_id for row in by_agent} == {agent.id, other.id}
    by_key = await store.usage.rows(*span, ["key"], 9)
    assert sorted(told(by_key, "key_id", "key"), key=str) == sorted(
        [(backend.id, "backend", 2, 10), ("gone", None, 2, 2)], key=str
    )
    both = await store.usage.rows(*span, ["model", "day"], 9)
    assert told(both, "model", "day") == [
        ("gpt", FIRST_DAY + 1, 2, 2),
        ("scripted", FIRST_DAY, 1, 5),
        ("scripted", FIRST_DAY + 1, 1, 5),
    ]
    assert len(await store.usage.rows(*span, ["model", "day"], 2)) == 2
    assert await store.usage.total(*span) == Spent(4, 28, 12, 12)
    assert await store.usage.total("acme", midnight, midnight + 1) == Spent(1, 7, 3, 5)
    assert await store.usage.total("nobody", *span[1:]) == Spent(0, 0, 0, 0)


async def test_the_audit_log_is_read_newest_first_page_by_page_and_by_tenant(store: SqlStore) -> None:
    acts = [Act("operator", "key.created", f"key_{index}", {"name": "ключ", "at": index}) for index in range(5)]
    for index, act in enumerate(acts):
        await store.audit.record("acme", act, NOW + index // 2)
    await store.audit.record("other", replace(acts[0], subject="foreign"), NOW)
    seen = []
    while page := await store.audit.page("acme", 2, seen[-1].place if seen else None):
        seen += page
    assert sorted((each.act for each in seen), key=lambda act: act.subject) == acts
    assert [each.place for each in seen] == sorted((each.place for each in seen), reverse=True)
    assert seen[0].at == NOW + 2
