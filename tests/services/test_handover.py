"""Conversations that go to a person and come back."""

import asyncio
from typing import Any

import pytest

from dragoman.core.answers import Answer
from dragoman.core.clock import now_us
from dragoman.core.errors import Conflict, ConversationNotFound
from dragoman.core.events import ToolCall
from dragoman.core.handover import HandoverRule
from dragoman.core.tenants import Principal
from dragoman.ports.conversations import Window
from dragoman.services.audit import Audit
from dragoman.services.people import People
from dragoman.services.runs import Watch
from tests.services.scene import SOON, World

OWNER = Principal("acme", "key of acme", "secret")
MESSAGE = HandoverRule().message


@pytest.fixture
async def desk(world: World) -> World:
    await told(world)
    return world


async def told(world: World, **rule: Any) -> None:
    definition = {"model": {"provider": "scripted", "name": "m"}, "handover": {"wait": SOON, **rule}}
    await world.store.agents.put("acme", None, "agent", "Agent", definition, 2)


def people(world: World) -> People:
    return People(world.store, world.runner, world.desk, Audit(world.store))


async def handed_over(world: World) -> str:
    watch = await world.runner.start(world.command("Can I talk to a human?"))
    answer = await watch.answer()
    assert (answer.state, answer.text, answer.resolved) == ("done", MESSAGE, False)
    return watch.turn.conversation_id


async def waiting(world: World, conversation: str, text: str) -> Watch:
    """A message that waits for a person."""
    watch = await world.runner.start(world.command(text, conversation=conversation))
    async with asyncio.timeout(SOON):
        while ("acme", conversation) not in world.desk._waiting:
            await asyncio.sleep(0)
    return watch


async def said(world: World, conversation: str) -> list[tuple[str, str | None, Any]]:
    found, _ = await world.store.conversations.messages("acme", conversation, Window(50, spoken=False))
    return [(each.role, each.content, each.metadata) for each in found]


async def test_who_asks_for_a_person_gets_one_and_the_model_is_not_asked(desk: World) -> None:
    conversation = await handed_over(desk)
    assert desk.speaker.asked == []
    (open_one,) = await people(desk).inbox("acme", 10, None)
    assert (open_one.conversation_id, open_one.reason) == (conversation, "requested")
    assert await people(desk).inbox("other", 10, None) == []


async def test_the_persons_words_are_the_answer_to_the_message_that_waits(desk: World) -> None:
    conversation = await handed_over(desk)
    watch = await waiting(desk, conversation, "It is broken")
    await people(desk).say(OWNER, conversation, "Hello, this is Mona.", "Mona")
    answer = await watch.answer()
    assert (answer.state, answer.text, answer.resolved, answer.credits) == ("done", "Hello, this is Mona.", False, 0)
    assert (answer.prompt_tokens, answer.completion_tokens) == (0, 0)
    assert (await said(desk, conversation))[-2:] == [
        ("user", "It is broken", None),
        ("assistant", "Hello, this is Mona.", {"author": "Mona"}),
    ]
    assert desk.speaker.asked == []


async def test_a_person_can_say_more_and_whoever_follows_hears_it(desk: World) -> None:
    conversation = await handed_over(desk)
    heard: list[Answer] = []

    def follow(run: Any) -> None:
        hearing.append(asyncio.create_task(hear(run)))

    async def hear(run: Any) -> None:
        heard.append(await Watch(run.begun.turn, None, False, run).answer())

    hearing: list[asyncio.Task[None]] = []
    desk.runner.followers.add("acme", conversation, follow)
    await people(desk).say(OWNER, conversation, "One", "Mona")
    await people(desk).say(OWNER, conversation, "Two", "Mona")
    await asyncio.gather(*hearing)
    assert [each.text for each in heard] == ["One", "Two"]
    assert [each[:2] for each in (await said(desk, conversation))[-2:]] == [("assistant", "One"), ("assistant", "Two")]


async def test_the_next_message_does_not_wait_for_the_one_before(desk: World) -> None:
    conversation = await handed_over(desk)
    first = await waiting(desk, conversation, "Hello?")
    second = asyncio.create_task(waiting(desk, conversation, "Anybody?"))
    answer = await first.answer()
    assert (answer.state, answer.text) == ("done", MESSAGE)
    watch = await second
    await people(desk).say(OWNER, conversation, "Here I am", "Mona")
    assert (await watch.answer()).text == "Here I am"


async def test_when_nobody_answers_for_a_while_the_user_is_told_that_somebody_will(desk: World) -> None:
    await told(desk, wait=0.05)
    conversation = await handed_over(desk)
    watch = await desk.runner.start(desk.command("Hello?", conversation=conversation))
    answer = await watch.answer()
    assert (answer.state, answer.text, answer.resolved) == ("done", MESSAGE, False)


async def test_given_back_the_agent_answers_again_and_knows_what_was_said(desk: World) -> None:
    conversation = await handed_over(desk)
    watch = await waiting(desk, conversation, "It is broken")
    await people(desk).say(OWNER, conversation, "We send a new one.", "Mona")
    await watch.answer()
    ended = await people(desk).give_back(OWNER, conversation, "Mona")
    assert ended.ended_by == "Mona"
    assert await people(desk).inbox("acme", 10, None) == []
    again = await desk.runner.start(desk.command("When?", conversation=conversation))
    await desk.speaker.say("Soon.", None)
    assert (await again.answer()).text == "Soon."
    assert ("assistant", "We send a new one.") in [(each.role, each.content) for each in desk.speaker.prompts[0]]
    with pytest.raises(Conflict):
        await people(desk).give_back(OWNER, conversation, "Mona")
    with pytest.raises(Conflict):
        await people(desk).say(OWNER, conversation, "One more thing", "Mona")


async def test_after_its_time_the_conversation_goes_back_to_the_agent(desk: World) -> None:
    conversation = await handed_over(desk)
    assert await desk.store.handovers.end_overdue(now_us()) == 0
    assert await desk.store.handovers.end_overdue(now_us() + 3_601 * 1_000_000) == 1
    watch = await desk.runner.start(desk.command("Hello?", conversation=conversation))
    await desk.speaker.say("Me again.", None)
    assert (await watch.answer()).text == "Me again."


async def test_a_person_takes_over_in_the_middle_of_an_answer(desk: World) -> None:
    watch = await desk.runner.start(desk.command("Tell me a story"))
    await desk.speaker.say("Once upon")
    taken = await people(desk).take(OWNER, watch.turn.conversation_id, "Mona")
    assert taken.reason == "taken"
    answer = await watch.answer()
    assert answer.text == "Once upon"
    assert (await people(desk).take(OWNER, watch.turn.conversation_id, "Mona")).id == taken.id


async def test_an_agent_calls_a_person_with_its_tool(desk: World) -> None:
    definition = {"model": {"provider": "scripted", "name": "m"}, "tools": [{"type": "builtin", "name": "handover"}]}
    await desk.store.agents.put("acme", None, "agent", "Agent", definition, 3)
    watch = await desk.runner.start(desk.command("My house is on fire"))
    await desk.speaker.say(ToolCall("call_1", "handover", "{}"), None)
    async with asyncio.timeout(SOON):
        while len(desk.speaker.asked) < 2:
            await asyncio.sleep(0)
    await desk.speaker.say("A colleague comes.", None)
    answer = await watch.answer()
    assert (answer.text, answer.resolved) == ("A colleague comes.", False)
    (open_one,) = await people(desk).inbox("acme", 10, None)
    assert open_one.reason == "called"


async def test_of_another_tenants_conversation_nothing_can_be_done(desk: World) -> None:
    conversation = await handed_over(desk)
    stranger = Principal("other", "key of other", "secret")
    with pytest.raises(ConversationNotFound):
        await people(desk).take(stranger, conversation, "Eve")
    with pytest.raises(ConversationNotFound):
        await people(desk).say(stranger, conversation, "Hello", "Eve")
    with pytest.raises(ConversationNotFound):
        await people(desk).give_back(stranger, conversation, "Eve")
