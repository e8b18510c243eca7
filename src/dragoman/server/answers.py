"""Answers as JSON. Knows no dialect's fields."""

from collections.abc import Mapping
from typing import Any

import msgspec
from starlette.responses import Response


def json_answer(body: Any, status: int = 200, headers: Mapping[str, str] | None = None) -> Response:
    """What a client is answered, as JSON."""
    return Response(msgspec.json.encode(body), status, headers, "application/json")
