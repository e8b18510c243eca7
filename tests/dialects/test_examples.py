"""The cURL examples of the documents, run as a client would: only host, key and ids are ours."""

import json
import subprocess
from typing import Any

import pytest

from tests.dialects.scene import GREETING, agent_id
from tests.support.server import KEY, ServerProcess

CHAT = "/v1/api/chat/support-agent"


def curl(server: ServerProcess, path: str, body: str | None = None, *options: str, key: str = KEY) -> str:
    """What cURL prints; a body makes it a POST."""
    headers = ["-H", f"Authorization: Bearer {key}"]
    if body is not None:
        headers = ["-X", "POST", *headers, "-H", "Content-Type: application/json", "-d", body]
    done = subprocess.run(
        ["curl", "-sS", server.url + path, *headers, *options], capture_output=True, check=True, timeout=20
    )
    return done.stdout.decode()


@pytest.mark.requirement("S2-1", "S2-2", "S2-7", "X-5")
def test_s2_a_chat_and_its_continuation(server: ServerProcess) -> None:
    first = json.loads(
        curl(server, CHAT, '{\n    "message": "What are your business hours?",\n    "stream": false\n  }')
    )
    conversation = first["data"]["conversationId"]
    body = json.dumps({"message": "Can you elaborate on that?", "stream": False, "conversationId": conversation})
    second = json.loads(curl(server, CHAT, body))
    for told in (first, second):
        assert shape(told) == {
            "data": {
                "response": "str",
                "conversationId": "str",
                "metadata": {"model": "str", "tokens": "int"},
            },
            "error": "NoneType",
        }
    assert second["data"]["conversationId"] == conversation


@pytest.mark.requirement("S2-8", "X-5")
def test_s2_a_stream(server: ServerProcess) -> None:
    told = curl(server, CHAT, '{"message": "greet me", "stream": true}', "--no-buffer")
    lines = [line for line in told.split("\n") if line.startswith("data: ")]
    assert lines == [*(f'data: {{"chunk": {json.dumps(token)}}}' for token in GREETING), "data: [DONE]"]


@pytest.mark.requirement("S2-3", "S2-4", "S2-5", "X-5")
def test_s2_the_three_documented_errors(server: ServerProcess) -> None:
    def error(name: str, message: str) -> dict[str, Any]:
        return {"data": None, "error": {"name": name, "message": message, "details": {}}}

    missing = json.loads(curl(server, CHAT, "{}"))
    assert missing == error("ValidationError", "Message field is required")
    refused = json.loads(curl(server, CHAT, '{"message": "Hello"}', key="YOUR_API_KEY"))
    assert refused == error("UnauthorizedError", "Invalid or missing API token")
    absent = json.loads(curl(server, "/v1/api/chat/agent-slug", '{"message": "Hello"}'))
    assert absent == error("NotFoundError", "Agent with slug 'agent-slug' not found")


@pytest.mark.requirement("S1-1", "S1-2", "X-5")
def test_s1_a_first_request_and_the_conversation_it_began(server: ServerProcess) -> None:
    path = f"/v1/agents/{agent_id()}/chat"
    told = json.loads(curl(server, path, '{\n"message": "Hello, what are your business hours?"\n}'))
    assert shape(told) == {
        "response": "str",
        "conversation_id": "str",
        "message_id": "str",
        "confidence": "NoneType",
        "model": "str",
        "sources": "list",
        "credits_used": "int",
    }
    read = json.loads(curl(server, f"/v1/conversations/{told['conversation_id']}"))
    assert shape(read) == {"id": "str", "agent_id": "str", "created_at": "str", "messages": "list"}
    assert [message["role"] for message in read["messages"]] == ["user", "assistant"]


@pytest.mark.requirement("S1-9", "X-5")
def test_s1_a_stream(server: ServerProcess) -> None:
    told = curl(server, f"/v1/agents/{agent_id()}/chat", '{"message": "greet me", "stream": true}', "-N")
    names = [line.removeprefix("event: ") for line in told.split("\n") if line.startswith("event: ")]
    assert names == ["text"] * len(GREETING) + ["sources", "done"]


def shape(value: Any) -> Any:
    """The keys of an object and the types of what they hold, in order."""
    return {name: shape(held) for name, held in value.items()} if isinstance(value, dict) else type(value).__name__
