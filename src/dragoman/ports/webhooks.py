"""The ports to endpoints of tenants and to what is on its way to them. Each method is one transaction; knows no SQL."""

from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Protocol

from dragoman.core.webhooks import Attempt, Delivery, DeliveryState, Endpoint, EndpointState
from dragoman.ports.audit import Place


@dataclass(frozen=True, slots=True)
class Work:
    """A delivery that this process has leased; `attempts` have been made since it was queued.

    `keys` are the sealed secrets that sign it, the newest first. `allow_private` says that it may reach private
    networks.
    """

    id: str
    tenant_id: str
    endpoint_id: str
    event_id: str
    ordered_by: str | None
    attempts: int
    body: str
    url: str
    keys: Sequence[bytes]
    allow_private: bool


class EndpointStore(Protocol):
    """Endpoints of every tenant, with their secrets sealed."""

    async def create(self, endpoint: Endpoint, sealed: bytes) -> None:
        """Keep a new endpoint.

        Raises:
            NameTaken: the tenant has an endpoint of this URL.
        """
        ...

    async def all(self, tenant_id: str) -> Sequence[Endpoint]:
        """The tenant's endpoints, newest first."""
        ...

    async def get(self, tenant_id: str, endpoint_id: str) -> Endpoint | None:
        """The tenant's endpoint of this id."""
        ...

    async def key(self, tenant_id: str, endpoint_id: str) -> bytes | None:
        """The sealed secret that signs now."""
        ...

    async def change(self, endpoint: Endpoint) -> None:
        """Bring what is said of an endpoint to this: its URL, events, who manages it and when it goes.

        Raises:
            NameTaken: the tenant has another endpoint of this URL.
        """
        ...

    async def rotate(self, tenant_id: str, endpoint_id: str, sealed: bytes, old_until: int, now: int) -> None:
        """Have another secret sign; the one before signs too until then."""
        ...

    async def set_state(self, tenant_id: str, endpoint_id: str, state: EndpointState, now: int) -> None:
        """Let events come again, or have them stop and park what is on its way."""
        ...

    async def delete(self, tenant_id: str, endpoint_id: str) -> bool:
        """Forget an endpoint with all of its deliveries; whether it was there."""
        ...

    async def delete_expired(self, now: int) -> None:
        """Forget endpoints of terminals that have gone."""
        ...


class DeliveryStore(Protocol):
    """What is on its way to endpoints, and what became of it."""

    async def due(self, now: int) -> Sequence[tuple[str, str]]:
        """The tenants and ids of active endpoints that something may be due for."""
        ...

    async def claim(self, tenant_id: str, endpoint_id: str, most: int, now: int, until: int) -> Sequence[Work]:
        """Lease so much of what is due for an endpoint until then: of each conversation what waits for longest."""
        ...

    async def finish(self, work: Work, attempt: Attempt, state: DeliveryState, due: int | None, now: int) -> None:
        """Note an attempt and give back the lease; what is still pending is due at `due`.

        What comes behind it in its order waits as long, or is due now where it is no longer pending.
        """
        ...

    async def release(self, in_flight: Collection[str], now: int) -> int:
        """Free what the dead had leased, and what was leased for too long and is not `in_flight` here; how much."""
        ...

    async def announce(self, tenant_id: str, endpoint_id: str, event: str, data: Mapping[str, Any], now: int) -> str:
        """Have one endpoint told of an event; the id of the delivery.

        Raises:
            Conflict: it is not active.
        """
        ...

    async def page(
        self, tenant_id: str, endpoint_id: str, state: DeliveryState | None, limit: int, before: Place | None
    ) -> Sequence[Delivery]:
        """Deliveries of an endpoint before a place, newest first, with their attempts."""
        ...

    async def get(self, tenant_id: str, delivery_id: str) -> Delivery | None:
        """The tenant's delivery of this id, with its attempts."""
        ...

    async def replay(self, tenant_id: str, delivery_id: str, now: int) -> Delivery | None:
        """Have a delivery made anew; it as it is then, None where there is no such one.

        Raises:
            Conflict: its endpoint is not active.
        """
        ...

    async def replay_all(
        self, tenant_id: str, endpoint_id: str, since: int, until: int, state: DeliveryState | None, now: int
    ) -> int:
        """Have those deliveries of an endpoint made anew that were queued in this span, both ends included; how many.

        Raises:
            Conflict: the endpoint is not active.
        """
        ...

    async def prune(self, before: int) -> None:
        """Forget what was done with before then."""
        ...
