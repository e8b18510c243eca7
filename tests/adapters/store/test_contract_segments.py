"""What every store does with turns that pause for calls, and with the credits of turns."""

import asyncio
from collections.abc import Sequence
from dataclasses import replace

import pytest

from dragoman.adapters.store import SqlStore
from dragoman.core.agents import Agent
from dragoman.core.errors import ConversationNotFound, Forbidden, Invalid, NoCredits
from dragoman.core.events import ToolCall
from dragoman.core.ids import derived_id, new_id
from dragoman.core.prompt import CallingMessage, Overrides, PromptMessage, ResultMessage
from dragoman.core.tenants import Principal, Tenant
from dragoman.ports.conversations import Window
from dragoman.ports.turns import Begun, Call, Existing, ResultsRequest, Waiting
from tests.adapters.store.scene import NOW, asked, balance, begin, begun, ending, rows, said, settled

CALLS = (ToolCall("call_1", "get_weather", '{"location": "Tokyo"}'), ToolCall("call_2", "get_time", "{}"))
EVERYTHING = Window(spoken=False)


async def paused(store: SqlStore, agent: Agent, text: str = "", calls: Sequence[ToolCall] = CALLS) -> Begun:
    """A turn that waits for the results of calls."""
    beginning = await begun(store, agent, "Warm?")
    await store.turns.finish(
        ending(store, beginning, text, state="paused", calls=[Call(each, "open") for each in calls])
    )
    return beginning


def results(store: SqlStore, beginning: Begun, *pairs: tuple[str, str]) -> ResultsRequest:
    return ResultsRequest(
        principal=Principal(beginning.turn.tenant_id, "key", "secret"),
        agent_reference=beginning.agent.slug,
        conversation_id=beginning.turn.conversation_id,
        results=pairs,
        message_ids=[new_id() for _ in pairs],
        answer_id=new_id(),
        owner=store.owner,
        now=NOW + 2,
    )


async def answered(store: SqlStore, request: ResultsRequest) -> Begun | Existing | Waiting:
    pending = store.turns.begin_segment(request)
    found = await pending.applied
    await pending.durable
    return found


async def roles(store: SqlStore, beginning: Begun) -> list[tuple[str, str | None]]:
    messages, _ = await store.conversations.messages("acme", beginning.turn.conversation_id, EVERYTHING)
    return [(message.role, message.content) for message in messages]


async def test_a_pause_keeps_the_calls_with_their_message(store: SqlStore) -> None:
    beginning = await paused(store, await settled(store), "Let me look")
    turn = await store.turns.get("acme", beginning.turn.id)
    assert turn is not None
    assert turn.state == "paused"
    [answer] = await store.turns.answers("acme", turn.id)
    assert (answer.content, answer.tool_calls) == ("Let me look", CALLS)
    assert await store.turns.known_calls("acme", turn.conversation_id, ["call_2", "call_3"]) == ["call_2"]
    assert await store.turns.turn_of_call("acme", turn.conversation_id, "call_1") == turn.id
    assert await store.turns.turn_of_call("other", turn.conversation_id, "call_1") is None


async def test_a_result_waits_for_the_others_and_the_last_one_runs_the_turn_on(store: SqlStore) -> None:
    beginning = await paused(store, await settled(store))
    waiting = await answered(store, results(store, beginning, ("call_1", "12 degrees")))
    assert isinstance(waiting, Waiting)
    assert (waiting.message.role, waiting.message.content, waiting.message.tool_call_id) == (
        "tool",
        "12 degrees",
        "call_1",
    )
    request = results(store, beginning, ("call_2", "noon"))
    going = await answered(store, request)
    assert isinstance(going, Begun)
    assert (going.turn.id, going.turn.state, going.turn.answer_id) == (
        beginning.turn.id,
        "running",
        request.answer_id,
    )
    assert (going.first, going.goes_on, going.turn.epoch) == (False, True, beginning.turn.epoch)
    assert going.turn.answer_number > waiting.message.number > beginning.turn.answer_number
    assert going.prompt == (
        PromptMessage("user", "Warm?"),
        CallingMessage("assistant", "", CALLS),
        ResultMessage("tool", "12 degrees", "call_1"),
        ResultMessage("tool", "noon", "call_2"),
    )
    await store.turns.finish(ending(store, going, "Rather cold"))
    assert await roles(store, beginning) == [
        ("user", "Warm?"),
        ("assistant", None),
        ("tool", "12 degrees"),
        ("tool", "noon"),
        ("assistant", "Rather cold"),
    ]


async def test_results_that_come_again_lead_to_what_they_led_to_before(store: SqlStore) -> None:
    beginning = await paused(store, await settled(store))
    first = await answered(store, results(store, beginning, ("call_1", "12 degrees")))
    going = await answered(store, results(store, beginning, ("call_2", "noon")))
    assert isinstance(going, Begun)
    again = await answered(store, results(store, beginning, ("call_1", "something else")))
    assert isinstance(again, Waiting)
    assert isinstance(first, Waiting)
    assert again.message == first.message
    last = await answered(store, results(store, beginning, ("call_2", "midnight")))
    assert isinstance(last, Existing)
    assert last.answer_id == going.turn.answer_id
    assert len(await roles(store, beginning)) == 4


async def test_all_results_at_once_run_the_turn_on(store: SqlStore) -> None:
    beginning = await paused(store, await settled(store))
    going = await answered(store, results(store, beginning, ("call_2", "noon"), ("call_1", "12")))
    assert isinstance(going, Begun)
    assert [message.content for message in going.prompt[2:]] == ["noon", "12"]


async def test_last_results_that_race_run_the_turn_on_once(store: SqlStore) -> None:
    beginning = await paused(store, await settled(store))
    found = await asyncio.gather(
        answered(store, results(store, beginning, ("call_1", "12"))),
        answered(store, results(store, beginning, ("call_2", "noon"))),
    )
    assert sorted(type(each).__name__ for each in found) == ["Begun", "Waiting"]


async def test_a_segment_that_failed_runs_again_when_its_results_come_again(store: SqlStore) -> None:
    beginning = await paused(store, await settled(store), calls=CALLS[:1])
    going = await answered(store, results(store, beginning, ("call_1", "12")))
    assert isinstance(going, Begun)
    await store.turns.finish(ending(store, going, "Half", state="failed"))
    again = await answered(store, results(store, beginning, ("call_1", "12")))
    assert isinstance(again, Begun)
    assert (again.turn.epoch, again.goes_on, again.prompt) == (2, True, going.prompt)


async def test_a_call_that_is_not_there_or_was_cancelled_is_invalid(store: SqlStore) -> None:
    agent = await settled(store)
    beginning = await paused(store, agent)
    with pytest.raises(Invalid, match="'call_9' is no call"):
        await answered(store, results(store, beginning, ("call_9", "?")))
    await begun(store, agent, "Never mind", conversation_id=beginning.turn.conversation_id)
    with pytest.raises(Invalid, match="cancelled"):
        await answered(store, results(store, beginning, ("call_1", "12")))


async def test_a_new_message_cancels_open_calls_and_the_history_stays_valid(store: SqlStore) -> None:
    agent = await settled(store)
    beginning = await paused(store, agent)
    await answered(store, results(store, beginning, ("call_1", "12 degrees")))
    following = await begun(store, agent, "Never mind", conversation_id=beginning.turn.conversation_id)
    turn = await store.turns.get("acme", beginning.turn.id)
    assert turn is not None
    assert turn.state == "cancelled"
    assert following.prompt == (
        PromptMessage("user", "Warm?"),
        CallingMessage("assistant", "", CALLS),
        ResultMessage("tool", "12 degrees", "call_1"),
        ResultMessage("tool", '{"error": "cancelled"}', "call_2"),
        PromptMessage("user", "Never mind"),
    )


async def test_a_pause_ends_after_its_time(store: SqlStore) -> None:
    beginning = await paused(store, await settled(store))
    assert await store.turns.end_pauses(NOW, NOW + 9) == 0
    assert await store.turns.end_pauses(NOW + 5, NOW + 9) == 1
    turn = await store.turns.get("acme", beginning.turn.id)
    assert turn is not None
    assert turn.state == "cancelled"


async def test_the_price_is_reserved_then_settled_and_the_ledger_is_the_balance(store: SqlStore) -> None:
    agent = await metered(store, 12)
    beginning = await begun(store, agent)
    assert (beginning.reserved, await balance(store)) == (5, 7)
    await store.turns.finish(ending(store, beginning, charged=5))
    failing = await begun(store, agent)
    await store.turns.finish(ending(store, failing, "", state="failed", credits=0, charged=0))
    assert await balance(store) == 7
    assert sorted(await ledger(store)) == [
        ("grant", 12),
        ("reserve", -5),
        ("reserve", -5),
        ("settle", 0),
        ("settle", 5),
    ]


async def test_without_the_price_there_is_no_turn_and_no_trace(store: SqlStore) -> None:
    agent = await metered(store, 4)
    with pytest.raises(NoCredits):
        await begun(store, agent)
    assert (await balance(store), await ledger(store)) == (4, [("grant", 4)])
    assert await rows(store, "SELECT id FROM messages WHERE tenant_id = 'acme'") == []


async def test_an_interrupted_turn_gets_its_credits_back_once(store: SqlStore) -> None:
    await begun(store, await metered(store, 5))
    for _ in range(2):
        await store.turns.interrupt_orphans(lambda turn_id: False, NOW + 1)
        assert await balance(store) == 5


async def test_a_turn_that_went_on_is_charged_at_its_pause_alone(store: SqlStore) -> None:
    agent = await metered(store, 20)
    beginning = await paused(store, agent, calls=CALLS[:1])
    assert await balance(store) == 15
    going = await answered(store, results(store, beginning, ("call_1", "12")))
    assert isinstance(going, Begun)
    assert (going.reserved, going.price, going.turn.credits) == (0, 0, 5)
    await store.turns.interrupt_orphans(lambda turn_id: False, NOW + 3)
    assert await balance(store) == 15


async def test_an_unmetered_tenant_owes_nothing_when_its_server_dies_after_a_pause(store: SqlStore) -> None:
    agent = await settled(store)
    beginning = await paused(store, agent, calls=CALLS[:1])
    assert isinstance(await answered(store, results(store, beginning, ("call_1", "12"))), Begun)
    assert await store.turns.interrupt_orphans(lambda turn_id: False, NOW + 3) == 1
    assert await balance(store) is None
    assert (await begun(store, agent)).reserved == 0


async def test_a_log_is_kept_as_long_as_its_turn_is_paused_and_goes_on_without_a_gap(store: SqlStore) -> None:
    beginning = await paused(store, await settled(store), calls=CALLS[:1])
    await store.turns.prune(NOW + 10, 0)
    going = await answered(store, results(store, beginning, ("call_1", "12")))
    assert isinstance(going, Begun)
    logged = await store.turns.events("acme", beginning.turn.id)
    assert going.next_sequence == logged[-1].first_sequence + len(logged[-1].events) > 1


async def test_a_turn_that_runs_again_ends_the_pause_of_another(store: SqlStore) -> None:
    agent = await settled(store)
    failed = await begun(store, agent, "First", scope="once")
    await store.turns.finish(ending(store, failed, "", state="failed", credits=0))
    conversation = failed.turn.conversation_id
    other = await begun(store, agent, "Second", conversation_id=conversation)
    await store.turns.finish(ending(store, other, "", state="paused", calls=[Call(each, "open") for each in CALLS]))
    again = await begun(store, agent, "First", scope="once")
    assert again.turn.id == failed.turn.id
    turn = await store.turns.get("acme", other.turn.id)
    assert turn is not None
    assert turn.state == "cancelled"
    with pytest.raises(Invalid, match="cancelled"):
        await answered(store, results(store, other, ("call_1", "12")))


async def test_grants_that_race_are_given_once(store: SqlStore) -> None:
    done = await asyncio.gather(*(store.tenants.put(Tenant("new", "New", credits=50), NOW) for _ in range(4)))
    assert sorted(done) == ["created", "unchanged", "unchanged", "unchanged"]
    await asyncio.gather(*(store.tenants.put(Tenant("new", "New", credits=90), NOW) for _ in range(6)))
    assert (await store.tenants.granted("new"), await balance(store, "new")) == (90, 90)


async def test_reruns_pauses_and_messages_of_a_metered_tenant_do_not_wait_for_each_other_for_ever(
    store: SqlStore,
) -> None:
    agent = await metered(store, 1000)
    failed = [await begun(store, agent, scope=f"again {number}") for number in range(6)]
    for each in failed:
        await store.turns.finish(ending(store, each, "", state="failed", credits=0, charged=0))
    pauses = [await paused(store, agent) for _ in range(6)]
    async with asyncio.timeout(20):
        found = await asyncio.gather(
            *(begun(store, agent, scope=f"again {number}") for number in range(6)),
            *(begun(store, agent, "On", conversation_id=each.turn.conversation_id) for each in pauses),
            *(begun(store, agent) for _ in range(6)),
        )
    assert len({each.turn.id for each in found}) == 18


async def test_concurrent_turns_never_spend_more_than_there_is(store: SqlStore) -> None:
    agent = await metered(store, 50)
    found = await asyncio.gather(*(begun(store, agent) for _ in range(30)), return_exceptions=True)
    assert sum(isinstance(each, Begun) for each in found) == 10
    assert sum(isinstance(each, NoCredits) for each in found) == 20
    assert await balance(store) == 0


async def test_a_client_names_a_conversation_where_the_agent_allows_it(store: SqlStore) -> None:
    named = {"conversation_id": derived_id("acme", "conv-123"), "client_id": "conv-123"}
    with pytest.raises(ConversationNotFound):
        await begun(store, await settled(store), **named)
    agent = await settled(store, name="Open Agent", allow_client_conversation_ids=True)
    turn = (await begun(store, agent, **named)).turn
    assert (turn.conversation_id, turn.client_id) == (named["conversation_id"], "conv-123")
    assert await store.turns.get("acme", turn.id) == turn


async def test_context_is_kept_with_the_conversation_and_told_to_the_model(store: SqlStore) -> None:
    agent = await settled(store)
    turn = await said(store, agent, "1", "2", context={"plan": "premium"})
    following = await begun(store, agent, "3", conversation_id=turn.conversation_id)
    assert '{"plan": "premium"}' in following.prompt[0].content
    await store.turns.finish(ending(store, following))
    changed = await begun(store, agent, "4", conversation_id=turn.conversation_id, context={"plan": "free"})
    assert '{"plan": "free"}' in changed.prompt[0].content


async def test_overrides_hold_for_the_turn_and_for_its_retries(store: SqlStore) -> None:
    agent = await settled(store, instructions="Be kind", allow_system_prompt=True)
    overrides = Overrides("Be curt", (PromptMessage("user", "before"),))
    failing = await begun(store, agent, scope="once", overrides=overrides)
    wanted = (PromptMessage("system", "Be curt"), PromptMessage("user", "before"), PromptMessage("user", "Hello"))
    assert failing.prompt == wanted
    await store.turns.finish(ending(store, failing, "", state="failed"))
    again = await begun(store, agent, scope="once", overrides=overrides)
    assert again.prompt == wanted
    await store.turns.finish(ending(store, again))
    following = await begun(store, agent, "More", conversation_id=again.turn.conversation_id)
    assert following.prompt[0] == PromptMessage("system", "Be kind")


async def test_instructions_are_overridden_only_where_the_agent_and_the_credential_allow_it(store: SqlStore) -> None:
    overrides = Overrides("Be curt")
    with pytest.raises(Forbidden):
        await begun(store, await settled(store), overrides=overrides)
    agent = await settled(store, name="Open Agent", allow_system_prompt=True)
    visitor = Principal("acme", "key", "publishable", "visitor", (agent.slug,))
    with pytest.raises(Forbidden):
        await begun(store, agent, overrides=overrides, principal=visitor)


async def test_a_visitor_goes_on_with_its_own_conversation_alone(store: SqlStore) -> None:
    agent = await settled(store)
    visitor = Principal("acme", "key", "publishable", "visitor", (agent.slug,))
    request = asked(store, agent, principal=visitor)
    own = await begin(store, request)
    assert isinstance(own, Begun)
    await store.turns.finish(ending(store, own))
    stranger = replace(visitor, visitor_id="stranger")
    with pytest.raises(ConversationNotFound):
        await begun(store, agent, conversation_id=own.turn.conversation_id, principal=stranger)
    others = await said(store, agent, "by a key")
    with pytest.raises(ConversationNotFound):
        await begun(store, agent, conversation_id=others.conversation_id, principal=visitor)
    assert (await begun(store, agent, conversation_id=own.turn.conversation_id, principal=visitor)).turn


async def metered(store: SqlStore, credits: int) -> Agent:
    """An agent whose turns cost 5, of a tenant that was granted so many."""
    agent = await settled(store)
    await store.tenants.put(Tenant("acme", "Acme", credits=credits), NOW)
    await store.tenants.set_price("scripted", 5)
    return agent


async def ledger(store: SqlStore) -> list[tuple[str, int]]:
    found = await rows(store, "SELECT kind, amount FROM ledger WHERE tenant_id = 'acme'")
    return [(str(kind), int(amount)) for kind, amount in found]


async def test_a_segment_that_died_before_its_log_was_kept_says_nothing_of_the_one_before(store: SqlStore) -> None:
    beginning = await paused(store, await settled(store), "Let me look", CALLS[:1])
    going = await answered(store, results(store, beginning, ("call_1", "12")))
    assert isinstance(going, Begun)
    assert await store.turns.interrupt_orphans(lambda turn_id: False, NOW + 3) == 1
    assert await roles(store, beginning) == [("user", "Warm?"), ("assistant", "Let me look"), ("tool", "12")]
