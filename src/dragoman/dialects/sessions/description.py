"""S3 as its OpenAPI document tells it. Describes and checks nothing; what runs is in routes.py and wire.py."""

from typing import Annotated, Any, Literal

import msgspec
from msgspec import Meta

from dragoman.core.errors import AgentNotFound, Conflict, ConversationNotFound, FieldMissing
from dragoman.dialects.sessions import errors, wire
from dragoman.dialects.sessions.asyncapi import asyncapi
from dragoman.server.describe import VISITOR, Body, Description, header_scheme, operation, path, query

CHAT_ID = "5f0c1d2e-3b4a-7968-9786-a5b4c3d2e1f0"
MESSAGE_ID = "msg_0f1e2d3c4b5a69788796a5b4c3d2e1f0"

Time = Annotated[str, Meta(extra_json_schema={"format": "date-time"}, examples=["2026-01-23T10:00:00Z"])]
Count = Annotated[int, Meta(ge=0)]


class Config(msgspec.Struct):
    """What the chat was created with."""

    metadata: dict[str, Any]


class Chat(msgspec.Struct):
    """A chat."""

    id: Annotated[str, Meta(examples=[CHAT_ID], extra_json_schema={"format": "uuid"})]
    user_id: Annotated[str | None, Meta(description="null where no user owns it.", examples=["user123"])]
    tenant_id: Annotated[str, Meta(examples=["acme"])]
    title: Annotated[str | None, Meta(description="null until there is one.", examples=["My order"])]
    config: Config
    created_at: Time
    updated_at: Time
    last_message_at: Time | None


class Message(msgspec.Struct):
    """A message."""

    id: Annotated[str, Meta(examples=[MESSAGE_ID])]
    content: Annotated[str, Meta(examples=["Hello, I need help with my account"])]
    sender_role: Literal["user", "assistant"]
    created_at: Time
    metadata: dict[str, Any]


class Chats(msgspec.Struct):
    """A page of chats."""

    chats: list[Chat]
    total: Annotated[Count, Meta(description="On all pages together.", examples=[147])]
    offset: Count
    limit: Annotated[Count, Meta(examples=[50])]
    has_more: bool


class Messages(msgspec.Struct):
    """A page of messages."""

    messages: list[Message]
    total: Annotated[Count, Meta(description="On all pages together.", examples=[147])]
    offset: Count
    limit: Annotated[Count, Meta(examples=[50])]
    has_more: bool


class Deleted(msgspec.Struct):
    """The chat is gone."""

    success: bool
    message: Annotated[str, Meta(examples=["Chat deleted"])]
    deleted_at: Time


class Ticket(msgspec.Struct):
    """A ticket for `/ws/chat?ticket=...`."""

    ticket: Annotated[str, Meta(description="Opens one socket, once.", examples=["tk_..."])]
    expires_in: Annotated[int, Meta(description="Seconds.", examples=[60])]


class ErrorReply(msgspec.Struct):
    """An error."""

    code: Annotated[str, Meta(extra_json_schema={"enum": sorted(set(errors.CODES.values()))})]
    message: str
    details: Annotated[dict[str, Any], Meta(description="`suggestion` says what to do about it.")]


CHAT_PATH = path("chat_id", "The chat: its UUID, or `conv_...`.", example=CHAT_ID)
OFFSET = query("offset", "How many to pass over.", Annotated[int, Meta(ge=0, le=wire.FARTHEST)])
LIMIT = query("limit", "How many at most; 50 unless said.", Annotated[int, Meta(ge=1, le=wire.MOST_LISTED)])
USER_ID = {
    "maxLength": wire.LONGEST_USER_ID,
    "pattern": r"^(?!\.\.?$)[^/\u0000]*[^/\s\u0000][^/\u0000]*$",
}

CREATE = operation(
    parameters=[VISITOR],
    headers=[VISITOR],
    bodies=[
        Body(
            wire.NewChat,
            example={"user_id": "user123"},
            required=["user_id"],
            fields={
                "user_id": {"description": "Whose chat it is, in your own words.", **USER_ID},
                "title": {"description": "Made of the first message where it is left out.", "maxLength": 1000},
                "metadata": {"description": "Data of your own, kept with the chat."},
                "agent_id": {"description": "Who answers: an id or a slug; the tenant's default agent unless said."},
            },
        )
    ],
    answers={201: Chat},
    errors=[FieldMissing("user_id"), AgentNotFound("")],
)
LIST = operation(
    parameters=[path("user_id", "The user, as the chats were created with.", example="user123"), OFFSET, LIMIT],
    answers={200: Chats},
)
READ = operation(
    parameters=[CHAT_PATH, VISITOR], headers=[VISITOR], answers={200: Chat}, errors=[ConversationNotFound()]
)
MESSAGES = operation(
    parameters=[
        CHAT_PATH,
        OFFSET,
        LIMIT,
        query("order", "`asc`: oldest first, unless said; `desc`: newest first.", Literal["asc", "desc"]),
        VISITOR,
    ],
    headers=[VISITOR],
    answers={200: Messages},
    errors=[ConversationNotFound()],
)
DELETE = operation(
    parameters=[CHAT_PATH],
    answers={200: Deleted},
    errors=[ConversationNotFound(), Conflict("Sockets are open on this chat")],
)
TICKET = operation(
    parameters=[CHAT_PATH, VISITOR],
    headers=[VISITOR],
    bodies=[
        Body(
            wire.NewTicket,
            example={},
            fields={"user_id": {"description": "Who connects; the chat's user unless said.", **USER_ID}},
            optional=True,
        )
    ],
    answers={201: Ticket},
    errors=[ConversationNotFound(), FieldMissing("user_id")],
    about="A key in an address ends up in logs and histories; a ticket is good for a minute and for one socket.",
)

DESCRIPTION = Description(
    "S3: chats and sockets",
    "Chats are made and read over REST; messages are sent, and answers streamed, over a WebSocket at `/ws/chat`.",
    ErrorReply,
    header_scheme("X-API-Key", "A secret or publishable key of the tenant."),
    asyncapi=asyncapi,
)
