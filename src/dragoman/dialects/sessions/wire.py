"""S3's wire objects, purely: requests into what services take; chats, messages and events into what clients see."""

from collections.abc import Sequence
from typing import Any, Literal

import msgspec

from dragoman.core.answers import Answer
from dragoman.core.clock import iso, now_us
from dragoman.core.conversations import Conversation, Message, Turn
from dragoman.core.errors import (
    DragomanError,
    FieldMissing,
    Invalid,
    ModelFailed,
    Unavailable,
)
from dragoman.core.events import Outcome, TextDelta, TurnEvent, TurnFailed, TurnInterrupted, TurnStarted
from dragoman.core.ids import prefixed
from dragoman.dialects.sessions import errors
from dragoman.dialects.sessions.errors import InvalidMessage
from dragoman.server.requests import decode_json

PREFIX = "/api/v1/chats"
SOCKET_PATH = "/ws/chat"
LIMIT = 50
MOST_LISTED = 100
FARTHEST = 10_000_000_000
LONGEST_USER_ID = 255
LONGEST_TITLE = 1000

Order = Literal["oldest", "newest"]
ORDERS: dict[str, Order] = {"asc": "oldest", "desc": "newest"}

_encode = msgspec.json.Encoder().encode


class NewChat(msgspec.Struct):
    """The body that creates a chat."""

    user_id: str | None = None
    title: str | None = None
    metadata: dict[str, Any] | None = None
    agent_id: str | None = None

    def user(self) -> str:
        """Whose chat it is.

        Raises:
            FieldMissing, Invalid
        """
        return user_id(self.user_id)

    def named(self) -> str | None:
        """Its title.

        Raises:
            Invalid: it is too long.
        """
        if self.title is not None and len(self.title) > LONGEST_TITLE:
            raise Invalid(f"title takes at most {LONGEST_TITLE} characters", field="title")
        return self.title


class NewTicket(msgspec.Struct):
    """The body that asks for a ticket."""

    user_id: str | None = None


class UserMessage(msgspec.Struct):
    """What a client sends over a socket."""

    content: str | None = None
    metadata: dict[str, Any] | None = None


new_chat = msgspec.json.Decoder(NewChat)
new_ticket = msgspec.json.Decoder(NewTicket)
_user_message = msgspec.json.Decoder(UserMessage)


def user_message(text: str | bytes) -> tuple[str, dict[str, Any] | None]:
    """The content and metadata of a message.

    Raises:
        InvalidMessage: it is none.
    """
    try:
        told = decode_json(text if isinstance(text, bytes) else text.encode(), _user_message)
    except Invalid as error:
        raise InvalidMessage(error.message.replace("request body", "message")) from error
    if told.content is None or not told.content.strip():
        raise InvalidMessage("content is required", field="content")
    return told.content, told.metadata


def user_id(text: str | None) -> str:
    """The user that a client names.

    Raises:
        FieldMissing: nobody is named.
        Invalid: the name cannot be kept.
    """
    if text is None or not text.strip():
        raise FieldMissing("user_id")
    # A path could not name the others: it comes decoded, and clients resolve its dots.
    if len(text) > LONGEST_USER_ID or text in (".", "..") or "\x00" in text or "/" in text:
        raise Invalid(
            f"user_id takes at most {LONGEST_USER_ID} characters, neither / nor U+0000, and not . or .. alone",
            field="user_id",
        )
    return text


def number(name: str, text: str | None, default: int, least: int, most: int) -> int:
    """A number that a query gives.

    Raises:
        Invalid: it is none, or not within its bounds.
    """
    if text is None:
        return default
    if not (text.isascii() and text.isdigit() and len(text) < 12 and least <= int(text) <= most):
        raise Invalid(f"{name} takes a number from {least} to {most}", field=name)
    return int(text)


def order(text: str | None) -> Order:
    """The order that a query asks for.

    Raises:
        Invalid: there is no such order.
    """
    if text is not None and text not in ORDERS:
        raise Invalid("order takes asc or desc", field="order")
    return ORDERS[text or "asc"]


def chat(conversation: Conversation) -> dict[str, Any]:
    """A chat."""
    last = conversation.last_message_at
    return {
        "id": conversation.id,
        "user_id": conversation.user_id,
        "tenant_id": conversation.tenant_id,
        "title": conversation.title or None,
        "config": {"metadata": conversation.metadata or {}},
        "created_at": iso(conversation.created_at),
        "updated_at": iso(conversation.updated_at),
        "last_message_at": None if last is None else iso(last),
    }


def message(said: Message) -> dict[str, Any]:
    """A message of a chat."""
    return {
        "id": prefixed("msg", said.id),
        "content": said.content,
        "sender_role": said.role,
        "created_at": iso(said.created_at),
        "metadata": said.metadata or {},
    }


def page(name: str, items: Sequence[dict[str, Any]], total: int, offset: int, limit: int) -> dict[str, Any]:
    """A page of a collection."""
    return {
        name: items,
        "total": total,
        "offset": offset,
        "limit": limit,
        "has_more": offset + len(items) < total,
    }


def own_frame(event_type: str, **fields: Any) -> str:
    """A frame of one connection, which has no place in the chat's log."""
    return _frame(event_type, now_us(), fields)


def error_frame(error: DragomanError, at: int | None = None, message_id: str | None = None) -> str:
    """An error as a frame; `at` and `message_id` are of the answer that failed, if it is about one."""
    fields = errors.frame_fields(error)
    if message_id is not None:
        fields["details"]["message_id"] = prefixed("msg", message_id)
    return _frame("error", now_us() if at is None else at, fields)


def _frame(event_type: str, at: int, fields: dict[str, Any]) -> str:
    return _encode({"event_type": event_type, "timestamp": iso(at), **fields}).decode()


class Frames:
    """The frames of one segment of a turn, the same for whoever watches it and whenever.

    A token's time is that of its answer's start: when it came is not kept.
    """

    def __init__(self, turn: Turn) -> None:
        self._turn = turn
        self._event_id = prefixed("turn", turn.id)
        self._answer = Answer()
        self._index = 0
        self._token = ""

    def __call__(self, epoch: int, sequence: int, event: TurnEvent) -> Sequence[str]:
        """The frames of one event, by its place in the turn's log."""
        place = f"{self._event_id}.{epoch}.{sequence}"
        self._answer.take(event)
        match event:
            case TextDelta(text):
                index = self._index
                self._index += 1
                return (f'{self._token}{_encode(text).decode()},"index":{index},"event_id":"{place}"}}',)
            case TurnStarted():
                return self._started(event, place)
            case Outcome():
                content = {"content": self._answer.text, "metadata": {}}
                ended = {"message_id": prefixed("msg", self._answer.message_id), **content, "event_id": place}
                return (_frame("message_stream_ended", event.at, ended),)
            case TurnFailed(told):
                return (error_frame(ModelFailed(told), event.at, self._answer.message_id),)
            case TurnInterrupted():
                told = "The server was restarted during this answer; send the message again"
                return (error_frame(Unavailable(told), event.at, self._answer.message_id),)
        return ()

    def _started(self, event: TurnStarted, place: str) -> Sequence[str]:
        answer_id = prefixed("msg", event.message_id)
        self._index = 0
        token = {"event_type": "message_stream_token", "timestamp": iso(event.at), "message_id": answer_id}
        self._token = f'{_encode(token).decode()[:-1]},"token":'
        started = _frame("message_stream_started", event.at, {"message_id": answer_id, "event_id": place})
        if not event.first:
            return (started,)
        user_message_id = prefixed("msg", self._turn.message_id)
        received = {"message_id": user_message_id, "chat_id": event.conversation_id, "event_id": f"{place}.1"}
        return (_frame("message_received", event.at, received), started)
