"""Webhooks as Standard Webhooks has them: which events there are, secrets, signatures, pauses between attempts.

Knows no store and no HTTP.
"""

import base64
import binascii
import hmac
import secrets
from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass
from email.utils import parsedate_to_datetime
from typing import Any, Literal

from dragoman.core.clock import iso
from dragoman.core.errors import Invalid
from dragoman.core.ids import prefixed

EVENTS = (
    "message.received",
    "message.sent",
    "conversation.created",
    "conversation.closed",
    "turn.failed",
    "tool.called",
    "approval.requested",
    "handover.requested",
    "credits.low",
    "document.ready",
    "document.failed",
)
# What an endpoint is sent when its owner wants to see that it works, whatever it subscribes to.
TEST_EVENT = "webhook.test"

_WHSEC = "whsec_"
SECRET_BYTES = 32

_SECONDS = 1_000_000
# After the first failure and after each that follows, in microseconds; the schedule that Standard Webhooks recommends.
PAUSES = tuple(
    seconds * _SECONDS
    for seconds in (5, 5 * 60, 30 * 60, 2 * 3600, 5 * 3600, 10 * 3600, 14 * 3600, 20 * 3600, 24 * 3600)
)
LONGEST_PAUSE = 24 * 3600 * _SECONDS
# How old a signed delivery may be for one who verifies it, in seconds.
TOLERANCE = 5 * 60

EndpointState = Literal["active", "disabled"]
Managed = Literal["manifest", "api", "listen"]
DeliveryState = Literal["pending", "delivered", "failed"]


@dataclass(frozen=True, slots=True)
class Endpoint:
    """An address that events of a tenant go to; without `events` it takes all. Times are in microseconds.

    `old_until` says until when the secret before the present one signs too. `given` says that its manifest gives the
    secret. One that is managed by `listen` belongs to an operator's terminal and goes at `expires_at`.
    """

    id: str
    tenant_id: str
    url: str
    events: tuple[str, ...]
    state: EndpointState
    managed: Managed
    given: bool
    created_at: int
    updated_at: int
    old_until: int | None = None
    expires_at: int | None = None


@dataclass(frozen=True, slots=True)
class Attempt:
    """One try to deliver: what was answered, or why nothing was. `duration` is in microseconds."""

    at: int
    duration: int
    status: int | None = None
    answer: str | None = None
    error: str | None = None


@dataclass(frozen=True, slots=True)
class Delivery:
    """An event on its way to an endpoint; `body` is what is sent. Times are in microseconds."""

    id: str
    tenant_id: str
    endpoint_id: str
    event_id: str
    event: str
    body: str
    state: DeliveryState
    created_at: int
    next_attempt_at: int | None
    finished_at: int | None
    attempts: Sequence[Attempt] = ()


def new_secret() -> str:
    """A secret that deliveries of an endpoint are signed with."""
    return _WHSEC + base64.b64encode(secrets.token_bytes(SECRET_BYTES)).decode()


def secret_bytes(secret: str) -> bytes:
    """The key behind a secret.

    Raises:
        Invalid: it is none.
    """
    try:
        key = base64.b64decode(secret.removeprefix(_WHSEC), validate=True)
    except (binascii.Error, ValueError):
        key = b""
    if not secret.startswith(_WHSEC) or not 24 <= len(key) <= 64:
        raise Invalid(f"A webhook's secret is {_WHSEC} and 24 to 64 bytes in base64", field="secret")
    return key


def check_events(events: Sequence[str]) -> None:
    """Whether an endpoint can ask for these events.

    Raises:
        Invalid: one is unknown; the message names those there are.
    """
    for event in events:
        if event not in EVENTS:
            raise Invalid(f"There is no event {event[:100]!r}; there are {', '.join(EVENTS)}", field="events")


def body_of(event: str, data: str) -> str:
    """What is sent of an event whose data is this JSON text."""
    return f'{{"event":"{event}","data":{data}}}'


def signed(keys: Sequence[str], event_id: str, timestamp: int, body: bytes) -> dict[str, str]:
    """The headers of a delivery that is sent at `timestamp`, in seconds, with a signature for each secret."""
    told = b"%b.%d.%b" % (event_id.encode(), timestamp, body)
    return {
        "webhook-id": event_id,
        "webhook-timestamp": str(timestamp),
        "webhook-signature": " ".join(_signature(secret_bytes(key), told) for key in keys),
    }


def is_genuine(secret: str, headers: Mapping[str, str], body: bytes, now: int) -> bool:
    """Whether a delivery was signed with this secret not long before `now`, in seconds; names are in lower case."""
    event_id, timestamp = headers.get("webhook-id", ""), headers.get("webhook-timestamp", "")
    if not (timestamp.isascii() and timestamp.isdigit()) or abs(now - int(timestamp)) > TOLERANCE:
        return False
    wanted = signed([secret], event_id, int(timestamp), body)["webhook-signature"]
    given = headers.get("webhook-signature", "").split(" ")
    return any(hmac.compare_digest(wanted.encode(), each.encode()) for each in given)


def retry_after(text: str | None, now: int) -> int:
    """The microseconds that a Retry-After header asks to wait from `now`: at most a day, 0 where it asks nothing."""
    if text is None:
        return 0
    if text.strip().isascii() and text.strip().isdigit():
        return min(int(text.strip()[:9]) * _SECONDS, LONGEST_PAUSE)
    try:
        wanted = int(parsedate_to_datetime(text).timestamp() * _SECONDS) - now
    except (ValueError, OverflowError):
        return 0
    return max(0, min(wanted, LONGEST_PAUSE))


def message_told(
    conversation_id: str,
    message_id: str,
    agent_id: str,
    role: str,
    text: str,
    metadata: Mapping[str, Any] | None,
    created_at: int,
) -> dict[str, Any]:
    """The data of an event about a message, as S1 has it."""
    return {
        "conversation_id": prefixed("conv", conversation_id),
        "message_id": prefixed("msg", message_id),
        "message": text,
        "role": role,
        "metadata": metadata,
        "agent_id": prefixed("agent", agent_id),
        "created_at": iso(created_at),
    }


def conversation_told(conversation_id: str, agent_id: str, at: int, **more: Any) -> dict[str, Any]:
    """The data of an event about a conversation."""
    return {
        "conversation_id": prefixed("conv", conversation_id),
        "agent_id": prefixed("agent", agent_id),
        **more,
        "created_at": iso(at),
    }


def wants(events: Collection[str], event: str) -> bool:
    """Whether an endpoint that asks for these events takes this one."""
    return not events or event in events


def _signature(key: bytes, told: bytes) -> str:
    return "v1," + base64.b64encode(hmac.digest(key, told, "sha256")).decode()
