"""Errors on their way out: a status for each core error, the shape of whoever owns the path. Knows no dialect."""

from collections.abc import Awaitable, Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import msgspec
import structlog
from fastapi import APIRouter
from fastapi.exceptions import RequestValidationError
from starlette.exceptions import HTTPException
from starlette.requests import ClientDisconnect, Request
from starlette.responses import Response

from dragoman.core import errors
from dragoman.core.errors import DragomanError, row_of
from dragoman.core.tenants import Principal
from dragoman.server.describe import Description

ErrorBody = Callable[[DragomanError], Any]

STATUS: Mapping[type[DragomanError], int] = {
    errors.Invalid: 400,
    errors.Unauthenticated: 401,
    errors.NoCredits: 402,
    errors.Forbidden: 403,
    errors.NotFound: 404,
    errors.MethodNotAllowed: 405,
    errors.Conflict: 409,
    errors.PreconditionFailed: 412,
    errors.TooLarge: 413,
    errors.UnsupportedMedia: 415,
    errors.KeyReused: 422,
    errors.RateLimited: 429,
    errors.ModelFailed: 500,
    errors.Unavailable: 503,
    DragomanError: 500,
}

# The names that S0 and S2 both give them.
ERROR_NAMES: Mapping[type[DragomanError], str] = {
    errors.Invalid: "ValidationError",
    errors.Unauthenticated: "UnauthorizedError",
    errors.NoCredits: "InsufficientCreditsError",
    errors.Forbidden: "ForbiddenError",
    errors.NotFound: "NotFoundError",
    errors.MethodNotAllowed: "MethodNotAllowedError",
    errors.Conflict: "ConflictError",
    errors.TooLarge: "PayloadTooLargeError",
    errors.UnsupportedMedia: "UnsupportedMediaTypeError",
    errors.KeyReused: "IdempotencyError",
    errors.RateLimited: "RateLimitError",
    errors.Unavailable: "ServiceUnavailableError",
    DragomanError: "InternalServerError",
}

_log = structlog.get_logger(__name__)


@dataclass(frozen=True, slots=True)
class Dialect:
    """A published wire format as app.py mounts it: its router, the paths it owns, how it spells an error.

    `acting` says who asks for what no route takes: with a good credential that counts as a request.
    """

    name: str
    prefixes: Sequence[str]
    router: APIRouter
    error_body: ErrorBody
    acting: Callable[[Request], Awaitable[Principal]] | None = None
    description: Description | None = None


def owner_of(path: str, dialects: Sequence[Dialect]) -> Dialect | None:
    """Who owns a path: by whole segments, the longest prefix wins."""
    owned = [
        (len(prefix), dialect)
        for dialect in dialects
        for prefix in dialect.prefixes
        if path == prefix or path.startswith(f"{prefix}/")
    ]
    return max(owned, key=lambda pair: pair[0])[1] if owned else None


def problem_body(error: DragomanError) -> dict[str, Any]:
    """RFC 9457, for paths under no contract's prefix."""
    status = row_of(error, STATUS)
    kind = type(error).__name__ if type(error) is not DragomanError else "Internal"
    return {"type": "about:blank", "title": kind, "status": status, "detail": error.message}


def error_response(error: DragomanError, body: ErrorBody) -> Response:
    """The answer that says an error."""
    headers: dict[str, str] = {}
    if isinstance(error, errors.RateLimited | errors.Unavailable):
        headers["Retry-After"] = str(error.retry_after)
    if isinstance(error, errors.MethodNotAllowed) and error.allowed:
        headers["Allow"] = error.allowed
    if isinstance(error, errors.Unauthenticated):
        headers["WWW-Authenticate"] = "Bearer"
    media_type = "application/problem+json" if body is problem_body else "application/json"
    return Response(msgspec.json.encode(body(error)), row_of(error, STATUS), headers, media_type)


def core_error(error: Exception) -> DragomanError:
    """What an exception that a route let out is to a client. The unforeseen is logged, and told without its text."""
    match error:
        case DragomanError():
            return error
        case HTTPException(status_code=404):
            return errors.RouteNotFound()
        case HTTPException(status_code=405):
            return errors.MethodNotAllowed((error.headers or {}).get("Allow", ""))
        case HTTPException(status_code=413):
            return errors.TooLarge()
        case HTTPException(status_code=status) if status < 500:
            return errors.Invalid()
        case RequestValidationError():
            return errors.Invalid("A parameter of the request is not valid")
        case ClientDisconnect():
            return errors.Invalid("The request body did not come whole")
    _log.error("unforeseen", exc_info=error)
    return DragomanError()
