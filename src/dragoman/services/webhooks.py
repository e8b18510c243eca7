"""Endpoints that events of a tenant go to: made, changed, tried, taken back; their deliveries looked at and made anew.

Knows no SQL and no route.
"""

from collections.abc import Callable, Sequence
from contextlib import suppress
from dataclasses import replace
from typing import Any

from dragoman.core.clock import iso, now_us
from dragoman.core.errors import Conflict, Invalid, NotFound
from dragoman.core.ids import new_id, prefixed
from dragoman.core.webhooks import (
    TEST_EVENT,
    Delivery,
    DeliveryState,
    Endpoint,
    check_events,
    new_secret,
    secret_bytes,
)
from dragoman.ports.audit import Place
from dragoman.ports.egress import Unfetchable
from dragoman.ports.secrets import Sealer
from dragoman.ports.store import Store
from dragoman.services.audit import Audit

# How long the secret before a new one signs too.
OVERLAP_US = 24 * 3600 * 1_000_000
MOST_ENDPOINTS = 200
# How long an endpoint of a terminal stays that is not heard of.
LISTENING_US = 60 * 1_000_000

NO_ENDPOINT = "There is no such webhook"
NO_DELIVERY = "There is no such delivery"
MANAGED = "A manifest made this webhook: it is changed there"

# Whether an address may be requested, as far as its text tells: `adapters.guard.target`.
Judge = Callable[..., object]


def purpose(tenant_id: str, endpoint_id: str) -> str:
    """What the secret of an endpoint is sealed for."""
    return f"webhook {tenant_id} {endpoint_id}"


class Webhooks:
    """The endpoints of tenants; what is done to them is in the audit log. `wake` is called when something is due."""

    def __init__(
        self, store: Store, sealer: Sealer, audit: Audit, judge: Judge, wake: Callable[[], None] = lambda: None
    ) -> None:
        self._store = store
        self._sealer = sealer
        self._audit = audit
        self._judge = judge
        self._wake = wake

    async def all(self, tenant_id: str) -> Sequence[Endpoint]:
        """The tenant's endpoints, newest first."""
        return await self._store.endpoints.all(tenant_id)

    async def get(self, tenant_id: str, endpoint_id: str) -> Endpoint:
        """An endpoint.

        Raises:
            NotFound
        """
        found = await self._store.endpoints.get(tenant_id, endpoint_id)
        if found is None:
            raise NotFound(NO_ENDPOINT)
        return found

    async def create(self, tenant_id: str, actor: str, url: str, events: Sequence[str]) -> tuple[Endpoint, str]:
        """Make an endpoint for these events, all where none are named; it and its secret, which is not shown again.

        Raises:
            Invalid: an event is unknown, or the URL is none that may be reached.
            NameTaken, Conflict: there is one of this URL, or there are too many.
        """
        await self._check(tenant_id, url, events)
        if len(await self.all(tenant_id)) >= MOST_ENDPOINTS:
            raise Conflict(f"There are {MOST_ENDPOINTS} webhooks already; delete one first")
        made, secret = _new(tenant_id, url, events), new_secret()
        await self._keep(made, secret)
        await self._note(actor, "webhook.created", made)
        return made, secret

    async def change(
        self, tenant_id: str, actor: str, endpoint_id: str, url: str | None, events: Sequence[str] | None
    ) -> Endpoint:
        """Change the URL or the events of an endpoint; None leaves them as they are.

        Raises:
            NotFound, Invalid, NameTaken
            Conflict: a manifest or a terminal made it.
        """
        found = await self._own(tenant_id, endpoint_id)
        changed = replace(
            found,
            url=found.url if url is None else url,
            events=found.events if events is None else _distinct(events),
        )
        if changed == found:
            return found
        await self._check(tenant_id, changed.url, changed.events)
        changed = replace(changed, updated_at=now_us())
        await self._store.endpoints.change(changed)
        await self._note(actor, "webhook.changed", changed)
        return changed

    async def delete(self, tenant_id: str, actor: str, endpoint_id: str) -> None:
        """Forget an endpoint and all of its deliveries.

        Raises:
            NotFound
            Conflict: a manifest made it.
        """
        found = await self._own(tenant_id, endpoint_id)
        await self._store.endpoints.delete(tenant_id, endpoint_id)
        await self._note(actor, "webhook.deleted", found)

    async def rotate(self, tenant_id: str, actor: str, endpoint_id: str) -> tuple[Endpoint, str]:
        """Have a new secret sign; the one before signs too for a day. The endpoint and the secret, shown this once.

        Raises:
            NotFound
            Conflict: its manifest gives the secret.
        """
        found = await self.get(tenant_id, endpoint_id)
        if found.given or found.managed == "listen":
            raise Conflict(MANAGED)
        secret = new_secret()
        await self._rotate(found, secret)
        await self._note(actor, "webhook.rotated", found)
        return await self.get(tenant_id, endpoint_id), secret

    async def enable(self, tenant_id: str, actor: str, endpoint_id: str) -> Endpoint:
        """Let events come again; what has been parked can be made anew.

        Raises:
            NotFound
        """
        found = await self.get(tenant_id, endpoint_id)
        if found.state == "active":
            return found
        await self._store.endpoints.set_state(tenant_id, endpoint_id, "active", now_us())
        await self._note(actor, "webhook.enabled", found)
        return await self.get(tenant_id, endpoint_id)

    async def test(self, tenant_id: str, endpoint_id: str) -> Delivery:
        """Send an event that tells of nothing; it on its way.

        Raises:
            NotFound
            Conflict: the endpoint is disabled.
        """
        found, now = await self.get(tenant_id, endpoint_id), now_us()
        data = {"webhook_id": prefixed("wh", found.id), "created_at": iso(now)}
        made = await self._store.deliveries.announce(tenant_id, found.id, TEST_EVENT, data, now)
        self._wake()
        return await self.delivery(tenant_id, made)

    async def deliveries(
        self, tenant_id: str, endpoint_id: str, state: DeliveryState | None, limit: int, before: Place | None
    ) -> Sequence[Delivery]:
        """Deliveries of an endpoint before a place, newest first.

        Raises:
            NotFound
        """
        await self.get(tenant_id, endpoint_id)
        return await self._store.deliveries.page(tenant_id, endpoint_id, state, limit, before)

    async def delivery(self, tenant_id: str, delivery_id: str) -> Delivery:
        """A delivery.

        Raises:
            NotFound
        """
        found = await self._store.deliveries.get(tenant_id, delivery_id)
        if found is None:
            raise NotFound(NO_DELIVERY)
        return found

    async def replay(self, tenant_id: str, actor: str, delivery_id: str) -> Delivery:
        """Make a delivery anew, whatever became of it, under the same event id.

        Raises:
            NotFound
            Conflict: the endpoint is disabled.
        """
        found = await self._store.deliveries.replay(tenant_id, delivery_id, now_us())
        if found is None:
            raise NotFound(NO_DELIVERY)
        self._wake()
        await self._audit.record(tenant_id, actor, "delivery.replayed", prefixed("dlv", delivery_id))
        return found

    async def replay_all(
        self, tenant_id: str, actor: str, endpoint_id: str, since: int, until: int, state: DeliveryState | None
    ) -> int:
        """Make those deliveries of an endpoint anew that were queued in a span, in microseconds; how many.

        Raises:
            NotFound
            Conflict: the endpoint is disabled.
        """
        found = await self.get(tenant_id, endpoint_id)
        count = await self._store.deliveries.replay_all(tenant_id, found.id, since, until, state, now_us())
        self._wake()
        detail = {"since": iso(since), "until": iso(until), "deliveries": count}
        await self._audit.record(tenant_id, actor, "webhook.replayed", prefixed("wh", found.id), **detail)
        return count

    async def bring_to(
        self, tenant_id: str, url: str, events: Sequence[str], secret: str | None, *, allow_private: bool
    ) -> tuple[str, str | None]:
        """Make an endpoint what a manifest says: `created`, `updated` or `unchanged`, and a secret that was made here.

        `allow_private` is what the manifest says of the tenant.

        Raises:
            Invalid: an event is unknown, the URL is none that may be reached, or the secret is none.
        """
        self._check_said(url, events, allow_private=allow_private)
        if secret is not None:
            secret_bytes(secret)
        there = {each.url: each for each in await self.all(tenant_id)}.get(url)
        if there is None:
            made = replace(_new(tenant_id, url, events), managed="manifest", given=secret is not None)
            kept = secret or new_secret()
            await self._keep(made, kept)
            return "created", kept if secret is None else None
        given = there.given or secret is not None
        wanted = replace(there, events=_distinct(events), managed="manifest", given=given, expires_at=None)
        same_secret = secret is None or secret == await self._secret(there)
        if wanted == there and same_secret:
            return "unchanged", None
        await self._store.endpoints.change(replace(wanted, updated_at=now_us()))
        if secret is not None and not same_secret:
            await self._rotate(there, secret)
        return "updated", None

    async def listen(self, tenant_ids: Sequence[str], port: int, events: Sequence[str]) -> list[tuple[Endpoint, str]]:
        """Have events of tenants go to a terminal on this machine, for as long as it says that it is there.

        Raises:
            Invalid: an event is unknown.
            NotFound: there is no such tenant.
        """
        check_events(events)
        for tenant_id in tenant_ids:
            if await self._store.tenants.get(tenant_id) is None:
                raise NotFound(f"there is no tenant {tenant_id!r}")
        listening = []
        for tenant_id in tenant_ids:
            made, secret = _new(tenant_id, f"http://127.0.0.1:{port}/{tenant_id}", events), new_secret()
            made = replace(made, managed="listen", expires_at=made.created_at + LISTENING_US)
            await self._keep(made, secret)
            listening.append((made, secret))
        return listening

    async def keep_listening(self, tenant_id: str, endpoint_id: str) -> None:
        """Say that a terminal is still there.

        Raises:
            NotFound
        """
        found = await self.get(tenant_id, endpoint_id)
        await self._store.endpoints.change(replace(found, expires_at=now_us() + LISTENING_US))

    async def stop_listening(self, tenant_id: str, endpoint_id: str) -> None:
        """Say that a terminal has gone."""
        with suppress(NotFound):
            if (await self.get(tenant_id, endpoint_id)).managed == "listen":
                await self._store.endpoints.delete(tenant_id, endpoint_id)

    async def _check(self, tenant_id: str, url: str, events: Sequence[str]) -> None:
        tenant = await self._store.tenants.get(tenant_id)
        self._check_said(url, events, allow_private=tenant is not None and tenant.allow_private)

    def _check_said(self, url: str, events: Sequence[str], *, allow_private: bool) -> None:
        check_events(events)
        try:
            self._judge(url, allow_private=allow_private)
        except Unfetchable as error:
            raise Invalid(str(error), field="url") from error

    async def _own(self, tenant_id: str, endpoint_id: str) -> Endpoint:
        """An endpoint that the API may change. One of a terminal may reach what tenants may not: it stays as it is."""
        found = await self.get(tenant_id, endpoint_id)
        if found.managed != "api":
            raise Conflict(MANAGED if found.managed == "manifest" else "An operator's terminal listens there")
        return found

    async def _keep(self, endpoint: Endpoint, secret: str) -> None:
        await self._store.endpoints.create(
            endpoint, self._sealer.seal(secret, purpose(endpoint.tenant_id, endpoint.id))
        )

    async def _rotate(self, endpoint: Endpoint, secret: str) -> None:
        now = now_us()
        sealed = self._sealer.seal(secret, purpose(endpoint.tenant_id, endpoint.id))
        await self._store.endpoints.rotate(endpoint.tenant_id, endpoint.id, sealed, now + OVERLAP_US, now)

    async def _secret(self, endpoint: Endpoint) -> str | None:
        """The secret that signs now, None where it cannot be read any more."""
        sealed = await self._store.endpoints.key(endpoint.tenant_id, endpoint.id)
        try:
            return None if sealed is None else self._sealer.open(sealed, purpose(endpoint.tenant_id, endpoint.id))
        except ValueError:
            return None

    async def _note(self, actor: str, action: str, endpoint: Endpoint) -> None:
        detail: dict[str, Any] = {"url": endpoint.url, "events": list(endpoint.events)}
        await self._audit.record(endpoint.tenant_id, actor, action, prefixed("wh", endpoint.id), **detail)


def _new(tenant_id: str, url: str, events: Sequence[str]) -> Endpoint:
    now = now_us()
    return Endpoint(new_id(), tenant_id, url, _distinct(events), "active", "api", False, now, now)


def _distinct(events: Sequence[str]) -> tuple[str, ...]:
    return tuple(dict.fromkeys(events))
