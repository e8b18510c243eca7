"""S0 as its OpenAPI document tells it. Describes and checks nothing; what runs is in routes.py and wire.py."""

from typing import Annotated, Literal

import msgspec
from msgspec import Meta

from dragoman.core.errors import (
    AgentNotFound,
    ConversationNotFound,
    FieldMissing,
    Invalid,
    NotFound,
    TooLarge,
    UnsupportedMedia,
)
from dragoman.dialects.aloochat import wire
from dragoman.ports.transcribers import FORMATS, MOST_BYTES, MOST_SECONDS
from dragoman.server.describe import (
    JSON,
    MULTIPART,
    URLENCODED,
    Body,
    Description,
    Stream,
    header,
    header_scheme,
    operation,
    path,
    query,
)
from dragoman.server.errors import ERROR_NAMES

CONVERSATION = "conv_5f0c1d2e3b4a59687786a5b4c3d2e1f0"
MESSAGE = "msg_0f1e2d3c4b5a69788796a5b4c3d2e1f0"
AGENT = "123e4567-e89b-12d3-a456-426614174000"
DEPLOYMENT = "456e7890-e89b-12d3-a456-426614174001"

Time = Annotated[str, Meta(extra_json_schema={"format": "date-time"}, examples=["2026-01-23T10:00:00Z"])]
ConversationId = Annotated[str, Meta(description="Send it to go on.", examples=[CONVERSATION])]


class Conversation(msgspec.Struct):
    """A conversation."""

    id: Annotated[str, Meta(examples=[CONVERSATION])]
    agent_id: Annotated[str, Meta(examples=[AGENT])]
    deployment_id: Annotated[str | None, Meta(description="null: the agent's default.", examples=[DEPLOYMENT])]
    title: Annotated[str, Meta(description="Empty until there is one.", examples=["Customer Support Chat"])]
    created_at: Time
    updated_at: Time


class HistoryMessage(msgspec.Struct):
    """A message of a conversation."""

    id: Annotated[str, Meta(examples=[MESSAGE])]
    role: Literal["user", "assistant"]
    content: Annotated[str, Meta(examples=["What are your business hours?"])]
    created_at: Time


class Reply(msgspec.Struct):
    """A whole answer."""

    conversation_id: ConversationId
    agent_response_text: Annotated[str, Meta(examples=["Monday to Saturday, 9AM to 6PM."])]
    response_time_ms: Annotated[int, Meta(description="From the request to this answer.", ge=0, examples=[1250])]
    was_resolved: Annotated[bool, Meta(description="false where the agent waits for a tool's result.", examples=[True])]


class StreamEvent(msgspec.Struct):
    """A piece of the answer, `transcribed_text`: what the recording says, `chunk`: what is told beside the answer.

    Empty in the first and the last event.
    """

    type: Literal["start", "transcribed_text", "agent_text_chunk", "chunk", "end"]
    content: Annotated[str, Meta(examples=["Our business hours are "])]
    conversation_id: ConversationId


class ErrorReply(msgspec.Struct):
    """An error."""

    error: Annotated[str, Meta(extra_json_schema={"enum": sorted(set(ERROR_NAMES.values()))})]
    message: str
    status_code: Annotated[int, Meta(ge=400, le=599)] = msgspec.field(name="statusCode")


class Failure(msgspec.Struct):
    """The turn failed after the stream had begun; the last event."""

    type: Literal["error"]
    content: str
    conversation_id: ConversationId
    error: str
    message: str
    status_code: int = msgspec.field(name="statusCode")


BY_ID = path("conversation_id", "The conversation: `conv_...` or its UUID.", example=CONVERSATION)
LIMIT = query(
    "limit", f"So many at the most; {wire.DEFAULT_LIMIT} unless said.", Annotated[int, Meta(ge=1, le=wire.MOST)]
)
CURSOR = query("cursor", "What `X-Next-Cursor` of the page before said.")
PAGING = (
    header("X-Total-Count", "All of them, on all pages.", int, example=1),
    header("X-Next-Cursor", "Where the next page begins; missing on the last."),
    header("Link", 'The next page, as `rel="next"`; missing on the last.'),
)

CREATE = operation(
    bodies=[
        Body(
            wire.NewConversation,
            example={"agent_id": AGENT, "title": "Customer Support Chat"},
            required=["agent_id"],
            fields={
                "agent_id": {"description": "The agent: its UUID or `agent_...`."},
                "deployment_id": {"description": "One of the agent's deployments."},
                "title": {"description": "Left out: the first user message, cut at 60 characters."},
            },
        )
    ],
    answers={201: Conversation},
    errors=[FieldMissing("agent_id"), AgentNotFound(AGENT), NotFound("Deployment not found")],
)
LIST = operation(
    parameters=[LIMIT, CURSOR, query("offset", "So many are passed over.", Annotated[int, Meta(ge=0)])],
    answers={200: list[Conversation]},
    headers=PAGING,
    errors=[Invalid(f"limit takes a number from 1 to {wire.MOST}")],
    about="Archived conversations are left out.",
)
READ = operation(parameters=[BY_ID], answers={200: Conversation}, errors=[ConversationNotFound()])
CHANGE = operation(
    parameters=[BY_ID],
    bodies=[
        Body(
            wire.ConversationChanges,
            example={"title": "Opening hours", "archived": True},
            fields={
                "metadata": {"description": "Data of your own, in place of what was there."},
                "archived": {"description": "An archived conversation is not listed."},
            },
        )
    ],
    answers={200: Conversation},
    errors=[ConversationNotFound()],
)
DELETE = operation(
    parameters=[BY_ID],
    answers={204: None},
    errors=[ConversationNotFound()],
    about="A turn that runs there is stopped first.",
)
MESSAGES = operation(
    parameters=[BY_ID, LIMIT, CURSOR],
    answers={200: list[HistoryMessage]},
    headers=PAGING,
    errors=[ConversationNotFound()],
)

_ASKED = Body(
    wire.AgentRequest,
    example={"agent_key": f"agent:{AGENT}:voice:us-east-1", "query": "What are your business hours?"},
    media=[MULTIPART, URLENCODED, JSON],
    required=["agent_key"],
    fields={
        "agent_key": {"description": "`agent:{uuid}:{channel}:{region}`; names the agent and a deployment of it."},
        "query": {
            "description": "What the user says, before what a recording says. Left out, and without a recording: the "
            "last user message of `messages`."
        },
        "messages": {
            "description": "What was said before, for this turn only: a list of `{role, content}`, as a JSON text."
        },
        "conversation_id": {"description": "The conversation to go on with; left out begins one."},
    },
    files={
        "audio": f"What the user says, spoken: {', '.join(FORMATS)}, up to {MOST_BYTES >> 20} MiB and "
        f"{MOST_SECONDS} s. `audio_file` and `file` are the same under other names; one of the three."
    },
)
_WRONG = [
    Invalid("Invalid agent_key format"),
    AgentNotFound(AGENT),
    ConversationNotFound(),
    TooLarge(f"The recording is longer than {MOST_SECONDS} s"),
    UnsupportedMedia(f"The recording is to be one of {', '.join(FORMATS)}"),
]

CHAT = operation(bodies=[_ASKED], answers={200: Reply}, errors=_WRONG, turn=True)
STREAM = operation(
    bodies=[_ASKED],
    stream=Stream(
        [StreamEvent, Failure],
        "`start`, then `transcribed_text` where a recording came, then `agent_text_chunk` as often as there is text "
        "with `chunk` among them, then `end`; or, at any place, `error`. Lines that begin with `:` are comments.",
        'data: {"type":"start","content":"","conversation_id":"conv_..."}\n\n'
        'data: {"type":"agent_text_chunk","content":"Our business hours are ","conversation_id":"conv_..."}\n\n'
        'data: {"type":"end","content":"","conversation_id":"conv_..."}\n\n',
    ),
    errors=_WRONG,
    turn=True,
)

DESCRIPTION = Description(
    "S0: conversations and agent chat",
    "Conversations that can be made, listed, changed and deleted, and an agent that answers forms and JSON, whole or "
    "streamed.",
    ErrorReply,
    {**header_scheme("x-api-token"), **header_scheme("x-api-key", "The same under another name.")},
)
