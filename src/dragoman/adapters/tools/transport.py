"""httpx for the SDK of MCP, over the one guarded way out. Knows no protocol; imported where a server is asked."""

import asyncio
from collections.abc import AsyncIterator, Iterator, Mapping
from contextlib import contextmanager

import aiohttp
import httpx2

from dragoman.adapters.decoding import TooLarge, pieces
from dragoman.adapters.egress import FAILURES, Egress, failed
from dragoman.adapters.guard import target
from dragoman.ports.egress import Bounds, Unfetchable

# Our pieces are decoded and may be cut, so what the server said of them no longer holds.
_OF_THE_ENCODED = frozenset((b"content-encoding", b"content-length", b"transfer-encoding"))


def guarded_client(
    egress: Egress, *, allow_private: bool, bounds: Bounds, headers: Mapping[str, str] | None = None
) -> httpx2.AsyncClient:
    """The client to hand over: ``streamable_http_client(url, http_client=client)`` inside ``async with client``.

    `bounds` hold for each request, from its beginning to the last byte of its answer: a stream of events that is
    longer than its bytes or its seconds breaks off with an `httpx2.TransportError`, as does what may not be reached.
    """
    transport = GuardedTransport(egress, allow_private=allow_private, bounds=bounds)
    return httpx2.AsyncClient(transport=transport, headers=headers, timeout=None, trust_env=False)


class GuardedTransport(httpx2.AsyncBaseTransport):
    """Makes the requests of an httpx client; those that a redirect leads to are requests of their own, judged anew."""

    def __init__(self, egress: Egress, *, allow_private: bool, bounds: Bounds) -> None:
        self._egress = egress
        self._allow_private = allow_private
        self._bounds = bounds

    async def handle_async_request(self, request: httpx2.Request) -> httpx2.Response:
        deadline = asyncio.get_running_loop().time() + self._bounds.seconds
        body = await request.aread()
        with _failing(request, self._bounds):
            async with asyncio.timeout_at(deadline):
                response = await self._egress.open(
                    request.method,
                    target(str(request.url), allow_private=self._allow_private),
                    allow_private=self._allow_private,
                    headers=request.headers,
                    body=body or None,
                )
        headers = [each for each in response.raw_headers if each[0].lower() not in _OF_THE_ENCODED]
        stream = _Body(response, request, self._bounds, deadline)
        return httpx2.Response(response.status, headers=headers, stream=stream, request=request)


class _Body(httpx2.AsyncByteStream):
    """The body of an answer as it comes, up to its bounds."""

    def __init__(
        self, response: aiohttp.ClientResponse, request: httpx2.Request, bounds: Bounds, deadline: float
    ) -> None:
        self._response = response
        self._request = request
        self._bounds = bounds
        self._deadline = deadline

    async def __aiter__(self) -> AsyncIterator[bytes]:
        coming = pieces(self._response, self._bounds.body_bytes)
        piece: bytes | None = b""
        while piece is not None:
            if piece:
                yield piece
            with _failing(self._request, self._bounds):
                # Never around the yield: who reads may do so from elsewhere.
                async with asyncio.timeout_at(self._deadline):
                    piece = await anext(coming, None)

    async def aclose(self) -> None:
        self._response.close()


@contextmanager
def _failing(request: httpx2.Request, bounds: Bounds) -> Iterator[None]:
    """What goes wrong inside the block, as httpx tells it."""
    try:
        yield
    except TooLarge as error:
        raise httpx2.ReadError(f"The answer is larger than {bounds.body_bytes:,} bytes", request=request) from error
    except TimeoutError as error:
        raise httpx2.ReadTimeout(str(failed(request.url.host, error, bounds)), request=request) from error
    except FAILURES as error:
        raise httpx2.ReadError(str(failed(request.url.host, error, bounds)), request=request) from error
    except Unfetchable as error:
        raise httpx2.ConnectError(str(error), request=request) from error
