"""S3's socket as an AsyncAPI 3.0 document. Describes and checks nothing; what runs is in socket.py and wire.py."""

import re
from importlib.metadata import version
from typing import Annotated, Any, Literal

import msgspec
from msgspec import Meta

from dragoman.dialects.sessions import errors, wire

MESSAGE = "msg_0f1e2d3c4b5a69788796a5b4c3d2e1f0"
CHAT = "5f0c1d2e-3b4a-7968-9786-a5b4c3d2e1f0"
EVENT = "turn_00112233445566778899aabbccddeeff.1.3"
TIME = "2026-01-23T10:00:00Z"
REFERENCE = "#/components/schemas/{name}"

Time = Annotated[str, Meta(description="ISO 8601 with Z.", extra_json_schema={"format": "date-time"}, examples=[TIME])]
MessageId = Annotated[str, Meta(examples=[MESSAGE])]
EventId = Annotated[
    str,
    Meta(
        description="Opaque, equal on all sockets of the chat; the last one is the `last_event_id` to go on behind it.",
        examples=[EVENT],
    ),
]


class UserMessage(msgspec.Struct):
    """A message of the user."""

    content: Annotated[str, Meta(description="Not blank.", examples=["Hello, I need help with my account"])]
    metadata: Annotated[dict[str, Any], Meta(description="Kept with the message.")] | msgspec.UnsetType = msgspec.UNSET


class ConnectionEstablished(msgspec.Struct):
    """The socket was let in; always the first frame."""

    event_type: Literal["connection_established"]
    timestamp: Time
    user_id: Annotated[str, Meta(examples=["user123"])]
    chat_id: Annotated[str, Meta(examples=[CHAT])]
    tenant_id: Annotated[str, Meta(examples=["acme"])]


class UserCreated(msgspec.Struct):
    """The user had never come before."""

    event_type: Literal["user_created"]
    timestamp: Time
    user_id: Annotated[str, Meta(examples=["user123"])]


class MessageReceived(msgspec.Struct):
    """A message is stored and its answer begins."""

    event_type: Literal["message_received"]
    timestamp: Time
    message_id: MessageId
    chat_id: Annotated[str, Meta(examples=[CHAT])]
    event_id: EventId


class MessageStreamStarted(msgspec.Struct):
    """An answer begins."""

    event_type: Literal["message_stream_started"]
    timestamp: Time
    message_id: MessageId
    event_id: EventId


class MessageStreamToken(msgspec.Struct):
    """A piece of an answer, with its white space as it is."""

    event_type: Literal["message_stream_token"]
    timestamp: Annotated[Time, Meta(description="When the answer began.")]
    message_id: MessageId
    token: Annotated[str, Meta(examples=[" there!"])]
    index: Annotated[int, Meta(description="Counted from 0 in each answer.", ge=0, examples=[1])]
    event_id: EventId


class MessageStreamEnded(msgspec.Struct):
    """An answer is whole."""

    event_type: Literal["message_stream_ended"]
    timestamp: Time
    message_id: MessageId
    content: Annotated[str, Meta(description="All tokens joined.", examples=["Hello there!"])]
    metadata: dict[str, Any]
    event_id: EventId


class Error(msgspec.Struct):
    """Something went wrong. An answer that failed is told to every socket, with its `message_id` in the details."""

    event_type: Literal["error"]
    timestamp: Time
    error_code: Annotated[str, Meta(extra_json_schema={"enum": sorted(set(errors.SOCKET_CODES.values()))})]
    message: Annotated[str, Meta(examples=["content is required"])]
    details: Annotated[
        dict[str, Any],
        Meta(
            description="`suggestion` says what to do about it.",
            examples=[{"suggestion": errors.SUGGESTIONS["INVALID_MESSAGE"], "parameter": "content"}],
        ),
    ]


FRAMES: tuple[type[msgspec.Struct], ...] = (
    ConnectionEstablished,
    UserCreated,
    MessageReceived,
    MessageStreamStarted,
    MessageStreamToken,
    MessageStreamEnded,
    Error,
)
ALL: tuple[type[msgspec.Struct], ...] = (UserMessage, *FRAMES)
PARAMETERS = {
    "api_key": "A secret or publishable key; better a ticket, for addresses are kept in logs and histories.",
    "user_id": "Who connects: the chat's user.",
    "chat_id": "The chat, which exists already.",
    "ticket": "In place of the three above: names user and chat by itself and opens one socket.",
    "visitor_token": "Names the visitor behind a publishable key.",
    "last_event_id": "The last `event_id` that was seen: what came after it is replayed.",
}
IN_HEADERS = ("api_key", "user_id", "chat_id", "visitor_token", "last_event_id")
CLOSES = ", ".join(f"{close} {code}" for code, close in sorted(errors.CLOSE_CODES.items(), key=lambda pair: pair[1]))


def asyncapi() -> dict[str, Any]:
    """The document, as seen from the server: it receives messages and sends frames."""
    _, schemas = msgspec.json.schema_components(ALL, ref_template=REFERENCE)
    return {
        "asyncapi": "3.0.0",
        "info": {
            "title": "S3: the socket of a chat",
            "version": version("dragoman"),
            "description": (
                "Every socket of a chat sees every frame of its log, whoever sent the message, through whichever API. "
                f"What ends a socket is told by an `error` frame, then by the close code: {CLOSES}. "
                "1012 says that the server shuts down, 1009 that a message was over 64 KiB."
            ),
        },
        "servers": {"here": {"host": "localhost:8000", "protocol": "ws"}},
        "defaultContentType": "application/json",
        "channels": {
            "chat": {
                "address": wire.SOCKET_PATH,
                "messages": {kind.__name__: _message(kind) for kind in ALL},
                "bindings": {
                    "ws": {
                        "query": _parameters(PARAMETERS),
                        "headers": _parameters({f"X-{_spelled(name)}": PARAMETERS[name] for name in IN_HEADERS}),
                    }
                },
            }
        },
        "operations": {
            "receiveMessages": _operation("receive", (UserMessage,)),
            "sendFrames": _operation("send", FRAMES),
        },
        "components": {"schemas": schemas},
    }


def _spelled(name: str) -> str:
    """A parameter as a header spells it."""
    return "-".join({"api": "API", "id": "ID"}.get(word, word.title()) for word in name.split("_"))


def _parameters(about: dict[str, str]) -> dict[str, Any]:
    properties = {name: {"type": "string", "description": said} for name, said in about.items()}
    return {"type": "object", "properties": properties}


def _operation(action: str, kinds: tuple[type[msgspec.Struct], ...]) -> dict[str, Any]:
    return {
        "action": action,
        "channel": {"$ref": "#/channels/chat"},
        "messages": [{"$ref": f"#/channels/chat/messages/{kind.__name__}"} for kind in kinds],
    }


def _message(kind: type[msgspec.Struct]) -> dict[str, Any]:
    name = re.sub(r"(?<=[a-z])(?=[A-Z])", "_", kind.__name__).lower()
    about = (kind.__doc__ or "").strip()
    return {"name": name, "title": name, "summary": about, "payload": {"$ref": REFERENCE.format(name=kind.__name__)}}
