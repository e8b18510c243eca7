"""S1 as its OpenAPI document tells it. Describes and checks nothing; what runs is in routes.py and wire.py."""

from typing import Annotated, Literal

import msgspec
from msgspec import Meta

from dragoman.core.errors import AgentNotFound, ConversationNotFound, FieldMissing
from dragoman.dialects.alonchat import wire
from dragoman.server.describe import TEXT, VISITOR, Body, Description, Stream, bearer_scheme, operation, path, query

CONVERSATION = "conv_5f0c1d2e3b4a59687786a5b4c3d2e1f0"
MESSAGE = "msg_0f1e2d3c4b5a69788796a5b4c3d2e1f0"
AGENT = "agent_123e4567e89b12d3a456426614174000"

Share = Annotated[float, Meta(ge=0, le=1)]
Time = Annotated[str, Meta(extra_json_schema={"format": "date-time"}, examples=["2026-01-23T10:00:00Z"])]


class Source(msgspec.Struct):
    """A piece of knowledge that the answer rests on."""

    type: Annotated[Literal["qa", "text", "file", "website", "table"], Meta(examples=["qa"])]
    title: Annotated[str, Meta(examples=["Business Hours"])]
    relevance: Annotated[Share, Meta(description="The most relevant comes first.", examples=[0.98])]


class Reply(msgspec.Struct, kw_only=True):
    """A whole answer; every field is always there."""

    response: Annotated[str, Meta(description="The agent's words.", examples=["We're open Monday to Saturday."])]
    conversation_id: Annotated[str, Meta(description="Send it to go on.", examples=[CONVERSATION])]
    message_id: Annotated[str, Meta(examples=[MESSAGE])]
    confidence: Annotated[Share | None, Meta(description="null for an agent without knowledge.", examples=[0.95])]
    model: Annotated[str, Meta(description="The model that answered.", examples=["gpt-5.2"])]
    sources: list[Source]
    credits_used: Annotated[int, Meta(description="What the turn cost.", ge=0, examples=[5])]


class Text(msgspec.Struct, kw_only=True):
    """`event: text`: a piece of the answer."""

    type: Literal["text"]
    content: Annotated[str, Meta(examples=["We're open"])]


class Sources(msgspec.Struct, kw_only=True):
    """`event: sources`: once, after the last piece; empty when there are none."""

    type: Literal["sources"]
    sources: list[Source]


class Done(Reply, kw_only=True):
    """`event: done`: the whole answer; the last event."""

    type: Literal["done"]


class Error(msgspec.Struct):
    """What went wrong."""

    code: Annotated[str, Meta(extra_json_schema={"enum": sorted(set(wire.ERROR_CODES.values()))})]
    message: str
    retry_after: Annotated[int, Meta(description="Seconds to wait; when rate limited.")] | msgspec.UnsetType = (
        msgspec.UNSET
    )


class ErrorReply(msgspec.Struct):
    """An error."""

    error: Error


class Failure(msgspec.Struct, kw_only=True):
    """`event: error`: the turn failed after the stream had begun; the last event."""

    type: Literal["error"]
    error: Error


class HistoryMessage(msgspec.Struct):
    """A message of a conversation."""

    role: Literal["user", "assistant"]
    content: Annotated[str, Meta(examples=["Hello"])]
    timestamp: Time


class Conversation(msgspec.Struct):
    """A conversation, oldest message first."""

    id: Annotated[str, Meta(examples=[CONVERSATION])]
    agent_id: Annotated[str, Meta(examples=[AGENT])]
    created_at: Time
    messages: list[HistoryMessage]


CHAT = operation(
    parameters=[path("agent_id", "The agent: `agent_...` or its UUID.", example=AGENT)],
    bodies=[
        Body(
            wire.ChatRequest,
            example={"message": "Hello, what are your business hours?"},
            required=["message"],
            fields={
                "message": {"description": "What the user says; not blank.", **TEXT},
                "conversation_id": {"description": "The conversation to go on with; left out begins one."},
                "metadata": {"description": "Data of your own, kept with the message."},
                "stream": {"description": "Whether the answer comes as server-sent events."},
            },
        )
    ],
    answers={200: Reply},
    stream=Stream(
        [Text, Sources, Done, Failure],
        "With `stream: true`: `text` as often as there is some, one `sources`, one `done`; or, at any place, `error`. "
        "Lines that begin with `:` are comments.",
        'event: text\ndata: {"type":"text","content":"We\'re open"}\n\n'
        'event: sources\ndata: {"type":"sources","sources":[]}\n\n'
        'event: done\ndata: {"type":"done","response":"We\'re open","conversation_id":"conv_...", ...}\n\n',
    ),
    errors=[FieldMissing("message"), AgentNotFound(AGENT), ConversationNotFound()],
    turn=True,
)

READ = operation(
    parameters=[
        path("conversation_id", "The conversation: `conv_...` or its UUID.", example=CONVERSATION),
        query("limit", "The newest so many; all unless said.", Annotated[int, Meta(ge=1, le=wire.MOST_MESSAGES)]),
        query("before", "Only messages before this one.", Annotated[str, Meta(pattern="^msg_[0-9a-f]{32}$")]),
        VISITOR,
    ],
    answers={200: Conversation},
    headers=[VISITOR],
    errors=[ConversationNotFound()],
)

DESCRIPTION = Description(
    "S1: chat by agent id",
    "An agent named by its id answers with sources, confidence and credits, whole or streamed; conversations can be "
    "read.",
    ErrorReply,
    bearer_scheme(),
)
