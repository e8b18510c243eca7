"""The tenant's audit log: who changed what, when."""

from collections.abc import Mapping
from typing import Annotated, Any

import msgspec
from msgspec import Meta
from starlette.requests import Request
from starlette.responses import Response

from dragoman.core.clock import iso
from dragoman.core.ids import prefixed
from dragoman.management.router import Acting, router
from dragoman.management.wire import PAGING, Page, Query, Time, cut
from dragoman.server.answers import json_answer
from dragoman.server.describe import operation
from dragoman.server.services import services_of
from dragoman.services.audit import Noted


class AuditEntry(msgspec.Struct):
    """A change."""

    id: str
    at: Time
    actor: Annotated[str, Meta(description="A key's id, or `operator`.", examples=["operator"])]
    actor_name: Annotated[str | None, Meta(description="The key's name.")]
    action: Annotated[str, Meta(examples=["agent.published"])]
    subject: Annotated[str, Meta(description="The id of what was changed.")]
    detail: Mapping[str, Any]


@router.get("/audit", openapi_extra=operation(parameters=PAGING, answers={200: Page[AuditEntry]}))
async def list_audit(request: Request, principal: Acting) -> Response:
    """List who changed what, newest first."""
    asked = Query(request, "limit", "cursor")
    limit, before = asked.limit(), asked.place()
    found = await services_of(request).audit.page(principal.tenant_id, limit + 1, before)
    return json_answer(cut([_shown(noted) for noted in found], limit, [noted.entry.place for noted in found]))


def _shown(noted: Noted) -> AuditEntry:
    entry, act = noted.entry, noted.entry.act
    return AuditEntry(
        prefixed("audit", entry.id), iso(entry.at), act.actor, noted.actor_name, act.action, act.subject, act.detail
    )
