"""The agents that S4's tests talk to, and how a client of S4 does that."""

from itertools import count
from typing import Any, Self

from tests.dialects.scene import SCRIPT
from tests.support.client import Client, frames_of
from tests.support.server import KEY, OTHER_KEY, manifest, scripted, upstream_agent

PAGE_KEY = "pk_test_acme_page_000000000000000000"
TOKEN = "X-Visitor-Token"
WEATHER = {"type": "object", "properties": {"location": {"type": "string"}}, "required": ["location"]}
TOOLS = [
    {"type": "client", "name": "get_weather", "description": "Current weather at a place", "parameters": WEATHER},
    {"type": "client", "name": "search_database", "description": "Look something up"},
]
TOKYO, ORDERS = '{"location": "Tokyo"}', '{"query": "recent orders"}'
CALLING = [
    {"when": "weather", "tool_calls": [{"name": "get_weather", "arguments": TOKYO, "id": "call_123"}]},
    {
        "when": "everything",
        "tokens": ["Let", " me", " look."],
        "tool_calls": [
            {"name": "get_weather", "arguments": TOKYO},
            {"name": "search_database", "arguments": ORDERS},
        ],
    },
    {"when": "sunny", "tokens": ["It", " is", " sunny", " in", " Tokyo."]},
    {"when": "slow result", "tokens": ["Hm,", " wait"], "delay": 60},
    {"when": "bad result", "tokens": ["Hm,", " no"], "error": "told to nobody"},
]
ALLOWED = {"allow_system_prompt": True, "allow_client_conversation_ids": True}
IDS = {
    "open-agent": "123e4567-e89b-12d3-a456-426614174100",
    "closed-agent": "123e4567-e89b-12d3-a456-426614174101",
    "weather-agent": "123e4567-e89b-12d3-a456-426614174102",
    "public-agent": "123e4567-e89b-12d3-a456-426614174103",
    "prompted-agent": "123e4567-e89b-12d3-a456-426614174104",
    "calling-agent": "123e4567-e89b-12d3-a456-426614174105",
}
PAGE_AGENTS = ["open-agent", "weather-agent", "prompted-agent"]
CALLING_MODEL = "calls=2,prompt"


def spelled(upstream: str) -> dict[str, Any]:
    """The manifest; agents that ask a model server reach it at this URL."""
    made = [
        scripted("Open Agent", *SCRIPT, **ALLOWED),
        scripted("Closed Agent"),
        scripted("Weather Agent", *CALLING, *SCRIPT, tools=TOOLS, **ALLOWED),
        scripted("Public Agent", *CALLING, *SCRIPT, tools=TOOLS, public=True, **ALLOWED),
        upstream_agent(upstream, "prompt", "Prompted Agent", instructions="Be brief.", **ALLOWED),
        upstream_agent(upstream, CALLING_MODEL, "Calling Agent", tools=TOOLS, **ALLOWED),
    ]
    page = {"name": "page", "type": "publishable", "value": PAGE_KEY, "agents": PAGE_AGENTS, "origins": ["*"]}
    backend = {"name": "backend", "type": "secret", "value": KEY}
    agents = [{**agent, "id": uuid, "slug": slug} for agent, (slug, uuid) in zip(made, IDS.items(), strict=True)]
    whole = manifest(*agents, keys=[backend, page])
    other = whole["tenants"][1]
    other["keys"] = [{"name": "backend", "type": "secret", "value": OTHER_KEY}]
    other["agents"] = [scripted("Other Agent", **ALLOWED)]
    return whole


def agent_id(slug: str) -> str:
    """An agent's prefixed id."""
    return "agent_" + IDS[slug].replace("-", "")


_numbers = count(1)


class Chat:
    """The chat of one agent, for whom this credential names; None stands for somebody at an address of his own.

    A visitor's token is sent back from the first answer on.
    """

    def __init__(self, client: Client, agent: str = "open-agent", key: str | None = KEY) -> None:
        self.client = client
        self.agent = agent
        address = "198.18.{}.{}".format(*divmod(next(_numbers), 256))
        self.headers = {"X-Forwarded-For": address} if key is None else {"Authorization": f"Bearer {key}"}

    def request(self, method: str, body: Any = None, **more: Any) -> Any:
        """A request, as aiohttp's context manager; `params` and `headers` by keyword."""
        url = f"{self.client.url}/api/agents/{self.agent}/chat"
        headers = {**self.headers, **more.pop("headers", {})}
        return self.client.session.request(method, url, json=body, headers=headers, **more)

    async def _told(self, method: str, body: Any = None, **more: Any) -> tuple[int, Any]:
        async with self.request(method, body, **more) as response:
            if TOKEN in response.headers:
                self.headers[TOKEN] = response.headers[TOKEN]
            return response.status, await response.json()

    async def post(self, body: Any, **headers: str) -> tuple[int, Any]:
        """The status and the body of what a POST leads to."""
        spelled = {name.replace("_", "-"): value for name, value in headers.items()}
        return await self._told("POST", body, headers=spelled)

    async def say(self, message: str, conversation: str | None = None, **more: Any) -> dict[str, Any]:
        """The answer to a message that must succeed; further fields by keyword."""
        named = {} if conversation is None else {"conversation_id": conversation}
        status, told = await self.post({"message": message, **named, **more})
        assert status == 200, told
        return dict(told)

    async def bring(self, conversation: str, *results: tuple[str, Any], **more: Any) -> dict[str, Any]:
        """What results of calls lead to, which must succeed: one by itself, several in one request."""
        status, told = await self.post({**brought(conversation, *results), **more})
        assert status == 200, told
        return dict(told)

    async def stream(self, body: dict[str, Any], **headers: str) -> list[dict[str, Any]]:
        """The frames of a stream, every data line of which must be JSON."""
        spelled = {name.replace("_", "-"): value for name, value in headers.items()}
        async with self.request("POST", {**body, "stream": True}, headers=spelled) as response:
            assert response.status == 200, await response.text()
            assert response.headers["Content-Type"].partition(";")[0] == "text/event-stream"
            frames = [frame async for frame in frames_of(response)]
        assert [frame.event for frame in frames] == [None] * len(frames)
        return [frame.json for frame in frames]

    async def read(self, **query: Any) -> dict[str, Any]:
        """A listing that must succeed."""
        status, told = await self._told("GET", params=query)
        assert status == 200, told
        return dict(told)

    async def history(self, conversation: str) -> list[dict[str, Any]]:
        """The messages of a conversation."""
        return list((await self.read(conversation_id=conversation, limit=200))["messages"])

    async def clear(self, **query: Any) -> int:
        """How many messages a DELETE that must succeed has deleted."""
        status, told = await self._told("DELETE", params=query)
        assert status == 200, told
        assert told == {"success": True, "deleted": told["deleted"]}
        return int(told["deleted"])

    async def refused(self, status: int, code: str, body: Any = None, method: str = "POST", **query: Any) -> str:
        """Assert that a request is refused so, and with nothing else said; the message."""
        answered, told = await self._told(method, body, params=query)
        assert (answered, told["error"]["code"]) == (status, code), told
        return checked(told)

    def named(self, agent: str) -> Self:
        """The same caller with another agent."""
        other = type(self)(self.client, agent)
        other.headers = self.headers
        return other


def brought(conversation: str, *results: tuple[str, Any]) -> dict[str, Any]:
    """The body of one result, or of several."""
    spelled = [{"role": "tool", "tool_call_id": call_id, "content": content} for call_id, content in results]
    return {"conversation_id": conversation, **(spelled[0] if len(spelled) == 1 else {"messages": spelled})}


def checked(told: dict[str, Any]) -> str:
    """Assert that a body is an error and nothing else; its message."""
    assert list(told) == ["error"]
    error = told["error"]
    assert list(error) == ["code", "message", "details"]
    assert error["details"] in ({}, {"field": error["details"].get("field")})
    assert isinstance(error["message"], str)
    assert error["message"]
    return str(error["message"])


def calls_in(told: dict[str, Any]) -> list[str]:
    """The ids of the calls of an answer."""
    return [call["id"] for call in told["tool_calls"]]
