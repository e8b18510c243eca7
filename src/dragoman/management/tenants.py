"""The tenant whose key asks."""

from typing import Annotated

import msgspec
from msgspec import UNSET, Meta, UnsetType
from starlette.requests import Request
from starlette.responses import Response

from dragoman.core.errors import AgentNotFound
from dragoman.core.ids import prefixed
from dragoman.core.tenants import Tenant
from dragoman.management.router import Acting, router
from dragoman.management.wire import Query, body_of
from dragoman.server.answers import json_answer
from dragoman.server.describe import Body, operation
from dragoman.server.services import services_of
from dragoman.services.manifest.format import Name


class LimitsShown(msgspec.Struct):
    """Requests in a UTC minute and a UTC day, the plan's or the tenant's own; null where there is no bound."""

    per_minute: int
    per_day: int | None


class TenantShown(msgspec.Struct):
    """A tenant; `credits` is the balance, null where turns are not metered."""

    id: str
    name: str
    plan: str
    limits: LimitsShown
    credits: int | None
    default_agent: Annotated[str | None, Meta(description="Who answers where no agent is named.")]


class TenantPatch(msgspec.Struct, forbid_unknown_fields=True):
    """Changes of a tenant; `default_agent` takes an id or a slug, null for none."""

    name: Name | UnsetType = UNSET
    default_agent: str | UnsetType | None = UNSET


_patch = msgspec.json.Decoder(TenantPatch)


@router.get("/tenant", openapi_extra=operation(answers={200: TenantShown}))
async def show_tenant(request: Request, principal: Acting) -> Response:
    """Show the tenant."""
    Query(request)
    return _shown(await services_of(request).tenants.get(principal.tenant_id))


@router.patch(
    "/tenant",
    openapi_extra=operation(
        bodies=[Body(TenantPatch, {"default_agent": "support-agent"})],
        answers={200: TenantShown},
        errors=[AgentNotFound("support-agent")],
        about="What a manifest says of the tenant is so again when that manifest is applied.",
    ),
)
async def change_tenant(request: Request, principal: Acting) -> Response:
    """Change the tenant's name or its default agent."""
    Query(request)
    changes = msgspec.to_builtins(await body_of(request, _patch))
    return _shown(await services_of(request).tenants.amend(principal, changes))


def _shown(tenant: Tenant) -> Response:
    default = prefixed("agent", tenant.default_agent_id) if tenant.default_agent_id else None
    limits = LimitsShown(*tenant.limits)
    return json_answer(TenantShown(tenant.id, tenant.name, tenant.plan, limits, tenant.credits, default))
