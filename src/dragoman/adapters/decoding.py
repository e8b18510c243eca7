"""Bodies of answers, decoded piece by piece so that none can grow beyond a bound. Knows no address."""

import zlib
from collections.abc import AsyncGenerator

import aiohttp

CODINGS = "gzip, deflate"


class TooLarge(Exception):
    """A body goes on where it should have ended."""


async def pieces(response: aiohttp.ClientResponse, most: int) -> AsyncGenerator[bytes, None]:
    """The decoded body as it comes, up to `most` bytes; the connection of one that goes on is closed.

    Raises:
        TooLarge: once those bytes have been given.
        ValueError, zlib.error: it is encoded in another way, or badly.
        aiohttp.ClientError: the connection broke.
    """
    decoder = _Decoder(response.headers.get("Content-Encoding", "").strip().lower())
    left, received = most, 0
    async for data in response.content.iter_any():
        received += len(data)
        piece = decoder.decode(data, left + 1)
        if piece:
            yield piece[:left]
        left -= len(piece)
        if left < 0 or received > most:
            response.close()
            raise TooLarge
    if received and not decoder.is_whole:
        raise ValueError("it broke off")


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
