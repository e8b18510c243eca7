"""Turns as an operator sees them: what became of one, and stopping it."""

import msgspec
from starlette.requests import Request
from starlette.responses import Response

from dragoman.core.clock import iso
from dragoman.core.conversations import Turn, TurnState
from dragoman.core.errors import TurnNotFound
from dragoman.core.ids import parse_id, prefixed
from dragoman.management.router import Acting, router
from dragoman.management.wire import Time, when
from dragoman.server.answers import json_answer
from dragoman.server.describe import operation, path
from dragoman.server.services import services_of
from dragoman.services.audit import actor_of

TURN = path("turn_id", "The turn: `turn_...` or its UUID.", example="turn_" + "00112233" * 4)


class TurnShown(msgspec.Struct, kw_only=True):
    """One user input and what became of it; `message_id` is the answer's."""

    id: str
    conversation_id: str
    agent_id: str
    message_id: str
    state: TurnState
    model: str
    prompt_tokens: int
    completion_tokens: int
    credits: int
    error: str | None
    created_at: Time
    finished_at: Time | None


@router.get(
    "/turns/{turn_id}",
    openapi_extra=operation(parameters=[TURN], answers={200: TurnShown}, errors=[TurnNotFound()]),
)
async def show_turn(turn_id: str, request: Request, principal: Acting) -> Response:
    """Show what became of a turn."""
    return json_answer(shown(await services_of(request).turns.get(principal.tenant_id, _id(turn_id))))


@router.post(
    "/turns/{turn_id}/stop",
    openapi_extra=operation(parameters=[TURN], answers={200: TurnShown}, errors=[TurnNotFound()]),
)
async def stop_turn(turn_id: str, request: Request, principal: Acting) -> Response:
    """Stop a turn; what it has said so far is kept."""
    services = services_of(request)
    found = await services.turns.get(principal.tenant_id, _id(turn_id))
    stopped = await services.turns.stop(principal.tenant_id, found.id)
    if stopped.state != found.state:
        subject = prefixed("turn", stopped.id)
        await services.audit.record(principal.tenant_id, actor_of(principal), "turn.stopped", subject)
    return json_answer(shown(stopped))


def shown(turn: Turn) -> TurnShown:
    """A turn as clients see it."""
    return TurnShown(
        id=prefixed("turn", turn.id),
        conversation_id=prefixed("conv", turn.conversation_id),
        agent_id=prefixed("agent", turn.agent_id),
        message_id=prefixed("msg", turn.answer_id),
        state=turn.state,
        model=turn.model,
        prompt_tokens=turn.prompt_tokens,
        completion_tokens=turn.completion_tokens,
        credits=turn.credits,
        error=turn.error,
        created_at=iso(turn.created_at),
        finished_at=when(turn.finished_at),
    )


def _id(text: str) -> str:
    known = parse_id("turn", text)
    if known is None:
        raise TurnNotFound
    return known
