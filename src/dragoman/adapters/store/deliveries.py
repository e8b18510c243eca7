"""Deliveries of events to endpoints: leased, tried, noted and made anew, in their order. Knows no HTTP.

Of what waits for one endpoint and has the same `ordered_by`, that of the lowest position alone is ever leased.
"""

from collections.abc import Collection, Mapping, Sequence
from typing import Any

from dragoman.adapters.store import outbox
from dragoman.adapters.store.audit import NEWEST
from dragoman.adapters.store.driver import Database, Row, Transaction, across_tenants
from dragoman.core.errors import Conflict
from dragoman.core.webhooks import Attempt, Delivery, DeliveryState, body_of
from dragoman.ports.audit import Place
from dragoman.ports.webhooks import Work

DUE = """SELECT tenant_id, id FROM endpoints WHERE state = 'active' AND EXISTS (
    SELECT 1 FROM deliveries WHERE endpoint_id = endpoints.id AND state = 'pending' AND next_attempt_at <= :now
        AND lease_owner IS NULL)"""
CLAIM = """UPDATE deliveries SET lease_owner = :owner, leased_until = :until
    WHERE tenant_id = :tenant_id AND lease_owner IS NULL AND state = 'pending' AND position IN (
        SELECT position FROM deliveries due WHERE endpoint_id = :endpoint_id AND tenant_id = :tenant_id
            AND state = 'pending' AND next_attempt_at <= :now AND lease_owner IS NULL
            AND NOT EXISTS (SELECT 1 FROM deliveries earlier WHERE earlier.endpoint_id = :endpoint_id
                AND earlier.tenant_id = :tenant_id AND earlier.ordered_by = due.ordered_by
                AND earlier.state = 'pending' AND earlier.position < due.position)
        ORDER BY next_attempt_at, position LIMIT :most)
    RETURNING id"""
WORK = """SELECT d.id, d.tenant_id, d.endpoint_id, d.event_id, d.ordered_by, d.attempts, o.event, o.data, e.url,
        e.sealed_secret, CASE WHEN e.old_until > :now THEN e.old_secret END, e.managed, t.allow_private
    FROM deliveries d JOIN outbox o ON o.id = d.event_id AND o.tenant_id = d.tenant_id
        JOIN endpoints e ON e.id = d.endpoint_id AND e.tenant_id = d.tenant_id JOIN tenants t ON t.id = d.tenant_id
    WHERE d.id = :id AND d.tenant_id = :tenant_id"""
# What was parked meanwhile stays so, unless it has arrived.
FINISH = """UPDATE deliveries SET
        state = CASE WHEN state = 'failed' AND :state = 'pending' THEN state ELSE :state END,
        next_attempt_at = CASE WHEN state = 'failed' THEN NULL ELSE CAST(:due AS BIGINT) END,
        finished_at = COALESCE(CAST(:finished_at AS BIGINT), finished_at),
        attempts = attempts + 1, lease_owner = NULL, leased_until = NULL
    WHERE id = :id AND tenant_id = :tenant_id AND lease_owner = :owner"""
NOTE = """INSERT INTO delivery_attempts (delivery_id, number, tenant_id, at, duration, status, answer, error)
    SELECT CAST(:id AS TEXT), COALESCE(MAX(number), 0) + 1, CAST(:tenant_id AS TEXT), CAST(:at AS BIGINT),
        CAST(:duration AS BIGINT), CAST(:status AS BIGINT), CAST(:answer AS TEXT), CAST(:error AS TEXT)
    FROM delivery_attempts WHERE delivery_id = :id AND tenant_id = :tenant_id"""
HOLD_BACK = """UPDATE deliveries SET next_attempt_at = :due
    WHERE endpoint_id = :endpoint_id AND tenant_id = :tenant_id AND ordered_by = :ordered_by AND state = 'pending'
        AND next_attempt_at < :due"""
GO_ON = """UPDATE deliveries SET next_attempt_at = :now
    WHERE tenant_id = :tenant_id AND next_attempt_at > :now AND position = (
        SELECT MIN(position) FROM deliveries WHERE endpoint_id = :endpoint_id AND tenant_id = :tenant_id
            AND ordered_by = :ordered_by AND state = 'pending')"""
OWNERS = "SELECT DISTINCT lease_owner FROM deliveries WHERE lease_owner IS NOT NULL"
OVERDUE = "SELECT id FROM deliveries WHERE lease_owner IS NOT NULL AND leased_until < :now"
RELEASE_OWNER = "UPDATE deliveries SET lease_owner = NULL, leased_until = NULL WHERE lease_owner = :owner"
RELEASE = "UPDATE deliveries SET lease_owner = NULL, leased_until = NULL WHERE id = :id AND leased_until < :now"
SHOWN = """SELECT d.id, d.tenant_id, d.endpoint_id, d.event_id, o.event, o.data, d.state, d.created_at,
        d.next_attempt_at, d.finished_at
    FROM deliveries d JOIN outbox o ON o.id = d.event_id AND o.tenant_id = d.tenant_id
    WHERE d.tenant_id = :tenant_id"""
PAGE = f"""{SHOWN} AND d.endpoint_id = :endpoint_id AND d.state IN (:state, :other, :third)
    AND (d.created_at, d.id) < (:at, :last) ORDER BY d.created_at DESC, d.id DESC LIMIT :limit"""
DELIVERY = f"{SHOWN} AND d.id = :id"
ATTEMPTS = """SELECT at, duration, status, answer, error FROM delivery_attempts
    WHERE delivery_id = :id AND tenant_id = :tenant_id ORDER BY number"""
ACTIVE = "SELECT 1 FROM endpoints WHERE id = :endpoint_id AND tenant_id = :tenant_id AND state = 'active'"
_ANEW = """UPDATE deliveries SET state = 'pending', attempts = 0, next_attempt_at = :now, finished_at = NULL
    WHERE tenant_id = :tenant_id AND endpoint_id = :endpoint_id"""
REPLAY = f"{_ANEW} AND id = :id"
REPLAY_ALL = f"{_ANEW} AND created_at >= :since AND created_at <= :until AND state IN (:state, :other, :third)"
FORGOTTEN_TOGETHER = 500
FORGET = (
    """DELETE FROM delivery_attempts WHERE delivery_id IN (
        SELECT id FROM deliveries WHERE finished_at < :before ORDER BY finished_at LIMIT :count)""",
    """DELETE FROM deliveries WHERE id IN (
        SELECT id FROM deliveries WHERE finished_at < :before ORDER BY finished_at LIMIT :count)""",
)
FORGET_EVENTS = """DELETE FROM outbox WHERE created_at < :before
    AND NOT EXISTS (SELECT 1 FROM deliveries WHERE event_id = outbox.id)"""
STATES: tuple[DeliveryState, ...] = ("pending", "delivered", "failed")
NOT_ACTIVE = "This webhook is disabled; enable it first"


class Deliveries:
    """The deliveries of every tenant."""

    def __init__(self, database: Database) -> None:
        self._database = database

    @across_tenants("whoever's deliveries are due are sent")
    async def due(self, now: int) -> Sequence[tuple[str, str]]:
        async def job(transaction: Transaction) -> list[tuple[str, str]]:
            return [(str(row[0]), str(row[1])) for row in await transaction.all(DUE, {"now": now})]

        return await self._database.read(job)

    async def claim(self, tenant_id: str, endpoint_id: str, most: int, now: int, until: int) -> Sequence[Work]:
        wanted = {"tenant_id": tenant_id, "endpoint_id": endpoint_id, "most": most, "now": now, "until": until}

        async def job(transaction: Transaction) -> list[Work]:
            rows = await transaction.all(CLAIM, {**wanted, "owner": self._database.owner})
            found = [await transaction.one(WORK, {"id": row[0], "tenant_id": tenant_id, "now": now}) for row in rows]
            return [_work(row) for row in found if row is not None]

        return await self._database.write(job)

    async def finish(self, work: Work, attempt: Attempt, state: DeliveryState, due: int | None, now: int) -> None:
        pair = {"endpoint_id": work.endpoint_id, "tenant_id": work.tenant_id, "ordered_by": work.ordered_by}
        ended = {"state": state, "due": due, "finished_at": None if state == "pending" else now}
        ours = {"id": work.id, "tenant_id": work.tenant_id, "owner": self._database.owner}
        noted = {name: getattr(attempt, name) for name in ("at", "duration", "status", "answer", "error")}

        async def job(transaction: Transaction) -> None:
            if not await transaction.run(FINISH, {**ours, **ended}):
                return  # deleted, or another node's by now
            await transaction.run(NOTE, {**ours, **noted})
            if work.ordered_by is not None and state == "pending":
                await transaction.run(HOLD_BACK, {**pair, "due": due})
            elif work.ordered_by is not None:
                await transaction.run(GO_ON, {**pair, "now": now})

        await self._database.write(job)

    @across_tenants("a dead process may have sent for any of them")
    async def release(self, in_flight: Collection[str], now: int) -> int:
        async def leased(transaction: Transaction) -> tuple[list[int], list[str]]:
            owners = [int(row[0]) for row in await transaction.all(OWNERS, {})]
            return owners, [str(row[0]) for row in await transaction.all(OVERDUE, {"now": now})]

        owners, overdue = await self._database.read(leased)
        dead = await self._database.dead(owners)
        late = [each for each in overdue if each not in in_flight]

        async def job(transaction: Transaction) -> int:
            free = [await transaction.run(RELEASE_OWNER, {"owner": owner}) for owner in dead]
            return sum([*free, *[await transaction.run(RELEASE, {"id": each, "now": now}) for each in late]])

        return await self._database.write(job) if dead or late else 0

    async def announce(self, tenant_id: str, endpoint_id: str, event: str, data: Mapping[str, Any], now: int) -> str:
        async def job(transaction: Transaction) -> str:
            await _check_active(transaction, tenant_id, endpoint_id)
            (made,) = await outbox.deliver(transaction, tenant_id, [endpoint_id], event, data, now)
            return made

        return await self._database.write(job)

    async def page(
        self, tenant_id: str, endpoint_id: str, state: DeliveryState | None, limit: int, before: Place | None
    ) -> Sequence[Delivery]:
        at, last = before or NEWEST
        wanted = {"tenant_id": tenant_id, "endpoint_id": endpoint_id, "limit": limit, "at": at, "last": last}

        async def job(transaction: Transaction) -> list[Delivery]:
            return [await _shown(transaction, row) for row in await transaction.all(PAGE, {**wanted, **_in(state)})]

        return await self._database.read(job)

    async def get(self, tenant_id: str, delivery_id: str) -> Delivery | None:
        async def job(transaction: Transaction) -> Delivery | None:
            return await _delivery(transaction, tenant_id, delivery_id)

        return await self._database.read(job)

    async def replay(self, tenant_id: str, delivery_id: str, now: int) -> Delivery | None:
        async def job(transaction: Transaction) -> Delivery | None:
            found = await _delivery(transaction, tenant_id, delivery_id)
            if found is None:
                return None
            await _check_active(transaction, tenant_id, found.endpoint_id)
            ours = {"tenant_id": tenant_id, "endpoint_id": found.endpoint_id, "id": delivery_id, "now": now}
            await transaction.run(REPLAY, ours)
            return await _delivery(transaction, tenant_id, delivery_id)

        return await self._database.write(job)

    async def replay_all(
        self, tenant_id: str, endpoint_id: str, since: int, until: int, state: DeliveryState | None, now: int
    ) -> int:
        wanted = {"tenant_id": tenant_id, "endpoint_id": endpoint_id, "since": since, "until": until, "now": now}

        async def job(transaction: Transaction) -> int:
            await _check_active(transaction, tenant_id, endpoint_id)
            return await transaction.run(REPLAY_ALL, {**wanted, **_in(state)})

        return await self._database.write(job)

    @across_tenants("what is old is old for every tenant")
    async def prune(self, before: int) -> None:
        async def forget(transaction: Transaction) -> int:
            wanted = {"before": before, "count": FORGOTTEN_TOGETHER}
            return [await transaction.run(statement, wanted) for statement in FORGET][-1]

        async def forget_events(transaction: Transaction) -> None:
            await transaction.run(FORGET_EVENTS, {"before": before})

        # So many at a time: one long transaction would hold up every writer.
        while await self._database.write(forget):
            pass
        await self._database.write(forget_events)


async def _check_active(transaction: Transaction, tenant_id: str, endpoint_id: str) -> None:
    if await transaction.one(ACTIVE, {"tenant_id": tenant_id, "endpoint_id": endpoint_id}) is None:
        raise Conflict(NOT_ACTIVE)


async def _delivery(transaction: Transaction, tenant_id: str, delivery_id: str) -> Delivery | None:
    row = await transaction.one(DELIVERY, {"tenant_id": tenant_id, "id": delivery_id})
    return await _shown(transaction, row) if row else None


async def _shown(transaction: Transaction, row: Row) -> Delivery:
    """A row of `SHOWN` with its attempts."""
    delivery_id, tenant_id, endpoint_id, event_id, event, data, state, created_at, next_attempt_at, finished_at = row
    tried = await transaction.all(ATTEMPTS, {"id": delivery_id, "tenant_id": tenant_id})
    body = body_of(event, data)
    attempts = tuple(Attempt(*each) for each in tried)
    named = (delivery_id, tenant_id, endpoint_id, event_id, event, body, state)
    return Delivery(*named, created_at, next_attempt_at, finished_at, attempts)


def _in(state: DeliveryState | None) -> dict[str, str]:
    """The states that are asked for: the one, or all of them."""
    one, two, three = (state, state, state) if state is not None else STATES
    return {"state": one, "other": two, "third": three}


def _work(row: Row) -> Work:
    """A row of `WORK`. What an operator's terminal listens to is on the operator's own machine."""
    (
        delivery_id,
        tenant_id,
        endpoint_id,
        event_id,
        ordered_by,
        attempts,
        event,
        data,
        url,
        key,
        old,
        managed,
        private,
    ) = row
    return Work(
        id=delivery_id,
        tenant_id=tenant_id,
        endpoint_id=endpoint_id,
        event_id=event_id,
        ordered_by=ordered_by,
        attempts=int(attempts),
        body=body_of(event, data),
        url=url,
        keys=[bytes(each) for each in (key, old) if each is not None],
        allow_private=bool(private) or managed == "listen",
    )
