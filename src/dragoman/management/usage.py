"""What the tenant's turns have used."""

from collections.abc import Sequence
from dataclasses import astuple
from typing import Annotated

import msgspec
from msgspec import UNSET, Meta, UnsetType
from starlette.requests import Request
from starlette.responses import Response

from dragoman.core.clock import iso
from dragoman.core.ids import prefixed
from dragoman.management.router import Acting, router
from dragoman.management.wire import Query, Time
from dragoman.ports.usage import Group, UsageRow
from dragoman.server.answers import json_answer
from dragoman.server.describe import operation, query
from dragoman.server.services import services_of
from dragoman.services.usage import GROUPS, day_of, groups_of, span_us

SPAN = (
    query("from", "The first UTC day, or a time; 30 days before the end unless said.", example="2026-01-01"),
    query("to", "The last UTC day, or the time before which it ends; now unless said.", example="2026-01-31"),
)


class Used(msgspec.Struct):
    """What turns used: tokens, and credits as they were charged."""

    turns: int
    prompt_tokens: int
    completion_tokens: int
    credits: int


class UsedByGroup(Used, kw_only=True):
    """What the turns of one group used; the fields of groups that were not asked for are left out."""

    day: Annotated[str, Meta(examples=["2026-01-23"])] | UnsetType = UNSET
    agent_id: str | UnsetType = UNSET
    agent: Annotated[str | None, Meta(description="The agent's name.")] | UnsetType = UNSET
    key_id: Annotated[str | None, Meta(description="null where no key was shown.")] | UnsetType = UNSET
    key: Annotated[str | None, Meta(description="The key's name.")] | UnsetType = UNSET
    model: str | UnsetType = UNSET


class UsageShown(msgspec.Struct, kw_only=True):
    """What was used from `from` on and before `to`; `credits` is the balance, null where turns are not metered."""

    since: Time = msgspec.field(name="from")
    until: Time = msgspec.field(name="to")
    group_by: Sequence[Group]
    data: Sequence[UsedByGroup]
    total: Used
    credits: int | None


@router.get(
    "/usage",
    openapi_extra=operation(
        parameters=[
            *SPAN,
            query("group_by", f"Any of {', '.join(GROUPS)}; `day` unless said, empty for the total.", example="day"),
        ],
        answers={200: UsageShown},
        about="A turn counts where it began. A failed one counts with its tokens and costs nothing.",
    ),
)
async def show_usage(request: Request, principal: Acting) -> Response:
    """Show what the tenant's turns have used."""
    asked = Query(request, "from", "to", "group_by")
    since, until = span_us(asked.text("from"), asked.text("to"))
    by = groups_of(asked.given("group_by", "day"))
    report = await services_of(request).usage.report(principal.tenant_id, since, until, by)
    return json_answer(
        UsageShown(
            since=iso(since),
            until=iso(until),
            group_by=by,
            data=[_row(row, by) for row in report.rows],
            total=Used(*astuple(report.total)),
            credits=report.credits,
        )
    )


def _row(row: UsageRow, by: Sequence[Group]) -> UsedByGroup:
    told = UsedByGroup(*astuple(row.spent))
    if "day" in by:
        told.day = day_of(row)
    if "agent" in by:
        told.agent_id, told.agent = prefixed("agent", row.agent_id or ""), row.agent
    if "key" in by:
        told.key_id, told.key = prefixed("key", row.key_id) if row.key_id else None, row.key
    if "model" in by:
        told.model = row.model or ""
    return told
