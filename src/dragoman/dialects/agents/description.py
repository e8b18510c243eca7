"""S4 as its OpenAPI document tells it. Describes and checks nothing; what runs is in routes.py and wire.py."""

from typing import Annotated, Any, Literal

import msgspec
from msgspec import Meta

from dragoman.core.errors import AgentNotFound, ConversationNotFound, FieldMissing, Invalid
from dragoman.core.prompt import CONTEXT_BYTES
from dragoman.dialects.agents import wire
from dragoman.server.describe import TEXT, VISITOR, Body, Description, Stream, bearer_scheme, operation, path, query

AGENT = "123e4567-e89b-12d3-a456-426614174000"

Number = Annotated[int, Meta(description="Rises with every message of the agent.", ge=1, examples=[3])]
Name = Annotated[str, Meta(description="Send it to go on: `conv_...`, or your own name for it.", examples=["conv-123"])]
Time = Annotated[str, Meta(extra_json_schema={"format": "date-time"}, examples=["2024-12-15T10:01:00Z"])]


class Function(msgspec.Struct):
    """What is called."""

    name: Annotated[str, Meta(examples=["get_weather"])]
    arguments: Annotated[str, Meta(description="A JSON object, as text.", examples=['{"location": "Tokyo"}'])]


class Call(msgspec.Struct):
    """A call that you are to make."""

    id: Annotated[str, Meta(description="Send it back as `tool_call_id`.", examples=["call_123"])]
    type: Literal["function"]
    function: Function


class Reply(msgspec.Struct):
    """An answer; every field is always there."""

    id: Number
    role: Literal["assistant"]
    content: Annotated[str | None, Meta(description="null where there are calls and no words.", examples=["Hi there!"])]
    tool_calls: Annotated[list[Call] | None, Meta(description="null where there are none.", examples=[None])]
    conversation_id: Name
    created_at: Time


class Stored(msgspec.Struct):
    """A result that is kept while others are waited for."""

    id: Number
    role: Literal["tool"]
    tool_call_id: Annotated[str, Meta(examples=["call_123"])]
    content: Annotated[str, Meta(examples=['{"celsius": 21}'])]
    conversation_id: Name
    created_at: Time


class Start(msgspec.Struct):
    """The answer begins; `id` is the one of its message."""

    type: Literal["start"]
    id: Number


class Delta(msgspec.Struct):
    """A piece of the answer, with its white space as it is."""

    type: Literal["delta"]
    content: Annotated[str, Meta(examples=[" upon"])]


class Done(msgspec.Struct):
    """The whole answer; the last event."""

    type: Literal["done"]
    message: Reply


class Error(msgspec.Struct):
    """What went wrong; `details` name the field at fault, where one is."""

    code: Annotated[str, Meta(extra_json_schema={"enum": sorted(set(wire.ERROR_CODES.values()))})]
    message: str
    details: dict[str, str]


class ErrorReply(msgspec.Struct):
    """An error."""

    error: Error


class Failure(msgspec.Struct):
    """The turn failed after the stream had begun; the last event."""

    type: Literal["error"]
    error: Error


class Listed(msgspec.Struct):
    """A message; what it does not have is null."""

    id: Number
    role: Literal["user", "assistant", "system", "tool"]
    content: Annotated[str | None, Meta(examples=["Hello!"])]
    tool_calls: Annotated[list[Call] | None, Meta(examples=[None])]
    tool_call_id: Annotated[str | None, Meta(description="Whose result it is.", examples=[None])]
    metadata: Annotated[dict[str, Any] | None, Meta(examples=[{"source": "web"}])]
    conversation_id: Name
    created_at: Time


class Amount(msgspec.Struct):
    """How many messages there are."""

    total: Annotated[int, Meta(description="Whatever `before` and `after` say.", ge=0, examples=[100])]
    has_more: Annotated[bool, Meta(description="Whether there are more beyond the last that was asked for.")]


class Page(msgspec.Struct):
    """Messages, oldest first."""

    messages: list[Listed]
    meta: Amount


class Cleared(msgspec.Struct):
    """What was forgotten."""

    success: Literal[True]
    deleted: Annotated[int, Meta(description="Messages.", ge=0, examples=[150])]


_AGENT = path("id", "The agent: its UUID, `agent_...` or its slug; without a credential no slug.", example=AGENT)
_ONE = "Only this conversation: `conv_...`, its UUID, or your own name for it."

LIST = operation(
    parameters=[
        _AGENT,
        query(
            "limit",
            f"How many; {wire.DEFAULT_MESSAGES} unless said.",
            Annotated[int, Meta(ge=1, le=wire.MOST_MESSAGES)],
        ),
        query("conversation_id", f"{_ONE} Only a secret key may leave it out.", example="conv-123"),
        query("before", "Those just before the message of this id.", int),
        query("after", "Those just after the message of this id, in place of `before`.", int),
        VISITOR,
    ],
    answers={200: Page},
    headers=[VISITOR],
    errors=[Invalid("limit takes a whole number", field="limit"), AgentNotFound(AGENT)],
    public=True,
)

CHAT = operation(
    parameters=[_AGENT],
    bodies=[
        Body(
            wire.ChatRequest,
            example={"message": "What's the weather like?"},
            fields={
                "message": {"description": "What the user says; not blank. Results of calls take its place.", **TEXT},
                "conversation_id": {
                    "description": "The conversation to go on with; left out begins one. A name of your own makes a "
                    "conversation of that name where the agent allows it.",
                    "maxLength": wire.LONGEST_NAME,
                },
                "stream": {"description": "Whether the answer comes as server-sent events."},
                "context": {
                    "description": f"Data that the model is told of the conversation, up to {CONTEXT_BYTES} bytes; it "
                    "is kept until another comes."
                },
                "system_prompt": {
                    "description": "Instructions for this answer alone, in place of the agent's. For secret keys, "
                    "where the agent allows it."
                },
                "metadata": {"description": "Data of your own, kept with the message."},
                "role": {"description": "`tool` for the result of a call."},
                "tool_call_id": {"description": "With `role: tool`: whose result it is."},
                "content": {"description": "With `role: tool`: the result."},
                "messages": {"description": "Results of several calls."},
            },
        )
    ],
    answers={200: Reply | Stored},
    stream=Stream(
        [Start, Delta, Done, Failure],
        "With `stream: true`: one `start`, `delta` as often as there is some, one `done`; or, at any place, `error`. "
        "Lines that begin with `:` are comments.",
        'data: {"type": "start", "id": 5}\n\ndata: {"type": "delta", "content": "Once"}\n\n'
        'data: {"type": "done", "message": {...}}\n\n',
    ),
    errors=[FieldMissing("message"), AgentNotFound(AGENT), ConversationNotFound()],
    about="An answer with `tool_calls` waits for you: send the result of each call with its `tool_call_id` and the "
    "`conversation_id`. When all have come, that request brings the answer; until then it brings back the result.",
    turn=True,
    public=True,
)

CLEAR = operation(
    parameters=[_AGENT, query("conversation_id", _ONE, example="conv-123")],
    answers={200: Cleared},
    errors=[AgentNotFound(AGENT)],
    about="What is being answered is stopped first. For secret keys.",
)

DESCRIPTION = Description(
    "S4: chat with tools",
    "One chat for each agent: messages, results of tools that run at your side, history with integer ids. An agent "
    "that is marked public answers without a credential.",
    ErrorReply,
    bearer_scheme(),
)
