"""A router whose paths are served with and without their last slash, neither by a redirect. Knows no dialect."""

from collections.abc import Callable
from typing import Any

from fastapi import APIRouter

from dragoman.server.errors import ErrorBody, dialect_route


class BothSpellings(APIRouter):
    """An APIRouter with the errors of its owner."""

    def __init__(self, prefix: str, error_body: ErrorBody) -> None:
        super().__init__(prefix=prefix, route_class=dialect_route(error_body), redirect_slashes=False)

    def add_api_route(self, path: str, endpoint: Callable[..., Any], **options: Any) -> None:
        """Add a route, and its other spelling beside it."""
        super().add_api_route(path, endpoint, **options)
        other = path.rstrip("/") if path.endswith("/") else f"{path}/"
        super().add_api_route(other, endpoint, **{**options, "include_in_schema": False})
