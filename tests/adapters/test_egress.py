"""Pages fetched from real servers: what is taken, what is bounded, and what becomes of broken answers."""

import asyncio
import gzip
import zlib
from collections.abc import AsyncIterator, Awaitable, Callable, Mapping
from contextlib import AsyncExitStack, asynccontextmanager

import pytest
from aiohttp import web

from dragoman.adapters.egress import Egress
from dragoman.adapters.guard import Resolve, resolved
from dragoman.adapters.pages import GuardedPages
from dragoman.ports.egress import Bounds, Unfetchable
from tests.support.handling import handled

Handler = Callable[[web.Request], Awaitable[web.StreamResponse]]
Served = Callable[[Mapping[str, Handler | web.Response]], Awaitable[str]]

SMALL = Bounds(body_bytes=10_000, seconds=0.5, redirects=5)


@pytest.fixture
async def served() -> AsyncIterator[Served]:
    """Serves handlers, or the same response to all, by path; gives the address of the server."""
    servers = AsyncExitStack()

    async def serve(paths: Mapping[str, Handler | web.Response]) -> str:
        async def answer(request: web.Request) -> web.StreamResponse:
            found = paths.get(request.path)
            if isinstance(found, web.Response):
                return web.Response(status=found.status, body=found.body, headers=found.headers)
            return await found(request) if found else web.Response(status=404)

        return await servers.enter_async_context(handled(answer))

    async with servers:
        yield serve


@asynccontextmanager
async def opened(bounds: Bounds = SMALL, resolve: Resolve = resolved) -> AsyncIterator[GuardedPages]:
    egress = Egress(bounds, resolve)
    yield GuardedPages(egress)
    await egress.close()


@pytest.fixture
async def pages() -> AsyncIterator[GuardedPages]:
    async with opened() as pages:
        yield pages


async def body_of(pages: GuardedPages, url: str) -> bytes:
    return (await pages.fetch(url, allow_private=True)).body


async def test_a_page_comes_with_its_type_and_where_it_was_found(pages: GuardedPages, served: Served) -> None:
    at = await served(
        {
            "/old": web.Response(status=301, headers={"Location": "/new?a=b"}),
            "/new": web.Response(body="Grüße".encode(), headers={"Content-Type": "Text/HTML; charset=utf-8"}),
        }
    )
    page = await pages.fetch(f"{at}/old", allow_private=True)
    assert (page.url, page.media_type, page.body.decode()) == (f"{at}/new?a=b", "text/html", "Grüße")


async def test_a_request_says_who_asks_and_carries_nothing_else(
    pages: GuardedPages, served: Served, monkeypatch: pytest.MonkeyPatch
) -> None:
    for name in ("http_proxy", "HTTP_PROXY", "all_proxy"):
        monkeypatch.setenv(name, "http://127.0.0.1:1")
    asked: list[dict[str, str]] = []

    async def answer(request: web.Request) -> web.Response:
        asked.append({name.lower(): value for name, value in request.headers.items()})
        return web.Response(text="x", headers={"Set-Cookie": "session=secret; Path=/"})

    at = await served({"/": answer})
    await body_of(pages, f"{at}/")
    await body_of(pages, f"{at}/")
    assert asked[0] == asked[1]
    assert asked[1] == {
        "host": at.removeprefix("http://"),
        "user-agent": "Dragoman",
        "accept-encoding": "gzip, deflate",
        "accept": "*/*",
        "connection": "close",
    }


@pytest.mark.parametrize(
    ("coding", "encode"),
    [
        ("gzip", gzip.compress),
        ("deflate", zlib.compress),
        ("deflate", lambda data: zlib.compress(data)[2:-4]),
        ("identity", bytes),
    ],
)
async def test_what_was_asked_for_is_decoded(
    pages: GuardedPages, served: Served, coding: str, encode: Callable[[bytes], bytes]
) -> None:
    at = await served({"/": web.Response(body=encode(b"words " * 100), headers={"Content-Encoding": coding})})
    assert await body_of(pages, f"{at}/") == b"words " * 100


BROKEN = {
    "what was not asked for": web.Response(body=b"x", headers={"Content-Encoding": "br"}),
    "twice": web.Response(body=gzip.compress(gzip.compress(b"x")), headers={"Content-Encoding": "gzip, gzip"}),
    "nothing of the kind": web.Response(body=b"plain", headers={"Content-Encoding": "gzip"}),
    "cut off": web.Response(body=gzip.compress(b"x" * 999)[:-9], headers={"Content-Encoding": "gzip"}),
}


@pytest.mark.parametrize("how", BROKEN)
async def test_what_is_encoded_in_another_way_or_badly_is_refused(
    pages: GuardedPages, served: Served, how: str
) -> None:
    at = await served({"/": BROKEN[how]})
    with pytest.raises(Unfetchable, match="could not be read"):
        await body_of(pages, f"{at}/")


@pytest.mark.parametrize("coding", ["gzip", "deflate"])
async def test_a_bomb_is_not_decoded_beyond_the_bound(served: Served, coding: str) -> None:
    bomb = (gzip.compress if coding == "gzip" else zlib.compress)(bytes(200 << 20))
    at = await served({"/": web.Response(body=bomb, headers={"Content-Encoding": coding})})
    async with opened(Bounds(seconds=5)) as pages:
        with pytest.raises(Unfetchable, match="larger than 10,485,760 bytes"):
            await body_of(pages, f"{at}/")


async def endless(request: web.Request) -> web.StreamResponse:
    response = web.StreamResponse()
    await response.prepare(request)
    # The client hangs up, and then writing fails.
    while True:
        await response.write(b"x" * 5000)


async def test_a_body_is_read_up_to_the_bound_and_no_further(pages: GuardedPages, served: Served) -> None:
    at = await served(
        {
            "/bound": web.Response(body=b"x" * SMALL.body_bytes),
            "/over": web.Response(body=b"x" * (SMALL.body_bytes + 1)),
            "/endless": endless,
        }
    )
    assert len(await body_of(pages, f"{at}/bound")) == SMALL.body_bytes
    for path in ("/over", "/endless"):
        with pytest.raises(Unfetchable, match="larger than 10,000 bytes"):
            await body_of(pages, at + path)


async def drip(request: web.Request) -> web.StreamResponse:
    response = web.StreamResponse()
    await response.prepare(request)
    for _ in range(20):
        await response.write(b"x")
        await asyncio.sleep(0.05)
    return response


async def silent(_: web.Request) -> web.StreamResponse:
    await asyncio.sleep(1)
    return web.Response()


async def lead_on(request: web.Request) -> web.StreamResponse:
    await asyncio.sleep(0.2)
    return web.Response(
        status=302, headers={"Location": str(request.url.with_query(n=request.query.get("n", "") + "1"))}
    )


async def test_a_fetch_has_its_time_and_no_more_however_it_is_spent(pages: GuardedPages, served: Served) -> None:
    at = await served({"/drip": drip, "/silent": silent, "/on": lead_on})
    for path in ("/drip", "/silent", "/on"):
        with pytest.raises(Unfetchable, match=r"within 0\.5 s"):
            await body_of(pages, at + path)


async def test_five_redirects_are_followed_and_no_sixth(pages: GuardedPages, served: Served) -> None:
    async def count_down(request: web.Request) -> web.StreamResponse:
        left = int(request.query["left"])
        following = {"Location": f"/?left={left - 1}"}
        return web.Response(status=302, headers=following) if left else web.Response(text="there")

    at = await served({"/": count_down})
    assert await body_of(pages, f"{at}/?left=5") == b"there"
    with pytest.raises(Unfetchable, match="more than 5 times"):
        await body_of(pages, f"{at}/?left=6")


@pytest.mark.parametrize("status", [204, 304, 404, 500])
async def test_a_status_that_is_no_success_is_told(pages: GuardedPages, served: Served, status: int) -> None:
    at = await served({"/": web.Response(status=status, headers={"Content-Encoding": "gzip"})})
    if status == 204:
        assert await body_of(pages, f"{at}/") == b""
    else:
        with pytest.raises(Unfetchable, match=f"status {status}"):
            await body_of(pages, f"{at}/")


@pytest.mark.parametrize(
    "answer",
    [
        b"HTTP/1.1 200 OK\r\nContent-Length: 100\r\n\r\nshort",
        b"HTTP/1.1 200 OK\r\nX: " + b"x" * 100_000 + b"\r\n\r\n",
        b"HTTP/1.1 200 OK\r\n" + b"X: y\r\n" * 10_000 + b"\r\n",
        b"HTTP/1.1 302 Found\r\nLocation: http://[\r\nContent-Length: 0\r\n\r\n",
        b"SSH-2.0-OpenSSH_9.2\r\n",
        b"",
    ],
    ids=["cut off", "long header", "many headers", "bad location", "no HTTP", "nothing"],
)
async def test_an_answer_that_is_no_whole_http_is_unfetchable(pages: GuardedPages, answer: bytes) -> None:
    async def speak(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await reader.readuntil(b"\r\n\r\n")
        writer.write(answer)
        writer.close()

    server = await asyncio.start_server(speak, "127.0.0.1", 0)
    with pytest.raises(Unfetchable):
        await body_of(pages, f"http://127.0.0.1:{server.sockets[0].getsockname()[1]}/")
    server.close()
    await server.wait_closed()


async def test_nobody_there_and_no_such_name_are_told_apart(pages: GuardedPages) -> None:
    async def unknown(_host: str, _port: int) -> list[str]:
        raise OSError("no such name")

    with pytest.raises(Unfetchable, match="refuses connections"):
        await body_of(pages, "http://127.0.0.1:1/")
    async with opened(resolve=unknown) as lost:
        with pytest.raises(Unfetchable, match=r"absent\.test has no address"):
            await body_of(lost, "http://absent.test/")


async def test_the_name_that_was_asked_for_is_told_to_the_server(served: Served) -> None:
    async def name(request: web.Request) -> web.Response:
        return web.Response(text=request.host)

    async def resolve(_host: str, _port: int) -> list[str]:
        return ["127.0.0.1"]

    port = (await served({"/": name})).rpartition(":")[2]
    async with opened(resolve=resolve) as pages:
        assert await body_of(pages, f"http://shop.test:{port}/") == f"shop.test:{port}".encode()
