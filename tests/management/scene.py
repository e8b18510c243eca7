"""A tenant's key at the management API, and what it is told."""

from dataclasses import dataclass
from io import BytesIO
from typing import Any

import aiohttp

from tests.support.forms import CONTENT_TYPE, File, multipart
from tests.support.server import KEY, OTHER_KEY, scripted

AGENT_ID = "123e4567-e89b-12d3-a456-426614174000"
FOREIGN_ID = "123e4567-e89b-12d3-a456-426614174099"
ABSENT_ID = "123e4567-e89b-12d3-a456-4266141740ff"
PUBLISHABLE_KEY = "pk_test_acme_widget_0000000000000000"

SCRIPT = ({"when": "slowly", "tokens": ["Well,", " then"], "delay": 30}, {"text": "Hi there"})
SALES_BOT = {"name": "Sales Bot", "model": {"provider": "scripted", "script": [{"text": "Buy!"}]}}


def agents() -> list[dict[str, Any]]:
    """The agents that a manifest gives to `acme`."""
    support = scripted("Support Agent", *SCRIPT, id=AGENT_ID, deployments=[{"channel": "voice", "region": "eu"}])
    vendor = {"provider": "openai", "name": "gpt", "base_url": "http://127.0.0.1:9/v1", "api_key_env": "VENDOR_KEY"}
    return [support, {"name": "Vendor Agent", "model": vendor}]


@dataclass
class Told:
    """An answer of the API."""

    status: int
    headers: Any
    body: Any

    def ok(self, status: int = 200) -> Any:
        """The body of a good answer."""
        assert self.status == status, self.body
        return self.body

    def problem(self, status: int, *words: str) -> str:
        """The detail of an error, which is RFC 9457 and says these words."""
        assert self.status == status, self.body
        assert self.headers["Content-Type"] == "application/problem+json"
        assert set(self.body) == {"type", "title", "status", "detail"}
        assert self.body["status"] == status
        detail: str = self.body["detail"]
        for word in words:
            assert word in detail
        return detail


class Manager:
    """Speaks to the management API with one key."""

    def __init__(self, session: aiohttp.ClientSession, url: str, key: str | None = KEY) -> None:
        self._session = session
        self.url = url
        self.key = key

    def with_key(self, key: str | None) -> "Manager":
        """The same with another key."""
        return Manager(self._session, self.url, key)

    @property
    def other(self) -> "Manager":
        """A key of another tenant."""
        return self.with_key(OTHER_KEY)

    async def ask(self, method: str, path: str, body: Any = None, **headers: str) -> Told:
        """One request; `body` is sent as JSON, or as it is where it is bytes."""
        given = {"Authorization": f"Bearer {self.key}"} if self.key else {}
        given |= {name.replace("_", "-"): value for name, value in headers.items()}
        sent: dict[str, Any] = (
            {"data": BytesIO(body)} if isinstance(body, bytes) else {"json": body} if body is not None else {}
        )
        async with self._session.request(method, f"{self.url}/manage/v1{path}", headers=given, **sent) as response:
            text = await response.read()
            is_json = (
                "json" in response.headers.get("Content-Type", "") and "jsonl" not in response.headers["Content-Type"]
            )
            return Told(response.status, response.headers, await response.json(content_type=None) if is_json else text)

    async def get(self, path: str, **headers: str) -> Told:
        return await self.ask("GET", path, **headers)

    async def post(self, path: str, body: Any = None, **headers: str) -> Told:
        return await self.ask("POST", path, body, **headers)

    async def form(self, path: str, *parts: tuple[str, str | File], **headers: str) -> Told:
        """A POST of a form with these fields and files."""
        return await self.ask("POST", path, multipart(parts), Content_Type=CONTENT_TYPE, **headers)

    async def patch(self, path: str, body: Any, **headers: str) -> Told:
        return await self.ask("PATCH", path, body, **headers)

    async def delete(self, path: str, **headers: str) -> Told:
        return await self.ask("DELETE", path, **headers)

    async def pages(self, path: str) -> list[Any]:
        """All that a list holds, page by page."""
        rows: list[Any] = []
        more = ""
        while True:
            page = (await self.get(f"{path}{more}")).ok()
            rows += page["data"]
            if page["next_cursor"] is None:
                return rows
            more = f"{'&' if '?' in path else '?'}cursor={page['next_cursor']}"

    async def say(self, slug: str, message: str = "Hello", conversation: str | None = None) -> dict[str, Any]:
        """A message to an agent over S2, and the answer."""
        body = {"message": message, "conversationId": conversation}
        headers = {"Authorization": f"Bearer {self.key}"}
        async with self._session.post(f"{self.url}/v1/api/chat/{slug}", json=body, headers=headers) as response:
            told = await response.json()
            assert response.status == 200, told
            data: dict[str, Any] = told["data"]
            return data

    async def asked(self, slug: str, message: str) -> dict[str, Any]:
        """The answer of an agent over S1, with its sources."""
        agent = (await self.get(f"/agents/{slug}")).ok()["id"]
        headers = {"Authorization": f"Bearer {self.key}"}
        url = f"{self.url}/v1/agents/{agent}/chat"
        async with self._session.post(url, json={"message": message}, headers=headers) as response:
            told: dict[str, Any] = await response.json()
            assert response.status == 200, told
            return told

    def stream(self, path: str) -> Any:
        """A GET whose answer is read as it comes, as aiohttp's context manager."""
        return self._session.get(f"{self.url}/manage/v1{path}", headers={"Authorization": f"Bearer {self.key}"})
