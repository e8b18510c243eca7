"""S2's wire objects, purely: requests into commands, answers, events and errors into what its document shows."""

from collections.abc import Sequence
from typing import Any

import msgspec

from dragoman.core import errors
from dragoman.core.answers import Answer
from dragoman.core.errors import AgentNotFound, ConversationNotFound, DragomanError, FieldMissing
from dragoman.core.events import Outcome, TextDelta, TurnEvent, TurnFailed, TurnInterrupted
from dragoman.core.ids import parse_id, prefixed

PREFIX = "/v1/api"
DONE = b"data: [DONE]\n\n"

ERROR_NAMES: dict[type[DragomanError], str] = {
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

_encode = msgspec.json.Encoder().encode


class ChatRequest(msgspec.Struct, rename="camel"):
    """The body of a message to an agent."""

    message: str | None = None
    stream: bool | None = False
    conversation_id: str | None = None

    def text(self) -> str:
        """The message.

        Raises:
            FieldMissing: it is absent or blank.
        """
        if self.message is None or not self.message.strip():
            raise FieldMissing("message")
        return self.message

    def conversation(self) -> str | None:
        """The conversation to go on with, None for a new one.

        Raises:
            ConversationNotFound: no id of ours looks like this.
        """
        if self.conversation_id is None:
            return None
        known = parse_id("conv", self.conversation_id)
        if known is None:
            raise ConversationNotFound
        return known


chat_request = msgspec.json.Decoder(ChatRequest)


def agent(slug: str) -> str:
    """The agent that a path names.

    Raises:
        AgentNotFound: the slug holds U+0000, which not every database can even look for.
    """
    if "\x00" in slug:
        raise AgentNotFound(slug)
    return slug


def reply(answer: Answer) -> dict[str, Any]:
    """The whole answer."""
    return {
        "data": {
            "response": answer.text,
            "conversationId": prefixed("conv", answer.conversation_id),
            "metadata": {"model": answer.model, "tokens": answer.tokens},
        },
        "error": None,
    }


def frames(event: TurnEvent) -> Sequence[bytes]:
    """The frames of one event of a turn."""
    match event:
        case TextDelta(text):
            return (b'data: {"chunk": ' + _encode(text) + b"}\n\n",)
        case Outcome():
            return (DONE,)
        case TurnFailed(message):
            return _failure(errors.ModelFailed(message))
        case TurnInterrupted():
            return _failure(errors.Unavailable("The server was restarted during this answer"))
    return ()


def _failure(error: DragomanError) -> Sequence[bytes]:
    return (b'data: {"error": ' + _encode(_spelled(error)) + b"}\n\n", DONE)


def error_body(error: DragomanError) -> dict[str, Any]:
    """An error as this contract spells it."""
    return {"data": None, "error": _spelled(error)}


def _spelled(error: DragomanError) -> dict[str, Any]:
    name = errors.row_of(error, ERROR_NAMES)
    message = error.message
    if isinstance(error, errors.Unauthenticated):
        message = "Invalid or missing API token"
    elif isinstance(error, AgentNotFound):
        message = f"Agent with slug '{error.reference}' not found"
    return {"name": name, "message": message, "details": {}}
