"""Deliveries of events: leased, signed, sent, tried again by the schedule, parked in the end. Knows no SQL."""

import asyncio
import contextlib
import time
from collections import Counter
from collections.abc import Callable
from dataclasses import dataclass

import structlog

from dragoman.core.clock import now_us
from dragoman.core.errors import Unavailable
from dragoman.core.ids import prefixed
from dragoman.core.text import keepable
from dragoman.core.webhooks import PAUSES, Attempt, DeliveryState, retry_after, signed
from dragoman.ports.egress import Answer, Bounds, Unfetchable, WayOut
from dragoman.ports.secrets import Sealer
from dragoman.ports.store import Store
from dragoman.ports.webhooks import Work
from dragoman.services.webhooks import purpose

LOOK_INTERVAL = 0.25
RELEASE_INTERVAL = 5.0
# No attempt takes as long, with all that comes before and after it.
LEASE_US = 60 * 1_000_000
# So many at once to one endpoint, so that one which is slow or dead leaves room for the others.
MOST_EACH = 8
MOST = 512
BOUNDS = Bounds(body_bytes=64 << 10, seconds=15.0)
KEPT_BYTES = 4096

_log = structlog.get_logger(__name__)


@dataclass(frozen=True, slots=True)
class _Outcome:
    """What comes of an attempt: whether the endpoint is gone, and when it is tried again, if it is."""

    attempt: Attempt
    state: DeliveryState
    due: int | None = None
    gone: bool = False


class Deliverer:
    """Sends what is due. `now` is the clock, in microseconds since the epoch."""

    def __init__(self, store: Store, way_out: WayOut, sealer: Sealer, now: Callable[[], int] = now_us) -> None:
        self._store = store
        self._way_out = way_out
        self._sealer = sealer
        self._now = now
        self._news = asyncio.Event()
        self._in_flight: dict[str, asyncio.Task[None]] = {}
        self._busy: Counter[str] = Counter()

    def wake(self) -> None:
        """Something may be due."""
        self._news.set()

    async def run_for_ever(self) -> None:
        """Send what is due until cancelled."""
        try:
            await asyncio.gather(self._release_for_ever(), self._deliver_for_ever())
        finally:
            for task in self._in_flight.values():
                task.cancel()
            await asyncio.gather(*self._in_flight.values(), return_exceptions=True)

    async def work_off(self) -> None:
        """Send everything that is due now, and what becomes due by that."""
        while await self._begin() or self._in_flight:
            await asyncio.gather(*self._in_flight.values(), return_exceptions=True)

    async def _deliver_for_ever(self) -> None:
        while True:
            self._news.clear()
            try:
                await self._begin()
            except Unavailable as error:
                _log.warning("delivery_waits", error=error.message)
            except Exception:
                _log.exception("delivery_failed")
            with contextlib.suppress(TimeoutError):
                async with asyncio.timeout(LOOK_INTERVAL):
                    await self._news.wait()

    async def _release_for_ever(self) -> None:
        while True:
            try:
                if freed := await self._store.deliveries.release(self._in_flight.keys(), self._now()):
                    _log.info("leases_freed", deliveries=freed)
                    self._news.set()
            except Unavailable as error:
                _log.warning("delivery_waits", error=error.message)
            except Exception:
                _log.exception("delivery_failed")
            await asyncio.sleep(RELEASE_INTERVAL)

    async def _begin(self) -> int:
        """Lease what is due and there is room for, and begin to send it; how much."""
        room = MOST - len(self._in_flight)
        claims = []
        for tenant_id, endpoint_id in await self._store.deliveries.due(self._now()):
            most = min(MOST_EACH - self._busy[endpoint_id], room)
            if most > 0:
                room -= most
                claims.append(self._claim(tenant_id, endpoint_id, most))
        return sum(await asyncio.gather(*claims))

    async def _claim(self, tenant_id: str, endpoint_id: str, most: int) -> int:
        now = self._now()
        claimed = await self._store.deliveries.claim(tenant_id, endpoint_id, most, now, now + LEASE_US)
        for work in claimed:
            self._busy[endpoint_id] += 1
            self._in_flight[work.id] = asyncio.create_task(self._carry(work))
        return len(claimed)

    async def _carry(self, work: Work) -> None:
        """Make one attempt and note it. Where that cannot be noted, the lease runs out and another attempt is made."""
        told = {"delivery_id": prefixed("dlv", work.id), "tenant_id": work.tenant_id}
        try:
            outcome = await self._attempt(work)
            if outcome.gone:
                _log.warning("endpoint_gone", endpoint_id=prefixed("wh", work.endpoint_id), **told)
                await self._store.endpoints.set_state(work.tenant_id, work.endpoint_id, "disabled", self._now())
            elif outcome.state == "failed":
                _log.warning("delivery_parked", **told)
            await self._store.deliveries.finish(work, outcome.attempt, outcome.state, outcome.due, self._now())
        except Unavailable as error:
            _log.warning("delivery_not_noted", error=error.message, **told)
        except Exception:
            _log.exception("delivery_failed", **told)
        finally:
            self._busy[work.endpoint_id] -= 1
            if not self._busy[work.endpoint_id]:
                del self._busy[work.endpoint_id]
            del self._in_flight[work.id]
            self._news.set()

    async def _attempt(self, work: Work) -> _Outcome:
        began, at = time.monotonic(), self._now()

        def tried(answer: Answer | None = None, error: str | None = None) -> Attempt:
            took = int((time.monotonic() - began) * 1_000_000)
            if answer is None:
                return Attempt(at, took, error=error)
            said = keepable(answer.body[:KEPT_BYTES].decode(errors="replace"))
            return Attempt(at, took, answer.status, said)

        keys = []
        for key in work.keys:
            # One that was replaced signs too for a while; where that one cannot be read, the newest is enough.
            with contextlib.suppress(ValueError):
                keys.append(self._sealer.open(key, purpose(work.tenant_id, work.endpoint_id)))
        if not keys:
            _log.error("webhook_secret_unreadable", tenant_id=work.tenant_id)
            return _Outcome(tried(error="Its secret cannot be read any more; rotate it"), "failed")
        body = work.body.encode()
        headers = {
            "content-type": "application/json",
            **signed(keys, prefixed("evt", work.event_id), at // 1_000_000, body),
        }
        try:
            answer = await self._way_out.request(
                "POST",
                work.url,
                allow_private=work.allow_private,
                headers=headers,
                body=body,
                bounds=BOUNDS,
                follow=False,
                cut=True,
            )
        except Unfetchable as error:
            return self._again(work, tried(error=str(error)), 0)
        if 200 <= answer.status < 300:
            return _Outcome(tried(answer), "delivered")
        if answer.status == 410:
            return _Outcome(tried(answer), "failed", gone=True)
        wished = answer.headers.get("retry-after") if answer.status in (429, 503) else None
        return self._again(work, tried(answer), retry_after(wished, self._now()))

    def _again(self, work: Work, attempt: Attempt, least: int) -> _Outcome:
        """It is tried again by the schedule, not sooner than the endpoint asks for; at its end it is parked."""
        if work.attempts >= len(PAUSES):
            return _Outcome(attempt, "failed")
        return _Outcome(attempt, "pending", self._now() + max(PAUSES[work.attempts], least))
