"""Webhooks of the tenant: the addresses that events go to, and what became of each delivery."""

from collections.abc import Sequence
from datetime import datetime
from typing import Annotated, Literal

import msgspec
from msgspec import Meta
from starlette.requests import Request
from starlette.responses import Response

from dragoman.core.clock import iso, now_us
from dragoman.core.errors import Conflict, Invalid, NameTaken, NotFound
from dragoman.core.ids import parse_id, prefixed
from dragoman.core.webhooks import EVENTS, Attempt, Delivery, DeliveryState, Endpoint, EndpointState, Managed
from dragoman.management.router import Acting, router
from dragoman.management.wire import PAGING, Page, Query, Time, body_of, cut, listed, when
from dragoman.server.answers import json_answer
from dragoman.server.describe import Body, operation, path, query
from dragoman.server.services import services_of
from dragoman.services.audit import actor_of
from dragoman.services.webhooks import MANAGED, NO_DELIVERY, NO_ENDPOINT

WEBHOOK = path("webhook_id", "The webhook: `wh_...` or its UUID.", example="wh_" + "1b2c3d4e" * 4)
DELIVERY = path("delivery_id", "The delivery: `dlv_...` or its UUID.", example="dlv_" + "1b2c3d4e" * 4)
MISSING = NotFound(NO_ENDPOINT)
DISABLED = Conflict("It is disabled")
STATES = ("pending", "delivered", "failed")

_URL = "https://hooks.example.com/dragoman"
Url = Annotated[str, Meta(min_length=1, max_length=2048, description="http:// or https://, no #.", examples=[_URL])]
Events = Annotated[
    tuple[Annotated[str, Meta(min_length=1, max_length=100)], ...],
    Meta(max_length=100, description=f"Any of {', '.join(EVENTS)}; empty for all.", examples=[["message.received"]]),
]


class WebhookWanted(msgspec.Struct, forbid_unknown_fields=True):
    """An address that events are to go to."""

    url: Url
    events: Events = ()


class WebhookChange(msgspec.Struct, forbid_unknown_fields=True):
    """What is to change of a webhook; what is left out stays."""

    url: Url | None = None
    events: Events | None = None


class Span(msgspec.Struct, forbid_unknown_fields=True):
    """Which deliveries are to be made anew: those queued from `since` to `until`, which is now unless said."""

    since: Annotated[datetime, Meta(tz=True)]
    until: Annotated[datetime, Meta(tz=True)] | None = None
    state: Annotated[DeliveryState | None, Meta(description="Those in this state alone; of any unless said.")] = None


class WebhookShown(msgspec.Struct, kw_only=True):
    """A webhook without its secret."""

    id: str
    url: str
    events: Sequence[str]
    state: EndpointState
    managed: Managed
    created_at: Time
    updated_at: Time
    old_secret_until: Annotated[Time | None, Meta(description="Until then the secret before signs too.")]


class WebhookMade(WebhookShown, kw_only=True):
    """A webhook, and its new secret this once."""

    secret: Annotated[str, Meta(examples=["whsec_MfKQ9r8GKYqrTwjUPD8ILPZIo2LaLaSw"])]


class AttemptShown(msgspec.Struct):
    """One try: the status and the beginning of the answer, or why there was none."""

    at: Time
    duration_ms: int
    status: int | None
    answer: str | None
    error: str | None


class DeliveryShown(msgspec.Struct, kw_only=True):
    """An event on its way, or at its end; `body` is what is sent, to the letter."""

    id: str
    webhook_id: str
    event_id: Annotated[str, Meta(description="The `webhook-id` of every attempt.")]
    event: str
    state: Annotated[DeliveryState, Meta(description="`failed` has used up its attempts; it can be replayed.")]
    body: str
    created_at: Time
    next_attempt_at: Time | None
    finished_at: Time | None
    attempts: Sequence[AttemptShown]


class Replayed(msgspec.Struct):
    """How many deliveries are made anew."""

    deliveries: int


_wanted = msgspec.json.Decoder(WebhookWanted)
_change = msgspec.json.Decoder(WebhookChange)
_span = msgspec.json.Decoder(Span)


@router.get("/webhooks", openapi_extra=operation(parameters=PAGING, answers={200: Page[WebhookShown]}))
async def list_webhooks(request: Request, principal: Acting) -> Response:
    """List the tenant's webhooks."""
    asked = Query(request, "limit", "cursor")
    found = await services_of(request).webhooks.all(principal.tenant_id)
    return json_answer(listed(asked, [_shown(each) for each in found], [(each.created_at, each.id) for each in found]))


@router.post(
    "/webhooks",
    openapi_extra=operation(
        bodies=[Body(WebhookWanted, {"url": _URL, "events": ["message.received", "message.sent"]})],
        answers={201: WebhookMade},
        errors=[NameTaken()],
        about="Deliveries are signed as Standard Webhooks has it, with the secret that this answer shows once.",
    ),
)
async def create_webhook(request: Request, principal: Acting) -> Response:
    """Have events go to an address."""
    Query(request)
    wanted = await body_of(request, _wanted)
    webhooks = services_of(request).webhooks
    made = await webhooks.create(principal.tenant_id, actor_of(principal), _address(wanted.url), wanted.events)
    return _made(*made, 201)


@router.get(
    "/webhooks/{webhook_id}",
    openapi_extra=operation(parameters=[WEBHOOK], answers={200: WebhookShown}, errors=[MISSING]),
)
async def show_webhook(webhook_id: str, request: Request, principal: Acting) -> Response:
    """Show a webhook."""
    Query(request)
    return json_answer(_shown(await services_of(request).webhooks.get(principal.tenant_id, _id("wh", webhook_id))))


@router.patch(
    "/webhooks/{webhook_id}",
    openapi_extra=operation(
        parameters=[WEBHOOK],
        bodies=[Body(WebhookChange, {"events": ["message.received"]})],
        answers={200: WebhookShown},
        errors=[MISSING, NameTaken(), Conflict(MANAGED)],
        about="What is on its way goes to the new address.",
    ),
)
async def change_webhook(webhook_id: str, request: Request, principal: Acting) -> Response:
    """Change where events go, or which."""
    Query(request)
    wanted = await body_of(request, _change)
    ours = (principal.tenant_id, actor_of(principal), _id("wh", webhook_id))
    url = None if wanted.url is None else _address(wanted.url)
    return json_answer(_shown(await services_of(request).webhooks.change(*ours, url, wanted.events)))


@router.delete(
    "/webhooks/{webhook_id}",
    openapi_extra=operation(
        parameters=[WEBHOOK],
        answers={204: None},
        errors=[MISSING, Conflict(MANAGED)],
        about="With what is on its way and what became of the rest.",
    ),
)
async def delete_webhook(webhook_id: str, request: Request, principal: Acting) -> Response:
    """Have no more events go to an address."""
    Query(request)
    ours = (principal.tenant_id, actor_of(principal), _id("wh", webhook_id))
    await services_of(request).webhooks.delete(*ours)
    return Response(status_code=204)


@router.post(
    "/webhooks/{webhook_id}/rotate",
    openapi_extra=operation(
        parameters=[WEBHOOK],
        answers={200: WebhookMade},
        errors=[MISSING, Conflict(MANAGED)],
        about="For a day deliveries have two signatures, of the new secret and of the old one.",
    ),
)
async def rotate_webhook(webhook_id: str, request: Request, principal: Acting) -> Response:
    """Make a new secret; it is shown this once."""
    Query(request)
    ours = (principal.tenant_id, actor_of(principal), _id("wh", webhook_id))
    return _made(*await services_of(request).webhooks.rotate(*ours))


@router.post(
    "/webhooks/{webhook_id}/enable",
    openapi_extra=operation(
        parameters=[WEBHOOK],
        answers={200: WebhookShown},
        errors=[MISSING],
        about="An endpoint that answers 410 is disabled. What was parked by that can be replayed.",
    ),
)
async def enable_webhook(webhook_id: str, request: Request, principal: Acting) -> Response:
    """Let events go to a disabled webhook again."""
    Query(request)
    ours = (principal.tenant_id, actor_of(principal), _id("wh", webhook_id))
    return json_answer(_shown(await services_of(request).webhooks.enable(*ours)))


@router.post(
    "/webhooks/{webhook_id}/test",
    openapi_extra=operation(
        parameters=[WEBHOOK],
        answers={202: DeliveryShown},
        errors=[MISSING, DISABLED],
        about="The event is `webhook.test`, whatever the webhook's events are.",
    ),
)
async def test_webhook(webhook_id: str, request: Request, principal: Acting) -> Response:
    """Send an event that tells of nothing."""
    Query(request)
    made = await services_of(request).webhooks.test(principal.tenant_id, _id("wh", webhook_id))
    return json_answer(_delivery(made), 202)


@router.get(
    "/webhooks/{webhook_id}/deliveries",
    openapi_extra=operation(
        parameters=[
            WEBHOOK,
            query("state", "Those in this state alone.", Literal["pending", "delivered", "failed"], example="failed"),
            *PAGING,
        ],
        answers={200: Page[DeliveryShown]},
        errors=[MISSING],
        about="What was delivered or given up is forgotten after 30 days.",
    ),
)
async def list_deliveries(webhook_id: str, request: Request, principal: Acting) -> Response:
    """List what went to a webhook, with each attempt."""
    asked = Query(request, "state", "limit", "cursor")
    limit, before = asked.limit(), asked.place()
    wanted = (principal.tenant_id, _id("wh", webhook_id), _state(asked.text("state")))
    found = await services_of(request).webhooks.deliveries(*wanted, limit + 1, before)
    return json_answer(cut([_delivery(each) for each in found], limit, [(each.created_at, each.id) for each in found]))


@router.post(
    "/webhooks/{webhook_id}/replay",
    openapi_extra=operation(
        parameters=[WEBHOOK],
        bodies=[Body(Span, {"since": "2026-01-23T10:00:00Z", "state": "failed"})],
        answers={202: Replayed},
        errors=[MISSING, DISABLED],
        about="They go out in their order, under the same event ids.",
    ),
)
async def replay_deliveries(webhook_id: str, request: Request, principal: Acting) -> Response:
    """Deliver once more what was queued in a span of time."""
    Query(request)
    asked = await body_of(request, _span)
    since = int(asked.since.timestamp() * 1_000_000)
    until = int(asked.until.timestamp() * 1_000_000) if asked.until else now_us()
    ours = (principal.tenant_id, actor_of(principal), _id("wh", webhook_id))
    count = await services_of(request).webhooks.replay_all(*ours, since, until, asked.state)
    return json_answer(Replayed(count), 202)


@router.post(
    "/deliveries/{delivery_id}/replay",
    openapi_extra=operation(
        parameters=[DELIVERY],
        answers={202: DeliveryShown},
        errors=[NotFound(NO_DELIVERY), DISABLED],
        about="Whatever became of it, under the same event id.",
    ),
)
async def replay_delivery(delivery_id: str, request: Request, principal: Acting) -> Response:
    """Deliver an event once more."""
    Query(request)
    ours = (principal.tenant_id, actor_of(principal), _id("dlv", delivery_id))
    return json_answer(_delivery(await services_of(request).webhooks.replay(*ours)), 202)


def _id(prefix: str, text: str) -> str:
    known = parse_id(prefix, text)
    if known is None:
        raise NotFound(NO_ENDPOINT if prefix == "wh" else NO_DELIVERY)
    return known


def _address(url: str) -> str:
    if "#" in url:
        raise Invalid("url has a fragment, which is never sent: leave out the # and what follows it", field="url")
    return url


def _state(text: str | None) -> DeliveryState | None:
    try:
        state: DeliveryState | None = msgspec.convert(text, DeliveryState | None)
    except msgspec.ValidationError as error:
        raise Invalid(f"state is one of {', '.join(STATES)}", field="state") from error
    return state


def _fields(endpoint: Endpoint) -> dict[str, object]:
    now = now_us()
    return {
        "id": prefixed("wh", endpoint.id),
        "url": endpoint.url,
        "events": endpoint.events,
        "state": endpoint.state,
        "managed": endpoint.managed,
        "created_at": iso(endpoint.created_at),
        "updated_at": iso(endpoint.updated_at),
        "old_secret_until": when(endpoint.old_until if (endpoint.old_until or 0) > now else None),
    }


def _shown(endpoint: Endpoint) -> WebhookShown:
    return msgspec.convert(_fields(endpoint), WebhookShown)


def _made(endpoint: Endpoint, secret: str, status: int = 200) -> Response:
    return json_answer(msgspec.convert({**_fields(endpoint), "secret": secret}, WebhookMade), status)


def _delivery(delivery: Delivery) -> DeliveryShown:
    return DeliveryShown(
        id=prefixed("dlv", delivery.id),
        webhook_id=prefixed("wh", delivery.endpoint_id),
        event_id=prefixed("evt", delivery.event_id),
        event=delivery.event,
        state=delivery.state,
        body=delivery.body,
        created_at=iso(delivery.created_at),
        next_attempt_at=when(delivery.next_attempt_at),
        finished_at=when(delivery.finished_at),
        attempts=[_attempt(each) for each in delivery.attempts],
    )


def _attempt(attempt: Attempt) -> AttemptShown:
    return AttemptShown(iso(attempt.at), attempt.duration // 1000, attempt.status, attempt.answer, attempt.error)
