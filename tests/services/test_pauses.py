"""Turns that pause for calls of the client and go on with their results."""

import asyncio
from dataclasses import replace

import pytest

from dragoman.core.answers import Answer
from dragoman.core.commands import Cursor
from dragoman.core.errors import Invalid
from dragoman.core.events import ToolCall
from dragoman.core.prompt import CallingMessage, ResultMessage
from dragoman.ports.turns import Waiting
from dragoman.services.runs import Watch
from tests.services.scene import SOON, World

WEATHER = ToolCall("call_1", "get_weather", '{"location": "Tokyo"}')
TIME = ToolCall("call_2", "get_time", "{}")


async def paused(world: World, *calls: ToolCall, key: str | None = None) -> tuple[Watch, Answer]:
    watch = await world.runner.start(world.command("Warm?", key=key))
    await world.speaker.say(*calls, None)
    return watch, await watch.answer()


async def going_on(world: World, conversation: str, *pairs: tuple[str, str], answer: str) -> Answer:
    """The answer of the segment that results open."""
    asked = len(world.speaker.asked)
    watch = await world.runner.answer_calls(world.results(conversation, *pairs))
    assert isinstance(watch, Watch)
    async with asyncio.timeout(SOON):
        while len(world.speaker.asked) == asked:
            await asyncio.sleep(0)
    await world.speaker.say(answer, None)
    return await watch.answer()


async def test_calls_pause_the_turn_and_results_let_it_go_on(world: World) -> None:
    watch, answer = await paused(world, WEATHER, TIME)
    assert (answer.state, answer.text, answer.calls) == ("paused", "", [WEATHER, TIME])
    conversation = watch.turn.conversation_id
    waiting = await world.runner.answer_calls(world.results(conversation, ("call_1", "12 degrees")))
    assert isinstance(waiting, Waiting)
    assert waiting.message.content == "12 degrees"
    final = await going_on(world, conversation, ("call_2", "noon"), answer="Cold")
    assert (final.state, final.text, final.turn_id) == ("done", "Cold", watch.turn.id)
    assert final.message_id != answer.message_id
    assert final.number > answer.number
    calling, *results = world.speaker.prompts[-1][-3:]
    assert calling == CallingMessage("assistant", "", (WEATHER, TIME))
    assert results == [ResultMessage("tool", "12 degrees", "call_1"), ResultMessage("tool", "noon", "call_2")]
    turn = await world.runner.get("acme", watch.turn.id)
    assert (turn.state, turn.credits) == ("completed", 1)


async def test_the_log_goes_on_without_a_gap_over_the_segments(world: World) -> None:
    watch, _ = await paused(world, WEATHER)
    await going_on(world, watch.turn.conversation_id, ("call_1", "12"), answer="Cold")
    groups = await world.store.turns.events("acme", watch.turn.id)
    numbers = [group.first_sequence + at for group in groups for at in range(len(group.events))]
    assert numbers == list(range(1, len(numbers) + 1))
    assert {group.epoch for group in groups} == {1}


async def test_a_call_id_that_the_model_repeats_becomes_one_of_ours(world: World) -> None:
    watch, _ = await paused(world, WEATHER)
    conversation = watch.turn.conversation_id
    await going_on(world, conversation, ("call_1", "12"), answer="Cold")
    again = await world.runner.start(world.command("And now?", conversation=conversation))
    await world.speaker.say(WEATHER, ToolCall("", "get_time", "{}"), None)
    first, second = (await again.answer()).calls
    assert first.id.startswith("call_")
    assert len({"call_1", first.id, second.id}) == 3


async def test_tools_that_were_not_offered_are_never_called(world: World) -> None:
    watch = await world.runner.start(world.command())
    await world.speaker.say("Well", ToolCall("x", "drop_tables", "{}"), None)
    answer = await watch.answer()
    assert (answer.state, answer.text, answer.calls) == ("done", "Well", [])
    silent = await world.runner.start(world.command())
    await world.speaker.say(ToolCall("x", "drop_tables", "{}"), None)
    assert (await silent.answer()).state == "failed"


async def test_the_key_of_the_message_replays_its_own_answer_also_when_the_turn_has_gone_on(world: World) -> None:
    watch, first = await paused(world, WEATHER, key="mine")
    await going_on(world, watch.turn.conversation_id, ("call_1", "12"), answer="Cold")
    again = await world.runner.start(world.command("Warm?", key="mine"))
    replayed = await again.answer()
    assert again.replayed
    assert (replayed.state, replayed.calls, replayed.message_id) == ("paused", [WEATHER], first.message_id)
    await world.store.turns.prune(2**62, 0)
    pruned = await (await world.runner.start(world.command("Warm?", key="mine"))).answer()
    assert (pruned.state, pruned.calls, pruned.message_id) == ("paused", [WEATHER], first.message_id)


async def test_results_that_come_again_replay_the_answer_that_they_led_to(world: World) -> None:
    watch, _ = await paused(world, WEATHER)
    conversation = watch.turn.conversation_id
    final = await going_on(world, conversation, ("call_1", "12"), answer="Cold")
    again = await world.runner.answer_calls(world.results(conversation, ("call_1", "13")))
    assert isinstance(again, Watch)
    replayed = await again.answer()
    assert (again.replayed, replayed.text, replayed.message_id) == (True, "Cold", final.message_id)
    assert len(world.speaker.asked) == 2


async def test_a_stopped_segment_closes_the_turn_and_its_calls_stay_answered(world: World) -> None:
    watch, _ = await paused(world, WEATHER)
    conversation = watch.turn.conversation_id
    going = await world.runner.answer_calls(world.results(conversation, ("call_1", "12")))
    assert isinstance(going, Watch)
    assert (await world.runner.stop("acme", watch.turn.id)).state == "cancelled"
    assert (await going.answer()).state == "done"
    following = await world.runner.start(world.command("Next", conversation=conversation))
    await world.speaker.say("Yes", None)
    assert (await following.answer()).text == "Yes"


async def test_a_result_for_a_call_that_nobody_made_is_invalid_and_holds_nothing(world: World) -> None:
    watch, _ = await paused(world, WEATHER)
    conversation = watch.turn.conversation_id
    with pytest.raises(Invalid):
        await world.runner.answer_calls(world.results(conversation, ("call_9", "12")))
    assert (await going_on(world, conversation, ("call_1", "12"), answer="Cold")).text == "Cold"


async def test_who_follows_a_conversation_is_told_of_every_segment(world: World) -> None:
    watch, _ = await paused(world, WEATHER)
    conversation = watch.turn.conversation_id
    seen: list[str] = []
    follower = seen.append
    world.runner.followers.add("acme", conversation, lambda run: follower(run.begun.turn.answer_id))
    final = await going_on(world, conversation, ("call_1", "12"), answer="Cold")
    assert seen == [final.message_id]
    assert world.runner.followers.of("acme", conversation) == 1
    assert world.runner.followers.of("other", conversation) == 0


async def test_a_stop_cancels_a_pause_and_its_calls(world: World) -> None:
    watch, _ = await paused(world, WEATHER)
    assert (await world.runner.stop("acme", watch.turn.id)).state == "cancelled"
    with pytest.raises(Invalid, match="cancelled"):
        await world.runner.answer_calls(world.results(watch.turn.conversation_id, ("call_1", "12")))


async def test_a_replay_names_the_message_that_it_shows(world: World) -> None:
    watch, first = await paused(world, WEATHER, key="mine")
    await going_on(world, watch.turn.conversation_id, ("call_1", "12"), answer="Cold")
    again = await world.runner.start(world.command("Warm?", key="mine"))
    assert (again.turn.answer_id, again.turn.answer_number) == (first.message_id, first.number)


async def test_a_place_in_another_turn_is_refused_before_results_are_kept(world: World) -> None:
    watch, _ = await paused(world, WEATHER)
    command = world.results(watch.turn.conversation_id, ("call_1", "12"))
    with pytest.raises(Invalid, match="another turn"):
        await world.runner.answer_calls(replace(command, resume_after=Cursor("elsewhere", 1, 1)))
    assert (await world.runner.get("acme", watch.turn.id)).state == "paused"


async def test_what_a_pause_used_is_counted_when_a_later_segment_fails(world: World) -> None:
    watch, answer = await paused(world, WEATHER)
    going = await world.runner.answer_calls(world.results(watch.turn.conversation_id, ("call_1", "12")))
    assert isinstance(going, Watch)
    await world.speaker.say(ToolCall("x", "drop_tables", "{}"), None)
    assert (await going.answer()).state == "failed"
    turn = await world.runner.get("acme", watch.turn.id)
    assert turn.prompt_tokens >= answer.prompt_tokens > 0
    assert turn.credits == 1


async def test_results_that_come_again_while_the_turn_goes_on_join_it(world: World) -> None:
    watch, _ = await paused(world, WEATHER)
    results = world.results(watch.turn.conversation_id, ("call_1", "12"))
    going = await world.runner.answer_calls(results)
    async with asyncio.timeout(SOON):
        joined = await world.runner.answer_calls(results)
        assert isinstance(going, Watch)
        assert isinstance(joined, Watch)
        while len(world.speaker.asked) < 2:
            await asyncio.sleep(0)
        await world.speaker.say("Cold", None)
        first, second = await going.answer(), await joined.answer()
    assert (second.text, second.message_id) == ("Cold", first.message_id)
    assert len(world.speaker.asked) == 2
