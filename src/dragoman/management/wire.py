"""What the routes of the management API share: query parameters, cursors, entity tags, answers. Knows no noun."""

import base64
import binascii
import re
from collections.abc import Collection, Sequence
from typing import Annotated, Generic, TypeVar

import msgspec
from msgspec import Meta
from starlette.requests import Request

from dragoman.core.clock import iso
from dragoman.core.errors import Invalid
from dragoman.core.ids import parse_id
from dragoman.ports.audit import Place
from dragoman.server.describe import header, query
from dragoman.server.requests import decode_json, read_body

T = TypeVar("T")

DEFAULT_LIMIT = 20
MOST = 100
LONGEST_VALUE = 500
# What a database's whole numbers hold, with room above.
HIGHEST = 2**62

Time = Annotated[str, Meta(extra_json_schema={"format": "date-time"}, examples=["2026-01-23T10:00:00Z"])]

LIMIT = query("limit", "So many at the most.", Annotated[int, Meta(ge=1, le=MOST)], example=DEFAULT_LIMIT)
CURSOR = query("cursor", "The `next_cursor` of the page before.")
PAGING = (LIMIT, CURSOR)
ETAG = header("ETag", "Names this state of the agent.", example='"3-9f86d081884c7d659a2feaa0c55ad015"')
IF_MATCH = header("If-Match", "Only if the agent is still in this state, else 412.")
IF_NONE_MATCH = header("If-None-Match", "Only if the agent is no longer in this state, else 304.")

_FAMILY = re.compile(r"([a-z]+)\[([^\[\]]*)\]")
_TAGS = re.compile(r'\s*(W/)?"([\x21\x23-\x7e\x80-\xff]*)"\s*(?:,|$)')
_NUMBER = re.compile(r"[0-9]{1,9}")


class Page(msgspec.Struct, Generic[T]):
    """One page of a list, newest first, and where the next one begins; null on the last."""

    data: Sequence[T]
    next_cursor: str | None


class Query:
    """The query parameters of a request: each at most once, and none that the route does not know.

    Raises (when made):
        Invalid
    """

    def __init__(self, request: Request, *known: str, family: str = "") -> None:
        self._values: dict[str, str] = {}
        self.family: list[tuple[str, str]] = []
        for name, value in request.query_params.multi_items():
            within = _FAMILY.fullmatch(name)
            if "\0" in value or len(value) > LONGEST_VALUE:
                raise Invalid(f"{name[:MOST]} takes up to {LONGEST_VALUE} characters and no U+0000", field=name)
            if within and within[1] == family:
                self.family.append((within[2], value))
            elif name not in known:
                raise Invalid(f"There is no parameter {name[:MOST]!r} here", field=name)
            elif name in self._values:
                raise Invalid(f"{name} is there twice", field=name)
            else:
                self._values[name] = value

    def text(self, name: str) -> str | None:
        """The value of a parameter, None where it is not there.

        Raises:
            Invalid: it is empty.
        """
        value = self._values.get(name)
        if value == "":
            raise Invalid(f"{name} is empty", field=name)
        return value

    def given(self, name: str, otherwise: str) -> str:
        """The value of a parameter, which may be empty."""
        return self._values.get(name, otherwise)

    def limit(self, most: int = MOST, otherwise: int = DEFAULT_LIMIT) -> int:
        """How long a page may be.

        Raises:
            Invalid: it is no number from 1 to `most`.
        """
        text = self._values.get("limit")
        if text is None:
            return otherwise
        if not _NUMBER.fullmatch(text) or not 1 <= int(text) <= most:
            raise Invalid(f"limit takes a whole number from 1 to {most}", field="limit")
        return int(text)

    def place(self) -> Place | None:
        """Behind which row the page begins.

        Raises:
            Invalid: it is no cursor of ours.
        """
        text = self.text("cursor")
        if text is None:
            return None
        try:
            at, _, last = base64.urlsafe_b64decode(text + "=" * (-len(text) % 4)).decode("ascii").partition(".")
            place = int(at) if at.isdigit() else HIGHEST, last
        except (binascii.Error, ValueError):
            place = HIGHEST, ""
        if place[0] >= HIGHEST or (place[1] and parse_id("", place[1]) != place[1]):
            raise Invalid("cursor is none that this server gave", field="cursor")
        return place


def cursor(place: Place) -> str:
    """A place as clients carry it: opaque, and safe in a URL."""
    return base64.urlsafe_b64encode(f"{place[0]}.{place[1]}".encode()).decode().rstrip("=")


def cut(rows: Sequence[T], limit: int, places: Sequence[Place]) -> Page[T]:
    """A page of rows of which one more was asked for than fits, with the place of each."""
    more = len(rows) > limit
    return Page(rows[:limit], cursor(places[limit - 1]) if more else None)


def listed(query: Query, newest_first: Sequence[T], places: Sequence[Place]) -> Page[T]:
    """A page of a list that is there as a whole.

    Raises:
        Invalid: `limit` or `cursor` is none.
    """
    limit, before = query.limit(), query.place()
    rest = [index for index, place in enumerate(places) if before is None or place < before]
    return cut([newest_first[index] for index in rest], limit, [places[index] for index in rest])


async def body_of(request: Request, decoder: msgspec.json.Decoder[T], otherwise: T | None = None) -> T:
    """The JSON body of a request as its Struct, which knows each of its fields; `otherwise` stands for an empty one.

    Raises:
        Invalid, TooLarge
    """
    body = await read_body(request)
    if not body and otherwise is not None:
        return otherwise
    return decode_json(body, decoder)


def when(microseconds: int | None) -> str | None:
    """A time, where there is one."""
    return None if microseconds is None else iso(microseconds)


def plain(text: str, what: str) -> str:
    """A part of a path that a database can be asked for.

    Raises:
        Invalid: it holds U+0000.
    """
    if "\0" in text:
        raise Invalid(f"{what} must not contain U+0000", field=what)
    return text


def expected(request: Request) -> Collection[str] | None:
    """The states of which If-Match wants the agent to be in one; None where any will do.

    Raises:
        Invalid: it is no list of entity tags.
    """
    return _tags(request, "If-Match", weak=False)


def is_known(request: Request, revision: str) -> bool:
    """Whether If-None-Match says that the client has this state already.

    Raises:
        Invalid: it is no list of entity tags.
    """
    known = _tags(request, "If-None-Match", weak=True)
    return "If-None-Match" in request.headers if known is None else revision in known


def _tags(request: Request, name: str, *, weak: bool) -> Collection[str] | None:
    """The entity tags of a header (RFC 9110, 8.8.3); None where it is not there or means every state."""
    text = request.headers.get(name)
    if text is None or text.strip() == "*":
        return None
    found = list(_TAGS.finditer(text))
    if not found or sum(len(match[0]) for match in found) != len(text):
        raise Invalid(f"{name} takes entity tags in quotes, as ETag gives them", field=name)
    return {match[2] for match in found if weak or not match[1]}


def etag(revision: str) -> dict[str, str]:
    """The header that names a state."""
    return {"ETag": f'"{revision}"'}
