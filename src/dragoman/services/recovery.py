"""Closing turns whose process died, at start and ever after; forgetting what is too old. Knows no model."""

import asyncio

import structlog

from dragoman.core.clock import now_us
from dragoman.core.errors import Unavailable
from dragoman.ports.store import Store
from dragoman.services.live import Live

SWEEP_INTERVAL = 5.0
PRUNE_EVERY = 120
KEYS_KEPT_US = 24 * 3600 * 1_000_000
LONGEST_PAUSE_US = 24 * 3600 * 1_000_000
DELIVERIES_KEPT_US = 30 * 24 * 3600 * 1_000_000

_log = structlog.get_logger(__name__)


class Recovery:
    """Keeps the rule that no turn is running without a live owner. `resume_window` is in seconds."""

    def __init__(self, store: Store, live: Live, resume_window: float) -> None:
        self._store = store
        self._live = live
        self._resume_window_us = int(resume_window * 1_000_000)

    async def sweep(self) -> int:
        """Close every orphan; how many there were."""
        interrupted = await self._store.turns.interrupt_orphans(self._live.runs, now_us())
        if interrupted:
            _log.warning("turns_interrupted", turns=interrupted)
        return interrupted

    async def give_up(self) -> None:
        """End what waits for persons who have not come in time: approvals and handovers."""
        now = now_us()
        if ended := await self._store.turns.end_approvals(now):
            _log.info("approvals_expired", approvals=ended)
        if ended := await self._store.handovers.end_overdue(now):
            _log.info("handovers_ended", conversations=ended)

    async def prune(self) -> None:
        """Forget logs, idempotency keys and deliveries whose time is over; end pauses that last for too long."""
        now = now_us()
        if ended := await self._store.turns.end_pauses(now - LONGEST_PAUSE_US, now):
            _log.info("pauses_ended", turns=ended)
        await self._store.turns.prune(now - self._resume_window_us, now - KEYS_KEPT_US)
        await self._store.deliveries.prune(now - DELIVERIES_KEPT_US)
        await self._store.endpoints.delete_expired(now)

    async def run_for_ever(self) -> None:
        """Sweep and prune until cancelled."""
        rounds = 0
        while True:
            await asyncio.sleep(SWEEP_INTERVAL)
            rounds += 1
            try:
                await self.sweep()
                await self.give_up()
                if rounds % PRUNE_EVERY == 0:
                    await self.prune()
            except Unavailable as error:
                _log.warning("recovery_waits", error=error.message)
            except Exception:
                _log.exception("recovery_failed")
