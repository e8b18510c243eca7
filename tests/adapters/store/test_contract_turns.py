"""What every store does with turns: their beginning, their log, their end, and what later prompts are given."""

import asyncio
from dataclasses import replace
from typing import Any

import pytest

from dragoman.adapters.store import SqlStore
from dragoman.core.commands import Idempotency
from dragoman.core.errors import AgentNotFound, Conflict, ConversationNotFound, KeyReused
from dragoman.core.events import CLOSING, Group, TextDelta, TurnCompleted
from dragoman.core.ids import new_id, prefixed
from dragoman.core.prompt import PromptMessage
from dragoman.core.tenants import Principal
from dragoman.ports.store import Store
from dragoman.ports.turns import Begun, Existing, Fenced
from tests.adapters.store.scene import (
    NOW,
    SCRIPTED,
    answer,
    asked,
    begin,
    begun,
    deltas,
    ending,
    row,
    rows,
    said,
    settled,
    started,
)


async def test_a_turn_is_applied_and_then_durable(store: SqlStore) -> None:
    agent = await settled(store)
    await store.tenants.set_price("scripted", 4)
    pending = store.turns.begin(asked(store, agent))
    result = await pending.applied
    await pending.durable
    assert isinstance(result, Begun)
    assert (result.turn.state, result.turn.epoch, result.next_sequence) == ("running", 1, 1)
    assert (result.price, result.reserved, result.agent) == (4, 0, agent)
    assert result.prompt == (PromptMessage("user", "Hello"),)
    assert await store.turns.get("acme", result.turn.id) == result.turn


async def test_an_agent_is_named_by_its_slug_its_id_or_its_prefixed_id(store: SqlStore) -> None:
    agent = await settled(store)
    for reference in (agent.slug, agent.id, agent.id.upper(), prefixed("agent", agent.id)):
        assert (await begun(store, agent, agent_reference=reference)).agent == agent


async def test_a_turn_answers_by_the_version_that_is_published(store: SqlStore) -> None:
    agent = await settled(store)
    await said(store, agent, "Hello")
    changed, _ = await store.agents.put("acme", agent.id, None, "Support Agent", {**SCRIPTED, "instructions": "X"}, NOW)
    assert (await begun(store, agent)).agent == changed


async def test_an_unknown_agent_is_refused_and_nothing_is_left(store: SqlStore) -> None:
    agent = await settled(store)
    request = asked(store, agent, agent_reference="nobody", scope="once")
    with pytest.raises(AgentNotFound):
        await store.turns.begin(request).applied
    await _assert_no_trace(store, request.turn_id, request.new_conversation_id)
    assert isinstance(await begin(store, asked(store, agent, scope="once")), Begun)


async def test_a_foreign_agent_is_as_absent(store: SqlStore) -> None:
    agent = await settled(store)
    await settled(store, "other", "Other Agent")
    for reference in (agent.id, agent.slug):
        with pytest.raises(AgentNotFound):
            await store.turns.begin(
                asked(store, agent, principal=Principal("other", "key", "secret"), agent_reference=reference)
            ).applied


async def test_a_foreign_conversation_is_as_absent_and_nothing_is_left(store: SqlStore) -> None:
    mine, theirs = await settled(store), await settled(store, "other")
    neighbour = await settled(store, name="Neighbour")
    foreign = (await said(store, theirs, "Hello")).conversation_id
    neighbours = (await said(store, neighbour, "Hello")).conversation_id
    for conversation_id in (foreign, neighbours, new_id()):
        request = asked(store, mine, conversation_id=conversation_id)
        with pytest.raises(ConversationNotFound):
            await store.turns.begin(request).applied
        await _assert_no_trace(store, request.turn_id, request.new_conversation_id)
    assert len((await store.conversations.messages("other", foreign))[0]) == 2


async def test_a_foreign_turn_is_as_absent(store: SqlStore) -> None:
    turn = await said(store, await settled(store), "Hello", "Hi")
    await settled(store, "other")
    assert await store.turns.get("other", turn.id) is None
    assert await store.turns.events("other", turn.id) == []
    assert await store.turns.answers("other", turn.id) == []
    assert await answer(store, turn) == "Hi"


async def test_a_refusal_does_not_fail_the_turns_beside_it(store: SqlStore) -> None:
    agent = await settled(store)
    requests = [asked(store, agent, agent_reference="nobody" if index % 3 else agent.slug) for index in range(30)]
    results = await asyncio.gather(*(begin(store, request) for request in requests), return_exceptions=True)
    assert [isinstance(result, Begun) for result in results] == [not index % 3 for index in range(30)]


async def test_fifty_turns_at_once_get_distinct_numbers(store: SqlStore) -> None:
    agent = await settled(store)
    results = await asyncio.gather(*(begun(store, agent) for _ in range(50)))
    assert sorted(result.turn.answer_number for result in results) == list(range(2, 101, 2))


async def test_a_reader_never_sees_a_number_come_after_a_higher_one(store: SqlStore) -> None:
    agent = await settled(store)
    seen: set[int] = set()
    busy = [asyncio.create_task(begin(store, asked(store, agent))) for _ in range(30)]
    while not all(task.done() for task in busy):
        numbers = {int(each[0]) for each in await rows(store, "SELECT number FROM messages")}
        assert all(number > max(seen, default=0) for number in numbers - seen)
        seen = numbers
    await asyncio.gather(*busy)


async def test_a_second_turn_in_a_conversation_that_is_answering_is_a_conflict(store: SqlStore) -> None:
    agent = await settled(store)
    first = await begun(store, agent)
    again = asked(store, agent, conversation_id=first.turn.conversation_id)
    with pytest.raises(Conflict):
        await store.turns.begin(again).applied
    await store.turns.finish(ending(store, first))
    assert isinstance(await begin(store, again), Begun)


async def test_a_turn_ends_with_its_answer_its_last_events_and_its_state(store: SqlStore) -> None:
    beginning = await begun(store, await settled(store))
    turn = beginning.turn
    await store.turns.finish(ending(store, beginning, "Hi there"))
    kept = await store.turns.get("acme", turn.id)
    assert kept == replace(
        turn, state="completed", prompt_tokens=7, completion_tokens=3, credits=5, finished_at=NOW + 1
    )
    messages = (await store.conversations.messages("acme", turn.conversation_id))[0]
    assert [(each.id, each.number) for each in messages] == [
        (turn.message_id, turn.answer_number - 1),
        (turn.answer_id, turn.answer_number),
    ]
    assert await _log(store, turn.id) == [
        started(turn),
        TextDelta("Hi there"),
        TurnCompleted("scripted", 7, 3, 5, NOW),
    ]


@pytest.mark.parametrize("claim", [{"epoch": 2}, {"epoch": 0}, {"owner": 1}, {"tenant_id": "other"}])
async def test_an_end_by_somebody_else_is_fenced_and_stores_nothing(store: SqlStore, claim: dict[str, Any]) -> None:
    beginning = await begun(store, await settled(store))
    with pytest.raises(Fenced):
        await store.turns.finish(replace(ending(store, beginning), **claim))
    assert await store.turns.get("acme", beginning.turn.id) == beginning.turn
    assert len((await store.conversations.messages("acme", beginning.turn.conversation_id))[0]) == 1
    assert await store.turns.events("acme", beginning.turn.id) == []


async def test_a_turn_ends_once_and_saying_so_again_changes_nothing(store: SqlStore) -> None:
    beginning = await begun(store, await settled(store))
    await store.turns.finish(ending(store, beginning))
    await store.turns.finish(ending(store, beginning, "Another"))
    with pytest.raises(Fenced):
        await store.turns.finish(replace(ending(store, beginning, "Another"), state="failed"))
    assert await answer(store, beginning.turn) == "Hi there"


async def test_an_answer_may_hold_any_character(store: SqlStore) -> None:
    beginning = await begun(store, await settled(store))
    await store.turns.finish(ending(store, beginning, "nul \x00, \u2028, \U0001f600"))
    kept = await store.turns.get("acme", beginning.turn.id)
    assert kept is not None
    assert kept.state == "completed"
    assert (await answer(store, beginning.turn)).endswith(", \u2028, \U0001f600")


async def test_flushed_events_come_back_in_order_without_gaps(store: SqlStore) -> None:
    agent = await settled(store)
    beginning, other = await begun(store, agent), await begun(store, agent)
    turn = beginning.turn
    first, second = row(turn, 1, started(turn), *deltas("a", "b")), row(turn, 4, *deltas("c\x00", "\u2028d"))
    await store.turns.flush([first, row(other.turn, 1, started(other.turn))])
    await store.turns.flush([second])
    await store.turns.finish(replace(ending(store, beginning), last_row=row(turn, 6, *deltas("e"))))
    groups = await store.turns.events("acme", turn.id)
    assert [(group.epoch, group.first_sequence) for group in groups] == [(1, 1), (1, 4), (1, 6)]
    assert await _log(store, turn.id) == [started(turn), *deltas("a", "b", "c\x00", "\u2028d", "e")]
    assert await _log(store, other.turn.id) == [started(other.turn)]


async def test_a_flush_for_a_turn_that_was_taken_over_is_dropped_and_harms_no_other(store: SqlStore) -> None:
    agent = await settled(store)
    lost, mine = await begun(store, agent), await begun(store, agent)
    assert await store.turns.interrupt_orphans(lambda turn_id: turn_id == mine.turn.id, NOW) == 1
    await store.turns.flush([row(lost.turn, 1, *deltas("late")), row(mine.turn, 1, started(mine.turn))])
    assert [type(event) in CLOSING for event in await _log(store, lost.turn.id)] == [True]
    assert await _log(store, mine.turn.id) == [started(mine.turn)]


async def test_a_request_that_came_before_finds_its_turn(store: SqlStore) -> None:
    agent = await settled(store)
    first = await begun(store, agent, scope="once")
    assert await begin(store, asked(store, agent, scope="once")) == Existing(first.turn)
    await store.turns.finish(ending(store, first))
    again = await begin(store, asked(store, agent, scope="once"))
    assert isinstance(again, Existing)
    assert (again.turn.id, again.turn.state) == (first.turn.id, "completed")
    assert len((await store.conversations.messages("acme", first.turn.conversation_id))[0]) == 2


async def test_a_key_that_comes_with_another_body_is_refused(store: SqlStore) -> None:
    agent = await settled(store)
    first = await begun(store, agent, scope="once")
    with pytest.raises(KeyReused):
        await store.turns.begin(asked(store, agent, scope="once", body="other")).applied
    with pytest.raises(KeyReused):
        await store.turns.claimed("acme", Idempotency("once", "other"))
    assert await store.turns.claimed("acme", Idempotency("once", "body")) == first.turn
    assert await store.turns.claimed("acme", Idempotency("never", "body")) is None


async def test_the_keys_of_two_tenants_are_apart(store: SqlStore) -> None:
    mine, theirs = await settled(store), await settled(store, "other")
    await begun(store, mine, scope="once")
    assert await store.turns.claimed("other", Idempotency("once", "body")) is None
    assert isinstance(await begin(store, asked(store, theirs, scope="once", body="other")), Begun)


async def test_twenty_requests_with_one_key_begin_one_turn(store: SqlStore) -> None:
    agent = await settled(store)
    results = await asyncio.gather(*(begin(store, asked(store, agent, scope="once")) for _ in range(20)))
    assert [type(result) for result in results].count(Begun) == 1
    assert len({result.turn.id for result in results}) == 1


async def test_resuming_with_a_key_that_is_not_known_is_a_conflict(store: SqlStore) -> None:
    agent = await settled(store)
    with pytest.raises(Conflict):
        await store.turns.begin(asked(store, agent, scope="once", resuming=True)).applied
    assert await store.turns.claimed("acme", Idempotency("once", "body")) is None


@pytest.mark.parametrize("state", ["failed", "interrupted"])
async def test_a_turn_that_failed_runs_again_on_the_same_message(store: SqlStore, state: str) -> None:
    agent = await settled(store)
    first = await begun(store, agent, scope="once")
    turn = first.turn
    await store.turns.finish(ending(store, first, "Half", state="failed", error="Broken"))
    request = asked(store, agent, scope="once")
    again = await begin(store, request)
    assert isinstance(again, Begun)
    assert (again.turn.id, again.turn.message_id, again.turn.epoch) == (turn.id, turn.message_id, 2)
    assert (again.turn.state, again.turn.error, again.turn.answer_id) == ("running", None, request.answer_id)
    assert again.turn.answer_number > turn.answer_number
    assert (again.next_sequence, again.prompt) == (4, (PromptMessage("user", "Hello"),))
    assert await store.turns.get("acme", turn.id) == replace(
        again.turn, prompt_tokens=7, completion_tokens=3, credits=5
    )
    await store.turns.finish(ending(store, again, "Whole"))
    messages = (await store.conversations.messages("acme", turn.conversation_id))[0]
    assert [each.role for each in messages].count("user") == 1
    groups = await store.turns.events("acme", turn.id)
    assert [(group.epoch, group.first_sequence, len(group.events)) for group in groups] == [(1, 1, 3), (2, 4, 3)]


async def test_what_a_failed_attempt_said_is_left_out_of_the_next_prompt(store: SqlStore) -> None:
    agent = await settled(store)
    first = await begun(store, agent, scope="once")
    await store.turns.finish(ending(store, first, "Half", state="failed"))
    again = await begun(store, agent, scope="once")
    await store.turns.finish(ending(store, again, "Whole"))
    following = await begun(store, agent, "More", conversation_id=first.turn.conversation_id)
    assert following.prompt[:-1] == (PromptMessage("user", "Hello"), PromptMessage("assistant", "Whole"))


async def test_many_retries_of_a_failed_turn_run_it_once(store: SqlStore) -> None:
    agent = await settled(store)
    first = await begun(store, agent, scope="once")
    await store.turns.finish(ending(store, first, "", state="failed"))
    results = await asyncio.gather(*(begin(store, asked(store, agent, scope="once")) for _ in range(10)))
    assert [type(result) for result in results].count(Begun) == 1
    assert {(result.turn.epoch, result.turn.state) for result in results} == {(2, "running")}
    ran = next(result for result in results if isinstance(result, Begun))
    await store.turns.finish(ending(store, ran))


async def test_a_failed_turn_does_not_run_again_beside_another_in_its_conversation(store: SqlStore) -> None:
    agent = await settled(store)
    first = await begun(store, agent, scope="once")
    await store.turns.finish(ending(store, first, "", state="failed"))
    await begun(store, agent, "More", conversation_id=first.turn.conversation_id)
    with pytest.raises(Conflict):
        await store.turns.begin(asked(store, agent, scope="once")).applied


async def test_a_failed_turn_that_is_resumed_is_replayed_instead(store: SqlStore) -> None:
    agent = await settled(store)
    first = await begun(store, agent, scope="once")
    await store.turns.finish(ending(store, first, "Half", state="failed"))
    again = await begin(store, asked(store, agent, scope="once", resuming=True))
    assert isinstance(again, Existing)
    assert again.turn.state == "failed"


async def test_forgetting_is_by_age(store: SqlStore) -> None:
    agent = await settled(store)
    old = await begun(store, agent, scope="old")
    await store.turns.finish(ending(store, old))
    new = await begun(store, agent, scope="new", now=NOW + 10)
    await store.turns.finish(ending(store, new, now=NOW + 10))
    await store.turns.prune(NOW + 10, NOW + 10)
    assert await store.turns.events("acme", old.turn.id) == []
    assert len(await store.turns.events("acme", new.turn.id)) == 1
    assert await store.turns.claimed("acme", Idempotency("old", "body")) is None
    assert await store.turns.claimed("acme", Idempotency("new", "body")) is not None
    assert await answer(store, old.turn) == "Hi there"


async def _log(store: Store, turn_id: str) -> list[object]:
    groups: list[Group] = list(await store.turns.events("acme", turn_id))
    following = 1
    for group in groups:
        assert group.first_sequence == following
        following += len(group.events)
    return [event for group in groups for event in group.events]


async def _assert_no_trace(store: SqlStore, turn_id: str, conversation_id: str) -> None:
    assert await store.turns.get("acme", turn_id) is None
    assert await store.conversations.get("acme", conversation_id) is None
    assert (await store.conversations.messages("acme", conversation_id))[0] == []
