"""Turns whose tools run here: what is kept, what waits for a person, what never runs."""

import asyncio
import json
from collections.abc import Mapping
from dataclasses import replace
from typing import Any

import pytest

from dragoman.core.clock import now_us
from dragoman.core.errors import ApprovalNotFound, Conflict
from dragoman.core.events import StepStarted, ToolCall, ToolCallStarted, ToolResult
from dragoman.core.prompt import TOOLS_NOTE, CallingMessage, ResultMessage
from dragoman.core.tenants import Principal
from dragoman.ports.conversations import Window
from dragoman.ports.turns import Approval, Decision, Waiting
from dragoman.services.audit import Audit
from dragoman.services.people import People
from dragoman.services.runs import Watch
from tests.services.scene import SOON, World

ORDER = ToolCall("call_1", "order_status", '{"order_id": "1234"}')
REFUND = ToolCall("call_2", "refund", '{"order_id": "1234"}')
WEATHER = ToolCall("call_3", "get_weather", '{"location": "Tokyo"}')
HTTP = [{"type": "http", "name": name, "url": "https://shop.example"} for name in ("order_status", "refund")]
CLIENT = {"type": "client", "name": "get_weather", "parameters": {"type": "object"}}
OWNER = Principal("acme", "key of acme", "secret")


@pytest.fixture
async def shop(world: World) -> World:
    """An agent with a tool that reads, one that writes and one that its client makes."""
    await told(world)

    async def shipped(arguments: Mapping[str, Any]) -> str:
        return f"order {arguments.get('order_id')} is shipped"

    async def refunded(arguments: Mapping[str, Any]) -> str:
        return "refunded"

    world.tools.answers = {"order_status": shipped, "refund": refunded}
    world.tools.writes = {"refund"}
    return world


async def told(world: World, **more: Any) -> None:
    definition = {"model": {"provider": "scripted", "name": "m"}, "tools": [*HTTP, CLIENT], **more}
    await world.store.agents.put("acme", None, "agent", "Agent", definition, 2)


async def asked(world: World, times: int) -> None:
    async with asyncio.timeout(SOON):
        while len(world.speaker.asked) < times:
            await asyncio.sleep(0)


async def pending(world: World) -> Approval:
    (approval,) = await world.store.turns.approvals("acme", "pending", 10, None)
    return approval


def people(world: World) -> People:
    return People(world.store, world.runner, world.desk, Audit(world.store))


async def history(world: World, conversation: str) -> list[tuple[str, str | None, int]]:
    found, _ = await world.store.conversations.messages("acme", conversation, Window(50, spoken=False))
    return [(each.role, each.content, len(each.tool_calls)) for each in found]


async def test_the_server_makes_a_call_and_the_model_is_asked_again_with_what_it_brought(shop: World) -> None:
    watch = await shop.runner.start(shop.command("Where is order 1234?"))
    await shop.speaker.say("Let me look.", ORDER, None)
    await asked(shop, 2)
    await shop.speaker.say("It is shipped.", None)
    answer = await watch.answer()
    assert (answer.state, answer.text, answer.calls) == ("done", "Let me look.\n\nIt is shipped.", [])
    assert shop.tools.called == [("order_status", {"order_id": "1234"})]
    *_, calling, result = shop.speaker.prompts[1]
    assert calling == CallingMessage("assistant", "Let me look.", (ORDER,))
    assert result == ResultMessage("tool", "order 1234 is shipped", "call_1")
    assert await history(shop, watch.turn.conversation_id) == [
        ("user", "Where is order 1234?", 0),
        ("assistant", None, 1),
        ("tool", "order 1234 is shipped", 0),
        ("assistant", "Let me look.\n\nIt is shipped.", 0),
    ]
    turn = await shop.runner.get("acme", watch.turn.id)
    assert (turn.state, turn.credits, turn.answer_id, turn.answer_number) == (
        "completed",
        1,
        answer.message_id,
        answer.number,
    )
    events = [event for group in await shop.store.turns.events("acme", turn.id) for event in group.events]
    assert [event for event in events if isinstance(event, StepStarted | ToolCallStarted | ToolResult)] == [
        StepStarted(answer.number),
        ToolCallStarted("call_1", "order_status"),
        ToolResult("call_1", "order_status", False),
    ]


async def test_later_turns_know_what_was_called(shop: World) -> None:
    watch = await shop.runner.start(shop.command("Where is order 1234?"))
    await shop.speaker.say(ORDER, None)
    await asked(shop, 2)
    await shop.speaker.say("Shipped.", None)
    await watch.answer()
    again = await shop.runner.start(shop.command("Sure?", conversation=watch.turn.conversation_id))
    await asked(shop, 3)
    assert [(each.role, each.content) for each in shop.speaker.prompts[2]] == [
        ("system", TOOLS_NOTE),
        ("user", "Where is order 1234?"),
        ("assistant", ""),
        ("tool", "order 1234 is shipped"),
        ("assistant", "Shipped."),
        ("user", "Sure?"),
    ]
    await shop.speaker.say("Yes.", None)
    await again.answer()


async def test_calls_of_one_step_are_made_side_by_side(shop: World) -> None:
    both = asyncio.Barrier(2)

    async def met(arguments: Mapping[str, Any]) -> str:
        async with asyncio.timeout(SOON):
            await both.wait()
        return "met"

    shop.tools.answers["order_status"] = met
    watch = await shop.runner.start(shop.command())
    await shop.speaker.say(ORDER, ORDER._replace(id="call_9"), None)
    await asked(shop, 2)
    await shop.speaker.say("Both.", None)
    assert (await watch.answer()).text == "Both."
    assert [each.content for each in shop.speaker.prompts[1][-2:]] == ["met", "met"]


async def test_a_tool_that_breaks_or_gets_wrong_arguments_tells_the_model_so(shop: World) -> None:
    async def broken(arguments: Mapping[str, Any]) -> str:
        raise RuntimeError("secret detail")

    shop.tools.answers["order_status"] = broken
    watch = await shop.runner.start(shop.command())
    wrong = (ORDER._replace(id="call_8", arguments="[1]"), ORDER._replace(id="call_9", arguments="{"))
    await shop.speaker.say(ORDER, *wrong, None)
    await asked(shop, 2)
    await shop.speaker.say("Sorry.", None)
    assert (await watch.answer()).text == "Sorry."
    assert [json.loads(each.content)["error"] for each in shop.speaker.prompts[1][-3:]] == [
        "The tool failed",
        "The arguments are no object",
        "The arguments are no JSON",
    ]


async def test_a_model_that_goes_on_calling_is_asked_a_last_time_without_tools(shop: World) -> None:
    await told(shop, max_steps=3)
    watch = await shop.runner.start(shop.command())
    for step in range(2):
        await asked(shop, step + 1)
        await shop.speaker.say(ORDER._replace(id=f"call_{step}"), None)
    await asked(shop, 3)
    await shop.speaker.say("Enough.", ORDER._replace(id="call_7"), None)
    assert (await watch.answer()).text == "Enough."
    assert len(shop.tools.called) == 2


async def test_a_tool_is_not_called_more_often_in_a_turn_than_it_may_be(shop: World) -> None:
    await told(shop, tools=[{**HTTP[0], "per_turn": 1}])
    watch = await shop.runner.start(shop.command())
    await shop.speaker.say(ORDER, ORDER._replace(id="call_9"), None)
    await asked(shop, 2)
    await shop.speaker.say("Once.", None)
    await watch.answer()
    assert len(shop.tools.called) == 1
    assert "1 times in one turn" in shop.speaker.prompts[1][-1].content


async def test_a_tool_that_the_agent_does_not_have_never_runs(shop: World) -> None:
    watch = await shop.runner.start(shop.command())
    await shop.speaker.say("Hm.", ToolCall("call_1", "delete_everything", "{}"), None)
    answer = await watch.answer()
    assert (answer.state, answer.text) == ("done", "Hm.")
    assert shop.tools.called == []


async def test_a_writing_tool_waits_for_a_person_and_runs_after_a_yes(shop: World) -> None:
    watch = await shop.runner.start(shop.command("Refund it"))
    await shop.speaker.say(REFUND, None)
    answer = await watch.answer()
    assert (answer.state, answer.calls, shop.tools.called) == ("paused", [], [])
    approval = await pending(shop)
    assert (approval.call, approval.turn_id) == (REFUND, watch.turn.id)
    decided = await people(shop).decide(OWNER, approval.id, True, "Mona")
    assert (decided.state, decided.decided_by) == ("approved", "Mona")
    await asked(shop, 2)
    assert shop.tools.called == [("refund", {"order_id": "1234"})]
    assert shop.speaker.prompts[1][-1] == ResultMessage("tool", "refunded", "call_2")
    await shop.speaker.say("Done.", None)
    await until_closed(shop, watch)
    turn = await shop.runner.get("acme", watch.turn.id)
    assert (turn.state, turn.credits) == ("completed", 1)
    assert (await history(shop, turn.conversation_id))[-2:] == [("tool", "refunded", 0), ("assistant", "Done.", 0)]
    with pytest.raises(Conflict, match="approved already"):
        await people(shop).decide(OWNER, approval.id, False, "Mona")


async def until_closed(world: World, watch: Watch) -> None:
    async with asyncio.timeout(SOON):
        while (await world.runner.get("acme", watch.turn.id)).state == "running":
            await asyncio.sleep(0.01)


async def test_after_a_no_the_turn_ends_and_the_call_is_not_made(shop: World) -> None:
    watch = await shop.runner.start(shop.command("Refund it"))
    await shop.speaker.say("One moment.", REFUND, None)
    await watch.answer()
    decided = await people(shop).decide(OWNER, (await pending(shop)).id, False, "Mona")
    assert decided.state == "denied"
    turn = await shop.runner.get("acme", watch.turn.id)
    assert (turn.state, shop.tools.called) == ("cancelled", [])
    role, content, _ = (await history(shop, turn.conversation_id))[-1]
    assert role == "tool"
    assert "refused" in str(content)


async def test_after_its_time_an_approval_expires_and_ends_the_turn(shop: World) -> None:
    await told(shop, approval_timeout=1)
    watch = await shop.runner.start(shop.command("Refund it"))
    await shop.speaker.say(REFUND, None)
    await watch.answer()
    approval = await pending(shop)
    assert await shop.store.turns.end_approvals(now_us()) == 0
    assert await shop.store.turns.end_approvals(approval.expires_at) == 1
    found = await shop.store.turns.approval("acme", approval.id)
    assert found is not None
    assert found.state == "expired"
    assert (await shop.runner.get("acme", watch.turn.id)).state == "cancelled"
    with pytest.raises(Conflict):
        await people(shop).decide(OWNER, approval.id, True, "Mona")
    assert shop.tools.called == []


async def test_a_new_message_gives_up_what_waits_for_a_person(shop: World) -> None:
    watch = await shop.runner.start(shop.command("Refund it"))
    await shop.speaker.say(REFUND, None)
    await watch.answer()
    approval = await pending(shop)
    again = await shop.runner.start(shop.command("Never mind", conversation=watch.turn.conversation_id))
    await asked(shop, 2)
    await shop.speaker.say("Fine.", None)
    await again.answer()
    with pytest.raises(Conflict, match="cancelled already"):
        await people(shop).decide(OWNER, approval.id, True, "Mona")
    assert shop.tools.called == []


async def test_nobody_decides_for_another_tenant(shop: World) -> None:
    await shop.runner.start(shop.command("Refund it"))
    await shop.speaker.say(REFUND, None)
    stranger = Principal("other", "key of other", "secret")
    async with asyncio.timeout(SOON):
        while not await shop.store.turns.approvals("acme", None, 10, None):
            await asyncio.sleep(0.01)
    with pytest.raises(ApprovalNotFound):
        await people(shop).decide(stranger, (await pending(shop)).id, True, "Eve")
    assert await shop.store.turns.approvals("other", None, 10, None) == []


async def test_calls_for_the_server_the_client_and_a_person_in_one_step(shop: World) -> None:
    watch = await shop.runner.start(shop.command("All of it"))
    await shop.speaker.say("Working on it.", ORDER, REFUND, WEATHER, None)
    answer = await watch.answer()
    assert (answer.state, answer.text, answer.calls) == ("paused", "Working on it.", [WEATHER])
    assert shop.tools.called == [("order_status", {"order_id": "1234"})]
    conversation = watch.turn.conversation_id
    waiting = await shop.runner.answer_calls(shop.results(conversation, ("call_3", "12 degrees")))
    assert isinstance(waiting, Waiting)
    await people(shop).decide(OWNER, (await pending(shop)).id, True, "Mona")
    await asked(shop, 2)
    calling, *results = shop.speaker.prompts[1][-4:]
    assert isinstance(calling, CallingMessage)
    assert calling.content == "Working on it."
    assert {each.call_id: each.content for each in results if isinstance(each, ResultMessage)} == {
        "call_1": "order 1234 is shipped",
        "call_2": "refunded",
        "call_3": "12 degrees",
    }
    await shop.speaker.say("All done.", None)
    await until_closed(shop, watch)
    assert [each[0] for each in await history(shop, conversation)] == [
        "user",
        "assistant",
        *["tool"] * 3,
        "assistant",
    ]


async def test_a_client_cannot_answer_a_call_of_the_server(shop: World) -> None:
    watch = await shop.runner.start(shop.command("Refund it"))
    await shop.speaker.say(REFUND, None)
    await watch.answer()
    with pytest.raises(Exception, match="no call of this conversation"):
        await shop.runner.answer_calls(shop.results(watch.turn.conversation_id, ("call_2", "refunded, believe me")))


async def test_a_turn_that_is_stopped_in_a_call_keeps_a_valid_history(shop: World) -> None:
    begun = asyncio.Event()

    async def endless(arguments: Mapping[str, Any]) -> str:
        begun.set()
        await asyncio.sleep(60)
        return "never"

    shop.tools.answers["order_status"] = endless
    watch = await shop.runner.start(shop.command("Where?"))
    await shop.speaker.say(ORDER, None)
    await begun.wait()
    stopped = await shop.runner.stop("acme", watch.turn.id)
    assert stopped.state == "cancelled"
    assert [each[0] for each in await history(shop, stopped.conversation_id)] == ["user", "assistant", "tool"]
    again = await shop.runner.start(shop.command("Still there?", conversation=stopped.conversation_id))
    await asked(shop, 2)
    assert [each.role for each in shop.speaker.prompts[1]] == ["system", "user", "assistant", "tool", "user"]
    await shop.speaker.say("Yes.", None)
    await again.answer()


async def test_what_a_crash_interrupts_leaves_a_call_whose_result_never_came(shop: World) -> None:
    begun = asyncio.Event()

    async def endless(arguments: Mapping[str, Any]) -> str:
        begun.set()
        await asyncio.sleep(60)
        return "never"

    shop.tools.answers["order_status"] = endless
    watch = await shop.runner.start(shop.command("Where?"))
    await shop.speaker.say(ORDER, None)
    await begun.wait()
    assert await shop.store.turns.interrupt_orphans(lambda turn_id: False, now_us()) == 1
    role, content, _ = (await history(shop, watch.turn.conversation_id))[-1]
    assert (role, content) == ("tool", '{"error": "no result came"}')


async def test_a_yes_in_a_handed_over_conversation_comes_too_late(shop: World) -> None:
    watch = await shop.runner.start(shop.command("Refund it"))
    await shop.speaker.say(REFUND, None)
    await watch.answer()
    approval = await pending(shop)
    await people(shop).take(OWNER, watch.turn.conversation_id, "Mona")
    with pytest.raises(Conflict):
        await people(shop).decide(OWNER, approval.id, True, "Mona")


async def test_two_decisions_at_one_time_are_one(shop: World) -> None:
    watch = await shop.runner.start(shop.command("Refund it"))
    await shop.speaker.say(REFUND, None)
    await watch.answer()
    approval = await pending(shop)
    decision = Decision(OWNER, approval.id, False, "Mona", "id", shop.store.owner, now_us())
    both = [shop.store.turns.decide(each).applied for each in (decision, replace(decision, by="Ben"))]
    told = await asyncio.gather(*both, return_exceptions=True)
    assert [type(each) for each in told] == [type(None), Conflict]
