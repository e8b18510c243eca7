"""A hundred and more addresses that must not be reached, names that lead there, and a canary that tells who knocks.

To hold another thing that fetches against them, give it a row in `test_hostile.FETCHERS`.
"""

import asyncio
import re
from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager

from dragoman.adapters.guard import resolved
from dragoman.core.addresses import may_reach

# An address of this machine that tests take for a public one, where something must answer before it lures on.
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
    """Listens on every address of this machine, remembers on which it was connected to, and answers as it is told."""

    def __init__(self) -> None:
        self.knocked: list[str] = []
        self.port = 0

    async def knock(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        """Somebody has connected."""
        self.knocked.append(writer.get_extra_info("sockname")[0])
        writer.write(b"HTTP/1.1 200 OK\r\nContent-Length: 2\r\nContent-Type: text/plain\r\nConnection: close\r\n\r\nhi")
        await reader.read()
        writer.close()


@asynccontextmanager
async def listening() -> AsyncIterator[Canary]:
    """A canary at work."""
    canary = Canary()
    four = await asyncio.start_server(canary.knock, "0.0.0.0", 0)
    canary.port = four.sockets[0].getsockname()[1]
    six = await asyncio.start_server(canary.knock, "::1", canary.port)
    yield canary
    for server in (four, six):
        server.close()
        await server.wait_closed()


class Lure:
    """A server at `PUBLIC` that sends whoever asks on to where it is told, its rules for robots apart."""

    def __init__(self) -> None:
        self.at = ""
        self.to = ""
        self.status = 307
        self.robots_too = False
        self.asked = 0

    async def answer(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        """Somebody asks."""
        head = await reader.readuntil(b"\r\n\r\n")
        self.asked += 1
        plain = b"/robots.txt" in head.partition(b"\r\n")[0] and not self.robots_too
        there = "" if plain else f"Location: {self.to}\r\n"
        status = 404 if plain else self.status
        writer.write(f"HTTP/1.1 {status} On\r\n{there}Content-Length: 0\r\nConnection: close\r\n\r\n".encode())
        writer.close()


@asynccontextmanager
async def luring() -> AsyncIterator[Lure]:
    """A lure at work."""
    lure = Lure()
    server = await asyncio.start_server(lure.answer, PUBLIC, 0)
    lure.at = f"http://{PUBLIC}:{server.sockets[0].getsockname()[1]}/"
    yield lure
    server.close()
    await server.wait_closed()


def hostile(port: int) -> list[str]:
    """Every address, of a service at that port."""
    urls = [url.replace("PORT", str(port)) for url in re.split("[ \n]+", HOSTILE.strip())]
    return urls + [f"http://{name}:{port}/" for name in NAMES]


async def names(host: str, port: int) -> Sequence[str]:
    """What names lead to: ours where we said, others where the system has it."""
    host = host.rstrip(".").lower()
    return NAMES[host] if host in NAMES else await resolved(host, port)


def reachable(address: str, *, allow_private: bool) -> bool:
    """As the core judges it, and `PUBLIC` as if it were public: in place of `guard.may_reach`."""
    return address == PUBLIC or may_reach(address, allow_private=allow_private)
