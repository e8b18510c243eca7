"""Which events the endpoints of tenants take, as it was a moment ago. Knows no table."""

import time
from collections.abc import Collection, Sequence

REMEMBERED_SECONDS = 2.0
REMEMBERED = 10_000

# The id of an endpoint and the events that it takes; none stand for all.
Subscription = tuple[str, Collection[str]]


class Subscriptions:
    """What each tenant's endpoints take: what changes elsewhere is seen within two seconds."""

    def __init__(self) -> None:
        self._known: dict[str, tuple[float, Sequence[Subscription]]] = {}

    def of(self, tenant_id: str) -> Sequence[Subscription] | None:
        """What is remembered of a tenant; None where it is to be looked up."""
        known = self._known.get(tenant_id)
        return known[1] if known is not None and time.monotonic() < known[0] else None

    def keep(self, tenant_id: str, found: Sequence[Subscription]) -> None:
        """Remember what has just been looked up."""
        if len(self._known) >= REMEMBERED:
            self._known.clear()
        self._known[tenant_id] = (time.monotonic() + REMEMBERED_SECONDS, found)

    def forget(self) -> None:
        """Something has changed here."""
        self._known.clear()
