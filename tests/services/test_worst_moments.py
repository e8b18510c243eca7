"""Turns with tools and with persons at the worst moment: a crash, a commit that fails, somebody who is early."""

import asyncio
import time
from collections.abc import Mapping
from dataclasses import replace
from typing import Any

import pytest

from dragoman.core.errors import ConversationNotFound, Unavailable
from dragoman.core.events import ToolCall
from dragoman.core.prompt import TOOLS_NOTE, CallingMessage, ResultMessage
from dragoman.core.tenants import Principal
from dragoman.ports.conversations import Window
from dragoman.ports.turns import Begun, Decision, Pending, Step
from dragoman.services.conversations import Conversations
from dragoman.services.runs import Watch
from tests.services.knowing import Knowing, answer_to, text
from tests.services.scene import World
from tests.services.test_handover import MESSAGE, handed_over, waiting
from tests.services.test_handover import told as at_the_desk
from tests.services.test_toolbox import (
    CLIENT,
    HTTP,
    ORDER,
    OWNER,
    REFUND,
    WEATHER,
    asked,
    history,
    pending,
    people,
    shop,
    told,
)

__all__ = ["shop"]
HAND_OVER = {"type": "builtin", "name": "handover"}


async def crash(world: World, watch: Watch) -> None:
    """What recovery makes of a turn whose server is gone."""
    run = world.runner.running_in("acme", watch.turn.conversation_id)
    assert run is not None
    run.end("interrupted")
    await asyncio.wait([run.task])


def stall(seconds: float) -> None:
    """Keep the event loop from running."""
    time.sleep(seconds)


async def endless(arguments: Mapping[str, Any]) -> str:
    await asyncio.sleep(60)
    return "never"


async def test_an_approved_call_is_not_made_before_the_yes_is_durable(shop: World, monkeypatch: Any) -> None:
    watch = await shop.runner.start(shop.command("Refund it"))
    await shop.speaker.say(REFUND, None)
    await watch.answer()
    decide = shop.store.turns.decide
    undecided: Pending[Begun | None] = Pending(asyncio.get_running_loop())

    def late(decision: Decision) -> Pending[Begun | None]:
        undecided.applied = decide(decision).applied
        return undecided

    monkeypatch.setattr(shop.store.turns, "decide", late)
    deciding = asyncio.create_task(people(shop).decide(OWNER, (await pending(shop)).id, True, "Mona"))
    await asyncio.sleep(0.1)
    assert shop.tools.called == []
    undecided.durable.set_exception(Unavailable("The disk is full"))
    with pytest.raises(Unavailable):
        await deciding
    assert shop.tools.called == []


async def test_a_step_that_a_crash_interrupts_in_a_later_segment_is_asked_again_whole(
    shop: World, monkeypatch: Any
) -> None:
    watch = await shop.runner.start(shop.command("All of it"))
    await shop.speaker.say(WEATHER, None)
    await watch.answer()
    conversation = watch.turn.conversation_id
    with monkeypatch.context() as patch:
        patch.setitem(shop.tools.answers, "order_status", endless)
        await shop.runner.answer_calls(shop.results(conversation, ("call_3", "12")))
        await asked(shop, 2)
        await shop.speaker.say("Working", ORDER, REFUND, None)
        while not shop.tools.called:
            await asyncio.sleep(0.01)
        await crash(shop, watch)
    again = await shop.runner.answer_calls(shop.results(conversation, ("call_3", "12")))
    assert isinstance(again, Watch)
    await asked(shop, 3)
    prompt = shop.speaker.prompts[2]
    called = {call.id for each in prompt if isinstance(each, CallingMessage) for call in each.calls}
    assert called == {each.call_id for each in prompt if isinstance(each, ResultMessage)}
    assert called == {"call_1", "call_2", "call_3"}
    await shop.speaker.say("Done", None)
    assert (await again.answer()).text == "Done"


async def test_a_key_used_again_after_a_crash_in_a_step_runs_the_turn_again(shop: World) -> None:
    command = shop.command("Where?", key="K")
    watch = await shop.runner.start(command)
    await shop.speaker.say(ORDER, None)
    await asked(shop, 2)
    await crash(shop, watch)
    again = await shop.runner.start(command)
    await asked(shop, 3)
    await shop.speaker.say("Shipped", None)
    answer = await again.answer()
    assert (answer.state, answer.text) == ("done", "Shipped")


async def test_text_before_a_step_that_cannot_be_stored_is_kept(shop: World, monkeypatch: Any) -> None:
    async def away(step: Step) -> int:
        raise Unavailable("away")

    monkeypatch.setattr(shop.store.turns, "call", away)
    watch = await shop.runner.start(shop.command())
    await shop.speaker.say("A long part of an answer", ORDER, REFUND, None)
    assert (await watch.answer()).state == "failed"
    assert ("assistant", "A long part of an answer", 0) in await history(shop, watch.turn.conversation_id)
    assert shop.tools.called == []


async def test_results_wait_for_a_database_that_is_away_for_a_moment(shop: World, monkeypatch: Any) -> None:
    keep, failed = shop.store.turns.keep_results, []

    async def away_once(*told: Any) -> None:
        if not failed:
            failed.append(told)
            raise Unavailable("away")
        await keep(*told)

    monkeypatch.setattr(shop.store.turns, "keep_results", away_once)
    watch = await shop.runner.start(shop.command())
    await shop.speaker.say(ORDER, None)
    await asked(shop, 2)
    await shop.speaker.say("Shipped", None)
    assert (await watch.answer()).state == "done"
    assert ("tool", "order 1234 is shipped", 0) in await history(shop, watch.turn.conversation_id)


async def test_a_result_that_no_database_keeps_is_kept_without_what_it_cannot(shop: World) -> None:
    async def half(arguments: Mapping[str, Any]) -> str:
        return "x \ud800 y \0 z"

    shop.tools.answers["order_status"] = half
    watch = await shop.runner.start(shop.command())
    await shop.speaker.say(ORDER, None)
    await asked(shop, 2)
    await shop.speaker.say("Done", None)
    assert (await watch.answer()).state == "done"
    assert ("tool", "x \ufffd y \ufffd z", 0) in await history(shop, watch.turn.conversation_id)


async def test_how_often_a_tool_may_be_called_in_a_turn_counts_over_its_pauses(shop: World) -> None:
    await told(shop, tools=[{**HTTP[0], "per_turn": 1}, CLIENT])
    watch = await shop.runner.start(shop.command())
    await shop.speaker.say(ORDER, WEATHER, None)
    await watch.answer()
    again = await shop.runner.answer_calls(shop.results(watch.turn.conversation_id, ("call_3", "12")))
    assert isinstance(again, Watch)
    await asked(shop, 2)
    await shop.speaker.say(ORDER._replace(id="o2"), None)
    await asked(shop, 3)
    await shop.speaker.say("Done", None)
    await again.answer()
    assert len(shop.tools.called) == 1
    assert "1 times in one turn" in shop.speaker.prompts[2][-1].content


async def test_a_replay_shows_the_calls_that_the_client_saw_and_no_others(shop: World) -> None:
    watch = await shop.runner.start(shop.command("All of it", key="K"))
    await shop.speaker.say("One moment", REFUND, WEATHER, None)
    live = await watch.answer()
    assert [each.name for each in live.calls] == ["get_weather"]
    await shop.store.turns.prune(2**60, 0)
    replayed = await (await shop.runner.start(shop.command("All of it", key="K"))).answer()
    assert replayed.calls == live.calls


async def test_once_tools_have_spoken_the_model_is_told_that_they_give_data(shop: World) -> None:
    watch = await shop.runner.start(shop.command("Refund it"))
    await shop.speaker.say(REFUND, None)
    await watch.answer()
    assert TOOLS_NOTE not in str(shop.speaker.prompts[0])
    await people(shop).decide(OWNER, (await pending(shop)).id, True, "Mona")
    await asked(shop, 2)
    assert TOOLS_NOTE in shop.speaker.prompts[1][0].content
    await shop.speaker.say("Done", None)


async def test_a_call_of_a_tool_that_is_not_there_lets_no_unsure_answer_through(world: World) -> None:
    knowing = Knowing(world)
    known = (answer_to("What are your business hours?", "Monday to Saturday."), text("Returns", "Within thirty days."))
    await knowing.learn(*known, min_confidence=0.99, fallback="Ask a colleague.", tools=[HTTP[0]])
    watch = await world.runner.start(world.command("business hours on Returns?"))
    await world.speaker.say("The moon is made of cheese.", ToolCall("u", "no_such_tool", "{}"), None)
    answer = await watch.answer()
    assert (answer.text, answer.resolved) == ("Ask a colleague.", False)


async def test_nothing_waits_for_a_client_where_the_agent_calls_a_person(shop: World) -> None:
    await told(shop, tools=[*HTTP, CLIENT, {"type": "builtin", "name": "handover"}])
    watch = await shop.runner.start(shop.command())
    await shop.speaker.say("Hm", ToolCall("h", "handover", "{}"), WEATHER, None)
    await asked(shop, 2)
    await shop.speaker.say("A colleague comes.", None)
    answer = await watch.answer()
    assert (answer.state, answer.calls) == ("done", [])
    assert [each.reason for each in await people(shop).inbox("acme", 9, None)] == ["called"]


async def test_whoever_takes_over_leaves_no_message_behind_to_the_agent(shop: World) -> None:
    watch = await shop.runner.start(shop.command())
    await asked(shop, 1)
    conversation = watch.turn.conversation_id
    second = asyncio.create_task(waiting(shop, conversation, "second"))
    await asyncio.sleep(0.05)
    await people(shop).take(OWNER, conversation, "Mona")
    await people(shop).say(OWNER, conversation, "Hello, this is Mona.", "Mona") if (await second) else None
    assert (await (await second).answer()).text == "Hello, this is Mona."
    assert len(shop.speaker.asked) == 1


async def test_a_message_that_waits_for_a_person_is_left_waiting_by_whoever_takes_over(world: World) -> None:
    await at_the_desk(world)
    conversation = await handed_over(world)
    watch = await waiting(world, conversation, "It is broken")
    await people(world).take(OWNER, conversation, "Mona")
    await people(world).say(OWNER, conversation, "Hello", "Mona")
    assert (await watch.answer()).text == "Hello"


async def test_a_turn_for_a_person_that_is_run_again_asks_no_model(world: World) -> None:
    await at_the_desk(world)
    conversation = await handed_over(world)
    command = world.command("It is broken", conversation=conversation, key="K")
    await crash(world, await world.runner.start(command))
    again = await world.runner.start(command)
    await asyncio.sleep(0.1)
    assert world.speaker.asked == []
    await people(world).say(OWNER, conversation, "Hello", "Mona")
    assert (await again.answer()).text == "Hello"


async def test_words_that_come_with_the_end_of_the_wait_are_not_lost(world: World) -> None:
    await at_the_desk(world, wait=0.3)
    conversation = await handed_over(world)
    watch = await waiting(world, conversation, "It is broken")
    came: list[bool] = []

    def come() -> None:
        came.append(world.desk.say("acme", conversation, "Hello, this is Mona.", "Mona") is not None)

    asyncio.get_running_loop().call_later(0.25, come)
    await asyncio.sleep(0.1)
    # The loop is late: the words and the end of the wait come in one round of it.
    stall(0.4)
    answer = await watch.answer()
    assert came == [True]
    assert answer.text == "Hello, this is Mona."


async def test_what_was_asked_and_said_while_a_person_had_it_is_known_to_the_agent_later(world: World) -> None:
    await at_the_desk(world)
    conversation = await handed_over(world)
    watch = await waiting(world, conversation, "My order 1234 is broken")
    await people(world).give_back(OWNER, conversation, "Mona")
    assert (await watch.answer()).text == MESSAGE
    await people(world).take(OWNER, conversation, "Mona")
    await people(world).say(OWNER, conversation, "A new one comes on Friday.", "Mona")
    await people(world).give_back(OWNER, conversation, "Mona")
    again = await world.runner.start(world.command("When?", conversation=conversation))
    await asked(world, 1)
    prompt = [(each.role, each.content) for each in world.speaker.prompts[0]]
    assert ("user", "My order 1234 is broken") in prompt
    assert any(role == "assistant" and "A new one comes on Friday." in content for role, content in prompt)
    await world.speaker.say("On Friday.", None)
    await again.answer()


async def test_what_a_person_answers_is_not_counted_as_an_unsure_answer(world: World) -> None:
    await at_the_desk(world, below_confidence=2)
    conversation = await handed_over(world)
    watch = await waiting(world, conversation, "It is broken")
    await people(world).say(OWNER, conversation, "A new one comes.", "Mona")
    await watch.answer()
    assert await world.store.handovers.unresolved("acme", conversation, 1) == 0


async def test_a_stranger_cannot_end_the_wait_of_somebody_elses_message(world: World) -> None:
    await at_the_desk(world)
    conversation = await handed_over(world)
    watch = await waiting(world, conversation, "It is broken")
    stranger = Principal("acme", "a publishable key", "publishable", visitor_id="other", agents=("agent",))
    meddling = asyncio.create_task(
        world.runner.start(replace(world.command("Boo", conversation=conversation), principal=stranger))
    )
    await asyncio.sleep(0.05)
    await people(world).say(OWNER, conversation, "Hello", "Mona")
    assert (await watch.answer()).text == "Hello"
    with pytest.raises(ConversationNotFound):
        await meddling


async def test_of_messages_that_come_at_once_only_the_last_waits_for_a_person(world: World) -> None:
    await at_the_desk(world)
    conversation = await handed_over(world)
    starting = [
        asyncio.create_task(world.runner.start(world.command(f"m{at}", conversation=conversation))) for at in range(3)
    ]
    watches = [await each for each in starting]
    await people(world).say(OWNER, conversation, "Hello", "Mona")
    assert sorted([(await each.answer()).text for each in watches]) == ["Hello", MESSAGE, MESSAGE]


async def test_a_person_who_writes_just_before_the_time_is_up_keeps_the_conversation(
    world: World, monkeypatch: Any
) -> None:
    await at_the_desk(world, timeout=60)
    conversation = await handed_over(world)
    (taken,) = await people(world).inbox("acme", 9, None)
    end = world.store.handovers.end

    async def late(*told: Any, **more: Any) -> Any:
        await world.store.handovers.touch("acme", conversation, taken.due_at + 60_000_000)
        return await end(*told, **more)

    monkeypatch.setattr(world.store.handovers, "end", late)
    await world.store.handovers.end_overdue(taken.due_at)
    assert [each.conversation_id for each in await people(world).inbox("acme", 9, None)] == [conversation]


async def test_a_visitor_is_shown_nothing_of_what_the_server_called(shop: World) -> None:
    visitor = Principal("acme", "a publishable key", "publishable", visitor_id="v1", agents=("agent",))
    watch = await shop.runner.start(replace(shop.command("Where?"), principal=visitor))
    await shop.speaker.say(ORDER, None)
    await asked(shop, 2)
    await shop.speaker.say("Look outside", REFUND, WEATHER, None)
    await watch.answer()
    listed = Conversations(shop.store, shop.runner.stop_conversation)
    every = Window(50, spoken=False)
    shown, total, _ = await listed.history(visitor, "agent", watch.turn.conversation_id, every)
    assert [(each.role, each.content, [call.name for call in each.tool_calls]) for each in shown] == [
        ("user", "Where?", []),
        ("assistant", "Look outside", ["get_weather"]),
    ]
    assert total == 2
    owners, _, _ = await listed.history(OWNER, "agent", watch.turn.conversation_id, every)
    assert [(each.role, [call.name for call in each.tool_calls]) for each in owners] == [
        ("user", []),
        ("assistant", ["order_status"]),
        ("tool", []),
        ("assistant", ["refund", "get_weather"]),
    ]
