"""What becomes of calls that wait for a person where something else comes in between, and of whom tools are told."""

from dataclasses import replace
from typing import Any

import pytest

from dragoman.core.errors import Conflict
from dragoman.core.events import ToolCall
from dragoman.core.prompt import ResultMessage
from dragoman.core.tenants import Principal
from dragoman.ports.tools import CallContext, Offer
from dragoman.ports.turns import Approval
from tests.services.scene import World
from tests.services.test_toolbox import OWNER, REFUND, asked, history, people, shop, until_closed

__all__ = ["shop"]
AGAIN = ToolCall("call_4", "refund", '{"order_id": "5678"}')
VISITOR = Principal("acme", "a publishable key", "publishable", visitor_id="v1", agents=("agent",))


async def two(shop: World) -> tuple[str, Approval, Approval]:
    """A turn with two calls that wait, the first of them approved."""
    watch = await shop.runner.start(shop.command("Refund both"))
    await shop.speaker.say(REFUND, AGAIN, None)
    await watch.answer()
    by_call = {each.call.id: each for each in await shop.store.turns.approvals("acme", "pending", 10, None)}
    first, second = by_call["call_2"], by_call["call_4"]
    assert (await people(shop).decide(OWNER, first.id, True, "Mona")).state == "approved"
    return watch.turn.conversation_id, first, second


async def results(shop: World, conversation: str) -> list[str]:
    return sorted(content or "" for role, content, _ in await history(shop, conversation) if role == "tool")


async def test_a_no_to_one_call_leaves_the_other_unmade_and_says_so(shop: World) -> None:
    conversation, first, second = await two(shop)
    await people(shop).decide(OWNER, second.id, False, "Mona")
    assert shop.tools.called == []
    assert await results(shop, conversation) == [
        '{"error": "a person has refused this call"}',
        '{"error": "cancelled"}',
    ]
    assert (await people(shop).approval("acme", first.id)).state == "cancelled"
    assert (await people(shop).approval("acme", second.id)).state == "denied"


async def test_a_call_that_nobody_decided_about_takes_an_approved_one_with_it(shop: World) -> None:
    conversation, first, second = await two(shop)
    await shop.store.turns.end_approvals(second.expires_at)
    assert shop.tools.called == []
    assert '{"error": "cancelled"}' in await results(shop, conversation)
    assert (await people(shop).approval("acme", first.id)).state == "cancelled"
    assert (await people(shop).approval("acme", second.id)).state == "expired"


async def test_a_call_that_was_made_stays_approved(shop: World) -> None:
    _, first, second = await two(shop)
    await people(shop).decide(OWNER, second.id, True, "Mona")
    await asked(shop, 2)
    await shop.speaker.say("Both are refunded.", None)
    assert [(await people(shop).approval("acme", each.id)).state for each in (first, second)] == ["approved"] * 2
    assert len(shop.tools.called) == 2


async def test_no_call_of_an_agent_that_is_gone_can_be_approved_and_nobody_takes_its_conversations(
    shop: World, monkeypatch: Any
) -> None:
    async def deleted(tenant_id: str, reference: str) -> None:
        return None

    watch = await shop.runner.start(shop.command("Refund it"))
    await shop.speaker.say(REFUND, None)
    await watch.answer()
    (approval,) = await shop.store.turns.approvals("acme", "pending", 10, None)
    monkeypatch.setattr(shop.store.agents, "find", deleted)
    with pytest.raises(Conflict, match="deleted"):
        await people(shop).decide(OWNER, approval.id, True, "Mona")
    with pytest.raises(Conflict, match="deleted"):
        await people(shop).take(OWNER, watch.turn.conversation_id, "Mona")
    assert (await people(shop).decide(OWNER, approval.id, False, "Mona")).state == "denied"


async def test_a_model_that_calls_what_has_gone_is_told_so(shop: World) -> None:
    watch = await shop.runner.start(shop.command("Where is it?"))
    await shop.speaker.say(ToolCall("call_9", "gone_with_its_server", "{}"), None)
    await asked(shop, 2)
    *_, result = shop.speaker.prompts[1]
    assert isinstance(result, ResultMessage)
    assert "cannot be used now" in result.content
    await shop.speaker.say("I cannot look now.", None)
    assert (await watch.answer()).text == "I cannot look now."


@pytest.mark.parametrize(
    ("who", "told"),
    [(OWNER, {"customer": "c-1"}), (VISITOR, None), (replace(OWNER, relayed=True), None)],
    ids=["a server", "a visitor", "a ticket"],
)
async def test_tools_are_told_metadata_that_the_tenants_own_server_sent(
    shop: World, monkeypatch: Any, who: Principal, told: dict[str, str] | None
) -> None:
    seen: list[Any] = []

    async def call(offer: Offer, arguments: Any, context: CallContext) -> str:
        seen.append(context.metadata)
        return "done"

    monkeypatch.setattr(shop.tools, "call", call)
    command = replace(shop.command("Where is it? And refund it."), principal=who, metadata={"customer": "c-1"})
    watch = await shop.runner.start(command)
    await shop.speaker.say(ToolCall("call_1", "order_status", "{}"), None)
    await asked(shop, 2)
    await shop.speaker.say(REFUND, None)
    await watch.answer()
    (approval,) = await shop.store.turns.approvals("acme", "pending", 10, None)
    await people(shop).decide(OWNER, approval.id, True, "Mona")
    await asked(shop, 3)
    await shop.speaker.say("Done.", None)
    await until_closed(shop, watch)
    assert seen == [told, told]
