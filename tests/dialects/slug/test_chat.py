"""S2: a message and its whole answer."""

import json
import re

import pytest
import yaml

from tests.dialects.scene import IDS
from tests.support.client import Client
from tests.support.server import ServerProcess, manifest, scripted

ROUTE = "/v1/api/chat/support-agent"
CONVERSATION = re.compile(r"conv_[0-9a-f]{32}")


@pytest.mark.requirement("S2-1", "S2-2", "X-7")
async def test_an_answer_has_the_documented_fields_in_the_documented_order(client: Client) -> None:
    async with client.post(ROUTE, {"message": "please greet me", "stream": False}) as response:
        assert response.status == 200
        assert response.headers["Content-Type"] == "application/json"
        told = await response.json()
    assert list(told) == ["data", "error"]
    assert list(told["data"]) == ["response", "conversationId", "metadata"]
    assert list(told["data"]["metadata"]) == ["model", "tokens"]
    assert told["error"] is None
    assert told["data"]["response"] == "Hello there! How can I help?"
    assert CONVERSATION.fullmatch(told["data"]["conversationId"])
    assert told["data"]["metadata"]["model"] == "scripted"


@pytest.mark.requirement("S2-1")
async def test_a_message_alone_is_enough(client: Client) -> None:
    async with client.post(ROUTE, {"message": "Good morning"}) as response:
        assert response.status == 200
        assert (await response.json())["data"]["response"] == "You said: Good morning"


@pytest.mark.requirement("S2-2")
async def test_tokens_are_those_of_prompt_and_completion_of_this_turn_alone(client: Client) -> None:
    client.slug = "counting-agent"
    first = await client.say("x" * 40)
    assert first["metadata"] == {"model": "tokens=4", "tokens": 10 + 4}
    answer = "tok0 tok1 tok2 tok3 "
    second = await client.say("x" * 40, first["conversationId"])
    assert second["metadata"]["tokens"] == (40 + len(answer) + 40) // 4 + 4


@pytest.mark.requirement("S2-7")
@pytest.mark.parametrize("more", [{}, {"conversationId": None}])
async def test_without_a_conversation_one_begins(client: Client, more: dict[str, None]) -> None:
    begun = []
    for _ in range(2):
        async with client.post(ROUTE, {"message": "Hello", **more}) as response:
            assert response.status == 200
            begun.append((await response.json())["data"]["conversationId"])
    assert len(set(begun)) == 2


@pytest.mark.requirement("S2-7")
async def test_a_conversation_goes_on_and_the_model_is_given_its_history(client: Client) -> None:
    client.slug = "prompted-agent"
    first = await client.say("One")
    second = await client.say("Two", first["conversationId"])
    assert second["conversationId"] == first["conversationId"]
    assert json.loads(second["response"]) == [
        {"role": "system", "content": "Be brief."},
        {"role": "user", "content": "One"},
        {"role": "assistant", "content": first["response"]},
        {"role": "user", "content": "Two"},
    ]


@pytest.mark.requirement("S2-9")
@pytest.mark.parametrize("stream", [False, True])
async def test_the_ids_are_in_headers_that_a_browser_may_read(client: Client, stream: bool) -> None:
    async with client.s2("Hello", stream=stream, Origin="https://shop.example") as response:
        await response.read()
        assert response.headers["Access-Control-Allow-Origin"] == "*"
        exposed = response.headers["Access-Control-Expose-Headers"].split(", ")
        conversation, message = response.headers["X-Conversation-Id"], response.headers["X-Message-Id"]
        turn = await client.turn(response.headers["X-Turn-Id"])
    assert {"X-Conversation-Id", "X-Message-Id", "X-Turn-Id", "X-Request-Id", "Idempotent-Replayed"} <= set(exposed)
    assert (turn["conversation_id"], turn["message_id"], turn["state"]) == (conversation, message, "completed")
    assert [said["content"] for said in await client.history(conversation)] == ["Hello", "You said: Hello"]


@pytest.mark.requirement("S2-9")
async def test_the_header_names_the_conversation_of_the_body(client: Client) -> None:
    async with client.s2("Hello") as response:
        told = await response.json()
        assert response.headers["X-Conversation-Id"] == told["data"]["conversationId"]


@pytest.mark.requirement("S2-1")
async def test_a_message_of_100_kb_is_valid(client: Client) -> None:
    long = "ä" * 50_000
    assert (await client.say(long))["response"] == f"You said: {long}"


@pytest.mark.requirement("S2-11")
async def test_slugs_are_made_of_names_numbered_when_taken_and_outlive_a_rename(
    server: ServerProcess, client: Client
) -> None:
    uuids = [IDS["support-agent"][:-4] + f"{number:04}" for number in range(5)]
    names = ["Customer Support", "Sales Bot", "customer support!", "Crème brûlée & Smørrebrød", "SALES  BOT"]
    slugs = ["customer-support", "sales-bot", "customer-support-2", "creme-brulee-smorrebrod", "sales-bot-2"]

    def apply(names: list[str]) -> dict[str, str]:
        agents = [scripted(name, id=uuid) for name, uuid in zip(names, uuids, strict=True)]
        whole = manifest()
        whole["tenants"][0].update(id="named", keys=[], agents=agents)
        server.apply({"tenants": whole["tenants"][:1]})
        exported = yaml.safe_load(server.run("export", "--tenant", "named").stdout)
        return {agent["id"]: agent["slug"] for agent in exported["tenants"][0]["agents"]}

    assert apply(names) == dict(zip(uuids, slugs, strict=True))
    assert apply([f"Renamed {name}" for name in names]) == dict(zip(uuids, slugs, strict=True))
