"""S4's routes: what was said with an agent, a message to it or results of its calls, and forgetting."""

from functools import partial
from typing import Annotated

from fastapi import Depends
from starlette.requests import Request
from starlette.responses import Response

from dragoman.core.commands import AnswerCalls, StartTurn
from dragoman.core.errors import ConversationNotFound, FieldMissing, Unauthenticated
from dragoman.core.ids import prefixed
from dragoman.core.prompt import NO_OVERRIDES, Overrides
from dragoman.core.tenants import Principal
from dragoman.dialects.agents import description, wire
from dragoman.ports.turns import Waiting
from dragoman.server.access import Acting
from dragoman.server.answers import json_answer
from dragoman.server.requests import (
    agent_reference_of,
    cursor_of,
    decode_json,
    idempotency_of,
    message_of,
    note,
    read_body,
)
from dragoman.server.routing import BothSpellings
from dragoman.server.services import services_of
from dragoman.server.streaming import EventStream, turn_headers, whole_reply

router = BothSpellings(wire.PREFIX, wire.error_body)

Sending = Annotated[Principal, Depends(Acting(visitors=True, public_agent="id", sends=True))]
Reading = Annotated[Principal, Depends(Acting(visitors=True, public_agent="id"))]
Owning = Annotated[Principal, Depends(Acting())]


@router.get("/{id}/chat", openapi_extra=description.LIST)
async def messages(id: str, request: Request, principal: Reading) -> Response:
    """List messages, oldest first: of one conversation, or of all that the agent has."""
    query = request.query_params
    window = wire.window(query)
    named = wire.conversation(principal.tenant_id, query.get("conversation_id"))
    if named.id is None and principal.type == "public":
        raise Unauthenticated
    found = await services_of(request).conversations.history(principal, agent_reference_of(id), named.id, window)
    return json_answer(wire.listing(window, *found))


@router.post("/{id}/chat", openapi_extra=description.CHAT)
async def chat(id: str, request: Request, principal: Sending) -> Response:
    """Send a message, or results of tool calls, and receive the answer, whole or streamed."""
    body = await read_body(request)
    asked = decode_json(body, wire.chat_request)
    named = wire.conversation(principal.tenant_id, asked.conversation_id)
    if named.client_id is not None and principal.type == "public":
        raise ConversationNotFound
    idempotency, turns = idempotency_of(request, principal, body), services_of(request).turns
    if results := asked.results():
        if named.id is None:
            raise FieldMissing("conversation_id")
        going_on = AnswerCalls(principal, agent_reference_of(id), named.id, results, cursor_of(request))
        watch = await turns.answer_calls(going_on)
    else:
        instructed = asked.system_prompt is not None
        command = StartTurn(
            principal=principal,
            agent_reference=agent_reference_of(id),
            text=message_of(asked.message),
            conversation_id=named.id,
            client_id=named.client_id,
            metadata=asked.metadata,
            context=asked.known_context(),
            overrides=Overrides(system_prompt=asked.system_prompt) if instructed else NO_OVERRIDES,
            idempotency=idempotency,
            resume_after=cursor_of(request),
        )
        watch = await turns.start(command)
    if isinstance(watch, Waiting):
        return _waiting(request, watch)
    client_id = watch.turn.client_id
    if not asked.stream:
        return await whole_reply(request, watch, partial(wire.reply, client_id=client_id))
    return EventStream(watch, wire.Frames(client_id), turn_headers(request, watch), ids=idempotency is not None)


@router.delete("/{id}/chat", openapi_extra=description.CLEAR)
async def clear(id: str, request: Request, principal: Owning) -> Response:
    """Forget the messages of one conversation, or of all that the agent has."""
    named = wire.conversation(principal.tenant_id, request.query_params.get("conversation_id"))
    deleted = await services_of(request).conversations.clear(principal, agent_reference_of(id), named.id)
    return json_answer({"success": True, "deleted": deleted})


def _waiting(request: Request, waiting: Waiting) -> Response:
    """A result that is kept, while the turn waits for others; there is no answer yet to name."""
    turn_id = prefixed("turn", waiting.turn.id)
    note(request, turn_id=turn_id)
    headers = {"X-Conversation-Id": prefixed("conv", waiting.turn.conversation_id), "X-Turn-Id": turn_id}
    return json_answer(wire.stored(waiting.message, waiting.turn.client_id), headers=headers)
