"""S4: calls that the client is to make, and what their results lead to."""

import asyncio
import json
from typing import Any
from uuid import uuid4

import aiohttp
import pytest

from tests.dialects.agents.scene import CALLING_MODEL, ORDERS, TOKYO, Chat, brought, calls_in
from tests.support.client import Client

FIELDS = ["id", "role", "content", "tool_calls", "conversation_id", "created_at"]
STORED = ["id", "role", "tool_call_id", "content", "conversation_id", "created_at"]
CANCELLED = '{"error": "cancelled"}'


@pytest.fixture
def chat(client: Client) -> Chat:
    return Chat(client, "weather-agent")


@pytest.fixture
def calling(client: Client) -> Chat:
    """The chat of an agent whose model server is asked, wants two calls for each message, and says what it was told."""
    return Chat(client, "calling-agent")


async def asked(upstream: str, session: aiohttp.ClientSession) -> list[dict[str, Any]]:
    """What the model server was sent last by the calling agent."""
    async with session.get(f"{upstream.removesuffix('/v1')}/stats") as response:
        bodies = (await response.json())["bodies"]
    return list([body for body in bodies if body["model"] == CALLING_MODEL][-1]["messages"])


def check_prompt(messages: list[dict[str, Any]]) -> None:
    """Assert that a model server would take it: each call has its result at once, and there is no other result."""
    waiting: set[str] = set()
    for message in messages:
        if message["role"] == "tool":
            waiting.remove(message["tool_call_id"])
        else:
            assert not waiting
            waiting = {call["id"] for call in message.get("tool_calls", ())}
    assert not waiting


@pytest.mark.requirement("S4-4", "S4-3")
async def test_a_call_stands_in_the_answer_as_documented(chat: Chat) -> None:
    told = await chat.say("What's the weather like?")
    assert list(told) == FIELDS
    assert (told["role"], told["content"]) == ("assistant", None)
    assert told["tool_calls"] == [
        {"id": "call_123", "type": "function", "function": {"name": "get_weather", "arguments": TOKYO}}
    ]


@pytest.mark.requirement("S4-4", "S4-10")
@pytest.mark.parametrize("stream", [False, True])
async def test_several_calls_come_at_once_and_beside_what_was_said(chat: Chat, stream: bool) -> None:
    if stream:
        start, *deltas, done = await chat.stream({"message": "Look everything up"})
        told = done["message"]
        assert start == {"type": "start", "id": told["id"]}
        assert deltas == [{"type": "delta", "content": piece} for piece in ("Let", " me", " look.")]
        assert list(done) == ["type", "message"]
    else:
        told = await chat.say("Look everything up")
    assert (list(told), told["content"]) == (FIELDS, "Let me look.")
    wanted = [(call["type"], call["function"]["name"], call["function"]["arguments"]) for call in told["tool_calls"]]
    assert wanted == [("function", "get_weather", TOKYO), ("function", "search_database", ORDERS)]
    assert len(set(calls_in(told))) == 2


@pytest.mark.requirement("S4-4", "S4-10")
async def test_a_stream_of_calls_alone_is_start_and_done(chat: Chat) -> None:
    start, done = await chat.stream({"message": "weather"})
    assert start == {"type": "start", "id": done["message"]["id"]}
    assert (done["message"]["content"], calls_in(done["message"])) == (None, ["call_123"])


@pytest.mark.requirement("S4-5", "S4-9", "S4-3")
@pytest.mark.parametrize("stream", [False, True])
async def test_the_result_of_the_only_call_brings_the_answer(chat: Chat, stream: bool) -> None:
    first = await chat.say("weather", metadata={"source": "web"})
    conversation = first["conversation_id"]
    if stream:
        start, *deltas, done = await chat.stream(brought(conversation, ("call_123", "sunny")))
        told = done["message"]
        assert start == {"type": "start", "id": told["id"]}
        assert "".join(delta["content"] for delta in deltas) == told["content"]
        assert len(deltas) == 5
    else:
        told = await chat.bring(conversation, ("call_123", "sunny"))
    assert list(told) == FIELDS
    assert (told["content"], told["tool_calls"]) == ("It is sunny in Tokyo.", None)
    shown = await chat.history(conversation)
    assert [(each["role"], each["content"], each["tool_call_id"]) for each in shown] == [
        ("user", "weather", None),
        ("assistant", None, None),
        ("tool", "sunny", "call_123"),
        ("assistant", "It is sunny in Tokyo.", None),
    ]
    assert [each["tool_calls"] for each in shown] == [None, first["tool_calls"], None, None]
    assert [each["metadata"] for each in shown] == [{"source": "web"}, None, None, None]
    ids = [each["id"] for each in shown]
    assert ids == sorted(set(ids))
    assert (ids[1], ids[3]) == (first["id"], told["id"])


@pytest.mark.requirement("S4-5")
@pytest.mark.parametrize("stream", [False, True])
async def test_results_one_by_one_are_kept_until_the_last_brings_the_answer(chat: Chat, stream: bool) -> None:
    first = await chat.say("everything")
    conversation, (weather, orders) = first["conversation_id"], calls_in(first)
    body = {**brought(conversation, (orders, "none")), "stream": stream}
    async with chat.request("POST", body) as response:
        assert response.status == 200
        assert response.headers["Content-Type"] == "application/json"
        assert response.headers["X-Turn-Id"].startswith("turn_")
        kept = await response.json()
    assert list(kept) == STORED
    assert (kept["role"], kept["tool_call_id"], kept["content"]) == ("tool", orders, "none")
    assert kept["conversation_id"] == conversation
    shown = (await chat.history(conversation))[-1]
    assert {name: shown[name] for name in STORED} == kept
    told = await chat.bring(conversation, (weather, "sunny"))
    assert told["content"] == "It is sunny in Tokyo."
    assert [each["role"] for each in await chat.history(conversation)] == [
        "user",
        "assistant",
        "tool",
        "tool",
        "assistant",
    ]


@pytest.mark.requirement("S4-5")
async def test_results_can_come_together_and_in_any_order(chat: Chat) -> None:
    first = await chat.say("everything")
    conversation, (weather, orders) = first["conversation_id"], calls_in(first)
    told = await chat.bring(conversation, (orders, "none"), (weather, "rain"))
    assert told["content"] == "The tools said: none; rain"


@pytest.mark.requirement("S4-5")
async def test_a_model_is_told_every_result_beside_its_call(calling: Chat) -> None:
    first = await calling.say("Where?", context={"plan": "premium"}, system_prompt="Be a pirate.")
    results = [(call_id, f"result {number}") for number, call_id in enumerate(calls_in(first))]
    told = json.loads((await calling.bring(first["conversation_id"], *results))["content"])
    check_prompt(told)
    assert [message["role"] for message in told] == ["system", "user", "assistant", "tool", "tool"]
    assert told[0]["content"].startswith("Be a pirate.")
    assert '{"plan": "premium"}' in told[0]["content"]
    assert [call["id"] for call in told[2]["tool_calls"]] == calls_in(first)
    assert [(message["tool_call_id"], message["content"]) for message in told[3:]] == results


@pytest.mark.requirement("S4-5")
@pytest.mark.parametrize(
    ("content", "kept"),
    [
        ("", ""),
        ("  as it is\n", "  as it is\n"),
        ('{"results": [...]}', '{"results": [...]}'),
        ({}, "{}"),
        ({"results": [1, 2.5, None, True], "ü": {"x": "✓"}}, '{"results":[1,2.5,null,true],"ü":{"x":"✓"}}'),
        (["a", {"b": 2**70}], '["a",{"b":1180591620717411303424}]'),
    ],
)
async def test_the_content_of_a_result_is_kept_and_what_is_no_text_as_json(chat: Chat, content: Any, kept: str) -> None:
    first = await chat.say("weather")
    told = await chat.bring(first["conversation_id"], (calls_in(first)[0], content))
    assert told["content"] == f"The tools said: {kept}"
    assert (await chat.history(first["conversation_id"]))[2]["content"] == kept


@pytest.mark.requirement("S4-5")
async def test_a_repeated_result_answers_as_the_first_did(chat: Chat) -> None:
    first = await chat.say("everything")
    conversation, (weather, orders) = first["conversation_id"], calls_in(first)
    kept = await chat.bring(conversation, (orders, "none"))
    assert await chat.bring(conversation, (orders, "none")) == kept
    assert await chat.bring(conversation, (orders, "something else")) == kept
    told = await chat.bring(conversation, (weather, "sunny"))
    streamed = await chat.stream(brought(conversation, (weather, "sunny")))
    assert streamed[-1]["message"] == told
    assert "".join(frame["content"] for frame in streamed if frame["type"] == "delta") == told["content"]
    async with chat.request("POST", brought(conversation, (weather, "sunny"))) as response:
        assert response.headers["Idempotent-Replayed"] == "true"
        assert await response.json() == told
    both = await chat.bring(conversation, (orders, "none"), (weather, "sunny"))
    assert both == told
    assert await chat.bring(conversation, (orders, "none")) == kept
    assert len(await chat.history(conversation)) == 5


@pytest.mark.requirement("S4-5")
async def test_two_last_results_at_one_time_bring_one_answer(chat: Chat) -> None:
    for _ in range(5):
        first = await chat.say("everything")
        conversation = first["conversation_id"]
        told = await asyncio.gather(*(chat.bring(conversation, (call_id, "sunny")) for call_id in calls_in(first)))
        assert sorted(each["role"] for each in told) == ["assistant", "tool"]
        assert len(await chat.history(conversation)) == 5


@pytest.mark.requirement("S4-5", "S4-14")
async def test_results_that_answer_no_open_call_are_refused(chat: Chat) -> None:
    first, other = await chat.say("everything"), await chat.say("everything")
    conversation, (weather, orders) = first["conversation_id"], calls_in(first)
    before = await chat.history(conversation)
    for wrong in (
        brought(conversation, ("call_unknown", "x")),
        brought(conversation, ("", "x")),
        brought(conversation, (calls_in(other)[0], "x")),
        brought(conversation, (weather, "x"), ("call_unknown", "x")),
        brought(conversation, (weather, "x"), (weather, "y")),
        brought(conversation, (weather, None)),
        brought(conversation, (weather, 5)),
        brought(conversation, (weather, True)),
        brought(conversation, (weather, "x"), (orders, None)),
        {"conversation_id": conversation, "role": "tool", "content": "x"},
        {"conversation_id": conversation, "role": "tool", "tool_call_id": weather},
        {"conversation_id": conversation, "messages": [{"tool_call_id": weather, "content": "x"}]},
        {"conversation_id": conversation, "messages": [{"role": "user", "content": "x"}]},
        {"conversation_id": conversation, "messages": [{"role": "tool", "content": "x"}]},
        {"conversation_id": conversation, "messages": ["x"]},
        {"role": "tool", "tool_call_id": weather, "content": "x"},
        {"messages": brought(conversation, (weather, "x"), (orders, "y"))["messages"]},
        {**brought(conversation, (weather, "x")), "message": "Hello"},
        {
            **brought(conversation, (weather, "x")),
            "messages": [{"role": "tool", "tool_call_id": orders, "content": ""}],
        },
        {**brought(conversation, (weather, "x"), (orders, "y")), "message": "Hello"},
    ):
        assert await chat.refused(400, "VALIDATION_ERROR", wrong)
    assert await chat.history(conversation) == before
    assert (await chat.bring(conversation, (weather, "sunny"), (orders, "none")))["role"] == "assistant"


@pytest.mark.requirement("S4-5", "S4-13")
async def test_results_for_a_conversation_that_is_not_there_are_not_found(chat: Chat) -> None:
    first = await chat.say("weather")
    for unknown in ("conv_" + "0" * 32, "a name of nothing"):
        await chat.refused(404, "CONVERSATION_NOT_FOUND", brought(unknown, ("call_123", "x")))
    elsewhere = chat.named("open-agent")
    await elsewhere.refused(404, "CONVERSATION_NOT_FOUND", brought(first["conversation_id"], ("call_123", "x")))
    assert (await chat.read(conversation_id="a name of nothing"))["messages"] == []


@pytest.mark.requirement("S4-5", "S4-13")
async def test_results_go_to_a_conversation_by_the_clients_own_name(chat: Chat) -> None:
    first = await chat.say("everything", "conv-123")
    weather, orders = calls_in(first)
    kept = await chat.bring("conv-123", (weather, "sunny"))
    told = await chat.bring("conv-123", (orders, "none"))
    assert {each["conversation_id"] for each in (first, kept, told)} == {"conv-123"}


@pytest.mark.requirement("S4-4")
async def test_a_call_id_that_a_model_uses_again_is_replaced(chat: Chat) -> None:
    conversation, ids = "one id each", []
    for _ in range(3):
        told = await chat.say("weather", conversation)
        ids += calls_in(told)
        assert (await chat.bring(conversation, (ids[-1], "sunny")))["role"] == "assistant"
    assert ids[0] == "call_123"
    assert len(set(ids)) == 3


@pytest.mark.requirement("S4-6", "S4-5")
@pytest.mark.parametrize("answered", [0, 1])
async def test_a_new_message_cancels_open_calls_and_the_history_stays_valid(
    calling: Chat, upstream: str, session: aiohttp.ClientSession, answered: int
) -> None:
    first = await calling.say("First")
    conversation, ids = first["conversation_id"], calls_in(first)
    for call_id in ids[:answered]:
        assert (await calling.bring(conversation, (call_id, "in time")))["role"] == "tool"
    second = await calling.say("Never mind", conversation)
    prompt = await asked(upstream, session)
    check_prompt(prompt)
    assert [message["role"] for message in prompt] == ["user", "assistant", "tool", "tool", "user"]
    assert [message["content"] for message in prompt[2:4]] == ["in time"] * answered + [CANCELLED] * (2 - answered)
    assert prompt[-1]["content"] == "Never mind"
    message = await calling.refused(400, "VALIDATION_ERROR", brought(conversation, (ids[1], "too late")))
    assert "was cancelled by a later message" in message
    shown = await calling.history(conversation)
    assert [each["role"] for each in shown] == ["user", "assistant", "tool", "tool", "user", "assistant"]
    told = await calling.bring(conversation, *((call_id, "now") for call_id in calls_in(second)))
    check_prompt(json.loads(told["content"]))


@pytest.mark.requirement("S4-6")
async def test_a_repeat_of_a_result_that_came_before_the_cancelling_is_told_as_before(calling: Chat) -> None:
    first = await calling.say("First")
    conversation, ids = first["conversation_id"], calls_in(first)
    kept = await calling.bring(conversation, (ids[0], "in time"))
    await calling.say("Never mind", conversation)
    assert await calling.bring(conversation, (ids[0], "in time")) == kept


@pytest.mark.requirement("S4-5", "S4-10")
async def test_a_segment_that_fails_says_so_and_a_repeat_runs_it_again(chat: Chat) -> None:
    first = await chat.say("weather")
    conversation = first["conversation_id"]
    body = brought(conversation, ("call_123", "bad result"))
    *_, failed = await chat.stream(body)
    error = {"code": "AI_SERVICE_ERROR", "message": "The AI service could not answer", "details": {}}
    assert failed == {"type": "error", "error": error}
    await chat.refused(500, "AI_SERVICE_ERROR", body)
    shown = await chat.history(conversation)
    assert [each["role"] for each in shown[:3]] == ["user", "assistant", "tool"]
    assert {each["content"] for each in shown[3:]} == {"Hm, no"}
    assert [each["content"] for each in shown].count("bad result") == 1


@pytest.mark.requirement("S4-5")
async def test_a_stopped_segment_ends_with_what_there_is(chat: Chat) -> None:
    first = await chat.say("weather")
    body = {**brought(first["conversation_id"], ("call_123", "slow result")), "stream": True}
    async with chat.request("POST", body) as response:
        seen = await response.content.readuntil(b'"Hm,"}\n\n')
        turn = response.headers["X-Turn-Id"]
        async with chat.client.post(f"/manage/v1/turns/{turn}/stop", None) as stopped:
            assert (await stopped.json())["state"] == "cancelled"
        seen += await response.read()
    last = json.loads(seen.split(b"\n\n")[-2].removeprefix(b"data: "))
    assert (last["type"], last["message"]["content"], last["message"]["tool_calls"]) == ("done", "Hm,", None)
    assert (await chat.history(first["conversation_id"]))[-1]["content"] == "Hm,"
    assert (await chat.say("Hello", first["conversation_id"]))["content"] == "You said: Hello"


@pytest.mark.requirement("S4-4", "S4-5")
@pytest.mark.parametrize("stream", [False, True])
async def test_a_key_of_a_paused_turn_replays_its_calls_before_and_after_their_results(
    chat: Chat, stream: bool
) -> None:
    body, key = {"message": "everything", "stream": stream}, str(uuid4())

    async def again() -> tuple[bytes, str | None]:
        async with chat.request("POST", body, headers={"Idempotency-Key": key}) as response:
            assert response.status == 200
            return await response.read(), response.headers.get("Idempotent-Replayed")

    told, replayed = await again()
    assert replayed is None
    assert await again() == (told, "true")
    whole = json.loads(told.split(b"\n\n")[-2].partition(b"data: ")[2])["message"] if stream else json.loads(told)
    results = [(call_id, "sunny") for call_id in calls_in(whole)]
    answer = await chat.bring(whole["conversation_id"], *results)
    assert await again() == (told, "true")
    assert await chat.bring(whole["conversation_id"], *results) == answer


@pytest.mark.requirement("S4-5", "S4-10")
async def test_the_stream_after_a_result_goes_on_after_every_cut(chat: Chat) -> None:
    first = await chat.say("weather")
    body = {**brought(first["conversation_id"], ("call_123", "sunny")), "stream": True}
    headers = {"Idempotency-Key": str(uuid4())}

    async def blocks(**more: str) -> list[bytes]:
        async with chat.request("POST", body, headers={**headers, **more}) as response:
            assert response.status == 200
            return (await response.read()).split(b"\n\n")[1:-1]

    whole = await blocks()
    assert len(whole) == 7
    for at, block in enumerate(whole):
        event_id = block.split(b"\n")[0].removeprefix(b"id: ").decode()
        assert await blocks(**{"Last-Event-ID": event_id}) == whole[at + 1 :]
