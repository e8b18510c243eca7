"""S3's errors, purely: a code for each error of the core, a fix for each code, and what closes a socket."""

from collections.abc import Mapping
from typing import Any

from dragoman.core import errors
from dragoman.core.errors import AgentNotFound, DragomanError, row_of


class InvalidMessage(errors.Invalid):
    """What came over a socket is no message."""


class ConnectionTimedOut(DragomanError):
    """The other side did not answer in time, or was not let in in time."""

    default = "The connection timed out"


class TooManyConnections(DragomanError):
    """All connections of the tenant are taken."""

    default = "Too many connections are open for this tenant"


class ResumeGap(DragomanError):
    """What the client has missed is not kept any more."""

    default = "Some of what happened since last_event_id is no longer kept"


CODES: Mapping[type[DragomanError], str] = {
    errors.Invalid: "INVALID_REQUEST",
    errors.FieldMissing: "MISSING_PARAMETER",
    errors.Unauthenticated: "INVALID_API_KEY",
    errors.NoCredits: "INSUFFICIENT_CREDITS",
    errors.Forbidden: "FORBIDDEN",
    errors.AgentNotFound: "AGENT_NOT_FOUND",
    errors.ConversationNotFound: "CHAT_NOT_FOUND",
    errors.NotFound: "NOT_FOUND",
    errors.MethodNotAllowed: "METHOD_NOT_ALLOWED",
    errors.Conflict: "CONFLICT",
    errors.TooLarge: "REQUEST_TOO_LARGE",
    errors.UnsupportedMedia: "UNSUPPORTED_MEDIA_TYPE",
    errors.KeyReused: "IDEMPOTENCY_MISMATCH",
    errors.RateLimited: "RATE_LIMIT_EXCEEDED",
    errors.Unavailable: "SERVICE_UNAVAILABLE",
    DragomanError: "INTERNAL_ERROR",
}
# On a socket the one conflict is that too many messages wait.
SOCKET_CODES: Mapping[type[DragomanError], str] = {
    **CODES,
    errors.Conflict: "RATE_LIMIT_EXCEEDED",
    InvalidMessage: "INVALID_MESSAGE",
    ConnectionTimedOut: "CONNECTION_TIMEOUT",
    TooManyConnections: "CONNECTION_LIMIT_EXCEEDED",
    ResumeGap: "RESUME_GAP",
}
SUGGESTIONS: Mapping[str, str] = {
    "INVALID_REQUEST": "Correct the request as the message says.",
    "MISSING_PARAMETER": "Send the parameter that the message names.",
    "INVALID_API_KEY": "Send a key of your tenant in X-API-Key; a ticket opens one socket, once, within a minute.",
    "INSUFFICIENT_CREDITS": "Have the tenant's operator add credits.",
    "FORBIDDEN": "Use a secret key, from a server; a publishable one works on its own origins, for its own chats.",
    "AGENT_NOT_FOUND": "Send the agent_id of an agent of your tenant, or have a default agent set.",
    "CHAT_NOT_FOUND": "Create the chat with POST /api/v1/chats/ first, and connect with the user_id that owns it.",
    "NOT_FOUND": "Check the path.",
    "METHOD_NOT_ALLOWED": "Use a method that the Allow header lists.",
    "CONFLICT": "Close the sockets that are open on the chat, then ask again.",
    "REQUEST_TOO_LARGE": "Send a smaller body.",
    "UNSUPPORTED_MEDIA_TYPE": "Send JSON.",
    "IDEMPOTENCY_MISMATCH": "Take a new Idempotency-Key for another body.",
    "RATE_LIMIT_EXCEEDED": "Wait before you send again.",
    "SERVICE_UNAVAILABLE": "Try again in a moment; reconnect where the socket was closed.",
    "INTERNAL_ERROR": "Send the request again; if it fails again, tell the operator.",
    "INVALID_MESSAGE": 'Send a JSON object such as {"content": "Hello"}.',
    "CONNECTION_TIMEOUT": "Connect again; answer pings.",
    "CONNECTION_LIMIT_EXCEEDED": "Close connections that are not used, then connect again.",
    "RESUME_GAP": "Read the chat's messages for what is missing; the connection goes on live.",
}
# What is not here does not close a socket that is open.
CLOSE_CODES: Mapping[str, int] = {
    "INVALID_REQUEST": 4400,
    "MISSING_PARAMETER": 4400,
    "INVALID_API_KEY": 4401,
    "FORBIDDEN": 4403,
    "CHAT_NOT_FOUND": 4404,
    "CONNECTION_TIMEOUT": 4408,
    "CONNECTION_LIMIT_EXCEEDED": 4429,
}
# How a socket is closed that cannot be opened for a reason that has no code of its own: as RFC 6455 and IANA have it.
INTERNAL_CLOSE = 1011
LATER_CLOSE = 1013


def body(error: DragomanError) -> dict[str, Any]:
    """An error as a REST answer spells it."""
    code = row_of(error, CODES)
    return {"code": code, "message": _message(error), "details": details(code, error)}


def frame_fields(error: DragomanError) -> dict[str, Any]:
    """An error as a frame spells it."""
    code = row_of(error, SOCKET_CODES)
    return {"error_code": code, "message": _message(error), "details": details(code, error)}


def details(code: str, error: DragomanError) -> dict[str, Any]:
    """What can be done about an error, and what is known of it."""
    told: dict[str, Any] = {"suggestion": SUGGESTIONS[code]}
    if isinstance(error, errors.Invalid) and error.field is not None:
        told["parameter"] = error.field
    if isinstance(error, errors.RateLimited | errors.Unavailable):
        told["retry_after"] = error.retry_after
    return told


def close_code(error: DragomanError) -> int | None:
    """How an error closes a socket that is open; None where it stays open."""
    return CLOSE_CODES.get(row_of(error, SOCKET_CODES))


def refusal_code(error: DragomanError) -> int:
    """How a socket is closed that is not let in."""
    later = isinstance(error, errors.RateLimited | errors.Unavailable)
    return close_code(error) or (LATER_CLOSE if later else INTERNAL_CLOSE)


def _message(error: DragomanError) -> str:
    match error:
        case errors.ConversationNotFound():
            return "Chat not found"
        case AgentNotFound(reference=""):
            return "No agent was named, and this tenant has no default agent that this key may use"
        case errors.FieldMissing(field=str(field)):
            return f"{field} is required"
    return error.message
