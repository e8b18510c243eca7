"""S2: what its document says of errors, to the byte."""

import pytest

from tests.dialects.scene import SECRET_WORDS
from tests.support.client import Client
from tests.support.server import ServerProcess

ROUTE = "/v1/api/chat/support-agent"
MISSING = b'{"data":null,"error":{"name":"ValidationError","message":"Message field is required","details":{}}}'
UNAUTHORIZED = (
    b'{"data":null,"error":{"name":"UnauthorizedError","message":"Invalid or missing API token","details":{}}}'
)
FAILED = (
    b'{"data":null,"error":{"name":"InternalServerError","message":"The AI service could not answer","details":{}}}'
)


@pytest.mark.requirement("S2-4")
@pytest.mark.parametrize("body", [{}, {"message": None}, {"message": ""}, {"message": " \n\t\u3000"}, {"stream": True}])
async def test_a_missing_empty_or_blank_message_is_the_documented_400(client: Client, body: dict[str, object]) -> None:
    async with client.post(ROUTE, body) as response:
        assert response.status == 400
        assert await response.read() == MISSING


@pytest.mark.requirement("S2-3")
@pytest.mark.parametrize("headers", [{}, {"Authorization": "Bearer wrong"}, {"Authorization": "Basic c2s6c2s="}])
async def test_a_missing_or_wrong_token_is_the_documented_401(
    server: ServerProcess, client: Client, headers: dict[str, str]
) -> None:
    async with client.session.post(server.url + ROUTE, json={"message": "Hello"}, headers=headers) as response:
        assert response.status == 401
        assert response.headers["WWW-Authenticate"] == "Bearer"
        assert await response.read() == UNAUTHORIZED


@pytest.mark.requirement("S2-3")
async def test_the_token_is_judged_before_the_body(server: ServerProcess, client: Client) -> None:
    async with client.session.post(server.url + ROUTE, data=b"no json") as response:
        assert response.status == 401


@pytest.mark.requirement("S2-5")
@pytest.mark.parametrize("slug", ["nobody", "Support-Agent", "other-agent", "it's"])
async def test_an_unknown_slug_is_the_documented_404(client: Client, slug: str) -> None:
    async with client.post(f"/v1/api/chat/{slug}", {"message": "Hello"}) as response:
        assert response.status == 404
        assert await response.json() == {
            "data": None,
            "error": {"name": "NotFoundError", "message": f"Agent with slug '{slug}' not found", "details": {}},
        }


@pytest.mark.requirement("S2-7")
@pytest.mark.parametrize("conversation", ["conv_abc123", "conv_" + "0" * 32, "", "x"])
async def test_an_unknown_conversation_is_not_found(client: Client, conversation: str) -> None:
    async with client.s2("Hello", conversation) as response:
        assert response.status == 404
        assert await response.json() == {
            "data": None,
            "error": {"name": "NotFoundError", "message": "Conversation not found", "details": {}},
        }


@pytest.mark.requirement("S2-6")
@pytest.mark.parametrize("message", ["refuse", "break off"])
async def test_a_model_that_fails_is_a_500_without_its_own_words(client: Client, message: str) -> None:
    async with client.s2(message) as response:
        assert response.status == 500
        told = await response.read()
    assert told == FAILED
    assert SECRET_WORDS.encode() not in told


@pytest.mark.requirement("S2-6")
@pytest.mark.parametrize("path", ["/v1/api", "/v1/api/", "/v1/api/chat", "/v1/api/chat/a/b", "/v1/api/agents"])
async def test_an_unknown_route_is_wrapped_too(client: Client, path: str) -> None:
    async with client.post(path, {"message": "Hello"}) as response:
        assert response.status == 404
        assert await response.json() == {
            "data": None,
            "error": {"name": "NotFoundError", "message": "No such route", "details": {}},
        }


@pytest.mark.requirement("S2-6")
async def test_a_wrong_method_is_wrapped_and_says_what_is_allowed(client: Client) -> None:
    async with client.get(ROUTE) as response:
        assert (response.status, response.headers["Allow"]) == (405, "POST")
        assert (await response.json())["error"]["name"] == "MethodNotAllowedError"
