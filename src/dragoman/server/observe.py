"""A request id, headers of every answer, a log line and metrics. Pure ASGI; knows no route, writes no credential."""

import os
import re
import time
from typing import Any

import structlog
from prometheus_client import CONTENT_TYPE_LATEST, REGISTRY, Counter, Gauge, Histogram, generate_latest
from starlette.requests import Request
from starlette.responses import Response
from starlette.types import ASGIApp, Message, Receive, Scope, Send

_REQUEST_ID = re.compile(r"[A-Za-z0-9._-]{1,64}")
# Where somebody has put a key into an address, it is not kept.
_CREDENTIAL = re.compile(r"\b(sk|pk|vt)_[\w-]{8,}")
_log = structlog.get_logger("dragoman.request")

REQUESTS = Counter("dragoman_requests", "Answered requests.", ("method", "status"))
OPEN = Gauge("dragoman_requests_open", "Requests under way, streams included.")
SECONDS = Histogram("dragoman_request_seconds", "Time to the first byte of the answer.", ("method",))


class Observed:
    """Wraps the app."""

    def __init__(self, app: ASGIApp) -> None:
        self._app = app

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Serve one connection."""
        if scope["type"] != "http":
            await self._app(scope, receive, send)
            return
        given = next((value.decode("latin-1") for name, value in scope["headers"] if name == b"x-request-id"), "")
        request_id = given if _REQUEST_ID.fullmatch(given) else os.urandom(8).hex()
        notes: dict[str, Any] = {}
        scope["notes"] = notes
        # What every answer to this request is to say, whoever gives it.
        said: list[tuple[bytes, bytes]] = []
        scope["answer_headers"] = said
        began = time.perf_counter()
        status, first_byte = 0, 0.0

        async def observed(message: Message) -> None:
            nonlocal status, first_byte
            if not status:
                status, first_byte = message["status"], time.perf_counter() - began
                message["headers"] = [*message["headers"], (b"x-request-id", request_id.encode()), *said]
            await send(message)

        OPEN.inc()
        try:
            await self._app(scope, receive, observed)
        finally:
            OPEN.dec()
            method = scope["method"] if scope["method"] in _METHODS else "other"
            REQUESTS.labels(method, status).inc()
            SECONDS.labels(method).observe(first_byte)
            _log.info(
                "request",
                request_id=request_id,
                method=method,
                path=_CREDENTIAL.sub("***", scope["path"]),
                status=status,
                ms=round((time.perf_counter() - began) * 1000, 1),
                **notes,
            )


_METHODS = frozenset(("GET", "POST", "PUT", "PATCH", "DELETE", "HEAD", "OPTIONS"))


async def metrics(request: Request) -> Response:
    """What Prometheus reads."""
    return Response(generate_latest(REGISTRY), media_type=CONTENT_TYPE_LATEST)
