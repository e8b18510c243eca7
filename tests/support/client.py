"""What a client of the contracts does, over a real connection, and what it saw."""

import json
import time
from collections.abc import AsyncIterator
from dataclasses import dataclass, field
from typing import Any

import aiohttp

from tests.support.server import KEY


@dataclass
class Frame:
    """One server-sent event as it came: its id, name and data, and when, by the monotonic clock."""

    data: str
    id: str | None = None
    event: str | None = None
    at: float = field(default_factory=time.monotonic)

    @property
    def json(self) -> Any:
        """The data as JSON."""
        return json.loads(self.data)


def authorised(key: str = KEY, **headers: str) -> dict[str, str]:
    """The headers of a request."""
    return {"Authorization": f"Bearer {key}", **headers}


async def frames_of(response: aiohttp.ClientResponse) -> AsyncIterator[Frame]:
    """Each frame as soon as it has come; comments are passed over."""
    pending = b""
    async for piece in response.content.iter_any():
        pending += piece
        while b"\n\n" in pending:
            block, _, pending = pending.partition(b"\n\n")
            fields = dict(line.split(": ", 1) for line in block.decode().split("\n") if ": " in line[1:])
            if "data" in fields:
                yield Frame(fields["data"], fields.get("id"), fields.get("event"))


class Client:
    """A client of one server; `slug` and `agent_id` say whom it talks to."""

    def __init__(self, session: aiohttp.ClientSession, url: str, slug: str = "support-agent", key: str = KEY) -> None:
        self.session = session
        self.url = url
        self.slug = slug
        self.key = key

    def post(self, path: str, body: Any, **headers: str) -> Any:
        """A POST of a JSON body, as aiohttp's context manager."""
        spelled = {name.replace("_", "-"): value for name, value in headers.items()}
        return self.session.post(self.url + path, json=body, headers=authorised(self.key, **spelled))

    def get(self, path: str) -> Any:
        """A GET, as aiohttp's context manager."""
        return self.session.get(self.url + path, headers=authorised(self.key))

    def s2(self, message: str, conversation: str | None = None, *, stream: bool = False, **headers: str) -> Any:
        """A message over S2."""
        body = {"message": message, "stream": stream, "conversationId": conversation}
        return self.post(f"/v1/api/chat/{self.slug}", body, **headers)

    def s1(self, agent_id: str, message: str, conversation: str | None = None, **more: Any) -> Any:
        """A message over S1; `headers` and further body fields by keyword."""
        headers = more.pop("headers", {})
        body = {"message": message, **({"conversation_id": conversation} if conversation else {}), **more}
        return self.post(f"/v1/agents/{agent_id}/chat", body, **headers)

    async def say(self, message: str, conversation: str | None = None) -> dict[str, Any]:
        """A whole S2 exchange that must succeed; its `data`."""
        async with self.s2(message, conversation) as response:
            told = await response.json()
            assert response.status == 200, told
            data: dict[str, Any] = told["data"]
            return data

    async def history(self, conversation: str) -> list[dict[str, Any]]:
        """The messages of a conversation, by S1."""
        async with self.get(f"/v1/conversations/{conversation}") as response:
            told = await response.json()
            assert response.status == 200, told
            messages: list[dict[str, Any]] = told["messages"]
            return messages

    async def turn(self, turn_id: str) -> dict[str, Any]:
        """A turn as the management API shows it."""
        async with self.get(f"/manage/v1/turns/{turn_id}") as response:
            told: dict[str, Any] = await response.json()
            assert response.status == 200, told
            return told
