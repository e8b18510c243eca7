"""S1's wire objects, purely: requests into commands, answers, events and errors into what its document shows."""

from collections.abc import Sequence
from typing import Any

import msgspec

from dragoman.core import errors
from dragoman.core.answers import Answer
from dragoman.core.clock import iso
from dragoman.core.conversations import Conversation, Message
from dragoman.core.errors import DragomanError, Invalid
from dragoman.core.events import Outcome, TextDelta, TurnEvent, TurnFailed, TurnInterrupted
from dragoman.core.ids import parse_id, prefixed

PREFIX = "/v1"
MOST_MESSAGES = 1000

ERROR_CODES: dict[type[DragomanError], str] = {
    errors.Invalid: "invalid_request",
    errors.Unauthenticated: "invalid_api_key",
    errors.NoCredits: "insufficient_credits",
    errors.Forbidden: "insufficient_permissions",
    errors.AgentNotFound: "agent_not_found",
    errors.ConversationNotFound: "conversation_not_found",
    errors.NotFound: "not_found",
    errors.MethodNotAllowed: "method_not_allowed",
    errors.Conflict: "conflict",
    errors.TooLarge: "request_too_large",
    errors.UnsupportedMedia: "unsupported_media_type",
    errors.KeyReused: "idempotency_mismatch",
    errors.RateLimited: "rate_limit_exceeded",
    errors.Unavailable: "service_unavailable",
    DragomanError: "server_error",
}

_encode = msgspec.json.Encoder().encode


class ChatRequest(msgspec.Struct):
    """The body of a message to an agent."""

    message: str | None = None
    conversation_id: str | None = None
    metadata: dict[str, Any] | None = None
    stream: bool | None = False


chat_request = msgspec.json.Decoder(ChatRequest)


def message_id(text: str) -> str:
    """The message that a query names.

    Raises:
        Invalid: no id of ours looks like this.
    """
    known = parse_id("msg", text)
    if known is None:
        raise Invalid("before is no message id", field="before")
    return known


def limit(text: str) -> int:
    """How many messages a query asks for.

    Raises:
        Invalid: it is no number in bounds.
    """
    if not (text.isascii() and text.isdigit() and len(text) < 6 and 1 <= int(text) <= MOST_MESSAGES):
        raise Invalid(f"limit takes a number from 1 to {MOST_MESSAGES}", field="limit")
    return int(text)


def reply(answer: Answer) -> dict[str, Any]:
    """The whole answer."""
    return {
        "response": answer.text,
        "conversation_id": prefixed("conv", answer.conversation_id),
        "message_id": prefixed("msg", answer.message_id),
        "confidence": answer.confidence,
        "model": answer.model,
        "sources": [source._asdict() for source in answer.sources],
        "credits_used": answer.credits,
    }


class Frames:
    """The frames of one streamed turn; remembers the answer, which the last frame repeats."""

    def __init__(self) -> None:
        self._answer = Answer()

    def __call__(self, event: TurnEvent) -> Sequence[bytes]:
        """The frames of one event."""
        self._answer.take(event)
        match event:
            case TextDelta(text):
                return (b'event: text\ndata: {"type":"text","content":' + _encode(text) + b"}\n\n",)
            case Outcome():
                whole = reply(self._answer)
                return (
                    _frame("sources", {"type": "sources", "sources": whole["sources"]}),
                    _frame("done", {"type": "done", **whole}),
                )
            case TurnFailed(message):
                return (_failure(errors.ModelFailed(message)),)
            case TurnInterrupted():
                return (_failure(errors.Unavailable("The server was restarted during this answer")),)
        return ()


def _frame(name: str, data: dict[str, Any]) -> bytes:
    return b"event: %s\ndata: %s\n\n" % (name.encode(), _encode(data))


def _failure(error: DragomanError) -> bytes:
    return _frame("error", {"type": "error", **error_body(error)})


def history(conversation: Conversation, messages: Sequence[Message]) -> dict[str, Any]:
    """A conversation with its messages."""
    return {
        "id": prefixed("conv", conversation.id),
        "agent_id": prefixed("agent", conversation.agent_id),
        "created_at": iso(conversation.created_at),
        "messages": [
            {"role": message.role, "content": message.content, "timestamp": iso(message.created_at)}
            for message in messages
        ],
    }


def error_body(error: DragomanError) -> dict[str, Any]:
    """An error as this contract spells it."""
    code = errors.row_of(error, ERROR_CODES)
    spelled: dict[str, Any] = {"code": code, "message": error.message}
    if isinstance(error, errors.RateLimited):
        spelled["retry_after"] = error.retry_after
    return {"error": spelled}
