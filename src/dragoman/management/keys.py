"""API keys of the tenant. A value is shown in the answer that makes it and never again."""

from collections.abc import Sequence
from datetime import datetime
from typing import Annotated, Literal

import msgspec
from msgspec import Meta
from starlette.requests import Request
from starlette.responses import Response

from dragoman.core.clock import iso, now_us
from dragoman.core.errors import NameTaken, NotFound
from dragoman.core.ids import parse_id, prefixed
from dragoman.core.tenants import ApiKey
from dragoman.management.router import Acting, router
from dragoman.management.wire import PAGING, Page, Query, Time, body_of, listed, when
from dragoman.server.answers import json_answer
from dragoman.server.describe import Body, operation, path
from dragoman.server.services import services_of
from dragoman.services.access import DEFAULT_OVERLAP, NewKey
from dragoman.services.audit import actor_of
from dragoman.services.manifest.format import KeyLimits, Name

KEY = path("key_id", "The key: `key_...`, its UUID or its name.", example="backend")
NO_KEY = "There is no such key"

Text = Annotated[str, Meta(min_length=1, max_length=200)]


class KeyWanted(msgspec.Struct, forbid_unknown_fields=True):
    """A key that is to be made."""

    name: Name
    type: Literal["secret", "publishable"] = "secret"
    agents: Annotated[tuple[Text, ...], Meta(max_length=100)] = ()
    origins: Annotated[tuple[Text, ...], Meta(max_length=100)] = ()
    expires_at: Annotated[datetime, Meta(tz=True)] | None = None
    limits: KeyLimits | None = None


class Rotation(msgspec.Struct, forbid_unknown_fields=True):
    """How long the old value goes on, such as ``90s``, ``15m``, ``24h`` or ``7d``."""

    overlap: str = DEFAULT_OVERLAP


class KeyShown(msgspec.Struct, kw_only=True):
    """A key without its value."""

    id: str
    name: str
    type: Literal["secret", "publishable"]
    prefix: str
    state: Literal["active", "expired", "revoked"]
    agents: Sequence[str]
    origins: Sequence[str]
    limits: KeyLimits
    created_at: Time
    expires_at: Time | None
    revoked_at: Time | None
    last_used_at: Time | None


class KeyMade(KeyShown, kw_only=True):
    """A new key, and its value this once."""

    value: str


_wanted = msgspec.json.Decoder(KeyWanted)
_rotation = msgspec.json.Decoder(Rotation)


@router.get("/keys", openapi_extra=operation(parameters=PAGING, answers={200: Page[KeyShown]}))
async def list_keys(request: Request, principal: Acting) -> Response:
    """List the tenant's keys by their prefixes."""
    asked = Query(request, "limit", "cursor")
    found = sorted(await services_of(request).keys.list(principal.tenant_id), key=_place, reverse=True)
    return json_answer(listed(asked, [_shown(key) for key in found], [_place(key) for key in found]))


@router.post(
    "/keys",
    openapi_extra=operation(
        bodies=[Body(KeyWanted, {"name": "ci", "type": "secret"})], answers={201: KeyMade}, errors=[NameTaken()]
    ),
)
async def create_key(request: Request, principal: Acting) -> Response:
    """Make a key; its value is shown this once."""
    Query(request)
    wanted = await body_of(request, _wanted)
    expires_at = int(wanted.expires_at.timestamp() * 1_000_000) if wanted.expires_at else None
    new = NewKey(
        wanted.name,
        wanted.type,
        None,
        wanted.agents,
        wanted.origins,
        msgspec.to_builtins(wanted.limits) if wanted.limits else None,
        expires_at,
    )
    key, value = await services_of(request).keys.create(principal.tenant_id, actor_of(principal), new)
    return _made(key, value, 201)


@router.post(
    "/keys/{key_id}/rotate",
    openapi_extra=operation(
        parameters=[KEY],
        bodies=[Body(Rotation, {"overlap": "24h"})],
        answers={200: KeyMade},
        errors=[NotFound(NO_KEY)],
        about="The new key has the name of the old one, which goes on for the overlap. The body may be left out.",
    ),
)
async def rotate_key(key_id: str, request: Request, principal: Acting) -> Response:
    """Make a new value for a key; it is shown this once."""
    Query(request)
    asked = await body_of(request, _rotation, Rotation())
    name = await _name(key_id, request, principal)
    tenant_id, keys = principal.tenant_id, services_of(request).keys
    return _made(*await keys.rotate(tenant_id, actor_of(principal), name, asked.overlap))


@router.post(
    "/keys/{key_id}/revoke",
    openapi_extra=operation(
        parameters=[KEY],
        answers={200: KeyShown},
        errors=[NotFound(NO_KEY)],
        about="Closes every key of its name, also those that it has taken the place of.",
    ),
)
async def revoke_key(key_id: str, request: Request, principal: Acting) -> Response:
    """Close a key for good."""
    Query(request)
    name = await _name(key_id, request, principal)
    revoked = await services_of(request).keys.revoke(principal.tenant_id, actor_of(principal), name)
    return json_answer(_shown(revoked[-1]))


async def _name(text: str, request: Request, principal: Acting) -> str:
    """The name of the key that a path means.

    Raises:
        NotFound
    """
    known = parse_id("key", text)
    for key in await services_of(request).keys.list(principal.tenant_id):
        if text == key.name or known == key.id:
            return key.name
    raise NotFound(NO_KEY)


def _place(key: ApiKey) -> tuple[int, str]:
    return key.created_at, key.id


def _fields(key: ApiKey) -> dict[str, object]:
    state = "revoked" if key.revoked_at else "active" if key.is_good(now_us()) else "expired"
    return {
        "id": prefixed("key", key.id),
        "name": key.name,
        "type": key.type,
        "prefix": key.prefix,
        "state": state,
        "agents": key.agents,
        "origins": key.origins,
        "limits": dict(key.limits),
        "created_at": iso(key.created_at),
        "expires_at": when(key.expires_at),
        "revoked_at": when(key.revoked_at),
        "last_used_at": when(key.last_used_at),
    }


def _shown(key: ApiKey) -> KeyShown:
    return msgspec.convert(_fields(key), KeyShown)


def _made(key: ApiKey, value: str, status: int = 200) -> Response:
    return json_answer(msgspec.convert({**_fields(key), "value": value}, KeyMade), status)
