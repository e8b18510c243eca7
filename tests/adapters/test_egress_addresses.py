"""Eighty and more addresses that must not be reached, against a canary that counts who knocks."""

import asyncio
import re
from collections.abc import AsyncIterator, Callable, Sequence

import pytest
from aiohttp import web
from yarl import URL

from dragoman.adapters import egress
from dragoman.adapters.egress import Bounds, GuardedPages, redirected, resolved, target
from dragoman.core.addresses import may_reach
from dragoman.ports.pages import Unfetchable

# An address of this machine that these tests take for a public one, where something must answer before it lures on.
PUBLIC = "127.0.0.9"

# What names lead to.
NAMES: dict[str, Sequence[str]] = {
    "one.test": ["127.0.0.1"],
    "six.test": ["::1"],
    "mapped.test": ["::ffff:127.0.0.1"],
    "compatible.test": ["::127.0.0.1"],
    "nat64.test": ["64:ff9b::7f00:1"],
    "local-nat64.test": ["64:ff9b:1::7f00:1"],
    "sixtofour.test": ["2002:7f00:1::1"],
    "teredo.test": ["2001:0:7f00:1::80ff:fffe"],
    "zone.test": ["fe80::1%lo"],
    "both.test": ["93.184.215.14", "127.0.0.1"],
    "both-families.test": ["2606:2800:21f:cb07:6820:80da:af6b:8b2c", "::1"],
    "private.test": ["10.0.0.1"],
    "metadata.test": ["169.254.169.254"],
    "metadata-six.test": ["fd00:ec2::254"],
    "this-network.test": ["0.0.0.0"],
    "unspecified.test": ["::"],
    "nothing-canonical.test": ["0177.0.0.1"],
    "xn--n3h.test": ["127.0.0.1"],
}
HOSTILE = """
http://127.0.0.1:PORT/                 http://127.0.0.2:PORT/             http://127.255.255.254:PORT/
http://127.1:PORT/                     http://127.0.1:PORT/               http://127.0.0.1.:PORT/
http://2130706433:PORT/                http://017700000001:PORT/          http://0x7f000001:PORT/
http://0X7F000001:PORT/                http://0x7f.0.0.1:PORT/            http://0x7f.1:PORT/
http://0177.0.0.1:PORT/                http://0177.1:PORT/                http://00000177.0.0.1:PORT/
http://127.0.0.01:PORT/                http://0000127.0.0.1:PORT/         http://127.0.0.0x1:PORT/
http://4294967297:PORT/                http://383.256.256.257:PORT/       http://127.0.0.257:PORT/
http://127.0.0.1.1:PORT/               http://0:PORT/                     http://0.0.0.0:PORT/
http://0x0:PORT/                       http://00:PORT/                    http://127%2e0%2e0%2e1:PORT/
http://%31%32%37.0.0.1:PORT/           http://127.0.0.1%00.a.test:PORT/   http://127.0.0.1%2f.a.test:PORT/
http://①②⑦.⓪.⓪.①:PORT/              http://１２７.0.0.1:PORT/           http://127。0。0。1:PORT/
http://ⓛⓞⓒⓐⓛⓗⓞⓢⓣ:PORT/              http://[::1]:PORT/                 http://[0:0:0:0:0:0:0:1]:PORT/
http://[::0001]:PORT/                  http://[::]:PORT/                  http://[::ffff:127.0.0.1]:PORT/
http://[::ffff:7f00:1]:PORT/           http://[0:0:0:0:0:ffff:7f00:1]:PORT/ http://[::127.0.0.1]:PORT/
http://[::7f00:1]:PORT/                http://[64:ff9b::127.0.0.1]:PORT/  http://[64:ff9b::7f00:1]:PORT/
http://[64:ff9b:1::7f00:1]:PORT/       http://[2002:7f00:1::]:PORT/       http://[2001:0:7f00:1::80ff:fffe]:PORT/
http://[::1%25lo]:PORT/                http://[::1%lo]:PORT/              http://[fe80::1%25lo]:PORT/
http://[fe80::1]:PORT/                 http://[fec0::1]:PORT/             http://[fc00::1]:PORT/
http://[fd00:ec2::254]:PORT/           http://[ff02::1]:PORT/             http://[127.0.0.1]:PORT/
http://[::ffff:0:7f00:1]:PORT/         http://[2001:db8::1]:PORT/         http://[100::1]:PORT/
http://localhost:PORT/                 http://LOCALHOST:PORT/             http://localhost.:PORT/
http://user@127.0.0.1:PORT/            http://user:word@localhost:PORT/   http://@127.0.0.1:PORT/
http://
7.0.0.1:PORT/               http://a.test@127.0.0.1:PORT/      http://a.test:80@127.0.0.1:PORT/
http://a.test%40127.0.0.1:PORT/        http://a.test\\@127.0.0.1:PORT/    http://127.0.0.1:PORT\\.a.test/
http://127.0.0.1\t:PORT/               http://127.0.0.1:PORT#@a.test/     http://127.0.0.1:PORT?@a.test/
http:127.0.0.1:PORT/                   http:/127.0.0.1:PORT/              http:///127.0.0.1:PORT/
//127.0.0.1:PORT/                      127.0.0.1:PORT/                    localhost:PORT/
http:\\\\127.0.0.1:PORT/               https://127.0.0.1:PORT/            https://[::1]:PORT/
ftp://127.0.0.1:PORT/                  gopher://127.0.0.1:PORT/           file:///etc/hostname
ws://127.0.0.1:PORT/                   dict://127.0.0.1:PORT/             unix://127.0.0.1:PORT/
data:text/html,x                    javascript:0                    HTTP://127.0.0.1:PORT/
http://10.0.0.1:PORT/                  http://172.16.0.1:PORT/            http://192.168.0.1:PORT/
http://100.64.0.1:PORT/                http://169.254.169.254:PORT/       http://100.100.100.200:PORT/
http://168.63.129.16:PORT/             http://192.0.0.192:PORT/           http://198.18.0.1:PORT/
http://192.0.2.1:PORT/                 http://224.0.0.1:PORT/             http://240.0.0.1:PORT/
http://255.255.255.255:PORT/           http://127.0.0.1:0/             http://127.0.0.1:99999/
"""


class Canary:
    """Listens on every address of this machine and counts connections."""

    def __init__(self) -> None:
        self.knocks = 0
        self.port = 0

    def knock(self, _: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self.knocks += 1
        writer.write(b"HTTP/1.1 200 OK\r\nContent-Length: 2\r\nContent-Type: text/plain\r\n\r\nhi")
        writer.close()


@pytest.fixture
async def canary() -> AsyncIterator[Canary]:
    canary = Canary()
    four = await asyncio.start_server(canary.knock, "0.0.0.0", 0)
    canary.port = four.sockets[0].getsockname()[1]
    six = await asyncio.start_server(canary.knock, "::1", canary.port)
    yield canary
    for server in (four, six):
        server.close()
        await server.wait_closed()


def hostile(port: int) -> list[str]:
    urls = [url.replace("PORT", str(port)) for url in re.split("[ \n]+", HOSTILE.strip())]
    return urls + [f"http://{name}:{port}/" for name in NAMES]


async def names(host: str, port: int) -> Sequence[str]:
    host = host.rstrip(".").lower()
    return NAMES[host] if host in NAMES else await resolved(host, port)


@pytest.fixture
async def pages() -> AsyncIterator[GuardedPages]:
    pages = GuardedPages(Bounds(seconds=5), names)
    yield pages
    await pages.close()


def test_the_table_has_a_hundred_addresses_and_more() -> None:
    assert len(set(hostile(1))) >= 100 + len(NAMES)


@pytest.mark.parametrize("thing", ["fetch", "pages_of"])
async def test_no_hostile_address_is_connected_to(canary: Canary, pages: GuardedPages, thing: str) -> None:
    for url in hostile(canary.port):
        with pytest.raises(Unfetchable):
            await getattr(pages, thing)(url, allow_private=False)
    assert canary.knocks == 0


async def test_the_canary_sees_who_does_connect(canary: Canary, pages: GuardedPages) -> None:
    for number, host in enumerate(("127.0.0.1", "[::1]", "one.test", "six.test", "mapped.test"), 1):
        page = await pages.fetch(f"http://{host}:{canary.port}/", allow_private=True)
        assert (page.body, canary.knocks) == (b"hi", number)


@pytest.fixture
def loopback_is_public(monkeypatch: pytest.MonkeyPatch) -> None:
    def reach(address: str, *, allow_private: bool) -> bool:
        return address == PUBLIC or may_reach(address, allow_private=allow_private)

    monkeypatch.setattr(egress, "may_reach", reach)


@pytest.fixture
async def lure() -> AsyncIterator[Callable[[str], str]]:
    """A server that sends whoever asks on to an address; gives the address to ask for."""

    async def answer(request: web.Request) -> web.Response:
        return web.Response(status=307, headers={"Location": request.query["to"]})

    app = web.Application()
    app.router.add_get("/lure", answer)
    runner = web.AppRunner(app)
    await runner.setup()
    site = web.TCPSite(runner, PUBLIC, 0)
    await site.start()
    port = runner.addresses[0][1]
    yield lambda to: str(URL(f"http://{PUBLIC}:{port}/lure").with_query(to=to))
    await runner.cleanup()


@pytest.mark.usefixtures("loopback_is_public")
async def test_no_redirect_leads_to_a_hostile_address(
    canary: Canary, pages: GuardedPages, lure: Callable[[str], str]
) -> None:
    followed = lure(f"http://{PUBLIC}:{canary.port}/")
    assert (await pages.fetch(followed, allow_private=False)).url == f"http://{PUBLIC}:{canary.port}/"
    canary.knocks = 0
    for url in hostile(canary.port):
        with pytest.raises(Unfetchable):
            await pages.fetch(lure(url), allow_private=False)
    assert canary.knocks == 0


@pytest.mark.usefixtures("loopback_is_public")
async def test_a_name_that_changes_its_address_is_checked_at_each_connection(canary: Canary) -> None:
    answers = [[PUBLIC], ["127.0.0.1"], ["::1"], [PUBLIC, "127.0.0.1"]]
    asked = 0

    async def rebinding(_host: str, _port: int) -> Sequence[str]:
        nonlocal asked
        asked += 1
        return answers[asked - 1]

    pages = GuardedPages(resolve=rebinding)
    url = f"http://rebinding.test:{canary.port}/"
    assert (await pages.fetch(url, allow_private=False)).body == b"hi"
    for _ in answers[1:]:
        with pytest.raises(Unfetchable, match="not public"):
            await pages.fetch(url, allow_private=False)
    await pages.close()
    # Each was resolved once: what was checked is what was connected to.
    assert (asked, canary.knocks) == (4, 1)


NEVER = [
    "169.254.169.254",
    "[fd00:ec2::254]",
    "[fe80::1]",
    "224.0.0.1",
    "[ff02::1]",
    "0.0.0.0",
    "[::]",
    "100.100.100.200",
]


@pytest.mark.parametrize("host", [*NEVER, "255.255.255.255", "[::ffff:169.254.169.254]", "[64:ff9b::a9fe:a9fe]"])
async def test_what_is_never_a_service_is_not_reached_even_where_private_addresses_are(
    pages: GuardedPages, host: str
) -> None:
    with pytest.raises(Unfetchable, match="may not be reached"):
        await pages.fetch(f"http://{host}/", allow_private=True)


async def test_a_redirect_to_metadata_is_not_followed_even_where_private_addresses_are(
    pages: GuardedPages, lure: Callable[[str], str]
) -> None:
    with pytest.raises(Unfetchable, match=r"169\.254\.169\.254 may not be reached"):
        await pages.fetch(lure("http://169.254.169.254/latest/meta-data/"), allow_private=True)


@pytest.mark.parametrize(
    "address",
    ["8.8.8.8", "93.184.215.14", "2606:4700::1111", "::ffff:8.8.8.8", "64:ff9b::808:808", "172.32.0.1", "100.128.0.1"],
)
def test_public_addresses_may_be_reached(address: str) -> None:
    assert may_reach(address, allow_private=False)


@pytest.mark.parametrize(
    "address", ["10.1.2.3", "192.168.1.1", "172.16.0.1", "100.64.0.1", "127.0.0.1", "::1", "fd12::1"]
)
def test_private_addresses_may_be_reached_by_grant_alone(address: str) -> None:
    assert may_reach(address, allow_private=True)
    assert not may_reach(address, allow_private=False)


def test_addresses_as_people_write_them_are_taken() -> None:
    for url in (
        "https://example.com",
        "HTTP://Example.com:8080/a?b=c#d",
        "https://bücher.example/größe",
        "http://1e100.net/",
    ):
        assert target(url, allow_private=False).host


def test_a_redirect_is_judged_and_never_leads_from_https_to_http() -> None:
    secure = URL("https://example.com/a/b")
    assert str(redirected(secure, "../c", allow_private=False)) == "https://example.com/c"
    assert str(redirected(secure, "//example.org/", allow_private=False)) == "https://example.org/"
    assert str(redirected(URL("http://example.com/"), "https://example.com/", allow_private=False))
    with pytest.raises(Unfetchable, match="https to http"):
        redirected(secure, "http://example.com/", allow_private=False)
    with pytest.raises(Unfetchable):
        redirected(secure, "http://[", allow_private=False)
