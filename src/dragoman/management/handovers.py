"""Conversations that persons answer in: the inbox, taking one over, answering, giving it back."""

from typing import Annotated

import msgspec
from msgspec import Meta
from starlette.requests import Request
from starlette.responses import Response

from dragoman.core.clock import iso
from dragoman.core.errors import Conflict, Invalid
from dragoman.core.handover import Handover, Reason
from dragoman.core.ids import prefixed
from dragoman.management.approvals import Person, person_of
from dragoman.management.conversations import CONVERSATION, MISSING
from dragoman.management.router import Acting, router
from dragoman.management.wire import PAGING, Page, Query, Time, body_of, cut, when
from dragoman.server.answers import json_answer
from dragoman.server.describe import Body, operation
from dragoman.server.requests import conversation_id_of
from dragoman.server.services import services_of

LONGEST_ANSWER = 100_000
WITH_AGENT = Conflict("The agent answers in this conversation; take it over first")


class HandoverShown(msgspec.Struct, kw_only=True):
    """A conversation that a person is to answer in: the user wanted one (requested), the agent was unsure too often or
    called for one, or a person has taken it. Where no person writes until `due_at`, the agent answers again.
    """

    conversation_id: str
    agent_id: str
    title: str
    reason: Reason
    requested_at: Time
    due_at: Time
    ended_at: Time | None
    ended_by: str | None


class PersonsAnswer(msgspec.Struct, forbid_unknown_fields=True):
    """What a person says to the user, and who says it: the API key's id where nobody is named."""

    text: Annotated[str, Meta(min_length=1, max_length=LONGEST_ANSWER)]
    by: Person | None = None


class Taken(msgspec.Struct, forbid_unknown_fields=True):
    """Who takes the conversation over; the API key's id where nobody is named."""

    by: Person | None = None


class GivenBack(msgspec.Struct, forbid_unknown_fields=True):
    """Who gives the conversation back; the API key's id where nobody is named."""

    by: Person | None = None


_answer = msgspec.json.Decoder(PersonsAnswer)
_taken = msgspec.json.Decoder(Taken)
_given_back = msgspec.json.Decoder(GivenBack)


@router.get(
    "/inbox",
    openapi_extra=operation(
        parameters=PAGING,
        answers={200: Page[HandoverShown]},
        about="What is said in one is at `/conversations/{conversation_id}`.",
    ),
)
async def show_inbox(request: Request, principal: Acting) -> Response:
    """List the conversations that persons are to answer in."""
    asked = Query(request, "limit", "cursor")
    limit, before = asked.limit(), asked.place()
    found = await services_of(request).people.inbox(principal.tenant_id, limit + 1, before)
    return json_answer(cut([_shown(each) for each in found], limit, [(each.requested_at, each.id) for each in found]))


@router.post(
    "/conversations/{conversation_id}/handover",
    openapi_extra=operation(
        parameters=[CONVERSATION],
        bodies=[Body(Taken, {"by": "Mona"}, optional=True)],
        answers={200: HandoverShown},
        errors=[MISSING],
        about="Whatever the agent is saying there is stopped. One that a person has already stays as it is.",
    ),
)
async def take_over(conversation_id: str, request: Request, principal: Acting) -> Response:
    """Take a conversation over from its agent."""
    Query(request)
    told = await body_of(request, _taken, Taken())
    people = services_of(request).people
    by = person_of(told.by, principal)
    return json_answer(_shown(await people.take(principal, conversation_id_of(conversation_id), by)))


@router.post(
    "/conversations/{conversation_id}/messages",
    openapi_extra=operation(
        parameters=[CONVERSATION],
        bodies=[Body(PersonsAnswer, {"text": "Hello, this is Mona. Let me look.", "by": "Mona"})],
        answers={204: None},
        errors=[MISSING, WITH_AGENT],
        about="It answers the message that waits, if one does, and reaches everybody who follows the conversation.",
    ),
)
async def answer_as_person(conversation_id: str, request: Request, principal: Acting) -> Response:
    """Say something to the user as a person."""
    Query(request)
    told = await body_of(request, _answer)
    if not told.text.strip():
        raise Invalid("text says nothing", field="text")
    people = services_of(request).people
    by = person_of(told.by, principal)
    await people.say(principal, conversation_id_of(conversation_id), told.text, by)
    return Response(status_code=204)


@router.post(
    "/conversations/{conversation_id}/give-back",
    openapi_extra=operation(
        parameters=[CONVERSATION],
        bodies=[Body(GivenBack, {"by": "Mona"}, optional=True)],
        answers={200: HandoverShown},
        errors=[MISSING, Conflict("The agent answers in this conversation already")],
    ),
)
async def give_back(conversation_id: str, request: Request, principal: Acting) -> Response:
    """Let the agent answer again."""
    Query(request)
    told = await body_of(request, _given_back, GivenBack())
    people = services_of(request).people
    by = person_of(told.by, principal)
    return json_answer(_shown(await people.give_back(principal, conversation_id_of(conversation_id), by)))


def _shown(handover: Handover) -> HandoverShown:
    return HandoverShown(
        conversation_id=prefixed("conv", handover.conversation_id),
        agent_id=prefixed("agent", handover.agent_id),
        title=handover.title,
        reason=handover.reason,
        requested_at=iso(handover.requested_at),
        due_at=iso(handover.due_at),
        ended_at=when(handover.ended_at),
        ended_by=handover.ended_by,
    )
