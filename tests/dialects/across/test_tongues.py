"""One conversation in every contract: whatever is said in one is read, continued, watched and forgotten in all."""

import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from hypothesis import HealthCheck, settings
from hypothesis import strategies as st
from hypothesis.stateful import Bundle, RuleBasedStateMachine, consumes, initialize, rule
from websockets.sync.client import connect

from tests.dialects.across.tongues import (
    READERS,
    TONGUES,
    USER,
    Agents,
    Alonchat,
    Aloochat,
    Said,
    Slug,
    Told,
    ask,
    rendered,
)
from tests.dialects.scene import IDS
from tests.support.server import KEY, ServerProcess, scripted

AGENT = IDS["support-agent"]
RUNS = 20
ECHO = "You said: "
# Words that the scripted agent has no special answer for, in scripts and with signs that wires like to break.
TEXTS = st.text(st.sampled_from('abz 0\n\t"\\<>&é\u2028日😀'), min_size=1, max_size=30).filter(str.strip)


@pytest.mark.requirement("X-1", "X-2")
def test_a_conversation_goes_through_all_five_and_is_watched_live(server: ServerProcess) -> None:
    conversation, _ = Alonchat(server.url, AGENT).say("one")
    chat = rendered(conversation)[1]
    address = server.url.replace("http", "ws") + f"/ws/chat?api_key={KEY}&user_id={USER}&chat_id={chat}"
    with connect(address, open_timeout=20) as socket:
        assert json.loads(socket.recv(timeout=20))["event_type"] == "connection_established"
        assert Slug(server.url, AGENT).say("two", conversation) == (conversation, ECHO + "two")
        assert Agents(server.url, AGENT).say("three", conversation) == (conversation, ECHO + "three")
        watched: list[dict[str, Any]] = []
        while sum(frame["event_type"] == "message_stream_ended" for frame in watched) < 2:
            watched.append(json.loads(socket.recv(timeout=20)))
    tokens = [frame["token"] for frame in watched if frame["event_type"] == "message_stream_token"]
    assert "".join(tokens) == f"{ECHO}two{ECHO}three"
    told = [
        (role, text) for word in ("one", "two", "three") for role, text in (("user", word), ("assistant", ECHO + word))
    ]
    assert Aloochat(server.url, AGENT).read(conversation) == told
    for reader in READERS:
        assert reader(server.url, AGENT).read(conversation) == told, reader.name


class Conversations(RuleBasedStateMachine):
    """What is said and forgotten in any contract, held against a list in memory.

    Each run has a tenant of its own: S3 and S0 let one tenant ask a hundred times a minute.
    """

    url: str
    tenants: Iterator[dict[str, Any]]
    begun: Bundle[str] = Bundle("begun")

    @initialize()
    def begin_anew(self) -> None:
        tenant = next(self.tenants)
        self.agent: str = tenant["agents"][0]["id"]
        self.key: str = tenant["keys"][0]["value"]
        self.histories: dict[str, Said] = {}
        self.titles: dict[str, str] = {}

    def ask(self, method: str, path: str, body: Any = None) -> Told:
        return ask(self.url, method, path, body, key=self.key)

    @rule(target=begun, tongue=st.sampled_from(TONGUES), text=TEXTS)
    def begin(self, tongue: type, text: str) -> str:
        conversation, answer = tongue(self.url, self.agent, self.key).say(text)
        self.histories[conversation] = [("user", text), ("assistant", answer)]
        self.titles[conversation] = " ".join(text.split())[:60]
        assert answer == ECHO + text
        return conversation

    @rule(conversation=begun, tongue=st.sampled_from(TONGUES), text=TEXTS)
    def go_on(self, conversation: str, tongue: type, text: str) -> None:
        assert tongue(self.url, self.agent, self.key).say(text, conversation) == (conversation, ECHO + text)
        self.histories[conversation] += [("user", text), ("assistant", ECHO + text)]

    @rule(conversation=begun, tongue=st.sampled_from(READERS))
    def read(self, conversation: str, tongue: type) -> None:
        assert tongue(self.url, self.agent, self.key).read(conversation) == self.histories[conversation]

    @rule(conversation=begun, title=TEXTS)
    def rename(self, conversation: str, title: str) -> None:
        told = self.ask("PATCH", f"/api/v1/chat/conversations/{conversation}", {"title": title})
        assert told.status == 200, told
        self.titles[conversation] = title

    @rule(conversation=begun)
    def look_at_its_title(self, conversation: str) -> None:
        alike = self.ask("GET", f"/api/v1/chat/conversations/{conversation}").body["title"]
        assert self.ask("GET", f"/api/v1/chats/{rendered(conversation)[1]}").body["title"] == alike
        assert alike == self.titles[conversation]

    @rule(conversation=begun)
    def clear(self, conversation: str) -> None:
        told = self.ask("DELETE", f"/api/agents/{self.agent}/chat?conversation_id={conversation}")
        assert told.body == {"success": True, "deleted": len(self.histories[conversation])}
        self.histories[conversation] = []

    @rule(conversation=consumes(begun), over_s0=st.booleans())
    def delete(self, conversation: str, over_s0: bool) -> None:
        named, chat = rendered(conversation)
        path = f"/api/v1/chat/conversations/{named}" if over_s0 else f"/api/v1/chats/{chat}"
        assert self.ask("DELETE", path).status == (204 if over_s0 else 200)
        for tongue in READERS:
            assert tongue(self.url, self.agent, self.key).read(conversation) == ([] if tongue is Agents else None)
        assert (
            self.ask("POST", f"/v1/agents/{self.agent}/chat", {"message": "x", "conversation_id": named}).status == 404
        )


@pytest.mark.requirement("X-1")
def test_every_contract_tells_the_same_story(tmp_path: Path) -> None:
    tenants = [tenant(number) for number in range(10 * RUNS)]
    process = ServerProcess(tmp_path)
    process.apply({"tenants": tenants})
    with process:
        tell_stories(process.url, tenants)


def tenant(number: int) -> dict[str, Any]:
    """A tenant with an agent that echoes."""
    uuid = f"123e4567-e89b-12d3-a456-4266141{number:05}"
    return {
        "id": f"tenant-{number}",
        "plan": "enterprise",
        "default_agent": "support-agent",
        "keys": [{"name": "key", "type": "secret", "value": f"sk_test_{number:030}"}],
        "agents": [scripted("Support Agent", id=uuid)],
    }


def tell_stories(url: str, tenants: list[dict[str, Any]]) -> None:
    machine = type("Machine", (Conversations,), {"url": url, "tenants": iter(tenants)})
    machine.TestCase.settings = settings(
        max_examples=RUNS,
        stateful_step_count=20,
        deadline=None,
        derandomize=True,
        database=None,
        suppress_health_check=list(HealthCheck),
    )
    machine.TestCase().runTest()
