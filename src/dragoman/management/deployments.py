"""Deployments of an agent: the channels and regions that it serves."""

import msgspec
from starlette.requests import Request
from starlette.responses import Response

from dragoman.core.errors import NameTaken, NotFound
from dragoman.core.ids import parse_id
from dragoman.management.agents import AGENT, MISSING, NewDeployment, agent_of
from dragoman.management.router import Acting, router
from dragoman.management.wire import PAGING, Page, Query, body_of, listed
from dragoman.server.answers import json_answer
from dragoman.server.describe import Body, operation, path
from dragoman.server.services import services_of

NO_DEPLOYMENT = "This agent has no such deployment"


class DeploymentShown(msgspec.Struct):
    """An agent on a channel, in a region; the id is a UUID, as S0 has it."""

    id: str
    channel: str
    region: str


_deployment = msgspec.json.Decoder(NewDeployment)


@router.get(
    "/agents/{agent_id}/deployments",
    openapi_extra=operation(parameters=[AGENT, *PAGING], answers={200: Page[DeploymentShown]}, errors=[MISSING]),
)
async def list_deployments(agent_id: str, request: Request, principal: Acting) -> Response:
    """List an agent's deployments."""
    asked = Query(request, "limit", "cursor")
    agent = await agent_of(agent_id, request, principal)
    found = (await services_of(request).deployments.list(agent))[::-1]
    places = [(len(found) - index, "") for index in range(len(found))]
    return json_answer(listed(asked, [DeploymentShown(*each) for each in found], places))


@router.post(
    "/agents/{agent_id}/deployments",
    openapi_extra=operation(
        parameters=[AGENT],
        bodies=[Body(NewDeployment, {"channel": "voice", "region": "us-east-1"})],
        answers={201: DeploymentShown},
        errors=[MISSING, NameTaken()],
    ),
)
async def create_deployment(agent_id: str, request: Request, principal: Acting) -> Response:
    """Deploy an agent on a channel, in a region."""
    Query(request)
    wanted = await body_of(request, _deployment)
    agent = await agent_of(agent_id, request, principal)
    made = await services_of(request).deployments.create(principal, agent, wanted.channel, wanted.region)
    return json_answer(DeploymentShown(*made), 201)


@router.delete(
    "/agents/{agent_id}/deployments/{deployment_id}",
    openapi_extra=operation(
        parameters=[AGENT, path("deployment_id", "Its UUID.", example="456e7890-e89b-12d3-a456-426614174001")],
        answers={204: None},
        errors=[MISSING, NotFound(NO_DEPLOYMENT)],
        about="One that a manifest names is made again when that manifest is applied.",
    ),
)
async def delete_deployment(agent_id: str, deployment_id: str, request: Request, principal: Acting) -> Response:
    """Take a deployment back."""
    Query(request)
    agent = await agent_of(agent_id, request, principal)
    known = parse_id("deployment", deployment_id)
    if known is None:
        raise NotFound(NO_DEPLOYMENT)
    await services_of(request).deployments.delete(principal, agent, known)
    return Response(status_code=204)
