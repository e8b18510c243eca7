"""The agents that the tests of the contracts talk to, and how each contract is spoken."""

import asyncio
import time
from dataclasses import dataclass, field
from typing import Any

from tests.support.server import scripted, upstream_agent

SECRET_WORDS = "words of the upstream's own"
GREETING = ["Hello", " there!", " How", " can", " I", " help", "?"]
SPACES = ["  two", " ", "\n\n", "\ttab", " end "]
SCRIPT = (
    {"when": "greet", "tokens": GREETING},
    {"when": "spaces", "tokens": SPACES},
    {"when": "say nothing", "text": ""},
    {"when": "slowly", "tokens": [f"{number} " for number in range(8)], "delay": 0.1},
    {"when": "hang", "tokens": ["Well,", " then"], "delay": 60},
    {"when": "think for ever", "text": "never said", "first_delay": 60},
    {"when": "refuse", "error": SECRET_WORDS},
    {"when": "break off", "tokens": ["Half", " an"], "error": SECRET_WORDS},
)
IDS = {
    "support-agent": "123e4567-e89b-12d3-a456-426614174000",
    "second-agent": "123e4567-e89b-12d3-a456-426614174001",
    "priced-agent": "123e4567-e89b-12d3-a456-426614174002",
    "prompted-agent": "123e4567-e89b-12d3-a456-426614174003",
    "counting-agent": "123e4567-e89b-12d3-a456-426614174004",
    "recovering-agent": "123e4567-e89b-12d3-a456-426614174005",
}
PUBLISHABLE_KEY = "pk_test_acme_widget_0000000000000000"
PAGE_KEY = "pk_test_acme_page_000000000000000000"
ANYWHERE_KEY = "pk_test_acme_anywhere_00000000000000"
NO_BROWSER_KEY = "pk_test_acme_no_browser_000000000000"
ORIGIN = "https://shop.example"
PAGE_AGENTS = ["support-agent", IDS["prompted-agent"]]
# Every contract's tests send from one address: more than a visitor's bounds admit in a minute.
ROOM = {"chat_per_minute": 1_000}
KEYS: list[dict[str, Any]] = [
    {"name": "backend", "type": "secret", "value": "sk_test_acme_backend_0000000000000000"},
    {"name": "widget", "type": "publishable", "value": PUBLISHABLE_KEY},
    {
        "name": "shop",
        "type": "publishable",
        "value": PAGE_KEY,
        "agents": PAGE_AGENTS,
        "origins": [ORIGIN],
        "limits": ROOM,
    },
    {
        "name": "anywhere",
        "type": "publishable",
        "value": ANYWHERE_KEY,
        "agents": PAGE_AGENTS,
        "origins": ["*"],
        "limits": ROOM,
    },
    {"name": "no-browser", "type": "publishable", "value": NO_BROWSER_KEY, "agents": PAGE_AGENTS},
]
REFUSED_ONCE = "status=400,times=1,echo"


def agents(upstream: str) -> list[dict[str, Any]]:
    """The agents; those that ask a model server reach it at this URL."""
    made = [
        scripted("Support Agent", *SCRIPT),
        scripted("Second Agent"),
        scripted("Priced Agent"),
        upstream_agent(upstream, "prompt", "Prompted Agent", instructions="Be brief."),
        upstream_agent(upstream, "tokens=4", "Counting Agent"),
        upstream_agent(upstream, REFUSED_ONCE, "Recovering Agent"),
    ]
    made[2]["model"]["name"] = "priced"
    return [{**agent, "id": uuid, "slug": slug} for agent, (slug, uuid) in zip(made, IDS.items(), strict=True)]


def agent_id(slug: str = "support-agent") -> str:
    """The agent's id as S1 shows it."""
    return "agent_" + IDS[slug].replace("-", "")


@dataclass(frozen=True)
class Contract:
    """How one contract is spoken: paths, bodies, answers; `names` is what it calls each error of the core."""

    name: str
    names: dict[str, str] = field(repr=False)

    def path(self, slug: str = "support-agent") -> str:
        """Where messages to an agent go."""
        if self.name == "agents":
            return f"/api/agents/{slug}/chat"
        return f"/v1/api/chat/{slug}" if self.name == "slug" else f"/v1/agents/{agent_id(slug)}/chat"

    def body(self, message: Any, conversation: Any = None, **more: Any) -> dict[str, Any]:
        """A message."""
        field = "conversationId" if self.name == "slug" else "conversation_id"
        return {"message": message, **({field: conversation} if conversation is not None else {}), **more}

    def answer(self, told: dict[str, Any]) -> tuple[str, str]:
        """The text and the conversation of a whole answer."""
        if self.name == "slug":
            return told["data"]["response"], told["data"]["conversationId"]
        return told["content" if self.name == "agents" else "response"], told["conversation_id"]

    def error(self, kind: str, message: str) -> dict[str, Any]:
        """The whole body of an error."""
        if self.name == "slug":
            return {"data": None, "error": {"name": self.names[kind], "message": message, "details": {}}}
        if self.name == "alonchat":
            return {"error": {"code": self.names[kind], "message": message}}
        if self.name == "agents":
            return {"error": {"code": self.names[kind], "message": message, "details": {}}}
        status = STATUS[kind]
        return {"type": "about:blank", "title": self.names[kind], "status": status, "detail": message}

    def check(self, told: dict[str, Any], kind: str) -> str:
        """Assert that a body is an error of this kind and nothing else; its message."""
        message = told["detail"] if self.name == "management" else told["error"]["message"]
        assert isinstance(message, str)
        assert message
        if self.name == "agents" and kind == "Invalid":
            assert set(told["error"]["details"]) <= {"field"}
            told = {"error": {**told["error"], "details": {}}}
        assert told == self.error(kind, message)
        assert SECRET_WORDS not in message
        return message


STATUS = {
    "Invalid": 400,
    "Unauthenticated": 401,
    "Forbidden": 403,
    "AgentNotFound": 404,
    "ConversationNotFound": 404,
    "TurnNotFound": 404,
    "RouteNotFound": 404,
    "MethodNotAllowed": 405,
    "Conflict": 409,
    "TooLarge": 413,
    "KeyReused": 422,
    "RateLimited": 429,
    "ModelFailed": 500,
}
SLUG = Contract(
    "slug",
    {
        "Invalid": "ValidationError",
        "Unauthenticated": "UnauthorizedError",
        "Forbidden": "ForbiddenError",
        "AgentNotFound": "NotFoundError",
        "ConversationNotFound": "NotFoundError",
        "RouteNotFound": "NotFoundError",
        "MethodNotAllowed": "MethodNotAllowedError",
        "Conflict": "ConflictError",
        "TooLarge": "PayloadTooLargeError",
        "KeyReused": "IdempotencyError",
        "RateLimited": "RateLimitError",
        "ModelFailed": "InternalServerError",
    },
)
ALONCHAT = Contract(
    "alonchat",
    {
        "Invalid": "invalid_request",
        "Unauthenticated": "invalid_api_key",
        "Forbidden": "insufficient_permissions",
        "AgentNotFound": "agent_not_found",
        "ConversationNotFound": "conversation_not_found",
        "RouteNotFound": "not_found",
        "MethodNotAllowed": "method_not_allowed",
        "Conflict": "conflict",
        "TooLarge": "request_too_large",
        "KeyReused": "idempotency_mismatch",
        "RateLimited": "rate_limit_exceeded",
        "ModelFailed": "server_error",
    },
)
AGENTS = Contract(
    "agents",
    {
        "Invalid": "VALIDATION_ERROR",
        "Unauthenticated": "UNAUTHORIZED",
        "Forbidden": "FORBIDDEN",
        "AgentNotFound": "AGENT_NOT_FOUND",
        "ConversationNotFound": "CONVERSATION_NOT_FOUND",
        "RouteNotFound": "NOT_FOUND",
        "MethodNotAllowed": "METHOD_NOT_ALLOWED",
        "Conflict": "CONFLICT",
        "TooLarge": "REQUEST_TOO_LARGE",
        "KeyReused": "IDEMPOTENCY_MISMATCH",
        "RateLimited": "RATE_LIMIT_EXCEEDED",
        "ModelFailed": "AI_SERVICE_ERROR",
    },
)
MANAGEMENT = Contract("management", {kind: kind for kind in STATUS})
CONTRACTS = (SLUG, ALONCHAT, AGENTS)


MINUTE, DAY = 60, 86_400


async def room_in(window: int, seconds: float = 15) -> None:
    """Wait for the next window, which begins with the UTC minute or day, where this one has fewer seconds left."""
    left = window - time.time() % window
    if left < seconds:
        await asyncio.sleep(left + 0.05)


def blocks(stream: bytes) -> list[bytes]:
    """The frames and comments of a stream, byte for byte."""
    return [block + b"\n\n" for block in stream.split(b"\n\n")[:-1]]


def id_of(block: bytes) -> str | None:
    """The event id of a frame."""
    first = block.split(b"\n", 1)[0]
    return first.removeprefix(b"id: ").decode() if first.startswith(b"id: ") else None
