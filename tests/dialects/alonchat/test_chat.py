"""S1: a message, its whole answer, and the conversation that can be read afterwards."""

import contextlib
import json
import re
import sqlite3
from typing import Any

import pytest

from tests.dialects.scene import IDS, agent_id
from tests.support.client import Client
from tests.support.server import ServerProcess

FIELDS = ["response", "conversation_id", "message_id", "confidence", "model", "sources", "credits_used"]
TIME = re.compile(r"\d{4}-\d\d-\d\dT\d\d:\d\d:\d\dZ")


async def say(client: Client, message: str, conversation: str | None = None, *, slug: str = "support-agent") -> Any:
    async with client.s1(agent_id(slug), message, conversation) as response:
        told = await response.json()
        assert response.status == 200, told
        return told


@pytest.mark.requirement("S1-1", "S1-2", "S1-11", "X-7")
async def test_an_answer_always_has_the_seven_fields_in_the_documented_order(client: Client) -> None:
    async with client.s1(agent_id(), "greet me", metadata={"page": "/prices"}, stream=False) as response:
        assert response.status == 200
        assert response.headers["Content-Type"] == "application/json"
        told = await response.json()
        assert response.headers["X-Conversation-Id"] == told["conversation_id"]
        assert response.headers["X-Message-Id"] == told["message_id"]
    assert list(told) == FIELDS
    assert told["response"] == "Hello there! How can I help?"
    assert re.fullmatch(r"conv_[0-9a-f]{32}", told["conversation_id"])
    assert re.fullmatch(r"msg_[0-9a-f]{32}", told["message_id"])
    assert (told["model"], told["confidence"], told["sources"], told["credits_used"]) == ("scripted", None, [], 1)


@pytest.mark.requirement("S1-1", "S1-2")
async def test_a_message_alone_is_enough(client: Client) -> None:
    async with client.post(f"/v1/agents/{agent_id()}/chat", {"message": "Good morning"}) as response:
        told = await response.json()
    assert list(told) == FIELDS
    assert told["response"] == "You said: Good morning"


@pytest.mark.requirement("S1-1")
async def test_a_conversation_goes_on_and_the_model_is_given_its_history(client: Client) -> None:
    first = await say(client, "One", slug="prompted-agent")
    second = await say(client, "Two", first["conversation_id"], slug="prompted-agent")
    assert second["conversation_id"] == first["conversation_id"]
    assert [said["content"] for said in json.loads(second["response"])] == [
        "Be brief.",
        "One",
        first["response"],
        "Two",
    ]


@pytest.mark.requirement("S1-5")
async def test_the_price_table_says_what_a_completed_turn_costs(client: Client) -> None:
    assert (await say(client, "Hello", slug="priced-agent"))["credits_used"] == 5


@pytest.mark.requirement("S1-4", "S1-3")
async def test_an_agent_without_knowledge_has_no_sources_and_no_confidence(client: Client) -> None:
    told = await say(client, "What are your business hours?")
    assert (told["sources"], told["confidence"]) == ([], None)


@pytest.mark.requirement("S1-16")
async def test_metadata_is_stored_with_the_message(server: ServerProcess, client: Client) -> None:
    metadata = {"page": "/prices", "nested": {"ümlaut": [1, 2.5, None, True]}, "big": 2**60}
    async with client.s1(agent_id(), "Hello", metadata=metadata) as response:
        conversation = (await response.json())["conversation_id"]
    file = server.data_dir / "dragoman.db"
    with contextlib.closing(sqlite3.connect(f"file:{file}?mode=ro", uri=True)) as database:
        rows = database.execute(
            "SELECT role, metadata FROM messages WHERE replace(conversation_id, '-', '') = ? ORDER BY number",
            (conversation.removeprefix("conv_"),),
        ).fetchall()
    assert [(role, json.loads(kept) if kept else None) for role, kept in rows] == [
        ("user", metadata),
        ("assistant", None),
    ]


@pytest.mark.requirement("S1-10", "X-7")
async def test_a_conversation_is_read_with_its_documented_fields(client: Client) -> None:
    first = await say(client, "greet me")
    await say(client, "Thanks", first["conversation_id"])
    async with client.get(f"/v1/conversations/{first['conversation_id']}") as response:
        assert response.status == 200
        told = await response.json()
    assert list(told) == ["id", "agent_id", "created_at", "messages"]
    assert (told["id"], told["agent_id"]) == (first["conversation_id"], agent_id())
    assert {tuple(message) for message in told["messages"]} == {("role", "content", "timestamp")}
    assert [(message["role"], message["content"]) for message in told["messages"]] == [
        ("user", "greet me"),
        ("assistant", "Hello there! How can I help?"),
        ("user", "Thanks"),
        ("assistant", "You said: Thanks"),
    ]
    times = [message["timestamp"] for message in told["messages"]]
    assert all(TIME.fullmatch(time) for time in [told["created_at"], *times])
    assert times == sorted(times)


@pytest.mark.requirement("S1-10")
async def test_limit_takes_the_newest_and_before_those_that_came_earlier(client: Client) -> None:
    said = [await say(client, "1")]
    conversation = said[0]["conversation_id"]
    said += [await say(client, text, conversation) for text in ("2", "3")]

    async def read(query: str) -> list[str]:
        async with client.get(f"/v1/conversations/{conversation}?{query}") as response:
            assert response.status == 200
            return [message["content"] for message in (await response.json())["messages"]]

    assert await read("limit=1") == ["You said: 3"]
    assert await read("limit=1000") == [text for number in "123" for text in (number, f"You said: {number}")]
    assert await read(f"before={said[1]['message_id']}") == ["1", "You said: 1", "2"]
    assert await read(f"before={said[1]['message_id']}&limit=2") == ["You said: 1", "2"]
    assert await read(f"before={said[0]['message_id']}&limit=2") == ["1"]


@pytest.mark.requirement("S1-10")
@pytest.mark.parametrize(
    "query", ["limit=0", "limit=1001", "limit=-1", "limit=x", "limit=", "limit=%D9%A3", "before=x"]
)
async def test_a_wrong_limit_or_before_is_refused(client: Client, query: str) -> None:
    conversation = (await say(client, "Hello"))["conversation_id"]
    async with client.get(f"/v1/conversations/{conversation}?{query}") as response:
        assert response.status == 400
        assert (await response.json())["error"]["code"] == "invalid_request"


@pytest.mark.requirement("S1-10", "S1-21")
async def test_a_message_of_another_conversation_is_no_bound(client: Client) -> None:
    one, other = await say(client, "Hello"), await say(client, "Hello")
    async with client.get(f"/v1/conversations/{one['conversation_id']}?before={other['message_id']}") as response:
        assert response.status == 400


@pytest.mark.requirement("S1-21")
async def test_a_conversation_of_another_agent_is_not_found(client: Client) -> None:
    conversation = (await say(client, "Hello"))["conversation_id"]
    answers = []
    for unknown in (conversation, "conv_" + "0" * 32):
        async with client.s1(agent_id("second-agent"), "Hello", unknown) as response:
            answers.append((response.status, await response.read()))
    assert answers[0] == answers[1]
    assert answers[0] == (404, b'{"error":{"code":"conversation_not_found","message":"Conversation not found"}}')
    assert len(await client.history(conversation)) == 2


@pytest.mark.requirement("S1-11")
@pytest.mark.parametrize("reference", [agent_id(), IDS["support-agent"], agent_id().upper()])
async def test_an_agent_is_named_by_its_prefixed_id_or_its_uuid(client: Client, reference: str) -> None:
    async with client.s1(reference, "greet me") as response:
        assert response.status == 200
