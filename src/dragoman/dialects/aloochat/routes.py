"""S0's routes: conversations and their messages, and an agent's answer, whole or streamed."""

import time
from collections.abc import Callable, Sequence
from typing import Annotated, Any, TypeVar

from fastapi import Depends
from starlette.requests import Request
from starlette.responses import Response

from dragoman.core.clock import now_us
from dragoman.core.commands import StartTurn
from dragoman.core.limits import Bucket
from dragoman.core.tenants import Principal
from dragoman.dialects.aloochat import description, wire
from dragoman.server.access import Acting, in_header
from dragoman.server.answers import json_answer
from dragoman.server.describe import JSON
from dragoman.server.forms import media_type, read_form
from dragoman.server.requests import conversation_id_of, cursor_of, decode_json, idempotency_of, read_body
from dragoman.server.routing import BothSpellings
from dragoman.server.services import services_of
from dragoman.server.streaming import EventStream, turn_headers, whole_reply
from dragoman.services.runs import Watch

T = TypeVar("T")

TOKEN = in_header("x-api-token", "x-api-key")

router = BothSpellings(wire.PREFIX, wire.error_body)


async def _now(_: Request) -> int:
    """When a request came, by the monotonic clock, in nanoseconds."""
    return time.monotonic_ns()


def _sending(name: str, per_minute: int) -> Acting:
    bucket = Bucket(name, per_minute, "key", f"{name}_per_minute")
    return Acting(TOKEN, visitors=True, sends=True, bucket=bucket)


Managing = Annotated[Principal, Depends(Acting(TOKEN, bucket=Bucket("manage", 100, "key", "manage_per_minute")))]
Chatting = Annotated[Principal, Depends(_sending("chat", 60))]
Streaming = Annotated[Principal, Depends(_sending("stream", 30))]
Began = Annotated[int, Depends(_now)]


@router.post("/conversations", openapi_extra=description.CREATE)
async def create_conversation(request: Request, principal: Managing) -> Response:
    """Begin a conversation."""
    asked = decode_json(await read_body(request), wire.new_conversation)
    made = await services_of(request).conversations.create(
        principal, asked.agent(), title=asked.title, deployment_id=asked.deployment()
    )
    return json_answer(wire.conversation(made), 201)


@router.get("/conversations", openapi_extra=description.LIST)
async def list_conversations(request: Request, principal: Managing) -> Response:
    """List the conversations, newest first."""
    listed = wire.listed(request.query_params)
    found, total = await services_of(request).conversations.list(principal, listed)
    return _page(request, found, total, wire.conversation, wire.conversation_place)


@router.get("/conversations/{conversation_id}", openapi_extra=description.READ)
async def read_conversation(conversation_id: str, request: Request, principal: Managing) -> Response:
    """Read a conversation."""
    found = await services_of(request).conversations.get(principal, conversation_id_of(conversation_id))
    return json_answer(wire.conversation(found))


@router.patch("/conversations/{conversation_id}", openapi_extra=description.CHANGE)
async def change_conversation(conversation_id: str, request: Request, principal: Managing) -> Response:
    """Change a conversation's title or metadata, or archive it."""
    asked = decode_json(await read_body(request), wire.conversation_changes)
    changed = await services_of(request).conversations.change(
        principal, conversation_id_of(conversation_id), asked.at(now_us())
    )
    return json_answer(wire.conversation(changed))


@router.delete("/conversations/{conversation_id}", openapi_extra=description.DELETE)
async def delete_conversation(conversation_id: str, request: Request, principal: Managing) -> Response:
    """Delete a conversation with all that is in it."""
    await services_of(request).conversations.delete(principal, conversation_id_of(conversation_id))
    return Response(status_code=204)


@router.get("/conversations/{conversation_id}/messages", openapi_extra=description.MESSAGES)
async def list_messages(conversation_id: str, request: Request, principal: Managing) -> Response:
    """List a conversation's messages, oldest first."""
    window = wire.window(request.query_params)
    _, found, total = await services_of(request).conversations.read(
        principal, conversation_id_of(conversation_id), window
    )
    return _page(request, found, total, wire.message, wire.message_place)


@router.post("/agent/chat", openapi_extra=description.CHAT)
async def chat(request: Request, began: Began, principal: Chatting) -> Response:
    """Send a message and receive the answer in one piece."""
    watch = await _started(request, principal)
    return await whole_reply(
        request, watch, lambda answer: wire.reply(answer, (time.monotonic_ns() - began) // 1_000_000)
    )


@router.post("/agent/stream", openapi_extra=description.STREAM)
async def stream(request: Request, principal: Streaming) -> Response:
    """Send a message and receive the answer as it is made."""
    watch = await _started(request, principal)
    return EventStream(watch, wire.Frames(), turn_headers(request, watch), ids="idempotency-key" in request.headers)


async def _started(request: Request, principal: Principal) -> Watch:
    """The turn that a request begins, or has begun."""
    recording = None
    if media_type(request) in ("", JSON):
        body = await read_body(request)
        # No body and no word of one is a form without fields.
        asked = decode_json(body or b"{}", wire.agent_request)
    else:
        form = await read_form(request, keeping=wire.AUDIO)
        body = form.canonical()
        asked, recording = wire.form_request(form), wire.recording(form.files)
    agent_id, channel, region = asked.key()
    text, overrides = asked.question(spoken=recording is not None)
    command = StartTurn(
        principal=principal,
        agent_reference=agent_id,
        text=text,
        conversation_id=asked.conversation(),
        idempotency=idempotency_of(request, principal, body),
        resume_after=cursor_of(request),
        deployment=(channel, region),
        overrides=overrides,
        recording=recording,
    )
    return await services_of(request).turns.start(command)


def _page(
    request: Request, found: Sequence[T], total: int, shown: Callable[[T], Any], place: Callable[[T], str]
) -> Response:
    """One page of a list that was asked for one row more than the page has."""
    limit = wire.limit(request.query_params)
    headers = {"X-Total-Count": str(total)}
    if len(found) > limit:
        cursor = place(found[limit - 1])
        headers["X-Next-Cursor"] = cursor
        headers["Link"] = f'<{request.scope["path"]}?limit={limit}&cursor={cursor}>; rel="next"'
    return json_answer([shown(row) for row in found[:limit]], headers=headers)
