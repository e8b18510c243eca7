"""Where a connection to an address that a tenant named may lead: judged as it is spelt, and again as it is resolved.

Knows no request; what may be reached is for `core.addresses` to say.
"""

import asyncio
import re
import socket
from collections.abc import Awaitable, Callable, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor

import aiohttp
from aiohttp.abc import AbstractResolver, ResolveResult
from yarl import URL

from dragoman.core.addresses import may_reach
from dragoman.core.agents import Guard
from dragoman.ports.egress import Unfetchable

Resolve = Callable[[str, int], Awaitable[Sequence[str]]]

MAX_URL = 2048

_STRANGE = re.compile(r"[\x00-\x20\x7f\\]")
_AUTHORITY = re.compile(r"[a-zA-Z]{4,5}://([^/?#]*)")
# What a resolver of the system may take for the number of an address; judged by the last label, as browsers do.
_NUMERIC = re.compile(r"(?:.*\.)?(?:\d+|0[xX][0-9a-fA-F]*)\.?")
# Names of this machine, whatever a resolver makes of them (RFC 6761, 6.3).
_LOCAL = re.compile(r"(?:.*\.)?localhost\.?", re.IGNORECASE)
# Names whose servers are silent hold a thread for many seconds each, so nothing else waits for these threads.
_resolving = ThreadPoolExecutor(64, thread_name_prefix="resolving")


async def resolved(host: str, port: int) -> Sequence[str]:
    """The addresses that the system knows a name by.

    Raises:
        OSError: none.
    """

    def ask() -> Sequence[str]:
        return [str(address[0]) for *_, address in socket.getaddrinfo(host, port, type=socket.SOCK_STREAM)]

    return await asyncio.get_running_loop().run_in_executor(_resolving, ask)


class OffLimits(Unfetchable):
    """What an address or its name leads to may not be reached from here: it is not public, or nobody's service."""

    def __init__(self, message: str) -> None:
        super().__init__(message, retriable=False)


class GuardedSessions:
    """Sessions whose connections lead to addresses that may be reached, and nowhere else; they keep nothing.

    Hosts that are addresses are not resolved: who takes a session asks only for what `target` lets pass, and follows no
    redirects. Bodies come as they were sent. What may not be reached raises Unfetchable.
    """

    def __init__(
        self, *, timeout: aiohttp.ClientTimeout, headers: Mapping[str, str], resolve: Resolve = resolved
    ) -> None:
        self._timeout = timeout
        self._headers = headers
        self._resolve = resolve
        self._sessions: dict[bool, aiohttp.ClientSession] = {}

    def session(self, *, allow_private: bool) -> aiohttp.ClientSession:
        """The session for public addresses, or for private ones too."""
        if allow_private not in self._sessions:
            self._sessions[allow_private] = aiohttp.ClientSession(
                # A name is resolved for each connection, and each is used once: what was checked is what is used.
                connector=aiohttp.TCPConnector(
                    resolver=_Guard(self._resolve, allow_private), use_dns_cache=False, force_close=True, limit=0
                ),
                cookie_jar=aiohttp.DummyCookieJar(),
                headers=self._headers,
                timeout=self._timeout,
                # It would decode all that came in one read, however much that becomes.
                auto_decompress=False,
                trust_env=False,
            )
        return self._sessions[allow_private]

    def to(self, address: str, guard: Guard) -> aiohttp.ClientSession:
        """The session in which the address of a model may be asked.

        Raises:
            Unfetchable: it may not be.
        """
        allow_private = guard == "private"
        target(address, allow_private=allow_private)
        return self.session(allow_private=allow_private)

    async def close(self) -> None:
        """Close every connection."""
        for session in self._sessions.values():
            await session.close()
        self._sessions.clear()


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
            raise OffLimits(f"{host} has an address that may not be reached from here: it is not public")
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
        raise Unfetchable(
            f"The address is longer than {MAX_URL} characters, or has spaces or backslashes in it", retriable=False
        )
    authority = _AUTHORITY.match(address)
    try:
        url = URL(address)
        host = url.raw_host
        port = url.port
    except ValueError as error:
        raise Unfetchable(f"{address} is no address of a page: {error}", retriable=False) from error
    if authority is None or not host or url.scheme not in ("http", "https"):
        raise Unfetchable(
            f"{address} is no address of a page: it takes http:// or https:// and a host", retriable=False
        )
    if "@" in authority[1] or "%" in host or not port:
        raise Unfetchable(
            "The address may hold no name, no password, no zone and no port 0: leave them out", retriable=False
        )
    if (":" in host or _NUMERIC.fullmatch(host)) and not may_reach(host, allow_private=allow_private):
        raise OffLimits(f"{host} may not be reached from here: it is no public address in its usual spelling")
    if not allow_private and _LOCAL.fullmatch(host):
        raise OffLimits(f"{host} may not be reached from here: it is the name of this machine, and not public")
    return url


def redirected(url: URL, location: str, *, allow_private: bool) -> URL:
    """Where a redirect leads.

    Raises:
        Unfetchable: it may not be followed.
    """
    try:
        following = target(str(url.join(URL(location))), allow_private=allow_private)
    except ValueError as error:
        raise Unfetchable(f"{url} leads to what is no address", retriable=False) from error
    if url.scheme == "https" and following.scheme == "http":
        raise Unfetchable(f"{url} leads from https to http, where anybody may have changed the page", retriable=False)
    return following
