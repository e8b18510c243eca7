"""S4's wire objects, purely: requests into commands, answers, events and errors into what its document shows."""

import re
from collections.abc import Mapping, Sequence
from typing import Any, Literal, NamedTuple
from unicodedata import category

import msgspec

from dragoman.core import errors
from dragoman.core.answers import Answer
from dragoman.core.clock import iso
from dragoman.core.conversations import Message
from dragoman.core.errors import DragomanError, FieldMissing, Invalid
from dragoman.core.events import (
    Outcome,
    StepStarted,
    TextDelta,
    ToolCall,
    TurnEvent,
    TurnFailed,
    TurnInterrupted,
    TurnStarted,
)
from dragoman.core.ids import derived_id, parse_id, prefixed
from dragoman.core.prompt import CONTEXT_BYTES
from dragoman.ports.conversations import Window

PREFIX = "/api/agents"
DEFAULT_MESSAGES = 50
MOST_MESSAGES = 200
LONGEST_NAME = 200

ERROR_CODES: dict[type[DragomanError], str] = {
    errors.Invalid: "VALIDATION_ERROR",
    errors.Unauthenticated: "UNAUTHORIZED",
    errors.NoCredits: "INSUFFICIENT_CREDITS",
    errors.Forbidden: "FORBIDDEN",
    errors.AgentNotFound: "AGENT_NOT_FOUND",
    errors.ConversationNotFound: "CONVERSATION_NOT_FOUND",
    errors.NotFound: "NOT_FOUND",
    errors.MethodNotAllowed: "METHOD_NOT_ALLOWED",
    errors.Conflict: "CONFLICT",
    errors.TooLarge: "REQUEST_TOO_LARGE",
    errors.UnsupportedMedia: "UNSUPPORTED_MEDIA_TYPE",
    errors.KeyReused: "IDEMPOTENCY_MISMATCH",
    errors.RateLimited: "RATE_LIMIT_EXCEEDED",
    errors.Unavailable: "SERVICE_UNAVAILABLE",
    DragomanError: "AI_SERVICE_ERROR",
}

_NUMBER = re.compile(r"-?[0-9]{1,18}")

_encode = msgspec.json.Encoder().encode


class ToolResult(msgspec.Struct):
    """What a call brought; content that is not text is kept as its JSON."""

    role: Literal["tool"]
    tool_call_id: str
    content: str | dict[str, Any] | list[Any]


class ChatRequest(msgspec.Struct):
    """The body of a user's message, or of results of calls: one result by itself, or `messages` for several."""

    message: str | None = None
    conversation_id: str | None = None
    stream: bool | None = False
    context: dict[str, Any] | None = None
    system_prompt: str | None = None
    metadata: dict[str, Any] | None = None
    role: Literal["user", "tool"] | None = None
    tool_call_id: str | None = None
    content: str | dict[str, Any] | list[Any] | None = None
    messages: list[ToolResult] | None = None

    def results(self) -> Sequence[tuple[str, str]]:
        """Results of calls as pairs of call id and content; none where this is a user's message.

        Raises:
            Invalid: it is a message too, a part is missing, or two results are of one call.
        """
        given = self.messages or []
        if self.role == "tool":
            if self.tool_call_id is None:
                raise FieldMissing("tool_call_id")
            if self.content is None:
                raise FieldMissing("content")
            if given:
                raise Invalid("Send one result, or several in messages, not both", field="messages")
            given = [ToolResult("tool", self.tool_call_id, self.content)]
        if given and self.message:
            raise Invalid("Send a message or results of calls, not both", field="message")
        if len({result.tool_call_id for result in given}) < len(given):
            raise Invalid("Two results have the same tool_call_id", field="tool_call_id")
        return [(result.tool_call_id, _text_of(result.content)) for result in given]

    def known_context(self) -> dict[str, Any] | None:
        """What the conversation's context is to be; None leaves it as it is.

        Raises:
            Invalid: it is over its bound of size.
        """
        if self.context is not None and len(_encode(self.context)) > CONTEXT_BYTES:
            raise Invalid(f"context takes at most {CONTEXT_BYTES} bytes of JSON", field="context")
        return self.context


chat_request = msgspec.json.Decoder(ChatRequest)


class Named(NamedTuple):
    """The conversation that a request names, if any; `client_id` is the client's own name, where it used that."""

    id: str | None
    client_id: str | None = None


def conversation(tenant_id: str, text: str | None) -> Named:
    """The conversation that a body or a query names: by an id of ours, or by a name of the client's own.

    Raises:
        Invalid: it is neither.
    """
    if text is None:
        return Named(None)
    known = parse_id("conv", text)
    if known is not None:
        return Named(known)
    if not 0 < len(text) <= LONGEST_NAME or any(category(character) == "Cc" for character in text):
        raise Invalid(
            f"conversation_id takes 1 to {LONGEST_NAME} characters, no control characters among them",
            field="conversation_id",
        )
    return Named(derived_id(tenant_id, text), text)


def window(query: Mapping[str, str]) -> Window:
    """Which messages a query asks for, and one more, which tells whether there are more.

    Raises:
        Invalid: a bound is no number, limit is out of its own, or there are bounds on both sides.
    """
    limit = _number("limit", query.get("limit"))
    before, after = _number("before", query.get("before")), _number("after", query.get("after"))
    if limit is None:
        limit = DEFAULT_MESSAGES
    if not 1 <= limit <= MOST_MESSAGES:
        raise Invalid(f"limit takes a number from 1 to {MOST_MESSAGES}", field="limit")
    if before is not None and after is not None:
        raise Invalid("before and after cannot be used together", field="after")
    return Window(limit=limit + 1, before=before, after=after, spoken=False)


def _number(name: str, text: str | None) -> int | None:
    if text is not None and not _NUMBER.fullmatch(text):
        raise Invalid(f"{name} takes a whole number", field=name)
    return None if text is None else int(text)


def reply(answer: Answer, client_id: str | None = None) -> dict[str, Any]:
    """The whole answer; `client_id` is the client's own name for the conversation."""
    # Calls that a stop overtook wait for no result: they are no part of the answer.
    wanted = answer.calls if answer.state == "paused" else ()
    return {
        "id": answer.number,
        "role": "assistant",
        "content": None if wanted and not answer.text else answer.text,
        "tool_calls": _calls(wanted),
        "conversation_id": _named(answer.conversation_id, client_id),
        "created_at": iso(answer.closed_at),
    }


def stored(result: Message, client_id: str | None) -> dict[str, Any]:
    """A result that is kept while the turn waits for others."""
    return {
        "id": result.number,
        "role": "tool",
        "tool_call_id": result.tool_call_id,
        "content": result.content,
        "conversation_id": _named(result.conversation_id, client_id),
        "created_at": iso(result.created_at),
    }


def listing(asked: Window, messages: Sequence[Message], total: int, names: Mapping[str, str]) -> dict[str, Any]:
    """The messages of a window, oldest first; `names` are the clients' own for their conversations."""
    more = len(messages) == asked.limit
    if more:
        messages = messages[:-1] if asked.from_oldest else messages[1:]
    shown = [
        {
            "id": message.number,
            "role": message.role,
            "content": message.content,
            "tool_calls": _calls(message.tool_calls),
            "tool_call_id": message.tool_call_id,
            "metadata": message.metadata,
            "conversation_id": _named(message.conversation_id, names.get(message.conversation_id)),
            "created_at": iso(message.created_at),
        }
        for message in messages
    ]
    return {"messages": shown, "meta": {"total": total, "has_more": more}}


class Frames:
    """The frames of one streamed answer; remembers the answer, which the last frame holds."""

    def __init__(self, client_id: str | None = None) -> None:
        self._answer = Answer()
        self._client_id = client_id

    def __call__(self, event: TurnEvent) -> Sequence[bytes]:
        """The frames of one event."""
        self._answer.take(event)
        match event:
            case TextDelta(text):
                return (b'data: {"type": "delta", "content": ' + _encode(text) + b"}\n\n",)
            case TurnStarted():
                return (b'data: {"type": "start", "id": %d}\n\n' % event.number,)
            case StepStarted(number):
                return (b'data: {"type": "start", "id": %d}\n\n' % number,)
            case Outcome():
                whole = reply(self._answer, self._client_id)
                return (b'data: {"type": "done", "message": ' + _encode(whole) + b"}\n\n",)
            case TurnFailed(message):
                return (_failure(errors.ModelFailed(message)),)
            case TurnInterrupted():
                return (_failure(errors.Unavailable("The server was restarted during this answer")),)
        return ()


def _failure(error: DragomanError) -> bytes:
    return b'data: {"type": "error", "error": ' + _encode(error_body(error)["error"]) + b"}\n\n"


def error_body(error: DragomanError) -> dict[str, Any]:
    """An error as this contract spells it."""
    field = error.field if isinstance(error, errors.Invalid) else None
    details = {} if field is None else {"field": field}
    return {"error": {"code": errors.row_of(error, ERROR_CODES), "message": error.message, "details": details}}


def _calls(calls: Sequence[ToolCall]) -> list[dict[str, Any]] | None:
    """Calls in OpenAI's form; null where there are none."""
    spelled = [
        {"id": call.id, "type": "function", "function": {"name": call.name, "arguments": call.arguments}}
        for call in calls
    ]
    return spelled or None


def _named(conversation_id: str, client_id: str | None) -> str:
    return prefixed("conv", conversation_id) if client_id is None else client_id


def _text_of(content: str | dict[str, Any] | list[Any]) -> str:
    return content if isinstance(content, str) else _encode(content).decode()
