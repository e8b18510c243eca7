"""What a client of S3 does over REST and sockets, and what it saw. Knows nothing of the product."""

import asyncio
import json
from typing import Any
from urllib.parse import urlencode

import aiohttp

from tests.support.server import KEY

USER = "user123"
PATIENCE = 15.0


class Line:
    """One socket; `texts` are the frames as they came, `patience` how many seconds it waits for the next."""

    def __init__(self, socket: aiohttp.ClientWebSocketResponse) -> None:
        self.socket = socket
        self.patience = PATIENCE
        self.texts: list[str] = []

    @property
    def frames(self) -> list[dict[str, Any]]:
        """The frames that came."""
        return [json.loads(text) for text in self.texts]

    async def next(self) -> dict[str, Any]:
        """The next frame."""
        message = await self.socket.receive(timeout=self.patience)
        assert message.type is aiohttp.WSMsgType.TEXT, (message, self.socket.close_code)
        self.texts.append(message.data)
        frame: dict[str, Any] = json.loads(message.data)
        return frame

    async def until(self, event_type: str, times: int = 1) -> list[dict[str, Any]]:
        """The frames up to the one of this type, or to the last of so many."""
        told: list[dict[str, Any]] = []
        while sum(frame["event_type"] == event_type for frame in told) < times:
            told.append(await self.next())
        return told

    async def quiet(self, seconds: float = 0.3) -> bool:
        """Whether nothing comes for a while."""
        try:
            message = await self.socket.receive(timeout=seconds)
        except TimeoutError:
            return True
        raise AssertionError(f"something came: {message}")

    async def closed(self) -> int | None:
        """The code with which the server closes it; nothing may come before."""
        message = await self.socket.receive(timeout=self.patience)
        assert message.type in (aiohttp.WSMsgType.CLOSE, aiohttp.WSMsgType.CLOSED, aiohttp.WSMsgType.CLOSING), message
        return self.socket.close_code

    async def say(self, content: Any, **more: Any) -> None:
        """Send a message."""
        await self.socket.send_json({"content": content, **more})

    async def exchange(self, content: str) -> list[dict[str, Any]]:
        """Send a message; the frames up to the end of its answer."""
        await self.say(content)
        return await self.until("message_stream_ended")

    async def leave(self) -> None:
        """Close it from here."""
        await self.socket.close()

    def vanish(self) -> None:
        """Break the connection off without a word."""
        connection = self.socket._response.connection
        assert connection is not None
        assert connection.transport is not None
        connection.transport.abort()


class Chats:
    """A client of S3 with one credential."""

    def __init__(self, session: aiohttp.ClientSession, url: str, key: str | None = KEY, **headers: str) -> None:
        self.session = session
        self.url = url
        self.key = key
        self.headers = {**({"X-API-Key": key} if key is not None else {}), **headers}

    def request(self, method: str, path: str, body: Any = None, **headers: str) -> Any:
        """A request under the contract's prefix, as aiohttp's context manager."""
        url = f"{self.url}/api/v1/chats{path}"
        spelled = {**self.headers, **{name.replace("_", "-"): value for name, value in headers.items()}}
        return self.session.request(method, url, json=body, headers=spelled, allow_redirects=False)

    async def told(self, method: str, path: str, body: Any = None, status: int = 200) -> Any:
        """The body of an answer, which has this status."""
        async with self.request(method, path, body) as response:
            told = await response.json()
            assert response.status == status, told
            if "X-Visitor-Token" in response.headers:
                self.headers["X-Visitor-Token"] = response.headers["X-Visitor-Token"]
            return told

    async def create(self, user_id: str = USER, **more: Any) -> str:
        """A new chat's id."""
        return str((await self.told("POST", "/", {"user_id": user_id, **more}, 201))["id"])

    async def messages(self, chat: str, **query: Any) -> list[dict[str, Any]]:
        """The chat's messages."""
        told = await self.told("GET", f"/{chat}/messages?{urlencode(query)}")
        messages: list[dict[str, Any]] = told["messages"]
        return messages

    async def dial(self, headers: dict[str, str] | None = None, **query: str) -> Line:
        """A socket with these parameters alone, of which nothing has been read."""
        address = f"{self.url}/ws/chat?{urlencode(query)}" if query else f"{self.url}/ws/chat"
        return Line(await self.session.ws_connect(address, headers=headers, max_msg_size=0))

    async def open(self, chat: str, user_id: str = USER, **query: str) -> Line:
        """A socket that was let in: its first frame has been read, and one that says that the user is new."""
        assert self.key is not None
        line = await self.dial(None, api_key=self.key, user_id=user_id, chat_id=chat, **query)
        frame = await line.next()
        assert frame["event_type"] == "connection_established", frame
        return line

    async def refused(self, headers: dict[str, str] | None = None, **query: str) -> tuple[str, int | None]:
        """The code of the error with which a socket is not let in, and that of its close."""
        line = await self.dial(headers, **query)
        frame = await line.next()
        assert frame["event_type"] == "error", frame
        assert frame["details"]["suggestion"]
        return frame["error_code"], await line.closed()


async def all_of(*lines: Line, event_type: str = "message_stream_ended", times: int = 1) -> list[list[dict[str, Any]]]:
    """What each of these sockets is told, up to a frame of this type."""
    return list(await asyncio.gather(*(line.until(event_type, times) for line in lines)))
