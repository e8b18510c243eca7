"""S0: a message to an agent and its answer in one piece; what names the agent, what is told to it besides."""

import json
import re
import time
from typing import Any

import pytest

from tests.dialects.aloochat.scene import (
    ANSWER_FIELDS,
    CHAT,
    CONVERSATIONS,
    DEPLOYMENT,
    IDS,
    PAGE_KEY,
    STREAM,
    STRICT_DEPLOYMENT,
    Chat,
    agent_key,
    form_of,
)
from tests.dialects.scene import GREETING
from tests.support.server import OTHER_KEY

BAD_KEY = b'{"error":"ValidationError","message":"Invalid agent_key format","statusCode":400}'
UUID = IDS["support-agent"]


def prompt_of(told: dict[str, Any]) -> list[tuple[str, str]]:
    """What an agent that answers with its prompt was asked."""
    return [(message["role"], message["content"]) for message in json.loads(told["agent_response_text"])]


@pytest.mark.requirement("S0-7", "S0-12", "S0-17")
async def test_an_answer_has_the_four_documented_fields_and_begins_a_conversation(chat: Chat) -> None:
    began = time.monotonic()
    told = await chat.say("greet me")
    took = (time.monotonic() - began) * 1000
    assert list(told) == ANSWER_FIELDS
    assert re.fullmatch(r"conv_[0-9a-f]{32}", told["conversation_id"])
    assert told["agent_response_text"] == "".join(GREETING)
    assert type(told["response_time_ms"]) is int
    assert 0 <= told["response_time_ms"] <= took
    assert told["was_resolved"] is True
    assert await chat.history(told["conversation_id"]) == [("user", "greet me"), ("assistant", "".join(GREETING))]


@pytest.mark.requirement("S0-12")
async def test_the_response_time_is_what_the_client_has_waited(chat: Chat) -> None:
    told = await chat.say("slowly")
    assert told["response_time_ms"] >= 700


@pytest.mark.requirement("S0-12")
async def test_an_answer_that_waits_for_a_tool_is_not_resolved(chat: Chat) -> None:
    told = await chat.say("weather?")
    assert (told["agent_response_text"], told["was_resolved"]) == ("Let me see.", False)
    following = await chat.say("Never mind", conversation_id=told["conversation_id"])
    assert (following["agent_response_text"], following["was_resolved"]) == ("You said: Never mind", True)


@pytest.mark.requirement("S0-12")
async def test_an_empty_answer_is_an_answer(chat: Chat) -> None:
    told = await chat.say("say nothing")
    assert (told["agent_response_text"], told["was_resolved"]) == ("", True)


@pytest.mark.requirement("S0-7")
async def test_the_ids_of_other_contracts_are_in_headers(chat: Chat) -> None:
    async with chat.request("POST", CHAT, data={"agent_key": agent_key(), "query": "Hello"}) as response:
        told = await response.json()
        assert response.headers["X-Conversation-Id"] == told["conversation_id"]
        assert response.headers["X-Message-Id"].startswith("msg_")
        turn = response.headers["X-Turn-Id"]
    assert (await chat.client.turn(turn))["state"] == "completed"


@pytest.mark.requirement("S0-7")
@pytest.mark.parametrize("path", [CHAT, CHAT + "/", STREAM, STREAM + "/"])
async def test_forms_and_json_are_read_alike(chat: Chat, path: str) -> None:
    fields = {"agent_key": agent_key(), "query": "Grüße & +%20=?", "unknown": "x"}
    raw = {"data": json.dumps(fields).encode()}
    sent: list[dict[str, Any]] = [
        {"data": form_of(fields)},
        {"data": fields},
        {"json": fields},
        {**raw, "headers": {"Content-Type": "application/json; charset=utf-8"}},
        {**raw, "headers": {"Content-Type": "Application/JSON"}},
        {**raw, "skip_auto_headers": ["Content-Type"]},
    ]
    for more in sent:
        async with chat.request("POST", path, **more) as response:
            assert response.status == 200
            conversation = response.headers["X-Conversation-Id"]
            await response.read()
        assert await chat.history(conversation) == [
            ("user", fields["query"]),
            ("assistant", f"You said: {fields['query']}"),
        ]


@pytest.mark.requirement("S0-7", "S0-19")
@pytest.mark.parametrize(
    "media",
    ["text/plain", "application/octet-stream", "multipart/mixed; boundary=b", "application/xml", "x", "audio/wav"],
)
async def test_a_body_of_another_type_is_a_415(chat: Chat, media: str) -> None:
    body = json.dumps({"agent_key": agent_key(), "query": "Hello"})
    for path in (CHAT, STREAM):
        message = await chat.refused(415, "POST", path, data=body, headers={"Content-Type": media})
        assert "multipart/form-data" in message


@pytest.mark.requirement("S0-8")
@pytest.mark.parametrize(
    "key",
    [
        None,
        "",
        " ",
        "agent",
        UUID,
        f"agent:{UUID}",
        f"agent:{UUID}:voice",
        f"agent:{UUID}:voice:",
        f"agent:{UUID}::us-east-1",
        f"agent:{UUID}:voice:us-east-1:x",
        f"agent:{UUID}:voice:us-east-1 ",
        f" agent:{UUID}:voice:us-east-1",
        f"agent:{UUID}:voice:us-east-1\n",
        f"Agent:{UUID}:voice:us-east-1",
        f"bot:{UUID}:voice:us-east-1",
        f"agent:{UUID}:Voice:us-east-1",
        f"agent:{UUID}:1voice:us-east-1",
        f"agent:{UUID}:voice:-us",
        f"agent:{UUID}:vo.ice:us",
        f"agent:{UUID}:voicé:us",
        f"agent:{UUID}:voice:us/east",
        f"agent:{UUID[:-1]}:voice:us-east-1",
        f"agent:{UUID}0:voice:us-east-1",
        f"agent:{UUID.replace('-', '')}:voice:us-east-1",
        f"agent:agent_{UUID.replace('-', '')}:voice:us-east-1",
        "agent:support-agent:voice:us-east-1",
        f"agent:{UUID[:-1]}g:voice:us-east-1",
        f"agent:{UUID[:-1]}\u0661:voice:us-east-1",
        "agent:" * 10_000,
    ],
    ids=lambda key: str(key)[-30:],
)
async def test_an_agent_key_that_breaks_its_grammar_is_refused_to_the_byte(chat: Chat, key: str | None) -> None:
    fields = {"query": "Hello", **({} if key is None else {"agent_key": key})}
    for path in (CHAT, STREAM):
        for more in ({"data": form_of(fields)}, {"data": fields}, {"json": fields}):
            async with chat.request("POST", path, **more) as response:
                assert response.status == 400
                assert await response.read() == BAD_KEY


@pytest.mark.requirement("S0-8")
async def test_no_body_at_all_lacks_an_agent_key(chat: Chat) -> None:
    empty: dict[str, Any] = {"skip_auto_headers": ["Content-Type"]}
    for more in (empty, {"json": {"agent_key": None}}, {"data": form_of({})}):
        async with chat.request("POST", CHAT, **more) as response:
            assert (response.status, await response.read()) == (400, BAD_KEY)


@pytest.mark.requirement("S0-9")
@pytest.mark.parametrize(
    ("channel", "region", "deployment"),
    [("voice", "us-east-1", DEPLOYMENT), ("voice", "eu", None), ("web", "us-east-1", None), ("a", "z_0-9", None)],
)
async def test_channel_and_region_name_a_deployment_or_the_default_one(
    chat: Chat, channel: str, region: str, deployment: str | None
) -> None:
    told = await chat.say("Hello", agent_key=agent_key(channel=channel, region=region))
    assert (await chat.read(told["conversation_id"]))["deployment_id"] == deployment


@pytest.mark.requirement("S0-9")
async def test_the_agents_id_may_be_written_in_capitals(chat: Chat) -> None:
    told = await chat.say("Hello", agent_key=f"agent:{UUID.upper()}:voice:us-east-1")
    assert (await chat.read(told["conversation_id"]))["agent_id"] == UUID


@pytest.mark.requirement("S0-9", "S0-19")
async def test_a_strict_agent_has_no_default_deployment(chat: Chat) -> None:
    told = await chat.say("Hello", agent_key=agent_key("strict-agent", "web", "eu_1"))
    assert (await chat.read(told["conversation_id"]))["deployment_id"] == STRICT_DEPLOYMENT
    for channel, region in (("voice", "eu_1"), ("web", "us")):
        form = {"agent_key": agent_key("strict-agent", channel, region), "query": "Hello"}
        assert await chat.refused(404, "POST", CHAT, data=form) == "Agent not found"


@pytest.mark.requirement("S0-9", "S0-19")
async def test_an_agent_that_is_unknown_or_another_tenants_is_a_404(chat: Chat) -> None:
    unknown = {"agent_key": agent_key().replace("4200", "4999"), "query": "Hello"}
    stranger = Chat(chat.client, OTHER_KEY)
    for path in (CHAT, STREAM):
        assert await chat.refused(404, "POST", path, data=unknown) == "Agent not found"
        foreign = {"agent_key": agent_key(), "query": "Hello"}
        assert await stranger.refused(404, "POST", path, data=foreign) == "Agent not found"


SAID = [{"role": "user", "content": "I am Ann"}, {"role": "assistant", "content": "Hello Ann"}]
PRIOR = [("user", "I am Ann"), ("assistant", "Hello Ann")]
SYSTEM = [("system", "Be brief.")]


@pytest.mark.requirement("S0-10")
async def test_messages_stand_before_the_query_for_this_turn_only_and_are_not_stored(chat: Chat) -> None:
    key = agent_key("prompted-agent")
    first = await chat.say("Who am I?", agent_key=key, messages=json.dumps(SAID))
    conversation = first["conversation_id"]
    assert prompt_of(first) == [*SYSTEM, *PRIOR, ("user", "Who am I?")]
    stored = [("user", "Who am I?"), ("assistant", first["agent_response_text"])]
    assert await chat.history(conversation) == stored
    second = await chat.say("And now?", agent_key=key, conversation_id=conversation, messages=json.dumps(SAID[:1]))
    assert prompt_of(second) == [*SYSTEM, *stored, PRIOR[0], ("user", "And now?")]
    third = await chat.say("Still?", agent_key=key, conversation_id=conversation)
    assert PRIOR[0] not in prompt_of(third)
    assert len(await chat.history(conversation)) == 6
    assert (await chat.read(conversation))["title"] == "Who am I?"


@pytest.mark.requirement("S0-10")
@pytest.mark.parametrize("query", [None, "", " \n"])
async def test_without_a_query_the_last_message_of_the_user_is_the_turn(chat: Chat, query: str | None) -> None:
    said = json.dumps([*SAID, {"role": "user", "content": "Who?"}, {"role": "assistant", "content": "said later"}])
    told = await chat.say(query, agent_key=agent_key("prompted-agent"), messages=said)
    assert prompt_of(told) == [*SYSTEM, *PRIOR, ("user", "Who?")]
    assert (await chat.history(told["conversation_id"]))[0] == ("user", "Who?")


@pytest.mark.requirement("S0-7", "S0-10")
async def test_in_json_messages_are_a_list_or_its_text(chat: Chat) -> None:
    for messages in (SAID, json.dumps(SAID), [{**each, "id": 1} for each in SAID]):
        body = {"agent_key": agent_key("prompted-agent"), "query": "Who?", "messages": messages, "stream": True}
        status, told = await chat.told("POST", CHAT, json=body)
        assert status == 200
        assert prompt_of(told) == [*SYSTEM, *PRIOR, ("user", "Who?")]
    for empty in ([], "[]", None):
        body = {"agent_key": agent_key("prompted-agent"), "query": "Who?", "messages": empty}
        assert prompt_of((await chat.told("POST", CHAT, json=body))[1]) == [*SYSTEM, ("user", "Who?")]


MALFORMED = [
    "x",
    "{}",
    "null",
    "5",
    '"x"',
    "[",
    "[5]",
    "[{}]",
    "[null]",
    '[{"role": "user"}]',
    '[{"content": "x"}]',
    '[{"role": "system", "content": "x"}]',
    '[{"role": "tool", "content": "x"}]',
    '[{"role": "User", "content": "x"}]',
    '[{"role": "user", "content": null}]',
    '[{"role": "user", "content": ["x"]}]',
    '[{"role": "user", "content": "a\\u0000b"}]',
    '[{"role": "user", "content": "\\ud800"}]',
    '[{"role": "user", "content": "x"}] x',
    '[{"role": "user", "content": "x", "y": ' + "[" * 63 + "]" * 63 + "}]",
    "[" * 5_000,
    "[" * 5_000 + "]" * 5_000,
]


@pytest.mark.requirement("S0-10", "S0-19")
@pytest.mark.parametrize("messages", MALFORMED, ids=lambda messages: messages[:40])
async def test_messages_that_are_malformed_are_a_400(chat: Chat, messages: str) -> None:
    for query in ({"query": "Hello"}, {}):
        fields = {"agent_key": agent_key(), "messages": messages, **query}
        for more in ({"data": form_of(fields)}, {"data": fields}, {"json": fields}):
            await chat.refused(400, "POST", CHAT, **more)


async def test_messages_go_64_levels_deep(chat: Chat) -> None:
    messages = '[{"role": "user", "content": "x", "y": ' + "[" * 62 + "]" * 62 + "}]"
    fields = {"agent_key": agent_key(), "messages": messages, "query": "Hello"}
    for more in ({"data": form_of(fields)}, {"json": fields}):
        async with chat.request("POST", CHAT, **more) as response:
            assert response.status == 200


@pytest.mark.requirement("S0-10", "S0-19")
@pytest.mark.parametrize("messages", [None, "[]", '[{"role": "assistant", "content": "x"}]', "blank"])
async def test_nothing_to_say_is_a_400(chat: Chat, messages: str | None) -> None:
    spelled = '[{"role": "user", "content": " "}]' if messages == "blank" else messages
    for query in ({}, {"query": ""}, {"query": " \t\n"}):
        fields = {"agent_key": agent_key(), **query, **({"messages": spelled} if spelled is not None else {})}
        for more in ({"data": form_of(fields)}, {"json": fields}):
            assert await chat.refused(400, "POST", CHAT, **more) == "Query field is required"


@pytest.mark.requirement("S0-11", "S0-17")
async def test_a_conversation_id_goes_on_with_that_conversation(chat: Chat) -> None:
    for began in ((await chat.create())["id"], (await chat.say("First"))["conversation_id"]):
        before = await chat.history(began)
        for path, more in ((CHAT, form_of), (STREAM, dict), (CHAT, dict)):
            fields = {"agent_key": agent_key(), "query": "Again", "conversation_id": began}
            async with chat.request("POST", path, data=more(fields)) as response:
                assert response.headers["X-Conversation-Id"] == began
                await response.read()
        assert await chat.history(began) == before + [("user", "Again"), ("assistant", "You said: Again")] * 3


@pytest.mark.requirement("S0-11", "S0-17")
async def test_a_conversation_id_that_is_not_given_begins_one(chat: Chat) -> None:
    begun = set()
    fields = {"agent_key": agent_key(), "query": "Hello"}
    blank = {**fields, "conversation_id": ""}
    for more in ({"data": form_of(blank)}, {"data": blank}, {"json": {**fields, "conversation_id": None}}):
        for path in (CHAT, STREAM):
            async with chat.request("POST", path, **more) as response:
                assert response.status == 200
                begun.add(response.headers["X-Conversation-Id"])
                await response.read()
    assert len(begun) == 6


@pytest.mark.requirement("S0-11", "S0-19")
async def test_a_conversation_that_is_unknown_or_another_agents_is_a_404(chat: Chat) -> None:
    other = (await chat.say("Hello", agent_key=agent_key("second-agent")))["conversation_id"]
    for named in (other, "conv_" + "0" * 32, IDS["support-agent"], "mine", "conv_x"):
        form = {"agent_key": agent_key(), "query": "Hello", "conversation_id": named}
        for path in (CHAT, STREAM):
            assert await chat.refused(404, "POST", path, data=form) == "Conversation not found"


async def test_a_conversation_goes_on_in_other_contracts_and_comes_back(chat: Chat) -> None:
    conversation = (await chat.say("Here"))["conversation_id"]
    async with chat.client.s2("There", conversation) as response:
        assert response.status == 200
    async with chat.client.s1("agent_" + UUID.replace("-", ""), "Elsewhere", conversation) as response:
        assert response.status == 200
    await chat.say("Back", conversation_id=conversation)
    said = [text for role, text in await chat.history(conversation) if role == "user"]
    assert said == ["Here", "There", "Elsewhere", "Back"]


@pytest.mark.requirement("S0-1", "S0-19")
async def test_a_publishable_key_may_chat_and_manage_nothing(chat: Chat) -> None:
    page = Chat(chat.client, PAGE_KEY)
    form = {"agent_key": agent_key(), "query": "Hello"}
    async with page.request("POST", CHAT, data=form) as response:
        assert response.status == 200
        conversation = (await response.json())["conversation_id"]
        page.headers["X-Visitor-Token"] = response.headers["X-Visitor-Token"]
    async with page.request("POST", STREAM, data={**form, "conversation_id": conversation}) as response:
        assert response.status == 200
        assert response.headers["X-Conversation-Id"] == conversation
        await response.read()
    for method, path in (
        ("POST", CONVERSATIONS),
        ("GET", CONVERSATIONS),
        ("GET", f"{CONVERSATIONS}/{conversation}"),
        ("PATCH", f"{CONVERSATIONS}/{conversation}"),
        ("DELETE", f"{CONVERSATIONS}/{conversation}"),
        ("GET", f"{CONVERSATIONS}/{conversation}/messages"),
    ):
        await page.refused(403, method, path)
    somebody = Chat(chat.client, PAGE_KEY)
    await somebody.refused(404, "POST", CHAT, data={**form, "conversation_id": conversation})
    await page.refused(404, "POST", CHAT, data={**form, "agent_key": agent_key("second-agent")})


@pytest.mark.requirement("S0-7", "S0-11")
async def test_an_idempotency_key_counts_fields_and_files_and_not_the_bytes_of_the_form(chat: Chat) -> None:
    fields = {"agent_key": agent_key(), "query": "greet me", "note": b"some bytes"}

    async def sent(data: Any, key: str = "one-form") -> tuple[int, Any, str | None]:
        async with chat.request("POST", CHAT, data=data, headers={"Idempotency-Key": key}) as response:
            told = await response.json()
            return response.status, told, response.headers.get("Idempotent-Replayed")

    status, first, replayed = await sent(form_of(fields))
    assert (status, replayed) == (200, None)
    # Each form has a boundary of its own.
    for again in (form_of(fields), form_of(dict(reversed(fields.items())))):
        status, told, replayed = await sent(again)
        assert (status, replayed) == (200, "true")
        assert {**told, "response_time_ms": 0} == {**first, "response_time_ms": 0}
    assert len(await chat.history(first["conversation_id"])) == 2
    for change in ({"query": "greet us"}, {"note": b"other bytes"}, {"more": "x"}):
        status, told, _ = await sent(form_of({**fields, **change}))
        assert (status, told["error"]) == (422, "IdempotencyError")
