"""CORS for the contracts: any origin, no credentials. Other paths are same-origin only. Pure ASGI; knows no dialect."""

from collections.abc import Sequence

from starlette.middleware.cors import CORSMiddleware
from starlette.types import ASGIApp, Receive, Scope, Send

from dragoman.server.access import LIMIT_HEADERS, VISITOR_HEADER
from dragoman.server.errors import Dialect, owner_of
from dragoman.server.streaming import EXPOSED

PREFLIGHT_SECONDS = 600


class ContractCors:
    """Lets browsers read what the contracts answer."""

    def __init__(self, app: ASGIApp, dialects: Sequence[Dialect]) -> None:
        self._app = app
        self._dialects = dialects
        self._open = CORSMiddleware(
            app,
            allow_origins=["*"],
            allow_methods=["GET", "POST", "PUT", "PATCH", "DELETE"],
            allow_headers=["*"],
            expose_headers=(*EXPOSED, *LIMIT_HEADERS, VISITOR_HEADER),
            max_age=PREFLIGHT_SECONDS,
        )

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Serve one connection."""
        from_browser = scope["type"] == "http" and any(name == b"origin" for name, _ in scope["headers"])
        owned = from_browser and owner_of(scope["path"], self._dialects) is not None
        await (self._open if owned else self._app)(scope, receive, send)
