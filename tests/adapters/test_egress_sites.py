"""Which pages a website's address stands for: robots.txt and sitemaps, kind and unkind."""

from collections.abc import AsyncIterator, Mapping

import pytest
from aiohttp import web

from dragoman.adapters import sites
from dragoman.adapters.egress import Egress
from dragoman.adapters.pages import MAX_PAGES, GuardedPages
from dragoman.adapters.sites import MAX_LOCATIONS, permitted, sitemap_of
from dragoman.ports.egress import Bounds, Unfetchable
from tests.support.handling import handled

NAMESPACE = 'xmlns="http://www.sitemaps.org/schemas/sitemap/0.9"'


class Site:
    """A site of one's own on this machine; `@` in what it serves stands for its address."""

    def __init__(self) -> None:
        self.paths: dict[str, str | int] = {}
        self.asked: list[str] = []
        self.at = ""

    async def answer(self, request: web.Request) -> web.Response:
        self.asked.append(request.path)
        found = self.paths.get(request.path, 404)
        if isinstance(found, int):
            return web.Response(status=found)
        if found.startswith("->"):
            return web.Response(status=302, headers={"Location": found[2:].replace("@", self.at)})
        return web.Response(text=found.replace("@", self.at))

    def serve(self, paths: Mapping[str, str | int]) -> None:
        self.paths = {"/robots.txt": 404, **paths}


@pytest.fixture
async def site() -> AsyncIterator[Site]:
    site = Site()
    async with handled(site.answer) as site.at:
        yield site


@pytest.fixture
async def other() -> AsyncIterator[Site]:
    site = Site()
    async with handled(site.answer) as site.at:
        yield site


@pytest.fixture
async def pages() -> AsyncIterator[GuardedPages]:
    egress = Egress(Bounds(seconds=5))
    yield GuardedPages(egress)
    await egress.close()


def sitemap(*pages: str) -> str:
    return f"<?xml version='1.0'?><urlset {NAMESPACE}>{''.join(f'<url><loc>{p}</loc></url>' for p in pages)}</urlset>"


def index(*sitemaps: str) -> str:
    listed = "".join(f"<sitemap><loc>{each}</loc></sitemap>" for each in sitemaps)
    return f"<sitemapindex {NAMESPACE}>{listed}</sitemapindex>"


async def listed(pages: GuardedPages, site: Site, path: str = "/sitemap.xml") -> list[str]:
    return [url.removeprefix(site.at) for url in await pages.pages_of(site.at + path, allow_private=True)]


async def test_a_page_stands_for_itself_where_it_was_found(pages: GuardedPages, site: Site) -> None:
    site.serve({"/old": "->/new", "/new": "<html><body>Hello</body></html>"})
    assert await listed(pages, site, "/old") == ["/new"]
    assert site.asked[0] == "/robots.txt"


async def test_a_sitemap_stands_for_its_pages_in_order_each_once(pages: GuardedPages, site: Site) -> None:
    site.serve({"/sitemap.xml": sitemap("@/b", " @/a?x=1&amp;y=2\n", "@/b", "@/c")})
    assert await listed(pages, site) == ["/b", "/a?x=1&y=2", "/c"]


async def test_pages_of_other_origins_are_left_out(pages: GuardedPages, site: Site) -> None:
    away = ("https://example.com/a", "http://127.0.0.1:1/", "http://user@127.0.0.1/", "/relative", "http://[", "")
    site.serve({"/sitemap.xml": sitemap(*away, "@/kept"), "/away.xml": sitemap(*away)})
    assert await listed(pages, site) == ["/kept"]
    with pytest.raises(Unfetchable, match="lists no page of"):
        await listed(pages, site, "/away.xml")


async def test_an_index_is_followed_one_level_deep(pages: GuardedPages, site: Site, other: Site) -> None:
    other.serve({"/sitemap.xml": sitemap("@/x")})
    site.serve(
        {
            "/sitemap.xml": index("@/1.xml", "@/gone.xml", "@/deeper.xml", f"{other.at}/sitemap.xml", "@/2.xml"),
            "/1.xml": sitemap("@/a", "@/b"),
            "/2.xml": sitemap("@/b", "@/c"),
            "/deeper.xml": index("@/3.xml"),
            "/3.xml": sitemap("@/d"),
        }
    )
    assert await listed(pages, site) == ["/a", "/b", "/c"]
    assert "/3.xml" not in site.asked
    assert other.asked == []


async def test_a_large_site_is_read_up_to_the_bound(pages: GuardedPages, site: Site) -> None:
    site.serve({"/sitemap.xml": sitemap(*(f"@/{number}" for number in range(5000)))})
    assert await listed(pages, site) == [f"/{number}" for number in range(MAX_PAGES)]
    site.serve(
        {
            "/sitemap.xml": index(*(f"@/{number}.xml" for number in range(500))),
            **{f"/{number}.xml": sitemap(f"@/{number}") for number in range(500)},
        }
    )
    assert len(await listed(pages, site)) == 20


async def test_what_robots_forbid_is_left_out(pages: GuardedPages, site: Site) -> None:
    site.serve(
        {
            "/robots.txt": "User-agent: *\nDisallow: /\n\nUser-agent: Dragoman\nDisallow: /private\n",
            "/sitemap.xml": sitemap("@/a", "@/private/b", "@/c"),
            "/private/sitemap.xml": sitemap("@/a"),
            "/only.xml": sitemap("@/private/b"),
        }
    )
    assert await listed(pages, site) == ["/a", "/c"]
    with pytest.raises(Unfetchable, match="lists pages that Dragoman may not read"):
        await listed(pages, site, "/only.xml")
    site.asked.clear()
    with pytest.raises(Unfetchable, match=r"robots\.txt of .* keeps Dragoman from reading"):
        await listed(pages, site, "/private/sitemap.xml")
    assert site.asked == ["/robots.txt"]


async def test_a_site_whose_rules_cannot_be_had_is_not_read(pages: GuardedPages, site: Site) -> None:
    site.serve({"/robots.txt": 503, "/": "Hello"})
    with pytest.raises(Unfetchable, match="status 503: what may be read there is not known"):
        await listed(pages, site, "/")
    assert site.asked == ["/robots.txt"]


async def test_where_a_redirect_leads_to_another_site_that_sites_rules_hold(
    pages: GuardedPages, site: Site, other: Site
) -> None:
    site.serve({"/": f"->{other.at}/page"})
    other.serve({"/page": "Hello"})
    assert await pages.pages_of(f"{site.at}/", allow_private=True) == [f"{other.at}/page"]
    other.serve({"/page": "Hello", "/robots.txt": "User-agent: *\nDisallow: /"})
    with pytest.raises(Unfetchable, match=r"may not be read by Dragoman: robots\.txt"):
        await pages.pages_of(f"{site.at}/", allow_private=True)


@pytest.mark.parametrize(
    "body",
    [
        f'<!DOCTYPE x [<!ENTITY a "b">]><urlset {NAMESPACE}><url><loc>&a;</loc></url></urlset>',
        f"<urlset {NAMESPACE}><url><loc>@/a</loc>",
        f"<urlset {NAMESPACE}>" + "<a>" * 100_000,
        f"<urlset {NAMESPACE}><url><loc>&unknown;</loc></url></urlset>",
        "<urlset <>",
    ],
    ids=["entities", "cut off", "deep", "unknown entity", "no XML"],
)
async def test_a_sitemap_that_is_broken_or_built_to_break_is_refused(
    pages: GuardedPages, site: Site, body: str
) -> None:
    site.serve({"/sitemap.xml": body})
    with pytest.raises(Unfetchable, match="sitemap"):
        await listed(pages, site)


def test_locations_of_pictures_and_translations_are_no_pages() -> None:
    found = sitemap_of(
        f"<urlset {NAMESPACE} xmlns:image='i' xmlns:xhtml='x'><url><loc>http://a/1</loc><xhtml:link href='http://a/2'/>"
        "<image:image><image:loc>http://a/3.png</image:loc></image:image></url></urlset>".encode()
    )
    assert found is not None
    assert (found.is_index, found.locations) == (False, ["http://a/1"])


def test_a_page_that_speaks_of_sitemaps_is_none() -> None:
    assert sitemap_of(b"<html><body>Begin with &lt;urlset&gt; and list pages</body></html>") is None
    assert sitemap_of(b"") is None


def test_a_sitemap_is_read_no_further_than_its_first_thousand_pages() -> None:
    unended = f"<urlset {NAMESPACE}>" + "<url><loc>http://a/</loc></url>" * 400_000
    found = sitemap_of(unended.encode())
    assert found is not None
    assert len(found.locations) == MAX_LOCATIONS


def test_rules_are_read_up_to_their_bound(monkeypatch: pytest.MonkeyPatch) -> None:
    rules = b"User-agent: *\nDisallow: /a\n"
    assert permitted(rules, ["http://h/a", "http://h/b", "http://h/c"], 1) == ["http://h/b"]
    monkeypatch.setattr(sites, "MAX_ROBOTS_BYTES", 14)
    assert permitted(rules, ["http://h/a"], 1) == ["http://h/a"]
