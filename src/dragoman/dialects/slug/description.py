"""S2 as its OpenAPI document tells it. Describes and checks nothing; what runs is in routes.py and wire.py."""

from typing import Annotated, Any

import msgspec
from msgspec import Meta

from dragoman.core.errors import AgentNotFound, ConversationNotFound, FieldMissing
from dragoman.dialects.slug import wire
from dragoman.server.describe import TEXT, Body, Description, Stream, bearer_scheme, operation, path
from dragoman.server.errors import ERROR_NAMES


class Metadata(msgspec.Struct):
    """How the answer was made."""

    model: Annotated[str, Meta(description="The model that answered.", examples=["gpt-4"])]
    tokens: Annotated[int, Meta(description="Of prompt and answer together.", ge=0, examples=[150])]


class Data(msgspec.Struct, rename="camel"):
    """An answer."""

    response: Annotated[str, Meta(description="The agent's words.", examples=["Monday to Saturday, 9AM to 6PM."])]
    conversation_id: Annotated[
        str, Meta(description="Send it to go on.", examples=["conv_5f0c1d2e3b4a59687786a5b4c3d2e1f0"])
    ]
    metadata: Metadata


class Reply(msgspec.Struct):
    """A whole answer."""

    data: Data
    error: None


class Error(msgspec.Struct):
    """What went wrong."""

    name: Annotated[str, Meta(extra_json_schema={"enum": sorted(set(ERROR_NAMES.values()))})]
    message: str
    details: dict[str, Any]


class ErrorReply(msgspec.Struct):
    """An error; there is no data."""

    data: None
    error: Error


class Chunk(msgspec.Struct):
    """A piece of the answer, with its white space as it is."""

    chunk: Annotated[str, Meta(examples=[" there!"])]


class Failure(msgspec.Struct):
    """The turn failed after the stream had begun; `[DONE]` follows."""

    error: Error


CHAT = operation(
    parameters=[path("slug", "The agent's slug.", example="support-agent")],
    bodies=[
        Body(
            wire.ChatRequest,
            example={"message": "What are your business hours?"},
            required=["message"],
            fields={
                "message": {"description": "What the user says; not blank.", **TEXT},
                "stream": {"description": "Whether the answer comes as server-sent events."},
                "conversationId": {"description": "The conversation to go on with; left out or null begins one."},
            },
        )
    ],
    answers={200: Reply},
    stream=Stream(
        [Chunk, Failure],
        "With `stream: true`: chunks in order, then `data: [DONE]`. Lines that begin with `:` are comments.",
        'data: {"chunk": "Hello"}\n\ndata: {"chunk": " there!"}\n\ndata: [DONE]\n\n',
        last="[DONE]",
    ),
    errors=[FieldMissing("message"), AgentNotFound("support-agent"), ConversationNotFound()],
    turn=True,
)

DESCRIPTION = Description(
    "S2: chat by slug",
    "One endpoint: an agent named by its slug, answers wrapped in `data` and `error`, whole or streamed.",
    ErrorReply,
    bearer_scheme(),
)
