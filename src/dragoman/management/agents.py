"""Agents: made, drafted, published, rolled back. Their definitions are what a manifest says of an agent."""

import re
from collections.abc import Mapping
from typing import TYPE_CHECKING, Annotated, Any, Literal

import msgspec
from msgspec import Meta
from starlette.requests import Request
from starlette.responses import Response

from dragoman.core.clock import iso
from dragoman.core.errors import AgentNotFound, Conflict, NameTaken, NotFound, PreconditionFailed
from dragoman.core.ids import prefixed
from dragoman.management.router import Acting, router
from dragoman.management.wire import (
    ETAG,
    IF_MATCH,
    IF_NONE_MATCH,
    PAGING,
    Page,
    Query,
    Time,
    body_of,
    cut,
    etag,
    expected,
    is_known,
    plain,
)
from dragoman.ports.drafts import AgentVersion, StoredAgent
from dragoman.server.answers import json_answer
from dragoman.server.describe import Body, operation, path
from dragoman.server.services import services_of
from dragoman.services.manifest import format as manifest

AGENT = path("agent_id", "The agent: `agent_...`, its UUID or its slug.", example="support-agent")
MISSING = AgentNotFound("support-agent")
MANAGED = Conflict("A manifest made this agent")
EXAMPLE = {"name": "Support Agent", "model": {"provider": "embedded"}, "instructions": "You are the support agent."}
HIGHEST_VERSION = 2**31 - 1

_UNCHANGED = ("id", "deployments")
_APART = (*_UNCHANGED, "name", "slug")
_FIELDS = [(field.name, field.type) for field in msgspec.structs.fields(manifest.Agent)]
_STRICT: Mapping[str, Any] = {"module": __name__, "kw_only": True, "forbid_unknown_fields": True}


class NewDeployment(msgspec.Struct, forbid_unknown_fields=True):
    """A channel and a region that an agent is to serve. Ids are made here: one that a caller chose could be taken."""

    channel: manifest.Label
    region: manifest.Label


if TYPE_CHECKING:
    Definition = Mapping[str, Any]
    AgentPatch = msgspec.Struct
    NewAgent = msgspec.Struct
else:
    # Made of the manifest's fields, so that what one can say, the other can.
    Definition = msgspec.defstruct(
        "Definition",
        [(name, kind | msgspec.UnsetType, msgspec.UNSET) for name, kind in _FIELDS if name not in _APART],
        namespace={"__doc__": "What an agent is told and how it behaves, as a manifest says it."},
        **_STRICT,
    )
    AgentPatch = msgspec.defstruct(
        "AgentPatch",
        [(name, kind | msgspec.UnsetType, msgspec.UNSET) for name, kind in _FIELDS if name not in _UNCHANGED],
        namespace={"__doc__": "Changes of an agent: each field that is given takes the place of the whole field."},
        **_STRICT,
    )

    NewAgent = msgspec.defstruct(
        "NewAgent",
        [
            ("name", manifest.Name),
            *(
                (name, kind | msgspec.UnsetType, msgspec.UNSET)
                for name, kind in _FIELDS
                if name not in ("id", "name", "deployments")
            ),
            ("deployments", tuple[NewDeployment, ...], ()),
        ],
        namespace={"__doc__": "An agent as a manifest has it, but for ids."},
        **_STRICT,
    )

_new_agent = msgspec.json.Decoder(NewAgent)
_patch = msgspec.json.Decoder(AgentPatch)


class Rollback(msgspec.Struct, forbid_unknown_fields=True):
    """Which version is to be published again."""

    version: Annotated[int, Meta(ge=1, le=HIGHEST_VERSION)]


_rollback = msgspec.json.Decoder(Rollback)


class AgentSummary(msgspec.Struct):
    """An agent in a list."""

    id: str
    slug: str
    name: str
    version: Annotated[int, Meta(description="What is published.")]
    managed: Literal["manifest", "api"]
    model: str
    public: bool
    has_draft: bool
    created_at: Time
    updated_at: Time


class AgentDetail(msgspec.Struct):
    """An agent with what is published and, where there is one, the draft that would be."""

    id: str
    slug: str
    name: str
    version: Annotated[int, Meta(description="What is published.")]
    managed: Literal["manifest", "api"]
    definition: Definition
    draft: Definition | None
    created_at: Time
    updated_at: Time


class VersionSummary(msgspec.Struct):
    """A version in a list."""

    version: int
    published: Annotated[bool, Meta(description="Whether the agent answers by it now.")]
    created_at: Time


class VersionDetail(VersionSummary):
    """What an agent was told in one version."""

    definition: Definition


@router.get("/agents", openapi_extra=operation(parameters=PAGING, answers={200: Page[AgentSummary]}))
async def list_agents(request: Request, principal: Acting) -> Response:
    """List the tenant's agents."""
    asked = Query(request, "limit", "cursor")
    limit, before = asked.limit(), asked.place()
    found = await services_of(request).agents.page(principal.tenant_id, limit + 1, before)
    return json_answer(cut([_summary(agent) for agent in found], limit, [agent.place for agent in found]))


@router.post(
    "/agents",
    openapi_extra=operation(
        bodies=[Body(NewAgent, EXAMPLE)],
        answers={201: AgentDetail},
        headers=[ETAG],
        errors=[NameTaken()],
        about="What a manifest says of an agent, as JSON. Its first version is published at once.",
    ),
)
async def create_agent(request: Request, principal: Acting) -> Response:
    """Make an agent."""
    Query(request)
    wanted = msgspec.convert(msgspec.to_builtins(await body_of(request, _new_agent)), manifest.Agent)
    return _shown(await services_of(request).agents.create(principal, wanted), 201)


@router.get(
    "/agents/{agent_id}",
    openapi_extra=operation(
        parameters=[AGENT, IF_NONE_MATCH], answers={200: AgentDetail, 304: None}, headers=[ETAG], errors=[MISSING]
    ),
)
async def show_agent(agent_id: str, request: Request, principal: Acting) -> Response:
    """Show an agent."""
    Query(request)
    found = await agent_of(agent_id, request, principal)
    if is_known(request, found.revision):
        return Response(status_code=304, headers=etag(found.revision))
    return _shown(found)


@router.patch(
    "/agents/{agent_id}",
    openapi_extra=operation(
        parameters=[AGENT, IF_MATCH],
        bodies=[Body(AgentPatch, {"instructions": "You are the support agent of Acme."})],
        answers={200: AgentDetail},
        headers=[ETAG],
        errors=[MISSING, MANAGED, PreconditionFailed()],
        about="`name` and `slug` change at once; everything else changes the draft, which waits to be published.",
    ),
)
async def change_agent(agent_id: str, request: Request, principal: Acting) -> Response:
    """Change an agent's names, and its draft."""
    Query(request)
    changes = msgspec.to_builtins(await body_of(request, _patch))
    reference, wanted = plain(agent_id, "agent_id"), expected(request)
    return _shown(await services_of(request).agents.amend(principal, reference, changes, wanted))


@router.post(
    "/agents/{agent_id}/publish",
    openapi_extra=operation(
        parameters=[AGENT, IF_MATCH],
        answers={200: AgentDetail},
        headers=[ETAG],
        errors=[MISSING, MANAGED, PreconditionFailed()],
        about="The draft becomes the next version. Without a draft nothing changes, so that a retry is safe.",
    ),
)
async def publish_agent(agent_id: str, request: Request, principal: Acting) -> Response:
    """Publish an agent's draft."""
    Query(request)
    reference, wanted = plain(agent_id, "agent_id"), expected(request)
    return _shown(await services_of(request).agents.publish(principal, reference, wanted))


@router.get(
    "/agents/{agent_id}/versions",
    openapi_extra=operation(parameters=[AGENT, *PAGING], answers={200: Page[VersionSummary]}, errors=[MISSING]),
)
async def list_versions(agent_id: str, request: Request, principal: Acting) -> Response:
    """List an agent's versions."""
    asked = Query(request, "limit", "cursor")
    limit, before = asked.limit(), asked.place()
    agent = await agent_of(agent_id, request, principal)
    below = None if before is None else before[0]
    found = await services_of(request).agents.versions(agent.tenant_id, agent.id, limit + 1, below)
    shown = [VersionSummary(each.version, each.version == agent.version, iso(each.created_at)) for each in found]
    return json_answer(cut(shown, limit, [(each.version, "") for each in found]))


@router.get(
    "/agents/{agent_id}/versions/{version}",
    openapi_extra=operation(
        parameters=[AGENT, path("version", "The version's number.", example="1")],
        answers={200: VersionDetail},
        errors=[MISSING, NotFound("This agent has no such version")],
    ),
)
async def show_version(agent_id: str, version: str, request: Request, principal: Acting) -> Response:
    """Show what an agent was told in one version."""
    Query(request)
    agent = await agent_of(agent_id, request, principal)
    number = int(version) if re.fullmatch("[0-9]{1,9}", version) else 0
    found: AgentVersion = await services_of(request).agents.version(agent.tenant_id, agent.id, number)
    at = iso(found.created_at)
    return json_answer(VersionDetail(found.version, found.version == agent.version, at, found.definition))


@router.post(
    "/agents/{agent_id}/rollback",
    openapi_extra=operation(
        parameters=[AGENT, IF_MATCH],
        bodies=[Body(Rollback, {"version": 1})],
        answers={200: AgentDetail},
        headers=[ETAG],
        errors=[MISSING, MANAGED, PreconditionFailed()],
        about="What that version told becomes a new version. A draft stays as it is.",
    ),
)
async def roll_back_agent(agent_id: str, request: Request, principal: Acting) -> Response:
    """Publish an earlier version of an agent again."""
    Query(request)
    asked = await body_of(request, _rollback)
    reference, wanted = plain(agent_id, "agent_id"), expected(request)
    return _shown(await services_of(request).agents.roll_back(principal, reference, asked.version, wanted))


@router.delete(
    "/agents/{agent_id}",
    openapi_extra=operation(
        parameters=[AGENT, IF_MATCH],
        answers={204: None},
        errors=[MISSING, MANAGED, PreconditionFailed()],
        about="Its conversations stay; its slug is free for another agent.",
    ),
)
async def delete_agent(agent_id: str, request: Request, principal: Acting) -> Response:
    """Take an agent away."""
    Query(request)
    await services_of(request).agents.delete(principal, plain(agent_id, "agent_id"), expected(request))
    return Response(status_code=204)


async def agent_of(reference: str, request: Request, principal: Acting) -> StoredAgent:
    """The agent that a path names.

    Raises:
        AgentNotFound, Invalid
    """
    return await services_of(request).agents.get(principal.tenant_id, plain(reference, "agent_id"))


def _summary(agent: StoredAgent) -> AgentSummary:
    return AgentSummary(
        prefixed("agent", agent.id),
        agent.slug,
        agent.name,
        agent.version,
        agent.managed,
        agent.definition.get("model", {}).get("name", ""),
        bool(agent.definition.get("public")),
        agent.draft is not None,
        iso(agent.created_at),
        iso(agent.updated_at),
    )


def _shown(agent: StoredAgent, status: int = 200) -> Response:
    shown = AgentDetail(
        prefixed("agent", agent.id),
        agent.slug,
        agent.name,
        agent.version,
        agent.managed,
        agent.definition,
        agent.draft,
        iso(agent.created_at),
        iso(agent.updated_at),
    )
    return json_answer(shown, status, etag(agent.revision))
