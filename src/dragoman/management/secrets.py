"""Secrets of the tenant, which its tools use by name. A value goes in and never comes out."""

from typing import Annotated

import msgspec
from msgspec import Meta
from starlette.requests import Request
from starlette.responses import Response

from dragoman.core.clock import iso
from dragoman.core.errors import NotFound
from dragoman.core.ids import derived_id
from dragoman.management.router import Acting, router
from dragoman.management.wire import PAGING, Page, Query, Time, body_of, listed, plain
from dragoman.ports.audit import Place
from dragoman.ports.secrets import SecretName
from dragoman.server.answers import json_answer
from dragoman.server.describe import Body, operation, path
from dragoman.server.services import services_of
from dragoman.services.audit import actor_of
from dragoman.services.secrets import LONGEST_VALUE

NAME = path("name", "What the secret is called.", example="shop_token")
MISSING = NotFound("There is no such secret")


class SecretWanted(msgspec.Struct, forbid_unknown_fields=True):
    """What is to be kept."""

    value: Annotated[str, Meta(min_length=1, max_length=LONGEST_VALUE)]


class SecretShown(msgspec.Struct):
    """A secret without its value, and when it was last written."""

    name: str
    created_at: Time


_wanted = msgspec.json.Decoder(SecretWanted)


@router.get("/secrets", openapi_extra=operation(parameters=PAGING, answers={200: Page[SecretShown]}))
async def list_secrets(request: Request, principal: Acting) -> Response:
    """List the tenant's secrets by their names."""
    asked = Query(request, "limit", "cursor")
    found = await services_of(request).secrets.names(principal.tenant_id)
    newest = sorted(((_place(each), each) for each in found), key=lambda pair: pair[0], reverse=True)
    shown = [SecretShown(each.name, iso(each.created_at)) for _, each in newest]
    return json_answer(listed(asked, shown, [place for place, _ in newest]))


@router.put(
    "/secrets/{name}",
    openapi_extra=operation(
        parameters=[NAME],
        bodies=[Body(SecretWanted, {"value": "sk-3f9c2d"})],
        answers={201: None, 204: None},
        about="201 where it is new, 204 where it takes the place of one. No answer ever shows the value again.",
    ),
)
async def put_secret(name: str, request: Request, principal: Acting) -> Response:
    """Keep a secret."""
    Query(request)
    wanted = await body_of(request, _wanted)
    secrets = services_of(request).secrets
    made = await secrets.put(principal.tenant_id, actor_of(principal), plain(name, "name"), wanted.value)
    return Response(status_code=201 if made else 204)


@router.delete(
    "/secrets/{name}",
    openapi_extra=operation(
        parameters=[NAME],
        answers={204: None},
        errors=[MISSING],
        about="Tools that use it fail from then on.",
    ),
)
async def delete_secret(name: str, request: Request, principal: Acting) -> Response:
    """Forget a secret."""
    Query(request)
    await services_of(request).secrets.delete(principal.tenant_id, actor_of(principal), plain(name, "name"))
    return Response(status_code=204)


def _place(secret: SecretName) -> Place:
    return secret.created_at, derived_id(secret.name)
