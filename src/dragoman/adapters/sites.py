"""What a site says of itself: the pages of its sitemap, and what its robots.txt keeps us from. Fetches nothing."""

import re
from collections.abc import Sequence
from dataclasses import dataclass
from itertools import islice
from urllib.robotparser import RobotFileParser
from xml.parsers import expat

from dragoman.adapters.parsing.text import decoded, has_document_type
from dragoman.ports.egress import Unfetchable

AGENT = "Dragoman"
MAX_LOCATIONS = 1_000
MAX_ROBOTS_BYTES = 500 << 10

_ROOT = re.compile(rb"<(?:[\w-]{1,40}:)?(urlset|sitemapindex)[\s>]")
_ROOT_WITHIN = 4096
_FED_BYTES = 64 << 10
_MAX_DEPTH = 20


@dataclass(frozen=True, slots=True)
class Sitemap:
    """The first addresses that a sitemap lists: pages or, where it is an index, other sitemaps."""

    is_index: bool
    locations: Sequence[str]


def sitemap_of(body: bytes) -> Sitemap | None:
    """What a body lists, None where it is no sitemap.

    Raises:
        Unfetchable: it is one that cannot be read.
    """
    root = _ROOT.search(body[:_ROOT_WITHIN])
    if root is None:
        return None
    if has_document_type(body):
        raise Unfetchable("The sitemap declares a document type, which none needs; leave it out there")
    reading = _Reading()
    try:
        return Sitemap(root[1] == b"sitemapindex", reading.locations(body))
    except expat.ExpatError as error:
        raise Unfetchable(f"The sitemap is no whole XML: {error}") from error


def permitted(robots: bytes, urls: Sequence[str], most: int) -> Sequence[str]:
    """The first of these pages that a robots.txt lets us read, `most` of them at the most."""
    rules = RobotFileParser()
    rules.parse(decoded(robots[:MAX_ROBOTS_BYTES]).split("\n"))
    return list(islice((url for url in urls if rules.can_fetch(AGENT, url)), most))


class _Reading:
    """One way through a sitemap that keeps its locations alone: a tree of it all would be many times its size."""

    def __init__(self) -> None:
        self._found: list[str] = []
        self._within: list[str] = []
        self._said: list[str] = []

    def locations(self, body: bytes) -> list[str]:
        parser = expat.ParserCreate(namespace_separator=" ")
        parser.StartElementHandler = self._start
        parser.CharacterDataHandler = self._said.append
        parser.EndElementHandler = self._end
        for start in range(0, len(body), _FED_BYTES):
            parser.Parse(body[start : start + _FED_BYTES])
            if len(self._found) >= MAX_LOCATIONS:
                return self._found[:MAX_LOCATIONS]
        parser.Parse(b"", True)
        return self._found

    def _start(self, name: str, _: object) -> None:
        self._within.append(name.rpartition(" ")[2])
        self._said.clear()
        if len(self._within) > _MAX_DEPTH:
            raise Unfetchable("The sitemap is nested deeper than sitemaps are")

    def _end(self, _: str) -> None:
        # Pictures and translations have locations too, in elements of other names.
        if self._within[-2:] in (["url", "loc"], ["sitemap", "loc"]):
            self._found.append("".join(self._said).strip())
        self._within.pop()
        self._said.clear()
