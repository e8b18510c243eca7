"""Pages of websites that a tenant named, and what their sites say may be read. Every fetch is `egress`'s."""

import asyncio
from collections.abc import Sequence
from contextlib import suppress

from yarl import URL

from dragoman.adapters.guard import target
from dragoman.adapters.sites import AGENT, permitted, sitemap_of
from dragoman.ports.egress import Unfetchable, WayOut
from dragoman.ports.pages import Page

MAX_PAGES = 200
MAX_SITEMAPS = 20
SITE_SECONDS = 120.0


class GuardedPages:
    """Fetches pages as `ports.pages.Pages` says; a site has `site_seconds` to tell its pages."""

    def __init__(self, egress: WayOut, site_seconds: float = SITE_SECONDS) -> None:
        self._egress = egress
        self._site_seconds = site_seconds

    async def fetch(self, url: str, *, allow_private: bool) -> Page:
        answer = await self._egress.request("GET", url, allow_private=allow_private)
        if not 200 <= answer.status < 300:
            raise Unfetchable(f"{answer.url} answered with status {answer.status}")
        return Page(answer.url, answer.media_type, answer.body)

    async def pages_of(self, url: str, *, allow_private: bool) -> Sequence[str]:
        try:
            async with asyncio.timeout(self._site_seconds):
                return await self._pages_of(target(url, allow_private=allow_private), allow_private)
        except TimeoutError as error:
            raise Unfetchable(f"The site did not tell its pages within {self._site_seconds:g} s") from error

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
        answer = await self._egress.request("GET", str(url.origin() / "robots.txt"), allow_private=allow_private)
        if 200 <= answer.status < 300:
            return answer.body
        if 400 <= answer.status < 500:
            return b""
        raise Unfetchable(f"{answer.url} answered with status {answer.status}: what may be read there is not known")


def _of_same_origin(url: str, addresses: Sequence[str]) -> list[str]:
    origin = URL(url).origin()
    same = []
    for address in addresses:
        with suppress(ValueError):
            if URL(address).origin() == origin:
                same.append(address)
    return list(dict.fromkeys(same))
