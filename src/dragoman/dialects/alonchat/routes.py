"""S1's routes: a message to an agent, and a conversation's history."""

from typing import Annotated

from fastapi import Depends
from starlette.requests import Request
from starlette.responses import Response

from dragoman.core.commands import StartTurn
from dragoman.core.tenants import Principal
from dragoman.dialects.alonchat import description, wire
from dragoman.ports.conversations import Window
from dragoman.server.access import Acting
from dragoman.server.answers import json_answer
from dragoman.server.requests import (
    agent_id_of,
    conversation_id_of,
    cursor_of,
    decode_json,
    idempotency_of,
    message_of,
    read_body,
)
from dragoman.server.routing import BothSpellings
from dragoman.server.services import services_of
from dragoman.server.streaming import EventStream, turn_headers, whole_reply

router = BothSpellings(wire.PREFIX, wire.error_body)

Sending = Annotated[Principal, Depends(Acting(visitors=True, sends=True))]
Reading = Annotated[Principal, Depends(Acting(visitors=True))]


@router.post("/agents/{agent_id}/chat", openapi_extra=description.CHAT)
async def chat(agent_id: str, request: Request, principal: Sending) -> Response:
    """Send a message and receive the answer, whole or streamed."""
    body = await read_body(request)
    asked = decode_json(body, wire.chat_request)
    command = StartTurn(
        principal=principal,
        text=message_of(asked.message),
        agent_reference=agent_id_of(agent_id),
        conversation_id=None if asked.conversation_id is None else conversation_id_of(asked.conversation_id),
        metadata=asked.metadata,
        idempotency=idempotency_of(request, principal, body),
        resume_after=cursor_of(request),
    )
    watch = await services_of(request).turns.start(command)
    if not asked.stream:
        return await whole_reply(request, watch, wire.reply)
    return EventStream(watch, wire.Frames(), turn_headers(request, watch), ids=command.idempotency is not None)


@router.get("/conversations/{conversation_id}", openapi_extra=description.READ)
async def conversation(conversation_id: str, request: Request, principal: Reading) -> Response:
    """Read a conversation, oldest message first."""
    limit, before = request.query_params.get("limit"), request.query_params.get("before")
    found, messages, _ = await services_of(request).conversations.read(
        principal,
        conversation_id_of(conversation_id),
        Window(limit=None if limit is None else wire.limit(limit)),
        before=None if before is None else wire.message_id(before),
    )
    return json_answer(wire.history(found, messages))
