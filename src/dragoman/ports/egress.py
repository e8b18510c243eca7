"""The port to addresses that a tenant named: one guarded, bounded request. Knows no HTTP client."""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Protocol


class Unfetchable(Exception):
    """The address may not be fetched, or did not answer well. The message is for its owner, and names the address.

    `retriable` says whether another try may go better: not where it is the address that is wrong.
    """

    def __init__(self, message: str, *, retriable: bool = True) -> None:
        super().__init__(message)
        self.retriable = retriable


@dataclass(frozen=True, slots=True)
class Bounds:
    """How much one request may take: bytes of the answer after decoding, seconds with all redirects, and those."""

    body_bytes: int = 10 << 20
    seconds: float = 20.0
    redirects: int = 5


@dataclass(frozen=True, slots=True)
class Answer:
    """What was answered at the end of all redirects: names of headers and the media type are in lower case."""

    url: str
    status: int
    headers: Mapping[str, str]
    media_type: str
    body: bytes


class WayOut(Protocol):
    """The one way out to addresses that a tenant named."""

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
        """What an address answers, whatever its status; `allow_private` lets it reach private networks too.

        Each redirect is judged as the address was. One to another origin takes none of `headers` along, one that
        would take a body there is refused. With `follow` False a redirect is the answer. With `cut` a body that is
        larger than its bound ends there, and is no failure. Headers that are the connection's own business, such as
        Host and Content-Length, are left out.

        Raises:
            Unfetchable: a forbidden address or header, no whole answer in time, or too large a one.
        """
        ...
