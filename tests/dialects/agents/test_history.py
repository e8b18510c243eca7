"""S4: what was said is listed in windows of integer ids, and can be forgotten."""

import asyncio
import json
from typing import Any
from uuid import UUID

import pytest

from tests.dialects.agents.scene import PAGE_KEY, Chat, brought, calls_in
from tests.dialects.scene import SLUG
from tests.support.client import Client
from tests.support.server import OTHER_KEY

FIELDS = ["id", "role", "content", "tool_calls", "tool_call_id", "metadata", "conversation_id", "created_at"]


@pytest.fixture
def chat(client: Client) -> Chat:
    return Chat(client)


def ids_of(told: dict[str, Any]) -> list[int]:
    return [message["id"] for message in told["messages"]]


@pytest.mark.requirement("S4-1", "S4-2", "X-7")
async def test_a_listing_has_the_documented_fields_and_null_for_what_is_absent(chat: Chat) -> None:
    told = await chat.say("Hello", metadata={"source": "web"})
    listed = await chat.read(conversation_id=told["conversation_id"])
    assert list(listed) == ["messages", "meta"]
    assert listed["meta"] == {"total": 2, "has_more": False}
    assert [list(message) for message in listed["messages"]] == [FIELDS, FIELDS]
    question, answer = listed["messages"]
    assert type(question["id"]) is int
    assert question == {
        "id": answer["id"] - 1,
        "role": "user",
        "content": "Hello",
        "tool_calls": None,
        "tool_call_id": None,
        "metadata": {"source": "web"},
        "conversation_id": told["conversation_id"],
        "created_at": question["created_at"],
    }
    assert answer == {**told, "tool_call_id": None, "metadata": None}


@pytest.mark.requirement("S4-1", "S4-2")
async def test_every_window_is_what_its_bounds_say_in_rising_order(chat: Chat) -> None:
    for number in range(5):
        await chat.say(f"Message {number}", "windows")
        await chat.say("Beside it")
    every = ids_of(await chat.read(conversation_id="windows"))
    assert every == sorted(set(every))
    assert len(every) == 10

    async def check(limit: int, **bounds: int) -> None:
        listed = await chat.read(conversation_id="windows", limit=limit, **bounds)
        if "after" in bounds:
            within = [each for each in every if each > bounds["after"]]
            shown = within[:limit]
        else:
            within = [each for each in every if each < bounds.get("before", 2**60)]
            shown = within[-limit:]
        assert ids_of(listed) == shown, (limit, bounds)
        assert listed["meta"] == {"total": 10, "has_more": len(within) > limit}, (limit, bounds)

    places = [-1, 0, *every, every[0] + 1, every[-1] + 1, 10**17]
    for limit in (1, 3, 9, 10, 11, 200):
        await asyncio.gather(
            check(limit),
            *(check(limit, before=place) for place in places),
            *(check(limit, after=place) for place in places),
        )


@pytest.mark.requirement("S4-1", "S4-2")
async def test_fifty_are_listed_unless_said_and_all_conversations_of_the_agent(client: Client) -> None:
    chat = Chat(client, "closed-agent")
    conversation = None
    for number in range(26):
        told = await chat.say(f"Message {number}", conversation)
        conversation = told["conversation_id"] if number else None
    await chat.say("The last")
    listed = await chat.read()
    assert (len(listed["messages"]), listed["meta"]) == (50, {"total": 54, "has_more": True})
    every = await chat.read(limit=200)
    assert ids_of(every) == list(range(1, 55))
    assert listed["messages"] == every["messages"][-50:]
    assert len({message["conversation_id"] for message in every["messages"]}) == 3


@pytest.mark.requirement("S4-2")
@pytest.mark.parametrize(
    "query",
    [
        {"limit": "0"},
        {"limit": "201"},
        {"limit": "-1"},
        {"limit": ""},
        {"limit": "ten"},
        {"limit": "1.5"},
        {"limit": "５"},
        {"limit": "1" * 30},
        {"before": ""},
        {"before": "x"},
        {"before": "1.0"},
        {"before": "1e3"},
        {"before": "+1"},
        {"before": "1" * 5_000},
        {"after": "last"},
        {"after": " 1"},
        {"before": "5", "after": "1"},
    ],
    ids=lambda query: "-".join(f"{name}={value[:8]}" for name, value in query.items()),
)
async def test_a_window_that_cannot_be_is_refused(chat: Chat, query: dict[str, str]) -> None:
    await chat.refused(400, "VALIDATION_ERROR", None, "GET", **query)


@pytest.mark.requirement("S4-2")
async def test_ids_are_never_used_again(chat: Chat) -> None:
    told = await chat.say("Hello", "used once")
    assert await chat.clear(conversation_id="used once") == 2
    again = await chat.say("Hello", "used once")
    assert again["id"] > told["id"]
    assert ids_of(await chat.read(conversation_id="used once")) == [again["id"] - 1, again["id"]]


@pytest.mark.requirement("S4-2")
async def test_ids_rise_in_the_order_in_which_messages_were_stored(chat: Chat) -> None:
    told = await asyncio.gather(*(chat.say(f"Message {number}") for number in range(20)))
    ids = [each["id"] for each in told]
    assert len(set(ids)) == 20
    every = ids_of(await chat.read(limit=200))
    assert every == sorted(set(every))
    assert set(ids) <= set(every)


@pytest.mark.requirement("S4-8")
async def test_clearing_deletes_messages_counts_them_and_keeps_the_conversation(chat: Chat) -> None:
    async with chat.request("POST", {"message": "Hello", "conversation_id": "to clear"}) as response:
        ours = response.headers["X-Conversation-Id"]
    await chat.say("Again", "to clear")
    beside = (await chat.say("Beside it"))["conversation_id"]
    assert await chat.clear(conversation_id=ours) == 4
    assert await chat.clear(conversation_id="to clear") == 0
    assert await chat.history("to clear") == []
    assert len(await chat.history(beside)) == 2
    assert await chat.client.history(ours) == []
    assert (await chat.say("Anew", str(UUID(ours.removeprefix("conv_")))))["conversation_id"] == "to clear"


@pytest.mark.requirement("S4-8")
async def test_clearing_what_is_not_there_deletes_nothing(chat: Chat) -> None:
    for unknown in ("conv_" + "0" * 32, "never heard of"):
        assert await chat.clear(conversation_id=unknown) == 0
    theirs = (await Chat(chat.client, "other-agent", OTHER_KEY).say("Hello"))["conversation_id"]
    assert await chat.clear(conversation_id=theirs) == 0
    assert len(await Chat(chat.client, "other-agent", OTHER_KEY).history(theirs)) == 2


@pytest.mark.requirement("S4-8")
async def test_clearing_forgets_what_a_cleared_turn_was_told_in_later_prompts(client: Client) -> None:
    chat = Chat(client, "prompted-agent")
    conversation = (await chat.say("My secret", context={"plan": "premium"}))["conversation_id"]
    await chat.clear(conversation_id=conversation)
    prompt = json.loads((await chat.say("What do you know?", conversation))["content"])
    assert [message["content"] for message in prompt[1:]] == ["What do you know?"]
    assert '{"plan": "premium"}' in prompt[0]["content"]


@pytest.mark.requirement("S4-8")
async def test_a_running_turn_is_stopped_before_its_conversation_is_cleared(chat: Chat) -> None:
    body = {"message": "hang on", "conversation_id": "hanging", "stream": True}
    async with chat.request("POST", body) as response:
        seen = await response.content.readuntil(b'"Well,"}\n\n')
        turn = response.headers["X-Turn-Id"]
        assert await chat.clear(conversation_id="hanging") == 2
        seen += await response.read()
    last = json.loads(seen.split(b"\n\n")[-2].removeprefix(b"data: "))
    assert (last["type"], last["message"]["content"]) == ("done", "Well,")
    assert (await chat.client.turn(turn))["state"] == "cancelled"
    assert await chat.history("hanging") == []


@pytest.mark.requirement("S4-8", "S4-6")
async def test_calls_of_a_cleared_conversation_wait_no_longer(client: Client) -> None:
    chat = Chat(client, "weather-agent")
    first = await chat.say("everything", "cleared in a pause")
    assert await chat.clear(conversation_id="cleared in a pause") == 2
    await chat.refused(400, "VALIDATION_ERROR", brought("cleared in a pause", (calls_in(first)[0], "x")))
    assert (await chat.say("Hello", "cleared in a pause"))["content"] == "You said: Hello"


@pytest.mark.requirement("S4-8")
async def test_without_a_conversation_the_whole_agents_history_is_cleared(client: Client) -> None:
    chat, other = Chat(client, "prompted-agent"), Chat(client)
    kept = (await other.say("Not mine"))["conversation_id"]
    for _ in range(3):
        await chat.say("Hello")
    total = (await chat.read())["meta"]["total"]
    assert total >= 6
    assert await chat.clear() == total
    assert await chat.clear() == 0
    assert await chat.read() == {"messages": [], "meta": {"total": 0, "has_more": False}}
    assert len(await other.history(kept)) == 2


@pytest.mark.requirement("S4-8")
async def test_clearing_wants_a_secret_key(chat: Chat) -> None:
    page, nobody = Chat(chat.client, key=PAGE_KEY), Chat(chat.client, "123e4567-e89b-12d3-a456-426614174103", None)
    mine = (await page.say("Hello"))["conversation_id"]
    for query in ({}, {"conversation_id": mine}):
        await page.refused(403, "FORBIDDEN", None, "DELETE", **query)
        await nobody.refused(401, "UNAUTHORIZED", None, "DELETE", **query)
    assert len(await chat.history(mine)) == 2


@pytest.mark.requirement("S4-1", "S4-9")
async def test_messages_of_other_contracts_are_listed_too(chat: Chat) -> None:
    async with chat.client.post(SLUG.path("open-agent"), SLUG.body("Over S2")) as response:
        conversation = (await response.json())["data"]["conversationId"]
    told = await chat.say("Over S4", conversation)
    assert told["conversation_id"] == conversation
    assert [(each["role"], each["content"]) for each in await chat.history(conversation)] == [
        ("user", "Over S2"),
        ("assistant", "You said: Over S2"),
        ("user", "Over S4"),
        ("assistant", "You said: Over S4"),
    ]
