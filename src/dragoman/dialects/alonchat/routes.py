"""S1's routes: a message to an agent, and a conversation's history."""

from typing import Annotated

import msgspec
from fastapi import Depends
from starlette.requests import Request
from starlette.responses import Response

from dragoman.core.commands import StartTurn
from dragoman.core.tenants import Principal
from dragoman.dialects.alonchat import description, wire
from dragoman.ports.conversations import Window
from dragoman.server.access import Acting
from dragoman.server.requests import cursor_of, decode_json, idempotency_of, read_body
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
        text=asked.text(),
        agent_reference=wire.agent_id(agent_id),
        conversation_id=None if asked.conversation_id is None else wire.conversation_id(asked.conversation_id),
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
        wire.conversation_id(conversation_id),
        Window(limit=None if limit is None else wire.limit(limit)),
        before=None if before is None else wire.message_id(before),
    )
    return Response(msgspec.json.encode(wire.history(found, messages)), media_type="application/json")
