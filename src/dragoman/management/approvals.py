"""Calls of tools that wait for a person: listed, approved, denied."""

from typing import Annotated, Any, Literal
from unicodedata import category

import msgspec
from msgspec import Meta
from starlette.requests import Request
from starlette.responses import Response

from dragoman.core.clock import iso
from dragoman.core.errors import ApprovalNotFound, Conflict, Invalid
from dragoman.core.ids import parse_id, prefixed
from dragoman.core.tenants import Principal
from dragoman.management.router import Acting, router
from dragoman.management.wire import PAGING, Page, Query, Time, body_of, cut, when
from dragoman.ports.turns import Approval
from dragoman.server.answers import json_answer
from dragoman.server.describe import Body, operation, path, query
from dragoman.server.services import services_of
from dragoman.services.audit import actor_of

State = Literal["pending", "approved", "denied", "expired", "cancelled"]
STATES = ("pending", "approved", "denied", "expired", "cancelled")

APPROVAL = path("approval_id", "The approval: `appr_...` or its UUID.", example="appr_" + "2c3d4e5f" * 4)
STATE = query("state", f"Only those in this state: {', '.join(STATES)}.", example="pending")
MISSING = ApprovalNotFound()
DECIDED = Conflict("This approval is approved already")

Person = Annotated[
    str, Meta(min_length=1, max_length=200, description="Who does this, for the record; no control characters.")
]


class ApprovalShown(msgspec.Struct, kw_only=True):
    """A call that an agent wants to make and a person is asked about; `arguments` is what the tool would be given."""

    id: str
    state: State
    agent_id: str
    conversation_id: str
    turn_id: str
    tool: str
    arguments: Any
    created_at: Time
    expires_at: Time
    decided_at: Time | None
    decided_by: str | None


class Decided(msgspec.Struct, forbid_unknown_fields=True):
    """Who decides; the API key's id where nobody is named."""

    by: Person | None = None


_decided = msgspec.json.Decoder(Decided)


@router.get("/approvals", openapi_extra=operation(parameters=[STATE, *PAGING], answers={200: Page[ApprovalShown]}))
async def list_approvals(request: Request, principal: Acting) -> Response:
    """List calls that wait or waited for a person."""
    asked = Query(request, "state", "limit", "cursor")
    limit, before, state = asked.limit(), asked.place(), asked.text("state")
    if state is not None and state not in STATES:
        raise Invalid(f"state takes {', '.join(STATES)}", field="state")
    found = await services_of(request).people.approvals(principal.tenant_id, state, limit + 1, before)
    return json_answer(cut([_shown(each) for each in found], limit, [(each.created_at, each.id) for each in found]))


@router.get(
    "/approvals/{approval_id}",
    openapi_extra=operation(parameters=[APPROVAL], answers={200: ApprovalShown}, errors=[MISSING]),
)
async def show_approval(approval_id: str, request: Request, principal: Acting) -> Response:
    """Show a call that a person is asked about."""
    Query(request)
    found = await services_of(request).people.approval(principal.tenant_id, _id(approval_id))
    return json_answer(_shown(found))


@router.post(
    "/approvals/{approval_id}/approve",
    openapi_extra=operation(
        parameters=[APPROVAL],
        bodies=[Body(Decided, {"by": "Mona"}, optional=True)],
        answers={200: ApprovalShown},
        errors=[MISSING, DECIDED],
        about="The call is made, and the turn goes on when it waits for nothing else.",
    ),
)
async def approve(approval_id: str, request: Request, principal: Acting) -> Response:
    """Say yes to a call."""
    return await _decide(approval_id, request, principal, approved=True)


@router.post(
    "/approvals/{approval_id}/deny",
    openapi_extra=operation(
        parameters=[APPROVAL],
        bodies=[Body(Decided, {"by": "Mona"}, optional=True)],
        answers={200: ApprovalShown},
        errors=[MISSING, DECIDED],
        about="The call is not made, and the turn ends as cancelled.",
    ),
)
async def deny(approval_id: str, request: Request, principal: Acting) -> Response:
    """Say no to a call."""
    return await _decide(approval_id, request, principal, approved=False)


async def _decide(approval_id: str, request: Request, principal: Principal, *, approved: bool) -> Response:
    Query(request)
    told = await body_of(request, _decided, Decided())
    people = services_of(request).people
    by = person_of(told.by, principal)
    return json_answer(_shown(await people.decide(principal, _id(approval_id), approved, by)))


def person_of(by: Person | None, principal: Principal) -> str:
    """Who does something: whom the request names, else its key.

    Raises:
        Invalid: the name has a line break or another control character in it.
    """
    if by is not None and any(category(character) in ("Cc", "Zl", "Zp") for character in by):
        raise Invalid("by takes a name on one line, without control characters", field="by")
    return by or actor_of(principal)


def _shown(approval: Approval) -> ApprovalShown:
    try:
        arguments = msgspec.json.decode(approval.call.arguments or "{}")
    except msgspec.DecodeError:
        arguments = approval.call.arguments
    return ApprovalShown(
        id=prefixed("appr", approval.id),
        state=approval.state,
        agent_id=prefixed("agent", approval.agent_id),
        conversation_id=prefixed("conv", approval.conversation_id),
        turn_id=prefixed("turn", approval.turn_id),
        tool=approval.call.name,
        arguments=arguments,
        created_at=iso(approval.created_at),
        expires_at=iso(approval.expires_at),
        decided_at=when(approval.decided_at),
        decided_by=approval.decided_by,
    )


def _id(text: str) -> str:
    known = parse_id("appr", text)
    if known is None:
        raise ApprovalNotFound
    return known
