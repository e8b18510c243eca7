"""Turns as an operator sees them: what became of one, and stopping it."""

from typing import Annotated, Any

import msgspec
from fastapi import Depends
from starlette.requests import Request
from starlette.responses import Response

from dragoman.core.clock import iso
from dragoman.core.conversations import Turn
from dragoman.core.errors import ConversationNotFound, TurnNotFound
from dragoman.core.ids import parse_id, prefixed
from dragoman.core.tenants import Principal
from dragoman.server.errors import problem_body
from dragoman.server.requests import bearer
from dragoman.server.routing import BothSpellings
from dragoman.server.services import services_of

router = BothSpellings("/manage/v1", problem_body)

Acting = Annotated[Principal, Depends(bearer)]


@router.get("/turns/{turn_id}")
async def show_turn(turn_id: str, request: Request, principal: Acting) -> Response:
    """What became of a turn."""
    return _shown(await services_of(request).turns.get(principal.tenant_id, _turn_id(turn_id)))


@router.post("/turns/{turn_id}/stop")
async def stop_turn(turn_id: str, request: Request, principal: Acting) -> Response:
    """Stop a turn; what it has said so far is kept."""
    return _shown(await services_of(request).turns.stop(principal.tenant_id, _turn_id(turn_id)))


@router.post("/conversations/{conversation_id}/stop")
async def stop_conversation(conversation_id: str, request: Request, principal: Acting) -> Response:
    """Stop whatever runs in a conversation."""
    known = parse_id("conv", conversation_id)
    services = services_of(request)
    if known is None or await services.store.conversations.get(principal.tenant_id, known) is None:
        raise ConversationNotFound
    stopped = await services.turns.stop_conversation(principal.tenant_id, known)
    return _json({"stopped": _turn(stopped) if stopped else None})


def _turn_id(text: str) -> str:
    known = parse_id("turn", text)
    if known is None:
        raise TurnNotFound
    return known


def _turn(turn: Turn) -> dict[str, Any]:
    return {
        "id": prefixed("turn", turn.id),
        "conversation_id": prefixed("conv", turn.conversation_id),
        "agent_id": prefixed("agent", turn.agent_id),
        "message_id": prefixed("msg", turn.answer_id),
        "state": turn.state,
        "model": turn.model,
        "prompt_tokens": turn.prompt_tokens,
        "completion_tokens": turn.completion_tokens,
        "credits": turn.credits,
        "error": turn.error,
        "created_at": iso(turn.created_at),
        "finished_at": iso(turn.finished_at) if turn.finished_at else None,
    }


def _shown(turn: Turn) -> Response:
    return _json(_turn(turn))


def _json(body: dict[str, Any]) -> Response:
    return Response(msgspec.json.encode(body), media_type="application/json")
