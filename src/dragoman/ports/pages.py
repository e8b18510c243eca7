"""The port to pages at addresses that a tenant named. Each fetch is guarded; knows no HTTP client."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Protocol


@dataclass(frozen=True, slots=True)
class Page:
    """What an address answered: where it was found in the end, its media type in lower case, its decoded body."""

    url: str
    media_type: str
    body: bytes


class Pages(Protocol):
    """The way out to pages. `allow_private`, which operators grant, lets it reach private networks too."""

    async def fetch(self, url: str, *, allow_private: bool) -> Page:
        """The page at an address, redirects followed.

        Raises:
            Unfetchable: a forbidden address, no answer in time, a status other than 2xx, or too large a body.
        """
        ...

    async def pages_of(self, url: str, *, allow_private: bool) -> Sequence[str]:
        """The pages that a website's address stands for: those that a sitemap lists, else the page itself.

        Pages of other origins and pages that robots.txt forbids are left out; the order is the sitemap's.

        Raises:
            Unfetchable: as `fetch`, and where no page is left.
        """
        ...
