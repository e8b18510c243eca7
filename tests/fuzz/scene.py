"""Tenants that fuzzing may wreck, and real names of what they have, so that requests get past the first look."""

import json
import urllib.request
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from functools import cached_property
from itertools import count
from pathlib import Path
from typing import Any

from dragoman.core.ids import parse_id
from tests.support.embeddings import Embeddings
from tests.support.forms import CONTENT_TYPE, File, multipart

PLENTY = 1_000_000
TOOL = {"type": "client", "name": "get_weather", "parameters": {"type": "object", "properties": {}}}
# A person is asked before it is called.
REFUND = {
    "type": "http",
    "name": "refund",
    "description": "Pays back",
    "method": "POST",
    "url": "https://shop.invalid/",
}
SCRIPT = (
    {"when": "money back", "tool_calls": [{"name": "refund"}]},
    {"when": "weather", "tool_calls": [{"name": "get_weather", "arguments": {"location": "Tokyo"}}]},
    {"text": "Good day to you"},
)
USER = "user123"
SPEECH = Path(__file__).parents[1] / "data" / "speech" / "returns.wav"
SPOKEN = multipart([("audio", File("lamp.wav", SPEECH.read_bytes(), "audio/wav"))])
# What only persons do who have taken a conversation over.
BY_PERSONS = tuple(f"/manage/v1/conversations/{{conversation_id}}/{act}" for act in ("messages", "give-back"))
# How the paths end that leave nothing to be done with what they name, or change who answers in it.
ENDED = ("/approve", "/deny", "/handover", "/give-back", "/revoke")
_numbers = count()


def key_of(tenant: str) -> str:
    """The secret key of a tenant; no route's example names it."""
    return f"sk_test_{tenant}_00000000000000000000000000000000"


def manifest(tenants: Sequence[str], vendor: Embeddings) -> dict[str, Any]:
    """These tenants, each with an agent that has everything that a request can ask for, and limits without end.

    `vendor` embeds and hears for it.
    """
    model = {"provider": "scripted", "script": list(SCRIPT)}
    allowed = {"allow_client_conversation_ids": True, "allow_system_prompt": True}
    deployed = {"deployments": [{"channel": "voice", "region": "eu"}]}
    agent = {"name": "Talker", "slug": "talker", "model": model, "tools": [TOOL, REFUND], **allowed, **deployed}
    agent |= {"embedder": vendor.embedder, "transcriber": vendor.transcriber}
    buckets = dict.fromkeys(("chat_per_minute", "stream_per_minute", "manage_per_minute"), PLENTY)
    return {
        "tenants": [
            {
                "id": tenant,
                "plan": "enterprise",
                "limits": {"per_minute": PLENTY, "per_day": PLENTY},
                "default_agent": "talker",
                "keys": [{"name": "of-the-test", "type": "secret", "value": key_of(tenant), "limits": buckets}],
                "agents": [agent, {"name": "Echo", "slug": "echo", "model": {"provider": "scripted"}}],
            }
            for tenant in tenants
        ]
    }


def hook() -> str:
    """A new address for events, where nobody is."""
    return f"https://hook-{next(_numbers)}.invalid/"


@dataclass
class Pool:
    """What one tenant has, by the names that parameters and fields have for it."""

    url: str
    tenant: str
    _kept: dict[str, Any] = field(default_factory=dict)

    @property
    def headers(self) -> dict[str, str]:
        """The key in every header in which a contract reads it."""
        key = key_of(self.tenant)
        return {"Authorization": f"Bearer {key}", "x-api-token": key, "X-API-Key": key}

    def ask(self, method: str, path: str, body: Any = None) -> Any:
        """A request that must succeed; its JSON, if it has any. `body` is sent as JSON, or as a form if it is bytes."""
        kind = CONTENT_TYPE if isinstance(body, bytes) else "application/json"
        sent = body if body is None or isinstance(body, bytes) else json.dumps(body).encode()
        request = urllib.request.Request(self.url + path, sent, {**self.headers, "Content-Type": kind})
        request.method = method
        with urllib.request.urlopen(request, timeout=20) as answer:
            return json.loads(answer.read() or b"null")

    @cached_property
    def agent(self) -> str:
        """The agent that answers, by its UUID."""
        return self._uuid("talker")

    @cached_property
    def echo(self) -> str:
        """The agent that repeats what is said, by its UUID."""
        return self._uuid("echo")

    def _uuid(self, slug: str) -> str:
        return parse_id("agent", self.ask("GET", f"/manage/v1/agents/{slug}")["id"]) or ""

    @cached_property
    def deployment(self) -> str:
        """Its deployment."""
        id: str = self.ask("GET", "/manage/v1/agents/talker/deployments")["data"][0]["id"]
        return id

    def conversation(self) -> str:
        """A new conversation."""
        id: str = self.ask("POST", "/v1/api/chat/talker", {"message": "Hello"})["data"]["conversationId"]
        return id

    def turn(self) -> str:
        """A turn that has ended."""
        found = self.ask("GET", f"/manage/v1/conversations/{self.conversation()}")
        id: str = found["messages"][0]["turn_id"]
        return id

    def paused(self) -> dict[str, str]:
        """A new conversation that waits for the result of a call."""
        told = self.ask("POST", "/api/agents/talker/chat", {"message": "The weather?"})
        return {"conversation_id": told["conversation_id"], "tool_call_id": told["tool_calls"][0]["id"]}

    def handed(self) -> str:
        """A new conversation that a person answers in."""
        id = self.conversation()
        self.ask("POST", f"/manage/v1/conversations/{id}/handover")
        return id

    def approval(self) -> str:
        """A call that a person is newly asked about."""
        asked = self.ask("POST", "/v1/api/chat/talker", {"message": "My money back"})["data"]["conversationId"]
        waiting = self.ask("GET", "/manage/v1/approvals?state=pending")["data"]
        (id,) = (each["id"] for each in waiting if each["conversation_id"] == asked)
        return str(id)

    def webhook(self) -> str:
        """A new webhook, which may be changed and deleted."""
        id: str = self.ask("POST", "/manage/v1/webhooks", {"url": hook()})["id"]
        return id

    def delivery(self) -> str:
        """What is on its way to a webhook."""
        id: str = self.ask("POST", f"/manage/v1/webhooks/{self.webhook()}/test")["id"]
        return id

    def secret(self) -> str:
        """The name of a new secret, which may be forgotten."""
        name = f"victim_{next(_numbers)}"
        self.ask("PUT", f"/manage/v1/secrets/{name}", {"value": "sealed"})
        return name

    def victim(self) -> str:
        """A new agent, which may be changed and deleted."""
        made = {"name": f"Victim {next(_numbers)}", "model": {"provider": "scripted"}}
        id: str = self.ask("POST", "/manage/v1/agents", made)["id"]
        return id

    def deployed(self) -> dict[str, str]:
        """A new agent with a deployment, which may be deleted."""
        agent = self.victim()
        made = self.ask("POST", f"/manage/v1/agents/{agent}/deployments", {"channel": "chat", "region": "eu"})
        return {"agent_id": agent, "deployment_id": made["id"]}

    def key(self) -> str:
        """A new key, which may be revoked."""
        id: str = self.ask("POST", "/manage/v1/keys", {"name": f"victim-{next(_numbers)}"})["id"]
        return id

    def document(self) -> str:
        """A new document, which may be deleted."""
        told = {"type": "text", "title": "Known", "text": "What is known."}
        id: str = self.ask("POST", "/manage/v1/agents/talker/documents", told)["id"]
        return id

    def attachment(self) -> str:
        """A recording that something was said in."""
        path = f"/manage/v1/conversations/{self.conversation()}"
        self.ask("POST", f"{path}/recordings", SPOKEN)
        id: str = self.ask("GET", f"{path}/attachments")["data"][0]["id"]
        return id

    def named(self, name: str, method: str, path: str) -> dict[str, Any]:
        """Real values for a parameter or a field of a route, and for what belongs to it; none where none is known.

        They last, unless the route takes them away or decides about them.
        """
        made: Callable[[], str]
        match name:
            case "tool_call_id":
                return self.paused()
            case "deployment_id" if path.startswith("/manage"):
                return self.deployed()
            case "agent_id" if path.startswith("/manage"):
                made = self.victim
            case "conversation_id" if path in BY_PERSONS:
                made = self.handed
            case "conversation_id" | "conversationId" | "chat_id":
                made = self.conversation
            case "turn_id":
                made = self.turn
            case "approval_id":
                made = self.approval
            case "webhook_id":
                made = self.webhook
            case "delivery_id":
                made = self.delivery
            case "name" if path.startswith("/manage/v1/secrets/"):
                made = self.secret
            case "url" if path.startswith("/manage/v1/webhooks"):
                return {name: hook()}
            case "key_id":
                made = self.key
            case "document_id":
                made = self.document
            case "attachment_id":
                made = self.attachment
            case _:
                value = self._lasting(name)
                return {} if value is None else {name: value}
        if method == "DELETE" or path.endswith(ENDED):
            return {name: made()}
        kept = made.__name__
        if kept not in self._kept:
            self._kept[kept] = made()
        return {name: self._kept[kept]}

    def _lasting(self, name: str) -> Any:
        match name:
            case "agent_id" | "id" | "agent":
                return self.agent
            case "agent_key":
                return f"agent:{self.agent}:voice:eu"
            case "deployment_id":
                return self.deployment
            case "slug" | "default_agent":
                return "talker"
            case "user_id" | "user":
                return USER
            case "version":
                return 1
        return None
