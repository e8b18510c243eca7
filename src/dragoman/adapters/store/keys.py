"""API keys, found by the digest of their value, which itself is never kept. Knows no pepper."""

import json
from collections.abc import Mapping, Sequence
from dataclasses import replace

from dragoman.adapters.store.driver import Database, Params, Row, Transaction, across_tenants
from dragoman.core.errors import NameTaken
from dragoman.core.tenants import ApiKey

_KEY = (
    """id, tenant_id, name, type, prefix, created_at, expires_at, revoked_at, last_used_at, agents, origins, limits"""
)

BY_DIGEST = f"SELECT {_KEY} FROM api_keys WHERE digest = :digest"
ALL = f"SELECT {_KEY} FROM api_keys WHERE tenant_id = :tenant_id ORDER BY created_at, id"
NEW = """INSERT INTO api_keys
    (id, tenant_id, name, type, prefix, digest, agents, origins, limits, created_at, expires_at)
    VALUES (:id, :tenant_id, :name, :type, :prefix, :digest, :agents, :origins, :limits, :created_at, :expires_at)
    ON CONFLICT DO NOTHING"""
SUPERSEDE = """UPDATE api_keys SET expires_at = :until
    WHERE tenant_id = :tenant_id AND name = :name AND revoked_at IS NULL
        AND (expires_at IS NULL OR expires_at > :until)"""
CHANGE = """UPDATE api_keys SET expires_at = :expires_at, agents = :agents, origins = :origins, limits = :limits
    WHERE id = :id AND tenant_id = :tenant_id"""
REVOKE = "UPDATE api_keys SET revoked_at = :now WHERE tenant_id = :tenant_id AND name = :name AND revoked_at IS NULL"
TOUCH = "UPDATE api_keys SET last_used_at = :at WHERE id = :id"


def _row(key: ApiKey) -> Params:
    return {
        "id": key.id,
        "tenant_id": key.tenant_id,
        "name": key.name,
        "type": key.type,
        "prefix": key.prefix,
        "created_at": key.created_at,
        "expires_at": key.expires_at,
        "agents": json.dumps(key.agents),
        "origins": json.dumps(key.origins),
        "limits": json.dumps(dict(key.limits)),
    }


def _key(row: Row) -> ApiKey:
    return replace(
        ApiKey(*row[:9]),
        agents=tuple(json.loads(row[9])),
        origins=tuple(json.loads(row[10])),
        limits=tuple(json.loads(row[11]).items()),
    )


class Keys:
    """The keys of every tenant."""

    def __init__(self, database: Database) -> None:
        self._database = database

    async def add(self, key: ApiKey, digest: str) -> None:
        async def job(transaction: Transaction) -> None:
            await _insert(transaction, key, digest)

        await self._database.write(job)

    @across_tenants("a credential is what says which tenant it is")
    async def find(self, digest: str) -> ApiKey | None:
        async def job(transaction: Transaction) -> ApiKey | None:
            row = await transaction.one(BY_DIGEST, {"digest": digest})
            return _key(row) if row else None

        return await self._database.read(job)

    async def all(self, tenant_id: str) -> Sequence[ApiKey]:
        async def job(transaction: Transaction) -> list[ApiKey]:
            return [_key(row) for row in await transaction.all(ALL, {"tenant_id": tenant_id})]

        return await self._database.read(job)

    async def rotate(self, tenant_id: str, key: ApiKey, digest: str, old_until: int) -> None:
        async def job(transaction: Transaction) -> None:
            await transaction.run(SUPERSEDE, {"tenant_id": tenant_id, "name": key.name, "until": old_until})
            await _insert(transaction, key, digest)

        await self._database.write(job)

    async def update(self, tenant_id: str, key: ApiKey) -> None:
        async def job(transaction: Transaction) -> None:
            await transaction.run(CHANGE, {**_row(key), "tenant_id": tenant_id})

        await self._database.write(job)

    async def revoke(self, tenant_id: str, name: str, now: int) -> int:
        async def job(transaction: Transaction) -> int:
            return await transaction.run(REVOKE, {"tenant_id": tenant_id, "name": name, "now": now})

        return await self._database.write(job)

    @across_tenants("when keys were used is noted for all of them at once, by their own ids")
    async def touch(self, used: Mapping[str, int]) -> None:
        async def job(transaction: Transaction) -> None:
            await transaction.many(TOUCH, [{"id": key_id, "at": at} for key_id, at in used.items()])

        await self._database.write(job)


async def _insert(transaction: Transaction, key: ApiKey, digest: str) -> None:
    if not await transaction.run(NEW, {**_row(key), "digest": digest}):
        raise NameTaken(f"the value of key {key.name!r} is in use by another key")
