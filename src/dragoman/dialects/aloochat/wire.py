"""S0's wire objects, purely: requests into commands, answers, events and errors into what its document shows."""

import re
from collections.abc import Mapping, Sequence
from typing import Any, Literal

import msgspec
from msgspec import UNSET, UnsetType

from dragoman.core import errors
from dragoman.core.answers import Answer
from dragoman.core.clock import iso
from dragoman.core.commands import Recording
from dragoman.core.conversations import Conversation, Message
from dragoman.core.errors import DragomanError, FieldMissing, Invalid, NotFound
from dragoman.core.events import (
    ApprovalWanted,
    Outcome,
    SourcesFound,
    TextDelta,
    ToolCallReady,
    ToolCallStarted,
    ToolResult,
    Transcribed,
    TurnEvent,
    TurnFailed,
    TurnInterrupted,
    TurnStarted,
)
from dragoman.core.ids import canonical, parse_id, prefixed
from dragoman.core.prompt import NO_OVERRIDES, Overrides, PromptMessage
from dragoman.ports.conversations import Changes, Listed, Window
from dragoman.server.errors import ERROR_NAMES, STATUS
from dragoman.server.forms import File, Form
from dragoman.server.requests import DEEPEST, agent_id_of, conversation_id_of, decode_json

PREFIX = "/api/v1/chat"
DEFAULT_LIMIT = 20
MOST = 100

_encode = msgspec.json.Encoder().encode
_AGENT_KEY = re.compile(
    r"agent:((?i:[0-9a-f]{8}(?:-[0-9a-f]{4}){3}-[0-9a-f]{12})):([a-z][a-z0-9_-]*):([a-z][a-z0-9_-]*)"
)
_NUMBER = re.compile(r"[0-9]{1,18}")
_PLACE = re.compile(r"([0-9]{1,18})\.([0-9a-f]{32})")


class NewConversation(msgspec.Struct):
    """The body that begins a conversation."""

    agent_id: str | None = None
    deployment_id: str | None = None
    title: str | None = None

    def agent(self) -> str:
        """The agent.

        Raises:
            FieldMissing: it is not named.
            AgentNotFound: no id of ours looks like this.
        """
        if not self.agent_id:
            raise FieldMissing("agent_id")
        return agent_id_of(self.agent_id)

    def deployment(self) -> str | None:
        """The deployment, None where none is named.

        Raises:
            NotFound: no id of ours looks like this.
        """
        if self.deployment_id is None:
            return None
        known = parse_id("deployment", self.deployment_id)
        if known is None:
            raise NotFound("Deployment not found")
        return known


class ConversationChanges(msgspec.Struct):
    """The body that changes a conversation; what is not named stays."""

    title: str | UnsetType = UNSET
    metadata: dict[str, Any] | UnsetType = UNSET
    archived: bool | UnsetType = UNSET

    def at(self, now: int) -> Changes:
        """The changes, made at a time in microseconds since the epoch."""
        changes = Changes()
        if self.title is not UNSET:
            changes["title"] = self.title
        if self.metadata is not UNSET:
            changes["metadata"] = self.metadata
        if self.archived is not UNSET:
            changes["archived_at"] = now if self.archived else None
        return changes


class SaidBefore(msgspec.Struct):
    """A message of `messages`."""

    role: Literal["user", "assistant"]
    content: str


class AgentRequest(msgspec.Struct):
    """A message to an agent, from a form or from JSON; `messages` is a JSON text, or in JSON a list too."""

    agent_key: str | None = None
    query: str | None = None
    messages: list[SaidBefore] | str | None = None
    conversation_id: str | None = None

    def key(self) -> tuple[str, str, str]:
        """Agent, channel and region.

        Raises:
            Invalid: they are missing or written otherwise.
        """
        match = _AGENT_KEY.fullmatch(self.agent_key or "")
        if match is None:
            raise Invalid("Invalid agent_key format", field="agent_key")
        return match[1].lower(), match[2], match[3]

    def question(self, *, spoken: bool) -> tuple[str, Overrides]:
        """What the user writes now, and what this turn alone is told besides: what was said before it.

        A user who has `spoken` need not write: the text is empty then, and all of `messages` was said before.

        Raises:
            FieldMissing: the user says nothing.
            Invalid: `messages` is malformed.
        """
        said = _said(self.messages) if isinstance(self.messages, str) else self.messages or []
        text = self.query if self.query and self.query.strip() else ""
        if not text and not spoken:
            last = max((at for at, each in enumerate(said) if each.role == "user"), default=None)
            if last is None or not said[last].content.strip():
                raise FieldMissing("query")
            text, said = said[last].content, said[:last]
        if not said:
            return text, NO_OVERRIDES
        return text, Overrides(prior=tuple(PromptMessage(each.role, each.content) for each in said))

    def conversation(self) -> str | None:
        """The conversation to go on with, None for a new one.

        Raises:
            ConversationNotFound: no id of ours looks like this.
        """
        return None if self.conversation_id is None else conversation_id_of(self.conversation_id)


new_conversation = msgspec.json.Decoder(NewConversation)
conversation_changes = msgspec.json.Decoder(ConversationChanges)
agent_request = msgspec.json.Decoder(AgentRequest)
_said_before = msgspec.json.Decoder(list[SaidBefore])
_FIELDS = frozenset(AgentRequest.__struct_fields__)
AUDIO = ("audio", "audio_file", "file")


def recording(files: Sequence[File]) -> Recording | None:
    """What the user says in a form, under any of the names AUDIO; None where nothing is said.

    Raises:
        Invalid: there are several recordings.
    """
    found = [file for file in files if file.name in AUDIO]
    if len(found) > 1:
        raise Invalid("A form takes one recording", field=found[1].name)
    return Recording(found[0].filename, found[0].media_type, found[0].data) if found else None


def form_request(form: Form) -> AgentRequest:
    """A message to an agent from the fields of a form. A blank field is as one left out.

    Raises:
        Invalid: a field stands there twice, or is a file.
    """
    as_files = sorted(_FIELDS.intersection(file.name for file in form.files))
    if as_files:
        raise Invalid(f"{as_files[0]} is text, not a file", field=as_files[0])
    known = [(name, value) for name, value in form.fields if name in _FIELDS]
    given = dict(known)
    if len(given) < len(known):
        raise Invalid("A field of the form was sent twice")
    return AgentRequest(**{name: value for name, value in given.items() if value.strip()})


def _said(text: str) -> list[SaidBefore]:
    try:
        return decode_json(text.encode(), _said_before)
    except (Invalid, UnicodeError) as error:
        raise Invalid(
            "messages is to be a JSON list of {role, content}, of the roles user and assistant, without U+0000"
            f" and at most {DEEPEST} levels deep",
            field="messages",
        ) from error


def limit(query: Mapping[str, str]) -> int:
    """How many rows a query asks for.

    Raises:
        Invalid: it is no number in bounds.
    """
    text = query.get("limit", str(DEFAULT_LIMIT))
    if not (_NUMBER.fullmatch(text) and 1 <= int(text) <= MOST):
        raise Invalid(f"limit takes a number from 1 to {MOST}", field="limit")
    return int(text)


def listed(query: Mapping[str, str]) -> Listed:
    """The conversations that a query asks for, and one more, which tells whether there are others.

    Raises:
        Invalid: a parameter is wrong.
    """
    offset, cursor = query.get("offset", "0"), query.get("cursor")
    if not _NUMBER.fullmatch(offset):
        raise Invalid("offset takes a number from 0 on", field="offset")
    place = None if cursor is None else _PLACE.fullmatch(cursor)
    if cursor is not None and place is None:
        raise Invalid("cursor takes what X-Next-Cursor said", field="cursor")
    below = None if place is None else (int(place[1]), canonical(place[2]))
    return Listed(limit(query) + 1, int(offset), below, archived=False)


def window(query: Mapping[str, str]) -> Window:
    """The messages that a query asks for, and one more, which tells whether there are others.

    Raises:
        Invalid: a parameter is wrong.
    """
    cursor = query.get("cursor")
    if cursor is not None and not _NUMBER.fullmatch(cursor):
        raise Invalid("cursor takes what X-Next-Cursor said", field="cursor")
    return Window(limit(query) + 1, after=None if cursor is None else int(cursor), order="oldest")


def conversation(found: Conversation) -> dict[str, Any]:
    """A conversation."""
    return {
        "id": prefixed("conv", found.id),
        "agent_id": found.agent_id,
        "deployment_id": found.deployment_id,
        "title": found.title,
        "created_at": iso(found.created_at),
        "updated_at": iso(found.updated_at),
    }


def conversation_place(found: Conversation) -> str:
    """The cursor that goes on behind a conversation."""
    return f"{found.created_at}.{found.id.replace('-', '')}"


def message(found: Message) -> dict[str, Any]:
    """A message of a history."""
    return {
        "id": prefixed("msg", found.id),
        "role": found.role,
        "content": found.content,
        "created_at": iso(found.created_at),
    }


def message_place(found: Message) -> str:
    """The cursor that goes on behind a message."""
    return str(found.number)


def reply(answer: Answer, response_time_ms: int) -> dict[str, Any]:
    """The whole answer, and how long the client has waited for it."""
    return {
        "conversation_id": prefixed("conv", answer.conversation_id),
        "agent_response_text": answer.text,
        "response_time_ms": response_time_ms,
        "was_resolved": answer.resolved,
    }


class Frames:
    """The frames of one streamed turn; remembers the conversation, which every frame names."""

    def __init__(self) -> None:
        self._conversation = b""
        self._tail = b""

    def __call__(self, event: TurnEvent) -> Sequence[bytes]:
        """The frames of one event."""
        match event:
            case TextDelta(text):
                return (b'data: {"type":"agent_text_chunk","content":' + _encode(text) + self._tail,)
            case TurnStarted():
                self._conversation = b',"conversation_id":"%s"' % prefixed("conv", event.conversation_id).encode()
                self._tail = self._conversation + b"}\n\n"
                return (b'data: {"type":"start","content":""' + self._tail,)
            case Transcribed(text):
                return (b'data: {"type":"transcribed_text","content":' + _encode(text) + self._tail,)
            case SourcesFound(sources) if sources:
                named = _encode({"sources": [source._asdict() for source in sources]}).decode()
                return (b'data: {"type":"chunk","content":' + _encode(named) + self._tail,)
            case ToolCallReady() | ToolCallStarted() | ApprovalWanted() | ToolResult():
                return (b'data: {"type":"chunk","content":' + _encode(_status(event)) + self._tail,)
            case Outcome():
                return (b'data: {"type":"end","content":""' + self._tail,)
            case TurnFailed(said):
                return (self._failure(errors.ModelFailed(said)),)
            case TurnInterrupted():
                return (self._failure(errors.Unavailable("The server was restarted during this answer")),)
        return ()

    def _failure(self, error: DragomanError) -> bytes:
        said, body = _encode(error.message), _encode(error_body(error))
        return b'data: {"type":"error","content":' + said + self._conversation + b"," + body[1:] + b"\n\n"


def _status(call: ToolCallReady | ToolCallStarted | ApprovalWanted | ToolResult) -> str:
    """How far a call is, as the JSON text that a chunk holds; who is to make it is told its arguments."""
    named = {"id": call.call_id, "name": call.name}
    match call:
        case ToolCallReady():
            told = {**named, "arguments": call.arguments, "status": "waiting"}
        case ToolCallStarted():
            told = {**named, "status": "running"}
        case ApprovalWanted():
            told = {**named, "status": "waiting_for_approval"}
        case ToolResult():
            told = {**named, "status": "failed" if call.failed else "completed"}
    return _encode({"tool_call": told}).decode()


def error_body(error: DragomanError) -> dict[str, Any]:
    """An error as this contract spells it."""
    return {
        "error": errors.row_of(error, ERROR_NAMES),
        "message": error.message,
        "statusCode": errors.row_of(error, STATUS),
    }
