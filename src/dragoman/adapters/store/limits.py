"""Counts of requests that a restart must not forget, a row for each window. Knows no limit."""

from dragoman.adapters.store.driver import Database, Params, Transaction

COUNT = """SELECT count FROM limit_windows
    WHERE tenant_id = :tenant_id AND bucket = :bucket AND starts_at = :starts_at"""
RAISE = """UPDATE limit_windows SET count = :count
    WHERE tenant_id = :tenant_id AND bucket = :bucket AND starts_at = :starts_at AND count < :count"""
NEW = """INSERT INTO limit_windows (tenant_id, bucket, starts_at, count)
    VALUES (:tenant_id, :bucket, :starts_at, :count) ON CONFLICT DO NOTHING"""
FORGET = "DELETE FROM limit_windows WHERE tenant_id = :tenant_id AND bucket = :bucket AND starts_at < :before"

# A clock that is put back may open yesterday's window again.
KEPT_US = 2 * 86_400 * 1_000_000


class Limits:
    """The counts of every tenant."""

    def __init__(self, database: Database) -> None:
        self._database = database

    async def load(self, tenant_id: str, bucket: str, starts_at: int) -> int:
        async def job(transaction: Transaction) -> int:
            row = await transaction.one(COUNT, _window(tenant_id, bucket, starts_at))
            return int(row[0]) if row else 0

        return await self._database.read(job)

    async def keep(self, tenant_id: str, bucket: str, starts_at: int, count: int) -> None:
        window = {**_window(tenant_id, bucket, starts_at), "count": count}

        async def job(transaction: Transaction) -> None:
            if not await transaction.run(RAISE, window):
                await transaction.run(NEW, window)
                ours = {"tenant_id": tenant_id, "bucket": bucket, "before": starts_at - KEPT_US}
                await transaction.run(FORGET, ours)

        await self._database.write(job)


def _window(tenant_id: str, bucket: str, starts_at: int) -> Params:
    return {"tenant_id": tenant_id, "bucket": bucket, "starts_at": starts_at}
