"""What can go wrong, in words that every contract shares. Knows no status code and no wire shape.

DragomanError
├─ Invalid ── FieldMissing
├─ Unauthenticated
├─ NoCredits
├─ Forbidden
├─ NotFound ── AgentNotFound, ConversationNotFound, TurnNotFound, ApprovalNotFound, RouteNotFound
├─ MethodNotAllowed
├─ Conflict ── NameTaken
├─ PreconditionFailed
├─ TooLarge
├─ UnsupportedMedia
├─ KeyReused
├─ RateLimited
├─ ModelFailed
└─ Unavailable
"""

from collections.abc import Mapping
from typing import ClassVar, TypeVar

T = TypeVar("T")


class DragomanError(Exception):
    """An error that a client may be told of; `message` never holds a secret or an upstream's own words."""

    default: ClassVar[str] = "Something went wrong"

    def __init__(self, message: str | None = None) -> None:
        self.message = message if message is not None else self.default
        super().__init__(self.message)


class Invalid(DragomanError):
    """The request cannot be understood or breaks a rule; `field` names the part at fault where one does."""

    default = "The request is not valid"

    def __init__(self, message: str | None = None, *, field: str | None = None) -> None:
        super().__init__(message)
        self.field = field


class FieldMissing(Invalid):
    """A required field is absent or empty."""

    def __init__(self, field: str) -> None:
        name = field if "_" in field else field.capitalize()
        super().__init__(f"{name} field is required", field=field)


class Unauthenticated(DragomanError):
    """No credential, or one that is unknown, expired or revoked."""

    default = "Invalid or missing API key"


class NoCredits(DragomanError):
    """The tenant's balance does not cover the turn."""

    default = "No credits left"


class Forbidden(DragomanError):
    """The credential is good, but not for this."""

    default = "This credential does not permit that"


class NotFound(DragomanError):
    """No such thing, or none that this principal may know of: the two are told alike."""

    default = "Not found"


class AgentNotFound(NotFound):
    """No such agent; `reference` is what the client called it."""

    def __init__(self, reference: str) -> None:
        super().__init__("Agent not found")
        self.reference = reference


class ConversationNotFound(NotFound):
    """No such conversation of this tenant and agent."""

    default = "Conversation not found"


class TurnNotFound(NotFound):
    """No such turn of this tenant."""

    default = "Turn not found"


class ApprovalNotFound(NotFound):
    """There is no such approval, or it is another tenant's."""

    default = "Approval not found"


class RouteNotFound(NotFound):
    """No route has this path."""

    default = "No such route"


class MethodNotAllowed(DragomanError):
    """The path exists, the method does not; `allowed` lists those that do."""

    default = "Method not allowed"

    def __init__(self, allowed: str = "") -> None:
        super().__init__()
        self.allowed = allowed


class Conflict(DragomanError):
    """The state of things does not permit it now."""

    default = "The request conflicts with the current state"


class NameTaken(Conflict):
    """A name or value that must be unique is in use."""

    default = "That name is taken"


class PreconditionFailed(DragomanError):
    """What is to be changed is no longer what the client has seen."""

    default = "This has been changed meanwhile; read it again"


class TooLarge(DragomanError):
    """The request is over its bound of size."""

    default = "The request is too large"


class UnsupportedMedia(DragomanError):
    """The body's media type cannot be read here."""

    default = "Unsupported media type"


class KeyReused(DragomanError):
    """An Idempotency-Key came again with another body."""

    default = "This Idempotency-Key was used with another request body"


class RateLimited(DragomanError):
    """Too many requests; `retry_after` is in seconds."""

    def __init__(self, retry_after: int) -> None:
        super().__init__(f"Too many requests. Retry after {retry_after} seconds.")
        self.retry_after = retry_after


class ModelFailed(DragomanError):
    """The model gave no answer and will not be asked again in this turn."""

    default = "The AI service could not answer"


class Unavailable(DragomanError):
    """Dragoman cannot serve now but will again; `retry_after` is in seconds."""

    default = "The service is temporarily unavailable"

    def __init__(self, message: str | None = None, *, retry_after: int = 1) -> None:
        super().__init__(message)
        self.retry_after = retry_after


def row_of(error: DragomanError, table: Mapping[type[DragomanError], T]) -> T:
    """What a table says of the most specific class of an error that it names; every table names DragomanError."""
    return next(table[kind] for kind in type(error).__mro__ if kind in table)
