"""The life of a turn against a real store, with a model that speaks when it is told to."""

import asyncio
from collections.abc import Sequence

import pytest

from dragoman.core.clock import now_us
from dragoman.core.errors import Conflict, ConversationNotFound, Unavailable
from dragoman.ports.turns import Begun, Existing, LogRow, Pending, TurnEnd, TurnRequest
from dragoman.services.live import FLUSH_INTERVAL
from tests.services.scene import SOON, World, whole


async def test_a_stop_in_the_moment_of_the_models_end_still_ends_the_watching(world: World) -> None:
    watch = await world.runner.start(world.command())
    await world.speaker.say("all of it")
    watching = asyncio.create_task(watch.answer())
    await asyncio.sleep(0)
    world.speaker.asked[0].put_nowait(None)
    stopping = asyncio.create_task(world.runner.stop("acme", watch.turn.id))
    answer = await whole(watching)
    assert answer.text == "all of it"
    assert (await stopping).state in ("completed", "cancelled")


async def test_who_waits_in_a_conversation_does_not_begin_in_a_drain(world: World) -> None:
    watch = await world.runner.start(world.command())
    conversation = watch.turn.conversation_id
    waiting = asyncio.create_task(world.runner.start(world.command("next", conversation=conversation)))
    await asyncio.sleep(0.05)
    await world.runner.drain(0.1)
    with pytest.raises(Unavailable):
        await waiting
    said = (await world.store.conversations.messages("acme", conversation))[0]
    assert [message.content for message in said] == ["hello"]
    turn = await world.store.turns.get("acme", watch.turn.id)
    assert turn is not None
    assert turn.state == "interrupted"


async def test_another_tenants_conversation_is_absent_at_once_and_its_queue_is_not_filled(world: World) -> None:
    watch = await world.runner.start(world.command())
    conversation = watch.turn.conversation_id
    for _ in range(16):
        async with asyncio.timeout(SOON):
            with pytest.raises(ConversationNotFound):
                await world.runner.start(world.command("spy", conversation=conversation, tenant="other"))
    mine = asyncio.create_task(world.runner.start(world.command("mine", conversation=conversation)))
    await world.speaker.say("done", None)
    async with asyncio.timeout(SOON):
        assert (await mine).turn.conversation_id == conversation


async def test_a_turn_that_could_not_be_stored_is_not_replayed_as_an_answer(
    world: World, monkeypatch: pytest.MonkeyPatch
) -> None:
    watch = await world.runner.start(world.command(key="mine"))
    await world.speaker.say("part one ")
    await asyncio.sleep(2 * FLUSH_INTERVAL)

    async def broken(end: TurnEnd) -> None:
        raise RuntimeError("the last transaction breaks")

    with monkeypatch.context() as patch:
        patch.setattr(world.store.turns, "finish", broken)
        await world.speaker.say("part two", None)
        answer = await watch.answer()
    assert answer.state == "interrupted"
    with pytest.raises(Unavailable):
        await world.runner.start(world.command(key="mine"))
    assert await world.store.turns.interrupt_orphans(world.live.runs, now_us()) == 1
    again = await world.runner.start(world.command(key="mine"))
    await world.speaker.say("whole", None)
    assert (await again.answer()).text == "whole"


async def test_a_commit_that_fails_after_the_model_was_asked_leaves_nothing_behind_that_runs(
    world: World, monkeypatch: pytest.MonkeyPatch
) -> None:
    begin = world.store.turns.begin
    watch = await world.runner.start(world.command())
    conversation = watch.turn.conversation_id
    await world.speaker.say("a", None)

    failing: list[asyncio.Task[None]] = []

    def broken(request: TurnRequest) -> Pending[Begun | Existing]:
        real = begin(request)
        told: Pending[Begun | Existing] = Pending(asyncio.get_running_loop())

        async def fail_late() -> None:
            told.applied.set_result(await real.applied)
            await real.durable
            told.durable.set_exception(Unavailable("the commit's answer was lost"))

        failing.append(asyncio.create_task(fail_late()))
        return told

    with monkeypatch.context() as patch:
        patch.setattr(world.store.turns, "begin", broken)
        with pytest.raises(Unavailable):
            await world.runner.start(world.command("x", conversation=conversation, key="mine"))
    await asyncio.sleep(0.05)
    assert await world.store.turns.interrupt_orphans(world.live.runs, now_us()) == 1
    async with asyncio.timeout(SOON):
        again = await world.runner.start(world.command("x", conversation=conversation, key="mine"))
        await world.speaker.say("z", None)
        assert (await again.answer()).text == "z"


async def test_a_flush_whose_acknowledgement_is_lost_does_not_stop_those_that_follow(
    world: World, monkeypatch: pytest.MonkeyPatch
) -> None:
    flush = world.store.turns.flush
    lost: list[int] = []

    async def flaky(rows: Sequence[LogRow]) -> None:
        await flush(rows)
        if not lost:
            lost.append(len(rows))
            raise Unavailable("the connection was lost after the commit")

    monkeypatch.setattr(world.store.turns, "flush", flaky)
    watch = await world.runner.start(world.command())
    await world.speaker.say("one ")
    await asyncio.sleep(2 * FLUSH_INTERVAL)
    await world.speaker.say("two")
    await asyncio.sleep(2 * FLUSH_INTERVAL)
    await world.speaker.say(None)
    assert (await watch.answer()).state == "done"
    groups = await world.store.turns.events("acme", watch.turn.id)
    following = 1
    for group in groups:
        assert group.first_sequence == following
        following += len(group.events)
    assert lost


async def test_a_replay_is_whole_also_when_the_log_was_pruned_through_the_middle_of_the_turn(world: World) -> None:
    watch = await world.runner.start(world.command(key="mine"))
    await world.speaker.say("early ")
    await asyncio.sleep(2 * FLUSH_INTERVAL)
    middle = now_us()
    await world.speaker.say("late", None)
    await watch.answer()
    await world.store.turns.prune(middle, 0)
    assert (await (await world.runner.start(world.command(key="mine"))).answer()).text == "early late"
    await world.store.turns.prune(now_us(), 0)
    replayed = await (await world.runner.start(world.command(key="mine"))).answer()
    assert (replayed.text, replayed.conversation_id) == ("early late", watch.turn.conversation_id)


async def test_the_seventeenth_that_waits_is_told_so(world: World) -> None:
    watch = await world.runner.start(world.command())
    conversation = watch.turn.conversation_id
    waiting = [
        asyncio.create_task(world.runner.start(world.command(str(number), conversation=conversation)))
        for number in range(16)
    ]
    await asyncio.sleep(0.05)
    with pytest.raises(Conflict):
        await world.runner.start(world.command("one more", conversation=conversation))
    for task in waiting:
        task.cancel()
    await asyncio.gather(*waiting, return_exceptions=True)
