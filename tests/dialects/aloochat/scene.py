"""The agents that S0's tests talk to, and how a client of S0 does that."""

from typing import Any

import aiohttp

from tests.dialects.scene import SCRIPT
from tests.support.client import Client, Frame, frames_of
from tests.support.server import KEY, manifest, scripted, upstream_agent

PREFIX = "/api/v1/chat"
CHAT, STREAM, CONVERSATIONS = "/agent/chat", "/agent/stream", "/conversations"
PAGE_KEY = "pk_test_acme_page_000000000000000000"
UNLIMITED = {"manage_per_minute": 100_000, "chat_per_minute": 100_000, "stream_per_minute": 100_000}
CONVERSATION_FIELDS = ["id", "agent_id", "deployment_id", "title", "created_at", "updated_at"]
ANSWER_FIELDS = ["conversation_id", "agent_response_text", "response_time_ms", "was_resolved"]
NAMES = {
    400: "ValidationError",
    401: "UnauthorizedError",
    403: "ForbiddenError",
    404: "NotFoundError",
    405: "MethodNotAllowedError",
    409: "ConflictError",
    413: "PayloadTooLargeError",
    415: "UnsupportedMediaTypeError",
    422: "IdempotencyError",
    429: "RateLimitError",
    500: "InternalServerError",
}
IDS = {
    "support-agent": "123e4567-e89b-12d3-a456-426614174200",
    "second-agent": "123e4567-e89b-12d3-a456-426614174201",
    "strict-agent": "123e4567-e89b-12d3-a456-426614174202",
    "prompted-agent": "123e4567-e89b-12d3-a456-426614174203",
}
DEPLOYMENT, SECOND_DEPLOYMENT, STRICT_DEPLOYMENT = (f"456e7890-e89b-12d3-a456-42661417420{number}" for number in "123")
WEATHER = {"type": "client", "name": "get_weather", "description": "Current weather at a place"}
CALLING = {
    "when": "weather",
    "tokens": ["Let", " me", " see."],
    "tool_calls": [
        {"name": "get_weather", "arguments": '{"location": "Tokyo"}', "id": "call_1"},
        {"name": "get_weather", "arguments": "{}", "id": "call_2"},
    ],
}


def deployed(deployment: str, channel: str, region: str) -> list[dict[str, str]]:
    """One deployment, as a manifest has it."""
    return [{"id": deployment, "channel": channel, "region": region}]


def spelled(upstream: str) -> dict[str, Any]:
    """The manifest; agents that ask a model server reach it at this URL."""
    voice = deployed(DEPLOYMENT, "voice", "us-east-1")
    strict = deployed(STRICT_DEPLOYMENT, "web", "eu_1")
    made = [
        scripted("Support Agent", CALLING, *SCRIPT, tools=[WEATHER], deployments=voice),
        scripted("Second Agent", deployments=deployed(SECOND_DEPLOYMENT, "voice", "us-east-1")),
        scripted("Strict Agent", strict_deployments=True, deployments=strict),
        upstream_agent(upstream, "prompt", "Prompted Agent", instructions="Be brief."),
    ]
    page = {"name": "page", "type": "publishable", "value": PAGE_KEY, "agents": ["support-agent"], "origins": ["*"]}
    keys = [{"name": "backend", "type": "secret", "value": KEY}, page]
    agents = [{**agent, "id": uuid, "slug": slug} for agent, (slug, uuid) in zip(made, IDS.items(), strict=True)]
    return manifest(*agents, keys=[{**key, "limits": UNLIMITED} for key in keys])


def agent_key(slug: str = "support-agent", channel: str = "voice", region: str = "us-east-1") -> str:
    """How S0 names an agent and a deployment of it."""
    return f"agent:{IDS[slug]}:{channel}:{region}"


def form_of(fields: dict[str, Any]) -> aiohttp.FormData:
    """A multipart form; bytes become a file."""
    form = aiohttp.FormData(default_to_multipart=True)
    for name, value in fields.items():
        if isinstance(value, bytes):
            form.add_field(name, value, filename=f"{name}.bin", content_type="application/octet-stream")
        else:
            form.add_field(name, value)
    return form


class Chat:
    """A caller of S0, by this credential in this header; None stands for nobody."""

    def __init__(self, client: Client, key: str | None = KEY, header: str = "x-api-token") -> None:
        self.client = client
        self.headers = {} if key is None else {header: key}

    def request(self, method: str, path: str, **more: Any) -> Any:
        """A request below the prefix, as aiohttp's context manager."""
        headers = {**self.headers, **more.pop("headers", {})}
        return self.client.session.request(method, self.client.url + PREFIX + path, headers=headers, **more)

    async def told(self, method: str, path: str, **more: Any) -> tuple[int, Any]:
        """The status and the body of an answer."""
        async with self.request(method, path, **more) as response:
            return response.status, await response.json() if response.status != 204 else await response.read()

    async def say(self, query: str | None, **fields: Any) -> dict[str, Any]:
        """The answer to a multipart form that must succeed; a field that is None is left out."""
        given = {"agent_key": agent_key(), "query": query, **fields}
        form = form_of({name: value for name, value in given.items() if value is not None})
        status, told = await self.told("POST", CHAT, data=form)
        assert status == 200, told
        return dict(told)

    async def stream(self, query: str, **headers: str) -> list[Frame]:
        """The frames of a stream, asked by JSON."""
        body = {"agent_key": agent_key(), "query": query}
        async with self.request("POST", STREAM, json=body, headers=headers) as response:
            assert response.status == 200, await response.text()
            return [frame async for frame in frames_of(response)]

    async def create(self, **fields: Any) -> dict[str, Any]:
        """A new conversation."""
        status, told = await self.told("POST", CONVERSATIONS, json={"agent_id": IDS["support-agent"], **fields})
        assert status == 201, told
        return dict(told)

    async def read(self, conversation: str) -> dict[str, Any]:
        """A conversation that must be there."""
        status, told = await self.told("GET", f"{CONVERSATIONS}/{conversation}")
        assert status == 200, told
        return dict(told)

    async def history(self, conversation: str) -> list[tuple[str, str]]:
        """Role and text of each message of a conversation."""
        status, told = await self.told("GET", f"{CONVERSATIONS}/{conversation}/messages?limit=100")
        assert status == 200, told
        return [(message["role"], message["content"]) for message in told]

    async def refused(self, status: int, method: str, path: str, **more: Any) -> str:
        """Assert that a request is refused so, in S0's shape and with nothing else said; the message."""
        answered, told = await self.told(method, path, **more)
        assert answered == status, told
        return checked(told, status)


def checked(told: dict[str, Any], status: int) -> str:
    """Assert that a body is the error of a status and nothing else; its message."""
    assert list(told) == ["error", "message", "statusCode"]
    assert (told["error"], told["statusCode"]) == (NAMES[status], status)
    assert isinstance(told["message"], str)
    assert told["message"]
    return str(told["message"])
