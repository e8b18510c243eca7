"""Each contract as a tongue to say and read the same things in: what is said, and what a history holds."""

import json
import urllib.error
import urllib.request
from dataclasses import dataclass
from typing import Any

from websockets.sync.client import connect

from tests.support.server import KEY

Said = list[tuple[str, str]]
USER = "user123"


@dataclass(frozen=True)
class Told:
    """An answer: its status and its body as JSON, None where it has none."""

    status: int
    body: Any


def ask(url: str, method: str, path: str, body: Any = None, *, key: str = KEY, patience: float = 20) -> Told:
    """A request with the secret key in every header that a contract reads it from."""
    credentials = {"Authorization": f"Bearer {key}", "x-api-token": key, "X-API-Key": key}
    request = urllib.request.Request(
        url + path,
        method=method,
        data=None if body is None else json.dumps(body).encode(),
        headers={**credentials, **({} if body is None else {"Content-Type": "application/json"})},
    )
    try:
        with urllib.request.urlopen(request, timeout=patience) as answer:
            return _told(answer.status, answer.read())
    except urllib.error.HTTPError as error:
        with error:
            return _told(error.code, error.read())


def _told(status: int, body: bytes) -> Told:
    return Told(status, json.loads(body) if body else None)


def rendered(conversation: str) -> tuple[str, str]:
    """A conversation's two names, of which either is given: ``conv_...`` and the UUID."""
    digits = conversation.removeprefix("conv_").replace("-", "")
    parts = (digits[:8], digits[8:12], digits[12:16], digits[16:20], digits[20:])
    return f"conv_{digits}", "-".join(parts)


class Tongue:
    """One contract, spoken to one agent of one server. A conversation is named by ``conv_...`` throughout."""

    name: str

    def __init__(self, url: str, agent: str, key: str = KEY) -> None:
        self.url = url
        self.agent = agent
        self.key = key

    def ask(self, method: str, path: str, body: Any = None) -> Told:
        """A request with this tongue's key."""
        return ask(self.url, method, path, body, key=self.key)

    def say(self, text: str, conversation: str | None = None) -> tuple[str, str]:
        """Say something, and begin a conversation where none is given; the conversation and the answer."""
        raise NotImplementedError

    def read(self, conversation: str) -> Said | None:
        """The history, oldest first; None where the contract says that there is no such conversation."""
        raise NotImplementedError


class Aloochat(Tongue):
    """S0."""

    name = "aloochat"

    def say(self, text: str, conversation: str | None = None) -> tuple[str, str]:
        body = {"agent_key": f"agent:{self.agent}:voice:eu-1", "query": text}
        more = {"conversation_id": conversation} if conversation else {}
        told = self.ask("POST", "/api/v1/chat/agent/chat", {**body, **more})
        assert told.status == 200, told
        return told.body["conversation_id"], told.body["agent_response_text"]

    def read(self, conversation: str) -> Said | None:
        told = self.ask("GET", f"/api/v1/chat/conversations/{conversation}/messages?limit=100")
        return None if told.status == 404 else [(each["role"], each["content"]) for each in told.body]


class Alonchat(Tongue):
    """S1."""

    name = "alonchat"

    def say(self, text: str, conversation: str | None = None) -> tuple[str, str]:
        body = {"message": text, **({"conversation_id": conversation} if conversation else {})}
        told = self.ask("POST", f"/v1/agents/{self.agent}/chat", body)
        assert told.status == 200, told
        return told.body["conversation_id"], told.body["response"]

    def read(self, conversation: str) -> Said | None:
        told = self.ask("GET", f"/v1/conversations/{conversation}")
        return None if told.status == 404 else [(each["role"], each["content"]) for each in told.body["messages"]]


class Slug(Tongue):
    """S2, which cannot read."""

    name = "slug"

    def say(self, text: str, conversation: str | None = None) -> tuple[str, str]:
        body = {"message": text, "conversationId": conversation}
        told = self.ask("POST", "/v1/api/chat/support-agent", body)
        assert told.status == 200, told
        return told.body["data"]["conversationId"], told.body["data"]["response"]


class Sessions(Tongue):
    """S3: a chat is made first, and a socket says things in it."""

    name = "sessions"

    def say(self, text: str, conversation: str | None = None) -> tuple[str, str]:
        if conversation is None:
            made = self.ask("POST", "/api/v1/chats/", {"user_id": USER})
            assert made.status == 201, made
            conversation = rendered(made.body["id"])[0]
        chat = rendered(conversation)[1]
        address = self.url.replace("http", "ws") + f"/ws/chat?api_key={self.key}&user_id={USER}&chat_id={chat}"
        with connect(address, max_size=None, open_timeout=20) as socket:
            socket.send(json.dumps({"content": text}))
            while True:
                frame = json.loads(socket.recv(timeout=20))
                assert frame["event_type"] != "error", frame
                if frame["event_type"] == "message_stream_ended":
                    return conversation, frame["content"]

    def read(self, conversation: str) -> Said | None:
        told = self.ask("GET", f"/api/v1/chats/{rendered(conversation)[1]}/messages?limit=100")
        if told.status == 404:
            return None
        return [(each["sender_role"], each["content"]) for each in told.body["messages"]]


class Agents(Tongue):
    """S4, which lists nothing for a conversation that is not there."""

    name = "agents"

    def say(self, text: str, conversation: str | None = None) -> tuple[str, str]:
        body = {"message": text, **({"conversation_id": conversation} if conversation else {})}
        told = self.ask("POST", f"/api/agents/{self.agent}/chat", body)
        assert told.status == 200, told
        return told.body["conversation_id"], told.body["content"]

    def read(self, conversation: str) -> Said | None:
        told = self.ask("GET", f"/api/agents/{self.agent}/chat?limit=200&conversation_id={conversation}")
        assert told.status == 200, told
        return [(each["role"], each["content"]) for each in told.body["messages"]]


TONGUES: tuple[type[Tongue], ...] = (Aloochat, Alonchat, Slug, Sessions, Agents)
READERS: tuple[type[Tongue], ...] = (Aloochat, Alonchat, Sessions, Agents)
