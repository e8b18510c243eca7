"""One ledger behind five contracts: what is spent in one is gone for all, and each says so in its own words."""

import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from websockets.sync.client import connect

from tests.dialects.across.tongues import TONGUES, USER, Tongue, ask
from tests.support.server import KEY, ServerProcess, manifest, scripted

AGENT = "123e4567-e89b-12d3-a456-426614174000"
MESSAGE = "No credits left: the balance does not cover this turn"
SENT: dict[str, tuple[str, dict[str, Any]]] = {
    "aloochat": ("/api/v1/chat/agent/chat", {"agent_key": f"agent:{AGENT}:voice:eu-1", "query": "Hello"}),
    "alonchat": (f"/v1/agents/{AGENT}/chat", {"message": "Hello"}),
    "slug": ("/v1/api/chat/support-agent", {"message": "Hello"}),
    "agents": (f"/api/agents/{AGENT}/chat", {"message": "Hello"}),
}
REFUSED: dict[str, dict[str, Any]] = {
    "aloochat": {"error": "InsufficientCreditsError", "message": MESSAGE, "statusCode": 402},
    "alonchat": {"error": {"code": "insufficient_credits", "message": MESSAGE}},
    "slug": {"data": None, "error": {"name": "InsufficientCreditsError", "message": MESSAGE, "details": {}}},
    "agents": {"error": {"code": "INSUFFICIENT_CREDITS", "message": MESSAGE, "details": {}}},
}


@pytest.fixture
def metered(tmp_path: Path) -> Iterator[ServerProcess]:
    """A server whose tenant can pay for one turn in each contract."""
    process = ServerProcess(tmp_path)
    agent = scripted("Support Agent", id=AGENT)
    process.apply(manifest(agent, credits=len(TONGUES), default_agent="support-agent"))
    with process:
        yield process


@pytest.mark.requirement("X-3", "S1-5", "S1-15")
def test_what_is_spent_in_one_contract_is_gone_for_all_and_each_refuses_in_its_own_words(
    metered: ServerProcess,
) -> None:
    left = len(TONGUES)
    for kind in TONGUES:
        tongue: Tongue = kind(metered.url, AGENT)
        tongue.say("Hello")
        left -= 1
        assert ask(metered.url, "GET", "/manage/v1/tenant").body["credits"] == left
    for name, (path, body) in SENT.items():
        told = ask(metered.url, "POST", path, body)
        assert (told.status, told.body) == (402, REFUSED[name])
    assert socket_error(metered)["error_code"] == "INSUFFICIENT_CREDITS"
    used = ask(metered.url, "GET", "/manage/v1/usage?group_by=agent").body
    assert (used["total"]["turns"], used["total"]["credits"], used["credits"]) == (5, 5, 0)
    printed = metered.run("usage", "--tenant", "acme", "--json").stdout
    assert [each["total"]["credits"] for each in json.loads(printed)] == [5]


def socket_error(server: ServerProcess) -> dict[str, Any]:
    """What a socket is told that sends a message."""
    chat = ask(server.url, "POST", "/api/v1/chats/", {"user_id": USER}).body["id"]
    address = server.url.replace("http", "ws") + f"/ws/chat?api_key={KEY}&user_id={USER}&chat_id={chat}"
    with connect(address, open_timeout=20) as socket:
        socket.send('{"content": "Hello"}')
        while True:
            frame: dict[str, Any] = json.loads(socket.recv(timeout=20))
            if frame["event_type"] == "error":
                return frame
