"""Secrets of tenants, sealed. Knows no cipher and no value."""

from collections.abc import Sequence

from dragoman.adapters.store.driver import Database, Transaction
from dragoman.ports.secrets import SecretName

NEW = """INSERT INTO secrets (tenant_id, name, sealed, created_at) VALUES (:tenant_id, :name, :sealed, :now)
    ON CONFLICT (tenant_id, name) DO NOTHING"""
REPLACE = """UPDATE secrets SET sealed = :sealed, created_at = :now WHERE tenant_id = :tenant_id AND name = :name"""
ONE = "SELECT sealed FROM secrets WHERE tenant_id = :tenant_id AND name = :name"
ALL = "SELECT name, created_at FROM secrets WHERE tenant_id = :tenant_id ORDER BY name"
DELETE = "DELETE FROM secrets WHERE tenant_id = :tenant_id AND name = :name"


class Secrets:
    """The secrets of every tenant."""

    def __init__(self, database: Database) -> None:
        self._database = database

    async def put(self, tenant_id: str, name: str, sealed: bytes, now: int) -> bool:
        async def job(transaction: Transaction) -> bool:
            row = {"tenant_id": tenant_id, "name": name, "sealed": sealed, "now": now}
            made = await transaction.run(NEW, row)
            if not made:
                await transaction.run(REPLACE, row)
            return bool(made)

        return await self._database.write(job)

    async def get(self, tenant_id: str, name: str) -> bytes | None:
        async def job(transaction: Transaction) -> bytes | None:
            row = await transaction.one(ONE, {"tenant_id": tenant_id, "name": name})
            return bytes(row[0]) if row else None

        return await self._database.read(job)

    async def all(self, tenant_id: str) -> Sequence[SecretName]:
        async def job(transaction: Transaction) -> list[SecretName]:
            return [SecretName(*row) for row in await transaction.all(ALL, {"tenant_id": tenant_id})]

        return await self._database.read(job)

    async def delete(self, tenant_id: str, name: str) -> bool:
        async def job(transaction: Transaction) -> bool:
            return bool(await transaction.run(DELETE, {"tenant_id": tenant_id, "name": name}))

        return await self._database.write(job)
