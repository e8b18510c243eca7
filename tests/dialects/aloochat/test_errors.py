"""S0: who is let in, what every error looks like, and what a browser may do."""

import io
from typing import Any

import aiohttp
import pytest

from tests.dialects.aloochat.scene import CHAT, CONVERSATIONS, STREAM, Chat, agent_key, checked, form_of
from tests.support.client import Client
from tests.support.server import KEY, OTHER_KEY

CONVERSATION = f"{CONVERSATIONS}/conv_{'0' * 32}"
ROUTES = [
    ("POST", CONVERSATIONS),
    ("GET", CONVERSATIONS),
    ("GET", CONVERSATION),
    ("PATCH", CONVERSATION),
    ("DELETE", CONVERSATION),
    ("GET", f"{CONVERSATION}/messages"),
    ("POST", CHAT),
    ("POST", STREAM),
]
ORIGIN = "https://shop.example"
REFUSED = b'{"error":"UnauthorizedError","message":"Invalid or missing API key","statusCode":401}'


@pytest.mark.requirement("S0-1", "S0-19")
@pytest.mark.parametrize(("method", "path"), ROUTES)
async def test_no_endpoint_answers_without_a_good_token(chat: Chat, method: str, path: str) -> None:
    wrong: list[dict[str, str]] = [
        {},
        {"x-api-token": ""},
        {"x-api-token": KEY[:-1]},
        {"x-api-token": f"Bearer {KEY}"},
        {"x-api-token": "schlüssel"},
        {"x-api-token": "k" * 60_000},
        {"x-api-token": "wrong", "x-api-key": KEY},
        {"x-api-key": "wrong"},
        {"Authorization": f"Bearer {KEY}"},
    ]
    for headers in wrong:
        for spelled in (path, path + "/"):
            nobody = Chat(chat.client, None)
            async with nobody.request(method, spelled, data=b"no json", headers=headers) as response:
                assert (response.status, await response.read()) == (401, REFUSED), headers


@pytest.mark.requirement("S0-1")
@pytest.mark.parametrize("header", ["x-api-token", "X-API-Token", "x-api-key", "X-Api-Key"])
async def test_the_token_may_come_as_x_api_key_too(client: Client, header: str) -> None:
    chat = Chat(client, KEY, header)
    assert (await chat.told("GET", CONVERSATIONS))[0] == 200
    assert (await chat.say("Hello"))["agent_response_text"] == "You said: Hello"


@pytest.mark.requirement("S0-1")
async def test_of_two_tokens_the_documented_one_counts(chat: Chat) -> None:
    conversation = (await chat.create())["id"]
    both = {"x-api-key": OTHER_KEY}
    assert (await chat.told("GET", f"{CONVERSATIONS}/{conversation}", headers=both))[0] == 200


@pytest.mark.requirement("S0-19")
@pytest.mark.parametrize("path", ["", "/", "/nothing", "/agent", "/agent/chat/x", "/conversations/x/y"])
async def test_a_path_without_a_route_is_a_404_of_this_contract(chat: Chat, path: str) -> None:
    for method in ("GET", "POST", "DELETE"):
        assert await chat.refused(404, method, path) == "No such route"


@pytest.mark.parametrize("path", ["/api/v1/chatter", "/api/v1", "/api/v1/chat2/agent/chat"])
async def test_the_prefix_ends_with_a_segment(chat: Chat, path: str) -> None:
    async with chat.client.get(path) as response:
        assert response.status == 404
        assert "statusCode" not in await response.json()


@pytest.mark.requirement("S0-19")
@pytest.mark.parametrize(
    ("path", "allowed"),
    [
        (CHAT, {"POST"}),
        (STREAM, {"POST"}),
        (CONVERSATIONS, {"GET", "POST"}),
        (CONVERSATION, {"GET", "PATCH", "DELETE"}),
        (f"{CONVERSATION}/messages", {"GET"}),
    ],
)
async def test_a_method_without_a_route_is_a_405(chat: Chat, path: str, allowed: set[str]) -> None:
    for method in {"GET", "POST", "PUT", "PATCH", "DELETE"} - allowed:
        async with chat.request(method, path) as response:
            assert response.status == 405
            checked(await response.json(), 405)


@pytest.mark.requirement("S0-12", "S0-19")
@pytest.mark.parametrize("query", ["refuse", "break off"])
async def test_a_model_that_fails_is_a_500_without_its_own_words(chat: Chat, query: str) -> None:
    form = form_of({"agent_key": agent_key(), "query": query})
    assert await chat.refused(500, "POST", CHAT, data=form) == "The AI service could not answer"


@pytest.mark.requirement("S0-19")
async def test_a_json_body_over_1_mib_is_a_413(chat: Chat) -> None:
    body = b'{"query": "%s"}' % (b"x" * (1024 * 1024))
    for path in (CHAT, STREAM, CONVERSATIONS):
        headers = {"Content-Type": "application/json"}
        await chat.refused(413, "POST", path, data=io.BytesIO(body), headers=headers)


@pytest.mark.requirement("S0-21")
@pytest.mark.parametrize(("method", "path"), ROUTES)
async def test_a_page_of_any_origin_may_ask(chat: Chat, method: str, path: str) -> None:
    asked = "x-api-token, x-api-key, content-type, idempotency-key, last-event-id, x-visitor-token"
    headers = {
        "Origin": ORIGIN,
        "Access-Control-Request-Method": method,
        "Access-Control-Request-Headers": asked,
    }
    async with Chat(chat.client, None).request("OPTIONS", path, headers=headers) as response:
        assert response.status == 200
        assert response.headers["Access-Control-Allow-Origin"] == "*"
        assert method in response.headers["Access-Control-Allow-Methods"]
        assert set(asked.split(", ")) <= set(response.headers["Access-Control-Allow-Headers"].lower().split(", "))
        assert "Access-Control-Allow-Credentials" not in response.headers


@pytest.mark.requirement("S0-21")
async def test_a_page_of_any_origin_posts_its_form_and_reads_the_answer(chat: Chat) -> None:
    for path in (CHAT, STREAM):
        form = form_of({"agent_key": agent_key(), "query": "Hello"})
        async with chat.request("POST", path, data=form, headers={"Origin": ORIGIN}) as response:
            assert response.status == 200
            assert response.headers["Access-Control-Allow-Origin"] == "*"
            assert "x-conversation-id" in response.headers["Access-Control-Expose-Headers"].lower()
            await response.read()
    async with Chat(chat.client, None).request("POST", CHAT, headers={"Origin": ORIGIN}) as response:
        assert response.status == 401
        assert response.headers["Access-Control-Allow-Origin"] == "*"


@pytest.mark.requirement("S0-19")
@pytest.mark.parametrize(
    "headers",
    [
        {"Idempotency-Key": ""},
        {"Idempotency-Key": "k" * 256},
        {"Idempotency-Key": "good", "Last-Event-ID": "5"},
    ],
)
async def test_a_wrong_header_is_a_400(chat: Chat, headers: dict[str, str]) -> None:
    for path in (CHAT, STREAM):
        sent: list[dict[str, Any]] = [{"json": {"agent_key": agent_key(), "query": "Hello"}}]
        sent.append({"data": form_of(sent[0]["json"])})
        for more in sent:
            await chat.refused(400, "POST", path, headers=headers, **more)


async def test_a_cut_connection_leaves_the_server_well(chat: Chat, session: aiohttp.ClientSession) -> None:
    async with chat.request("POST", STREAM, json={"agent_key": agent_key(), "query": "slowly"}) as response:
        await response.content.readline()
        conversation = response.headers["X-Conversation-Id"]
    assert (await chat.say("Hello", conversation_id=conversation))["agent_response_text"] == "You said: Hello"
