"""S2's one route: a message to an agent, named by its slug."""

from typing import Annotated

from fastapi import Depends
from starlette.requests import Request
from starlette.responses import Response

from dragoman.core.commands import StartTurn
from dragoman.core.tenants import Principal
from dragoman.dialects.slug import description, wire
from dragoman.server.access import Acting
from dragoman.server.requests import (
    agent_reference_of,
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


@router.post("/chat/{slug}", openapi_extra=description.CHAT)
async def chat(slug: str, request: Request, principal: Sending) -> Response:
    """Send a message and receive the answer, whole or streamed."""
    body = await read_body(request)
    asked = decode_json(body, wire.chat_request)
    command = StartTurn(
        principal=principal,
        agent_reference=agent_reference_of(slug),
        text=message_of(asked.message),
        conversation_id=asked.conversation(),
        idempotency=idempotency_of(request, principal, body),
        resume_after=cursor_of(request),
    )
    watch = await services_of(request).turns.start(command)
    if not asked.stream:
        return await whole_reply(request, watch, wire.reply)
    return EventStream(watch, wire.frames, turn_headers(request, watch), ids=command.idempotency is not None)
