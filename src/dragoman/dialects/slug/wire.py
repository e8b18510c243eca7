"""S2's wire objects, purely: requests into commands, answers, events and errors into what its document shows."""

from collections.abc import Sequence
from typing import Any

import msgspec

from dragoman.core import errors
from dragoman.core.answers import Answer
from dragoman.core.errors import AgentNotFound, DragomanError
from dragoman.core.events import Outcome, TextDelta, TurnEvent, TurnFailed, TurnInterrupted
from dragoman.core.ids import prefixed
from dragoman.server.errors import ERROR_NAMES
from dragoman.server.requests import conversation_id_of

PREFIX = "/v1/api"
DONE = b"data: [DONE]\n\n"

_encode = msgspec.json.Encoder().encode


class ChatRequest(msgspec.Struct, rename="camel"):
    """The body of a message to an agent."""

    message: str | None = None
    stream: bool | None = False
    conversation_id: str | None = None

    def conversation(self) -> str | None:
        """The conversation to go on with, None for a new one.

        Raises:
            ConversationNotFound: no id of ours looks like this.
        """
        return None if self.conversation_id is None else conversation_id_of(self.conversation_id)


chat_request = msgspec.json.Decoder(ChatRequest)


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
