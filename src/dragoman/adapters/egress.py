"""The one way out to addresses that a tenant named: each checked before a connection, each answer bounded.

Knows no page, no tool and no webhook.
"""

import asyncio
import re
import zlib
from collections.abc import Mapping
from io import BytesIO

import aiohttp
from yarl import URL

from dragoman.adapters.decoding import CODINGS, TooLarge, pieces
from dragoman.adapters.guard import GuardedSessions, Resolve, redirected, resolved, target
from dragoman.adapters.sites import AGENT
from dragoman.ports.egress import Answer, Bounds, Unfetchable

# From this size on aiohttp warns of a body given as bytes; one given as a file it writes piece by piece.
LARGE_BODY_BYTES = 1 << 20
# How a request and the reading of its body fail, out of time among them.
FAILURES = (aiohttp.ClientError, OSError, ValueError, zlib.error)

_REDIRECTS = (301, 302, 303, 307, 308)
_TOKEN = re.compile(r"[\w!#$%&'*+.^`|~-]+", re.ASCII)
# What the connection decides, and not who asks: another host, length or framing would make another request of it.
_OURS = re.compile(
    "accept-encoding|connection|content-length|expect|host|keep-alive|proxy-.*|te|trailer|transfer-encoding|upgrade"
)


class Egress:
    """Requests as `ports.egress.WayOut` says. No cookies, no proxies, no connection that is used twice."""

    def __init__(self, bounds: Bounds | None = None, resolve: Resolve = resolved) -> None:
        self._bounds = bounds or Bounds()
        self._sessions = GuardedSessions(
            timeout=aiohttp.ClientTimeout(total=None, sock_connect=None),
            headers={"User-Agent": AGENT, "Accept-Encoding": CODINGS},
            resolve=resolve,
        )

    async def request(
        self,
        method: str,
        url: str,
        *,
        allow_private: bool,
        headers: Mapping[str, str] = {},
        body: bytes | None = None,
        bounds: Bounds | None = None,
        follow: bool = True,
        cut: bool = False,
    ) -> Answer:
        bounds = bounds or self._bounds
        at = target(url, allow_private=allow_private)
        try:
            async with asyncio.timeout(bounds.seconds):
                for _ in range(bounds.redirects + 1):
                    response = await self.open(method, at, allow_private=allow_private, headers=headers, body=body)
                    async with response:
                        location = response.headers.get("Location") if response.status in _REDIRECTS else None
                        if location is None or not follow:
                            return await _answer(response, at, bounds.body_bytes, cut)
                    following = redirected(at, location, allow_private=allow_private)
                    method, body = _retold(response.status, method, body)
                    if following.origin() != at.origin():
                        if body is not None or method not in ("GET", "HEAD"):
                            raise Unfetchable(f"{at} leads a {method} to another server, {following.origin()}")
                        headers = {}
                    at = following
        except FAILURES as error:
            raise failed(at.host, error, bounds) from error
        raise Unfetchable(f"{url} leads on more than {bounds.redirects} times")

    async def open(
        self, method: str, url: URL, *, allow_private: bool, headers: Mapping[str, str], body: bytes | None
    ) -> aiohttp.ClientResponse:
        """The answer of a URL that `guard.target` gave, its body yet to be read; a redirect is an answer.

        Raises:
            Unfetchable: its name leads where it may not, or a header is none.
            FAILURES: as aiohttp has it; `failed` makes Unfetchable of them.
        """
        sent = {name: value for name, value in headers.items() if not _OURS.fullmatch(name.lower())}
        if strange := [name for name in sent if not _TOKEN.fullmatch(name)]:
            raise Unfetchable(f"{strange[0]!r} is no name of a header")
        data = BytesIO(body) if body is not None and len(body) > LARGE_BODY_BYTES else body
        session = self._sessions.session(allow_private=allow_private)
        return await session.request(method, url, headers=sent, data=data, allow_redirects=False)

    async def close(self) -> None:
        """Close every connection."""
        await self._sessions.close()


def failed(host: str | None, error: Exception, bounds: Bounds) -> Unfetchable:
    """What one of `FAILURES` means for the owner of an address."""
    if isinstance(error, TimeoutError):
        return Unfetchable(f"{host} did not answer in whole within {bounds.seconds:g} s")
    if isinstance(error, aiohttp.ClientConnectorDNSError):
        return Unfetchable(f"{host} has no address: check the spelling")
    if isinstance(error, aiohttp.ClientSSLError | aiohttp.ClientConnectorCertificateError):
        return Unfetchable(f"{host} could not prove who it is: its certificate is not trusted")
    return Unfetchable(f"{host} could not be read: {_reason(error)}")


def _retold(status: int, method: str, body: bytes | None) -> tuple[str, bytes | None]:
    """The method and the body with which a redirect is followed, as browsers do it."""
    if (status == 303 and method != "HEAD") or (status in (301, 302) and method == "POST"):
        return "GET", None
    return method, body


async def _answer(response: aiohttp.ClientResponse, url: URL, most: int, cut: bool) -> Answer:
    body = bytearray()
    try:
        # A HEAD's answer tells a length and has none.
        if (response.content_length or 0) > most and not cut and response.method != "HEAD":
            raise TooLarge
        async for piece in pieces(response, most):
            body += piece
    except TooLarge:
        response.close()
        if not cut:
            raise Unfetchable(f"{url} is larger than {most:,} bytes") from None
    headers: dict[str, str] = {}
    for name, value in response.headers.items():
        name = name.lower()
        headers[name] = f"{headers[name]}, {value}" if name in headers else value
    return Answer(str(url), response.status, headers, response.content_type, bytes(body))


def _reason(error: Exception) -> str:
    if isinstance(error, ValueError) and not isinstance(error, aiohttp.ClientError):
        return str(error)
    if isinstance(error, zlib.error):
        return "its encoding is broken"
    return "it refuses connections" if isinstance(error, aiohttp.ClientConnectorError) else "it broke off"
