"""S1: what its document says of errors, to the byte."""

import pytest

from tests.dialects.scene import SECRET_WORDS, agent_id
from tests.support.client import Client
from tests.support.server import ServerProcess

ROUTE = f"/v1/agents/{agent_id()}/chat"


@pytest.mark.requirement("S1-15")
@pytest.mark.parametrize("body", [{}, {"message": None}, {"message": ""}, {"message": " \n\t\u3000"}, {"stream": True}])
async def test_a_missing_empty_or_blank_message_is_a_400(client: Client, body: dict[str, object]) -> None:
    async with client.post(ROUTE, body) as response:
        assert response.status == 400
        assert await response.read() == b'{"error":{"code":"invalid_request","message":"Message field is required"}}'


@pytest.mark.requirement("S1-6", "S1-15")
@pytest.mark.parametrize("path", [ROUTE, "/v1/conversations/conv_abc123"])
@pytest.mark.parametrize("headers", [{}, {"Authorization": "Bearer wrong"}, {"Authorization": "Basic c2s6c2s="}])
async def test_a_missing_or_wrong_key_is_a_401(
    server: ServerProcess, client: Client, path: str, headers: dict[str, str]
) -> None:
    method = "POST" if path == ROUTE else "GET"
    async with client.session.request(method, server.url + path, data=b"no json", headers=headers) as response:
        assert response.status == 401
        assert response.headers["WWW-Authenticate"] == "Bearer"
        assert await response.read() == b'{"error":{"code":"invalid_api_key","message":"Invalid or missing API key"}}'


@pytest.mark.requirement("S1-15")
@pytest.mark.parametrize("agent", ["agent_" + "0" * 32, "agent_xyz", "support-agent", "conv_" + "0" * 32, "x"])
async def test_an_unknown_agent_is_a_404_of_its_own(client: Client, agent: str) -> None:
    async with client.s1(agent, "Hello") as response:
        assert response.status == 404
        assert await response.read() == b'{"error":{"code":"agent_not_found","message":"Agent not found"}}'


@pytest.mark.requirement("S1-15", "S1-21")
@pytest.mark.parametrize("conversation", ["conv_abc123", "conv_" + "0" * 32, "agent_" + "0" * 32, "x"])
async def test_an_unknown_conversation_is_a_404_of_its_own(client: Client, conversation: str) -> None:
    expected = b'{"error":{"code":"conversation_not_found","message":"Conversation not found"}}'
    async with client.s1(agent_id(), "Hello", conversation) as response:
        assert (response.status, await response.read()) == (404, expected)
    async with client.get(f"/v1/conversations/{conversation}") as response:
        assert (response.status, await response.read()) == (404, expected)


@pytest.mark.requirement("S1-15")
@pytest.mark.parametrize("message", ["refuse", "break off"])
async def test_a_model_that_fails_is_a_500_without_its_own_words(client: Client, message: str) -> None:
    async with client.s1(agent_id(), message) as response:
        assert response.status == 500
        told = await response.read()
    assert told == b'{"error":{"code":"server_error","message":"The AI service could not answer"}}'
    assert SECRET_WORDS.encode() not in told


@pytest.mark.requirement("S1-15")
async def test_a_wrong_method_says_what_is_allowed(client: Client) -> None:
    async with client.get(ROUTE) as response:
        assert (response.status, response.headers["Allow"]) == (405, "POST")
        assert await response.read() == b'{"error":{"code":"method_not_allowed","message":"Method not allowed"}}'
    async with client.post("/v1/conversations/conv_abc123", {}) as response:
        assert (response.status, response.headers["Allow"]) == (405, "GET")
