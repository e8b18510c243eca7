"""Requests past the guard: what is sent along, what redirects make of it, what comes back."""

import gzip
import json
from collections.abc import AsyncIterator

import pytest
from aiohttp import web

from dragoman.adapters.egress import Egress
from dragoman.ports.egress import Answer, Bounds, Unfetchable
from tests.support.handling import handled

SMALL = Bounds(body_bytes=10_000, seconds=5)


class Site:
    """Tells what it was asked; sends paths like `/on/307` on to `to` with that status, and has a large page."""

    def __init__(self) -> None:
        self.at = ""
        self.to = ""
        self.asked: list[str] = []

    async def answer(self, request: web.Request) -> web.StreamResponse:
        self.asked.append(f"{request.method} {request.path}")
        if request.path.startswith("/on/"):
            return web.Response(status=int(request.path[4:]), headers={"Location": self.to}, text="elsewhere")
        if request.path == "/large":
            packed = request.query.get("packed")
            body = gzip.compress(b"x" * 50_000) if packed else b"x" * 50_000
            return web.Response(body=body, headers={"Content-Encoding": "gzip"} if packed else {})
        told = {
            "method": request.method,
            "headers": {name.lower(): value for name, value in request.headers.items()},
            "body": (await request.content.read()).decode(),
        }
        headers = [("X-Seen", "one"), ("x-seen", "two"), ("Content-Type", "Application/JSON")]
        return web.Response(status=418, text=json.dumps(told), headers=headers)


@pytest.fixture
async def site() -> AsyncIterator[Site]:
    site = Site()
    async with handled(site.answer) as site.at:
        yield site


@pytest.fixture
async def other() -> AsyncIterator[Site]:
    site = Site()
    async with handled(site.answer) as site.at:
        yield site


@pytest.fixture
async def egress() -> AsyncIterator[Egress]:
    egress = Egress(SMALL)
    yield egress
    await egress.close()


def told(answer: Answer) -> tuple[str, dict[str, str], str]:
    found = json.loads(answer.body)
    return found["method"], found["headers"], found["body"]


async def test_method_headers_and_body_arrive_and_any_status_is_an_answer(egress: Egress, site: Site) -> None:
    sent = {"Authorization": "Bearer x", "Content-Type": "application/json", "User-Agent": "mine"}
    answer = await egress.request("PUT", f"{site.at}/a?b=c", allow_private=True, headers=sent, body=b"{}")
    assert (answer.status, answer.url, answer.media_type) == (418, f"{site.at}/a?b=c", "application/json")
    assert answer.headers["x-seen"] == "one, two"
    method, headers, body = told(answer)
    assert (method, body) == ("PUT", "{}")
    assert {name.lower(): value for name, value in sent.items()}.items() <= headers.items()


async def test_a_large_body_is_sent_whole(egress: Egress, site: Site) -> None:
    bounds = Bounds(body_bytes=4 << 20, seconds=10)
    answer = await egress.request("POST", site.at, allow_private=True, body=b"y" * (2 << 20), bounds=bounds)
    assert told(answer)[2] == "y" * (2 << 20)


async def test_what_the_connection_decides_is_not_for_who_asks_to_say(egress: Egress, site: Site) -> None:
    foreign = {"Host": "admin.test", "Content-Length": "1", "Transfer-Encoding": "x", "Connection": "upgrade"}
    more = {"Upgrade": "h2c", "Proxy-Authorization": "x", "Accept-Encoding": "br", "TE": "trailers"}
    answer = await egress.request("POST", site.at, allow_private=True, headers=foreign | more, body=b"whole")
    _, headers, body = told(answer)
    assert (headers["host"], headers["connection"], body) == (site.at.removeprefix("http://"), "close", "whole")
    assert headers["accept-encoding"] == "gzip, deflate"
    assert not headers.keys() & {"upgrade", "proxy-authorization", "te", "transfer-encoding"}


@pytest.mark.parametrize(
    "header", [("X", "a\r\nHost: b"), ("X\r\nY", "a"), ("X: y", "a"), ("", "a"), ("Größe", "a"), ("X", "a\x00")]
)
async def test_no_header_makes_two_of_one(egress: Egress, site: Site, header: tuple[str, str]) -> None:
    with pytest.raises(Unfetchable):
        await egress.request("GET", site.at, allow_private=True, headers=dict([header]))
    assert site.asked == []


@pytest.mark.parametrize("status", [301, 302, 303, 307, 308])
async def test_a_redirect_is_the_answer_where_none_is_to_be_followed(egress: Egress, site: Site, status: int) -> None:
    site.to = f"{site.at}/there"
    answer = await egress.request("POST", f"{site.at}/on/{status}", allow_private=True, body=b"x", follow=False)
    assert (answer.status, answer.headers["location"], answer.body) == (status, site.to, b"elsewhere")
    assert site.asked == [f"POST /on/{status}"]


@pytest.mark.parametrize(
    ("status", "method", "becomes"),
    [
        *((status, "POST", "GET") for status in (301, 302, 303)),
        *((status, "POST", "POST") for status in (307, 308)),
        (303, "PUT", "GET"),
        (302, "PUT", "PUT"),
        (303, "HEAD", "HEAD"),
    ],
)
async def test_a_redirect_on_the_same_server_changes_the_method_as_browsers_do(
    egress: Egress, site: Site, status: int, method: str, becomes: str
) -> None:
    site.to = "/there"
    sent = None if method == "HEAD" else b"x"
    answer = await egress.request(
        method, f"{site.at}/on/{status}", allow_private=True, headers={"X-Key": "k"}, body=sent
    )
    assert site.asked[1] == f"{becomes} /there"
    if becomes != "HEAD":
        _, headers, body = told(answer)
        assert (headers["x-key"], body) == ("k", "" if becomes == "GET" else "x")


async def test_nothing_that_was_sent_along_goes_to_another_server(egress: Egress, site: Site, other: Site) -> None:
    sent = {"Authorization": "Bearer x", "Cookie": "a=b", "X-Key": "k"}
    site.to = f"{other.at}/on/302"
    other.to = f"{site.at}/back"
    answer = await egress.request("POST", f"{site.at}/on/303", allow_private=True, headers=sent, body=b"x")
    # Nor does it come back to life where it is led back.
    assert (answer.url, other.asked) == (f"{site.at}/back", ["GET /on/302"])
    method, headers, body = told(answer)
    assert (method, body) == ("GET", "")
    assert not headers.keys() & {"authorization", "cookie", "x-key"}


@pytest.mark.parametrize(("method", "status"), [("POST", 307), ("POST", 308), ("PUT", 302), ("DELETE", 301)])
async def test_what_changes_something_is_not_led_to_another_server(
    egress: Egress, site: Site, other: Site, method: str, status: int
) -> None:
    site.to = f"{other.at}/there"
    with pytest.raises(Unfetchable, match="to another server"):
        await egress.request(method, f"{site.at}/on/{status}", allow_private=True, body=b"x")
    assert other.asked == []


@pytest.mark.parametrize("path", ["/large", "/large?packed=1"])
async def test_a_large_answer_fails_or_ends_at_its_bound(egress: Egress, site: Site, path: str) -> None:
    with pytest.raises(Unfetchable, match="larger than 10,000 bytes"):
        await egress.request("GET", site.at + path, allow_private=True)
    answer = await egress.request("GET", site.at + path, allow_private=True, cut=True)
    assert answer.body == b"x" * 10_000
    bounds = Bounds(body_bytes=50_000)
    answer = await egress.request("GET", site.at + path, allow_private=True, bounds=bounds)
    assert answer.body == b"x" * 50_000


async def test_a_head_of_something_large_is_no_large_answer(egress: Egress, site: Site) -> None:
    answer = await egress.request("HEAD", f"{site.at}/large", allow_private=True)
    assert (answer.status, answer.headers["content-length"], answer.body) == (200, "50000", b"")
