"""A dialect that has everything a description can say: forms and files, unions, sockets, no body, hostile words."""

from typing import Annotated, Any, Literal

import msgspec
from msgspec import Meta
from starlette.requests import Request
from starlette.responses import Response

from dragoman.app import dialects
from dragoman.core.errors import AgentNotFound, DragomanError, UnsupportedMedia
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
from dragoman.server.errors import Dialect
from dragoman.server.routing import BothSpellings

HOSTILE = "<script>alert(1)</script>\"'&`<img src=x onerror=alert(2)>`"


class Ask(msgspec.Struct):
    """What is asked."""

    agent_key: str | None = None
    query: str | None = None


class Call(msgspec.Struct):
    """A call."""

    id: Annotated[str, Meta(examples=[HOSTILE], description=HOSTILE)]
    parts: "list[Call]"


class Said(msgspec.Struct):
    """Words."""

    content: str
    calls: list[Call] | None


class Stored(msgspec.Struct):
    """Kept."""

    role: Literal["tool"]


class Wrong(msgspec.Struct):
    """What went wrong."""

    error: str


def spelled(error: DragomanError) -> dict[str, Any]:
    return {"error": error.message}


router = BothSpellings("/sample/v1", spelled)


@router.post(
    "/agents/{agent_id}/ask",
    openapi_extra=operation(
        parameters=[path("agent_id", HOSTILE, example="it's me/you")],
        bodies=[
            Body(
                Ask,
                example={"agent_key": "agent:1:voice:us", "query": "What's open?"},
                media=[MULTIPART, URLENCODED, JSON],
                required=["agent_key"],
                fields={"query": {"description": HOSTILE}},
                files={"audio": "A recording."},
            )
        ],
        answers={200: Said | Stored, 201: list[Said]},
        stream=Stream([Said, Stored], HOSTILE, f"data: {HOSTILE}\n\n"),
        errors=[UnsupportedMedia(), AgentNotFound(HOSTILE)],
        about=HOSTILE,
        turn=True,
        public=True,
    ),
)
async def ask(agent_id: str, request: Request) -> Response:
    """Ask <b>anything</b>."""
    return Response(agent_id)


@router.delete(
    "/things/",
    openapi_extra=operation(
        parameters=[query("limit", "How many.", Annotated[int, Meta(ge=1, le=100)], example=20)],
        answers={204: None},
        headers=[header("X-Total-Count", "All of them.", int)],
    ),
)
async def forget(request: Request) -> Response:
    """Forget things."""
    return Response(status_code=204)


def asyncapi() -> dict[str, Any]:
    return {
        "asyncapi": "3.0.0",
        "info": {"title": "A socket", "version": "1", "description": HOSTILE},
        "channels": {
            "chat": {
                "address": "/ws/sample",
                "messages": {
                    "say": {"$ref": "#/components/messages/say"},
                    "token": {"$ref": "#/components/messages/token"},
                },
                "bindings": {
                    "ws": {"query": {"type": "object", "properties": {"api_key": {"type": "string"}}}},
                },
            }
        },
        "operations": {
            "receive": {
                "action": "receive",
                "channel": {"$ref": "#/channels/chat"},
                "messages": [{"$ref": "#/channels/chat/messages/say"}],
            },
            "send": {
                "action": "send",
                "channel": {"$ref": "#/channels/chat"},
                "messages": [{"$ref": "#/channels/chat/messages/token"}],
            },
        },
        "components": {
            "messages": {
                "say": {
                    "name": "say",
                    "summary": "A message of the user.",
                    "payload": {
                        "type": "object",
                        "required": ["content"],
                        "properties": {"content": {"type": "string"}},
                    },
                    "examples": [{"payload": {"content": "Hello"}}],
                },
                "token": {
                    "name": "message_stream_token",
                    "summary": "A piece of the answer.",
                    "payload": {
                        "type": "object",
                        "properties": {"token": {"type": "string"}, "index": {"type": "integer"}},
                    },
                    "examples": [{"payload": {"token": HOSTILE, "index": 0}}],
                },
            }
        },
    }


SAMPLE = Dialect(
    "sample",
    ("/sample",),
    router,
    spelled,
    description=Description(f"Sample {HOSTILE}", HOSTILE, Wrong, header_scheme("x-api-token", HOSTILE), asyncapi),
)

DOCUMENTED = (*dialects(), SAMPLE)
