"""httpx over the guard: answers stream, and are bounded; a server of MCP is spoken to as any other."""

import asyncio
import gzip
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import AsyncExitStack

import httpx2
import pytest
from aiohttp import web

from dragoman.adapters.egress import Egress
from dragoman.adapters.tools.transport import guarded_client
from dragoman.ports.egress import Bounds
from tests.support.handling import handled

Handler = Callable[[web.Request], Awaitable[web.StreamResponse]]
Serve = Callable[[Handler], Awaitable[str]]

BOUNDS = Bounds(body_bytes=10_000, seconds=0.5)


@pytest.fixture
async def serve() -> AsyncIterator[Serve]:
    servers = AsyncExitStack()

    async def serve(handler: Handler) -> str:
        return f"{await servers.enter_async_context(handled(handler))}/mcp"

    async with servers:
        yield serve


@pytest.fixture
async def client() -> AsyncIterator[httpx2.AsyncClient]:
    egress = Egress()
    async with guarded_client(egress, allow_private=True, bounds=BOUNDS, headers={"X-Key": "k"}) as client:
        yield client
    await egress.close()


async def test_events_come_as_they_are_sent(client: httpx2.AsyncClient, serve: Serve) -> None:
    seen = asyncio.Event()

    async def answer(request: web.Request) -> web.StreamResponse:
        assert await request.json() == {"id": 1}
        assert request.headers["X-Key"] == "k"
        response = web.StreamResponse(headers={"Content-Type": "text/event-stream", "Mcp-Session-Id": "s"})
        await response.prepare(request)
        await response.write(b"data: one\n\n")
        await asyncio.wait_for(seen.wait(), 5)
        await response.write(b"data: two\n\n")
        return response

    async with client.stream("POST", await serve(answer), json={"id": 1}) as response:
        assert (response.status_code, response.headers["mcp-session-id"]) == (200, "s")
        events = httpx2.EventSource(response).__aiter__()
        assert (await anext(events)).data == "one"
        seen.set()
        assert [event.data async for event in events] == ["two"]


async def test_an_encoded_answer_is_decoded_once(client: httpx2.AsyncClient, serve: Serve) -> None:
    async def answer(_: web.Request) -> web.Response:
        return web.Response(body=gzip.compress(b"words " * 500), headers={"Content-Encoding": "gzip"})

    assert (await client.get(await serve(answer))).content == b"words " * 500


async def test_an_answer_beyond_its_bound_breaks_off(client: httpx2.AsyncClient, serve: Serve) -> None:
    async def answer(_: web.Request) -> web.Response:
        return web.Response(body=gzip.compress(bytes(1 << 20)), headers={"Content-Encoding": "gzip"})

    with pytest.raises(httpx2.ReadError, match="larger than 10,000 bytes"):
        await client.get(await serve(answer))


@pytest.mark.parametrize("begun", [False, True])
async def test_an_answer_has_its_time_and_no_more(client: httpx2.AsyncClient, serve: Serve, begun: bool) -> None:
    async def answer(request: web.Request) -> web.StreamResponse:
        response = web.StreamResponse()
        if begun:
            await response.prepare(request)
        for _ in range(40):
            await asyncio.sleep(0.05)
            if begun:
                await response.write(b"x")
        return response

    with pytest.raises(httpx2.ReadTimeout, match=r"within 0\.5 s"):
        await client.get(await serve(answer))


async def test_what_may_not_be_reached_is_an_error_of_the_connection(serve: Serve) -> None:
    async def answer(_: web.Request) -> web.Response:
        return web.Response()

    egress = Egress()
    at = await serve(answer)
    async with guarded_client(egress, allow_private=False, bounds=BOUNDS) as client:
        with pytest.raises(httpx2.ConnectError, match="may not be reached"):
            await client.get(at)
    await egress.close()


async def test_a_connection_that_breaks_is_an_error_of_httpx(client: httpx2.AsyncClient) -> None:
    with pytest.raises(httpx2.TransportError, match="refuses connections"):
        await client.get("http://127.0.0.1:1/mcp")
