"""The audit log. Knows no action by name."""

import json
from collections.abc import Sequence

from dragoman.adapters.store.driver import Database, Transaction
from dragoman.core.ids import new_id
from dragoman.ports.audit import Act, Entry, Place

NEW = """INSERT INTO audit (id, tenant_id, actor, action, subject, detail, created_at)
    VALUES (:id, :tenant_id, :actor, :action, :subject, :detail, :now)"""
PAGE = """SELECT id, created_at, actor, action, subject, detail FROM audit
    WHERE tenant_id = :tenant_id AND (created_at, id) < (:at, :id) ORDER BY created_at DESC, id DESC LIMIT :limit"""

NEWEST: Place = (2**62, "")


class Audit:
    """What was changed, for every tenant."""

    def __init__(self, database: Database) -> None:
        self._database = database

    async def record(self, tenant_id: str, act: Act, now: int) -> None:
        async def job(transaction: Transaction) -> None:
            await enter(transaction, tenant_id, act, now)

        await self._database.write(job)

    async def page(self, tenant_id: str, limit: int, before: Place | None) -> Sequence[Entry]:
        at, last = before or NEWEST

        async def job(transaction: Transaction) -> list[Entry]:
            rows = await transaction.all(PAGE, {"tenant_id": tenant_id, "at": at, "id": last, "limit": limit})
            return [Entry(row[0], row[1], Act(row[2], row[3], row[4], json.loads(row[5]))) for row in rows]

        return await self._database.read(job)


async def enter(transaction: Transaction, tenant_id: str, act: Act, now: int) -> None:
    """Keep an act, in the transaction of what it did."""
    row = {"id": new_id(), "tenant_id": tenant_id, "actor": act.actor, "action": act.action, "subject": act.subject}
    await transaction.run(NEW, {**row, "detail": json.dumps(act.detail, ensure_ascii=False), "now": now})
