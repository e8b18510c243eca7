"""S4: the requests of its document that stand there without a command, one after the other."""

import json
import subprocess
from typing import Any

import pytest

from tests.dialects.agents.scene import TOKYO
from tests.support.server import KEY, ServerProcess


def curl(server: ServerProcess, method: str, query: str = "", body: str | None = None) -> Any:
    """What cURL prints of the weather agent's chat, as JSON."""
    options = ["-X", method, "-H", f"Authorization: Bearer {KEY}"]
    if body is not None:
        options += ["-H", "Content-Type: application/json", "-d", body]
    url = f"{server.url}/api/agents/weather-agent/chat{query}"
    return json.loads(
        subprocess.run(["curl", "-sS", *options, url], capture_output=True, check=True, timeout=20).stdout
    )


@pytest.mark.requirement("S4-1", "S4-4", "S4-5", "S4-8", "S4-13", "X-5")
def test_a_conversation_by_the_documented_id_from_its_first_message_to_its_clearing(server: ServerProcess) -> None:
    first = curl(server, "POST", body='{"message": "What\'s the weather like?", "conversation_id": "conv-123"}')
    assert (first["content"], first["conversation_id"]) == (None, "conv-123")
    (call,) = first["tool_calls"]
    assert call == {"id": "call_123", "type": "function", "function": {"name": "get_weather", "arguments": TOKYO}}
    result = {"role": "tool", "tool_call_id": "call_123", "content": '{"results": [...]}'}
    told = curl(server, "POST", body=json.dumps({**result, "conversation_id": "conv-123"}))
    assert told["content"] == 'The tools said: {"results": [...]}'
    followed = curl(server, "POST", body='{"message": "Follow-up question", "conversation_id": "conv-123"}')
    assert followed["content"] == "You said: Follow-up question"
    listed = curl(server, "GET", "?limit=50&conversation_id=conv-123")
    roles = ["user", "assistant", "tool", "assistant", "user", "assistant"]
    assert [message["role"] for message in listed["messages"]] == roles
    assert listed["meta"] == {"total": 6, "has_more": False}
    assert curl(server, "DELETE", "?conversation_id=conv-123") == {"success": True, "deleted": 6}
