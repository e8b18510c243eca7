"""The one way out to addresses that a tenant named: each checked before a connection, each answer bounded.

Knows no document and no tool; what may be reached is for `core.addresses` to say.
"""

import asyncio
import re
import socket
import zlib
from collections.abc import Awaitable, Callable, Sequence
from contextlib import suppress
from dataclasses import dataclass

import aiohttp
from aiohttp.abc import AbstractResolver, ResolveResult
from yarl import URL

from dragoman.adapters.sites import AGENT, permitted, sitemap_of
from dragoman.core.addresses import may_reach
from dragoman.ports.pages import Page, Unfetchable

Resolve = Callable[[str, int], Awaitable[Sequence[str]]]

MAX_URL = 2048
MAX_PAGES = 200
MAX_SITEMAPS = 20

_REDIRECTS = (301, 302, 303, 307, 308)
_STRANGE = re.compile(r"[\x00-\x20\x7f\\]")
_AUTHORITY = re.compile(r"[a-zA-Z]{4,5}://([^/?#]*)")
# What a resolver of the system may take for the number of an address; judged by the last label, as browsers do.
_NUMERIC = re.compile(r"(?:.*\.)?(?:\d+|0[xX][0-9a-fA-F]*)\.?")


@dataclass(frozen=True, slots=True)
class Bounds:
    """How much a fetch may take: bytes after decoding, seconds with all redirects, and seconds for a whole sitemap."""

    body_bytes: int = 10 << 20
    seconds: float = 20.0
    redirects: int = 5
    site_seconds: float = 120.0


@dataclass(frozen=True, slots=True)
class _Answer:
    url: URL
    status: int
    media_type: str
    body: bytes


async def resolved(host: str, port: int) -> Sequence[str]:
    """The addresses that the system knows a name by.

    Raises:
        OSError: none.
    """
    found = await asyncio.get_running_loop().getaddrinfo(host, port, type=socket.SOCK_STREAM)
    return [str(address[0]) for *_, address in found]


class GuardedPages:
    """Fetches pages as `ports.pages.Pages` says. No cookies, no proxies, no connection that is used twice."""

    def __init__(self, bounds: Bounds | None = None, resolve: Resolve = resolved) -> None:
        self._bounds = bounds or Bounds()
        self._resolve = resolve
        self._sessions: dict[bool, aiohttp.ClientSession] = {}

    async def fetch(self, url: str, *, allow_private: bool) -> Page:
        answer = await self._request("GET", url, allow_private=allow_private)
        if not 200 <= answer.status < 300:
            raise Unfetchable(f"{answer.url} answered with status {answer.status}")
        return Page(str(answer.url), answer.media_type, answer.body)

    async def pages_of(self, url: str, *, allow_private: bool) -> Sequence[str]:
        try:
            async with asyncio.timeout(self._bounds.site_seconds):
                return await self._pages_of(target(url, allow_private=allow_private), allow_private)
        except TimeoutError as error:
            raise Unfetchable(f"The site did not tell its pages within {self._bounds.site_seconds:g} s") from error

    async def close(self) -> None:
        for session in self._sessions.values():
            await session.close()
        self._sessions.clear()

    async def _pages_of(self, url: URL, allow_private: bool) -> Sequence[str]:
        robots = await self._robots(url, allow_private)
        # A long robots.txt, and many pages under it, are a second of work.
        if not await asyncio.to_thread(permitted, robots, [str(url)], 1):
            raise Unfetchable(f"robots.txt of {url.host} keeps {AGENT} from reading {url}")
        page = await self.fetch(str(url), allow_private=allow_private)
        found = URL(page.url)
        if found.origin() != url.origin():
            robots = await self._robots(found, allow_private)
        listed = await self._listed(page, allow_private)
        pages = [page.url] if listed is None else listed
        kept = await asyncio.to_thread(permitted, robots, pages, MAX_PAGES)
        if not kept:
            why = f"lists no page of {found.origin()}" if listed == [] else f"lists pages that {AGENT} may not read"
            raise Unfetchable(f"{page.url} {why if listed is not None else f'may not be read by {AGENT}: robots.txt'}")
        return kept

    async def _listed(self, page: Page, allow_private: bool) -> list[str] | None:
        """The pages that a page lists if it is a sitemap, those of its own origin alone."""
        sitemap = await asyncio.to_thread(sitemap_of, page.body)
        if sitemap is None:
            return None
        if not sitemap.is_index:
            return _of_same_origin(page.url, sitemap.locations)
        pages: dict[str, None] = {}
        for address in _of_same_origin(page.url, sitemap.locations)[:MAX_SITEMAPS]:
            # One sitemap that is gone does not hide what the others list.
            with suppress(Unfetchable):
                part = await self.fetch(address, allow_private=allow_private)
                listed = await asyncio.to_thread(sitemap_of, part.body)
                if listed is not None and not listed.is_index:
                    pages |= dict.fromkeys(_of_same_origin(page.url, listed.locations))
            if len(pages) >= MAX_PAGES:
                break
        return list(pages)

    async def _robots(self, url: URL, allow_private: bool) -> bytes:
        """The rules of a site; none where it has none. RFC 9309: where they cannot be had, nothing may be read."""
        answer = await self._request("GET", str(url.origin() / "robots.txt"), allow_private=allow_private)
        if 200 <= answer.status < 300:
            return answer.body
        if 400 <= answer.status < 500:
            return b""
        raise Unfetchable(f"{answer.url} answered with status {answer.status}: what may be read there is not known")

    async def _request(self, method: str, address: str, *, allow_private: bool) -> _Answer:
        """One request and what its redirects lead to, each checked anew.

        Raises:
            Unfetchable: as the port says; any status is an answer.
        """
        url = target(address, allow_private=allow_private)
        try:
            async with asyncio.timeout(self._bounds.seconds):
                for _ in range(self._bounds.redirects + 1):
                    async with self._session(allow_private).request(method, url, allow_redirects=False) as response:
                        location = response.headers.get("Location") if response.status in _REDIRECTS else None
                        if location is None:
                            body = await _body(response, self._bounds.body_bytes)
                            return _Answer(url, response.status, response.content_type, body)
                    url = redirected(url, location, allow_private=allow_private)
        except TimeoutError as error:
            raise Unfetchable(f"{url.host} did not answer in whole within {self._bounds.seconds:g} s") from error
        except aiohttp.ClientConnectorDNSError as error:
            raise Unfetchable(f"{url.host} has no address: check the spelling") from error
        except (aiohttp.ClientSSLError, aiohttp.ClientConnectorCertificateError) as error:
            raise Unfetchable(f"{url.host} could not prove who it is: its certificate is not trusted") from error
        except (aiohttp.ClientError, OSError, ValueError, zlib.error) as error:
            raise Unfetchable(f"{url.host} could not be read: {_reason(error)}") from error
        raise Unfetchable(f"{address} leads on more than {self._bounds.redirects} times")

    def _session(self, allow_private: bool) -> aiohttp.ClientSession:
        if allow_private not in self._sessions:
            guard = _Guard(self._resolve, allow_private)
            self._sessions[allow_private] = aiohttp.ClientSession(
                # A name is resolved for each connection, and each is used once: what was checked is what is used.
                connector=aiohttp.TCPConnector(resolver=guard, use_dns_cache=False, force_close=True),
                cookie_jar=aiohttp.DummyCookieJar(),
                headers={"User-Agent": AGENT, "Accept-Encoding": "gzip, deflate"},
                timeout=aiohttp.ClientTimeout(total=None),
                # It would decode all that came in one read, however much that becomes.
                auto_decompress=False,
                trust_env=False,
            )
        return self._sessions[allow_private]


class _Guard(AbstractResolver):
    """Gives a connection the addresses of its host, if every one of them may be reached."""

    def __init__(self, resolve: Resolve, allow_private: bool) -> None:
        self._resolve = resolve
        self._allow_private = allow_private

    async def resolve(
        self, host: str, port: int = 0, family: socket.AddressFamily = socket.AF_UNSPEC
    ) -> list[ResolveResult]:
        addresses = list(dict.fromkeys(await self._resolve(host, port)))
        if not all(may_reach(address, allow_private=self._allow_private) for address in addresses):
            raise Unfetchable(f"{host} has an address that may not be reached from here: it is not public")
        return [
            ResolveResult(
                hostname=host,
                host=address,
                port=port,
                family=socket.AF_INET6 if ":" in address else socket.AF_INET,
                proto=0,
                flags=socket.AI_NUMERICHOST | socket.AI_NUMERICSERV,
            )
            for address in addresses
        ]

    async def close(self) -> None:
        pass


def target(address: str, *, allow_private: bool) -> URL:
    """An address as it may be requested, as far as that can be told before its name is resolved.

    Raises:
        Unfetchable: why not.
    """
    if len(address) > MAX_URL or _STRANGE.search(address):
        raise Unfetchable(f"The address is longer than {MAX_URL} characters, or has spaces or backslashes in it")
    authority = _AUTHORITY.match(address)
    try:
        url = URL(address)
        host = url.raw_host
        port = url.port
    except ValueError as error:
        raise Unfetchable(f"{address} is no address of a page: {error}") from error
    if authority is None or not host or url.scheme not in ("http", "https"):
        raise Unfetchable(f"{address} is no address of a page: it takes http:// or https:// and a host")
    if "@" in authority[1] or "%" in host or not port:
        raise Unfetchable("The address may hold no name, no password, no zone and no port 0: leave them out")
    if (":" in host or _NUMERIC.fullmatch(host)) and not may_reach(host, allow_private=allow_private):
        raise Unfetchable(f"{host} may not be reached from here: it is no public address in its usual spelling")
    return url


def redirected(url: URL, location: str, *, allow_private: bool) -> URL:
    """Where a redirect leads.

    Raises:
        Unfetchable: it may not be followed.
    """
    try:
        following = target(str(url.join(URL(location))), allow_private=allow_private)
    except ValueError as error:
        raise Unfetchable(f"{url} leads to what is no address") from error
    if url.scheme == "https" and following.scheme == "http":
        raise Unfetchable(f"{url} leads from https to http, where anybody may have changed the page")
    return following


def _of_same_origin(url: str, addresses: Sequence[str]) -> list[str]:
    origin = URL(url).origin()
    same = []
    for address in addresses:
        with suppress(ValueError):
            if URL(address).origin() == origin:
                same.append(address)
    return list(dict.fromkeys(same))


async def _body(response: aiohttp.ClientResponse, most: int) -> bytes:
    """The decoded body; decoding stops where it becomes too large."""
    too_large = Unfetchable(f"{response.url} is larger than {most:,} bytes")
    if (response.content_length or 0) > most:
        response.close()
        raise too_large
    decoder = _Decoder(response.headers.get("Content-Encoding", "").strip().lower())
    body = bytearray()
    received = 0
    async for data in response.content.iter_any():
        received += len(data)
        body += decoder.decode(data, most + 1 - len(body))
        if max(received, len(body)) > most:
            response.close()
            raise too_large
    if received and not decoder.is_whole:
        raise ValueError("it broke off")
    return bytes(body)


class _Decoder:
    """A content coding that we asked for, undone."""

    def __init__(self, coding: str) -> None:
        if coding not in ("", "identity", "gzip", "x-gzip", "deflate"):
            raise ValueError(f"it is encoded as {coding[:40]!r}, which was not asked for")
        self._is_plain = coding in ("", "identity")
        self._may_be_raw = coding == "deflate"
        self._inflater = zlib.decompressobj(zlib.MAX_WBITS | (0 if self._may_be_raw else 16))

    @property
    def is_whole(self) -> bool:
        return self._is_plain or self._inflater.eof

    def decode(self, data: bytes, most: int) -> bytes:
        """What came, decoded up to `most` bytes; what is beyond is lost."""
        if self._is_plain:
            return data[:most]
        if self._may_be_raw:
            self._may_be_raw = False
            # Some servers leave out the two bytes that say it is deflated.
            if data[0] & 0x0F != zlib.DEFLATED:
                self._inflater = zlib.decompressobj(-zlib.MAX_WBITS)
        return self._inflater.decompress(data, most)


def _reason(error: Exception) -> str:
    if isinstance(error, ValueError) and not isinstance(error, aiohttp.ClientError):
        return str(error)
    if isinstance(error, zlib.error):
        return "its encoding is broken"
    return "it refuses connections" if isinstance(error, aiohttp.ClientConnectorError) else "it broke off"
