"""Endpoints of webhooks and their sealed secrets. Knows no cipher and no HTTP."""

import json
from collections.abc import Sequence
from typing import Any

from dragoman.adapters.store.driver import Database, Row, Transaction, across_tenants
from dragoman.core.errors import NameTaken
from dragoman.core.webhooks import Endpoint, EndpointState

COLUMNS = "id, tenant_id, url, events, state, managed, given, created_at, updated_at, old_until, expires_at"

NEW = f"""INSERT INTO endpoints ({COLUMNS}, sealed_secret)
    VALUES (:id, :tenant_id, :url, :events, :state, :managed, :given, :created_at, :updated_at, :old_until,
        :expires_at, :sealed) ON CONFLICT DO NOTHING"""
ALL = f"SELECT {COLUMNS} FROM endpoints WHERE tenant_id = :tenant_id ORDER BY created_at DESC, id DESC"
ENDPOINT = f"SELECT {COLUMNS} FROM endpoints WHERE id = :id AND tenant_id = :tenant_id"
KEY = "SELECT sealed_secret FROM endpoints WHERE id = :id AND tenant_id = :tenant_id"
TAKEN = "SELECT 1 FROM endpoints WHERE tenant_id = :tenant_id AND url = :url AND id <> :id"
CHANGE = """UPDATE endpoints SET url = :url, events = :events, managed = :managed, given = :given,
        expires_at = :expires_at, updated_at = :updated_at
    WHERE id = :id AND tenant_id = :tenant_id"""
ROTATE = """UPDATE endpoints SET old_secret = sealed_secret, old_until = :old_until, sealed_secret = :sealed,
        updated_at = :now
    WHERE id = :id AND tenant_id = :tenant_id"""
SET_STATE = "UPDATE endpoints SET state = :state, updated_at = :now WHERE id = :id AND tenant_id = :tenant_id"
# One that is being sent keeps its lease, so that what comes of it is noted.
PARK = """UPDATE deliveries SET state = 'failed', next_attempt_at = NULL, finished_at = :now
    WHERE endpoint_id = :id AND tenant_id = :tenant_id AND state = 'pending'"""
DELETE = "DELETE FROM endpoints WHERE id = :id AND tenant_id = :tenant_id"
FORGET = (
    """DELETE FROM delivery_attempts WHERE tenant_id = :tenant_id
        AND delivery_id IN (SELECT id FROM deliveries WHERE endpoint_id = :id AND tenant_id = :tenant_id)""",
    "DELETE FROM deliveries WHERE endpoint_id = :id AND tenant_id = :tenant_id",
)
EXPIRED = "SELECT tenant_id, id FROM endpoints WHERE expires_at <= :now"


class Endpoints:
    """The endpoints of every tenant."""

    def __init__(self, database: Database) -> None:
        self._database = database

    async def create(self, endpoint: Endpoint, sealed: bytes) -> None:
        async def job(transaction: Transaction) -> None:
            if not await transaction.run(NEW, {**_row(endpoint), "sealed": sealed}):
                raise NameTaken("There is a webhook of this URL already")

        await self._database.write(job)
        self._database.subscriptions.forget()

    async def all(self, tenant_id: str) -> Sequence[Endpoint]:
        async def job(transaction: Transaction) -> list[Endpoint]:
            return [_endpoint(row) for row in await transaction.all(ALL, {"tenant_id": tenant_id})]

        return await self._database.read(job)

    async def get(self, tenant_id: str, endpoint_id: str) -> Endpoint | None:
        async def job(transaction: Transaction) -> Endpoint | None:
            row = await transaction.one(ENDPOINT, {"tenant_id": tenant_id, "id": endpoint_id})
            return _endpoint(row) if row else None

        return await self._database.read(job)

    async def key(self, tenant_id: str, endpoint_id: str) -> bytes | None:
        async def job(transaction: Transaction) -> bytes | None:
            row = await transaction.one(KEY, {"tenant_id": tenant_id, "id": endpoint_id})
            return bytes(row[0]) if row else None

        return await self._database.read(job)

    async def change(self, endpoint: Endpoint) -> None:
        async def job(transaction: Transaction) -> None:
            row = _row(endpoint)
            if await transaction.one(TAKEN, row) is not None:
                raise NameTaken("There is a webhook of this URL already")
            await transaction.run(CHANGE, row)

        await self._database.write(job)
        self._database.subscriptions.forget()

    async def rotate(self, tenant_id: str, endpoint_id: str, sealed: bytes, old_until: int, now: int) -> None:
        row = {"tenant_id": tenant_id, "id": endpoint_id, "sealed": sealed, "old_until": old_until, "now": now}

        async def job(transaction: Transaction) -> None:
            await transaction.run(ROTATE, row)

        await self._database.write(job)

    async def set_state(self, tenant_id: str, endpoint_id: str, state: EndpointState, now: int) -> None:
        row = {"tenant_id": tenant_id, "id": endpoint_id, "state": state, "now": now}

        async def job(transaction: Transaction) -> None:
            await transaction.run(SET_STATE, row)
            if state == "disabled":
                await transaction.run(PARK, row)

        await self._database.write(job)
        self._database.subscriptions.forget()

    async def delete(self, tenant_id: str, endpoint_id: str) -> bool:
        row = {"tenant_id": tenant_id, "id": endpoint_id}

        async def job(transaction: Transaction) -> bool:
            if not await transaction.run(DELETE, row):
                return False
            for statement in FORGET:
                await transaction.run(statement, row)
            return True

        deleted = await self._database.write(job)
        self._database.subscriptions.forget()
        return deleted

    @across_tenants("a terminal that has gone may have listened for any of them")
    async def delete_expired(self, now: int) -> None:
        async def job(transaction: Transaction) -> list[tuple[str, str]]:
            return [(str(row[0]), str(row[1])) for row in await transaction.all(EXPIRED, {"now": now})]

        for tenant_id, endpoint_id in await self._database.read(job):
            await self.delete(tenant_id, endpoint_id)


def _row(endpoint: Endpoint) -> dict[str, Any]:
    row = {name: getattr(endpoint, name) for name in COLUMNS.split(", ")}
    return {**row, "events": json.dumps(endpoint.events), "given": int(endpoint.given)}


def _endpoint(row: Row) -> Endpoint:
    endpoint_id, tenant_id, url, events, state, managed, given, *times = row
    return Endpoint(endpoint_id, tenant_id, url, tuple(json.loads(events)), state, managed, bool(given), *times)
