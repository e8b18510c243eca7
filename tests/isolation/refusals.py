"""How each owner of paths says no, as the table of errors spells it. Knows nothing of the server's own tables."""

from collections.abc import Mapping
from typing import Any

from tests.isolation.asked import Told

NAMES = {
    401: ("UnauthorizedError", "invalid_api_key", "INVALID_API_KEY", "UNAUTHORIZED", "Unauthenticated"),
    403: ("ForbiddenError", "insufficient_permissions", "FORBIDDEN", "FORBIDDEN", "Forbidden"),
}


def check_refusal(path: str, told: Told, status: int) -> None:
    """Assert that an answer is this status, in the shape of the path's owner, and has nothing else in it."""
    assert told.status == status, told.text
    body: Mapping[str, Any] = told.json
    plain, s1, s3, s4, problem = NAMES[status]
    said: tuple[Any, ...]
    if path.startswith("/api/v1/chats"):
        said = (body["code"], set(body), isinstance(body["details"], dict))
        wanted: tuple[Any, ...] = (s3, {"code", "message", "details"}, True)
    elif path.startswith("/api/v1/chat"):
        said, wanted = (
            (body["error"], set(body), body["statusCode"]),
            (plain, {"error", "message", "statusCode"}, status),
        )
    elif path.startswith("/v1/api"):
        said = (body["error"]["name"], set(body["error"]), set(body), body["data"])
        wanted = (plain, {"name", "message", "details"}, {"data", "error"}, None)
    elif path.startswith("/v1"):
        said, wanted = (body["error"]["code"], set(body["error"]), set(body)), (s1, {"code", "message"}, {"error"})
    elif path.startswith("/api/agents"):
        said = (body["error"]["code"], set(body["error"]), set(body))
        wanted = (s4, {"code", "message", "details"}, {"error"})
    else:
        said = (body["title"], set(body), body["status"], told.header("Content-Type"))
        wanted = (problem, {"type", "title", "status", "detail"}, status, "application/problem+json")
    assert said == wanted, told.text
    assert (told.header("WWW-Authenticate") is not None) == (status == 401)
