"""How often somebody may ask: the tenant's plan, the route's bucket, a visitor's own bounds. Knows no header."""

from collections.abc import Sequence

from dragoman.core.clock import now_us
from dragoman.core.errors import Unauthenticated
from dragoman.core.limits import DAY, MINUTE, Admission, Bucket, Window
from dragoman.core.tenants import Principal
from dragoman.ports.limits import Limiter
from dragoman.ports.store import Store
from dragoman.services.remembered import Remembered

# What one address may ask in a minute behind one publishable key, in place of which the key may have its own.
SENDS = ("sends", 60, "chat_per_minute")
READS = ("reads", 100, "manage_per_minute")
# What one address may ask in a minute of a tenant's public agents.
PUBLIC_PER_MINUTE = 20


class Metering:
    """Counts requests and messages against their limits."""

    def __init__(self, store: Store, limiter: Limiter) -> None:
        self._store = store
        self._limiter = limiter
        self._plans = Remembered(self._plan)

    async def admit(
        self, principal: Principal, address: str, *, bucket: Bucket | None = None, sends: bool = False
    ) -> Admission:
        """Count one request, or one message of a socket, of whoever acts from this address.

        `sends` says that it begins a turn; it tells a visitor's sends from what he reads.

        Raises:
            Unauthenticated: there is no such tenant.
            Unavailable
        """
        if principal.type == "public":
            windows: Sequence[Window] = (Window("public", PUBLIC_PER_MINUTE, MINUTE, address=address),)
        else:
            windows = await self._plans.get(principal.tenant_id)
            if bucket is not None:
                windows = (*windows, _of_route(principal, bucket))
            if principal.type == "publishable":
                windows = (*windows, _of_visitor(principal, address, sends))
        return await self._limiter.take(principal.tenant_id, windows, now_us())

    async def _plan(self, tenant_id: str) -> Sequence[Window]:
        tenant = await self._store.tenants.get(tenant_id)
        if tenant is None:
            raise Unauthenticated
        per_minute, per_day = tenant.limits
        day = () if per_day is None else (Window("day", per_day, DAY),)
        return (Window("minute", per_minute, MINUTE), *day)


def _of_route(principal: Principal, bucket: Bucket) -> Window:
    limit = dict(principal.limits).get(bucket.override or "", bucket.per_minute)
    return Window(bucket.name, limit, MINUTE, key_id=(principal.key_id or "") if bucket.per == "key" else "")


def _of_visitor(principal: Principal, address: str, sends: bool) -> Window:
    """By address and not by visitor: whoever comes without a token is a new visitor."""
    name, per_minute, override = SENDS if sends else READS
    limit = dict(principal.limits).get(override, per_minute)
    return Window(name, limit, MINUTE, key_id=principal.key_id or "", address=address)
