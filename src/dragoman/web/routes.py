"""The routes under /docs: pages, documents for machines, assets. Everything is served from here and works offline."""

import functools
import re
from collections.abc import Mapping, Sequence
from importlib.resources import files

from starlette.requests import Request
from starlette.responses import Response

from dragoman.core.errors import RouteNotFound
from dragoman.server.answers import json_answer
from dragoman.server.errors import Dialect, problem_body
from dragoman.server.routing import BothSpellings
from dragoman.web.openapi import openapi
from dragoman.web.pages import Entry, document_page, index_page

# Whoever asks for the head alone gets it: the body is left out on the way.
READ = ["GET", "HEAD"]
ASSETS: Mapping[str, str] = {"docs.css": "text/css", "mark.svg": "image/svg+xml"}
# A page may load its own style and icon; no script runs, nothing frames it, no form leaves it.
PAGE_HEADERS = {
    "Content-Security-Policy": (
        "default-src 'none'; style-src 'self'; img-src 'self'; base-uri 'none'; form-action 'none'; "
        "frame-ancestors 'none'"
    ),
    "X-Content-Type-Options": "nosniff",
    "Referrer-Policy": "no-referrer",
    "Cache-Control": "no-cache",
    # The address in the examples is the one that was asked.
    "Vary": "Host",
}
_HOST = re.compile(r"[A-Za-z0-9._-]+(:\d{1,5})?|\[[0-9A-Fa-f:.]+\](:\d{1,5})?")


def docs(dialects: Sequence[Dialect], public_url: str = "") -> BothSpellings:
    """The router of the documentation of those dialects that have a description; `public_url` is what clients see."""
    router = BothSpellings("/docs", problem_body)

    @functools.cache
    def made() -> Sequence[Entry]:
        # When it is first asked for, not at the start of every server.
        return tuple(_entry(each) for each in dialects if each.description is not None)

    def entries(request: Request) -> Sequence[Entry]:
        server = public_url.rstrip("/") if public_url else _asked(request)
        return tuple(each.at(server) for each in made())

    def entry(request: Request, name: str) -> Entry:
        found = next((each for each in entries(request) if each.name == name), None)
        if found is None:
            raise RouteNotFound
        return found

    @router.api_route("", methods=READ)
    async def index(request: Request) -> Response:
        """All APIs of this server."""
        return _page(index_page(entries(request)))

    @router.api_route("/{name}", methods=READ)
    async def show(name: str, request: Request) -> Response:
        """One API, for people."""
        return _page(document_page(entries(request), entry(request, name)))

    @router.api_route("/{name}/openapi.json", methods=READ)
    async def machine(name: str, request: Request) -> Response:
        """One API as OpenAPI 3.1."""
        return json_answer(entry(request, name).openapi, headers=PAGE_HEADERS)

    @router.api_route("/{name}/asyncapi.json", methods=READ)
    async def socket(name: str, request: Request) -> Response:
        """The sockets of one API as AsyncAPI 3.0."""
        document = entry(request, name).asyncapi
        if document is None:
            raise RouteNotFound
        return json_answer(document, headers=PAGE_HEADERS)

    @router.api_route("/assets/{name}", methods=READ)
    async def asset(name: str) -> Response:
        """A style sheet or a picture."""
        if name not in ASSETS:
            raise RouteNotFound
        content = files("dragoman.web").joinpath("assets", name).read_bytes()
        return Response(content, media_type=ASSETS[name], headers=PAGE_HEADERS)

    return router


def _entry(dialect: Dialect) -> Entry:
    sockets = dialect.description.asyncapi if dialect.description else None
    return Entry(dialect.name, openapi(dialect), sockets() if sockets else None)


def _asked(request: Request) -> str:
    """The origin that the client asked; a name that cannot be one is not repeated."""
    host = request.headers.get("host", "")
    return f"{request.scope['scheme']}://{host if _HOST.fullmatch(host) else 'localhost'}"


def _page(content: bytes) -> Response:
    return Response(content, media_type="text/html", headers=PAGE_HEADERS)
