"""Tenants and the price table. Knows no plan's meaning."""

from collections.abc import Sequence
from dataclasses import replace

from dragoman.adapters.store.agents import PRICE, Definitions
from dragoman.adapters.store.driver import Database, Row, Transaction
from dragoman.adapters.store.ledger import GRANTED, grant
from dragoman.core.tenants import Tenant

_TENANT = "id, name, plan, credits, per_minute, per_day, default_agent_id, allow_private"

TENANT = f"SELECT {_TENANT} FROM tenants WHERE id = :id"
ALL = f"SELECT {_TENANT} FROM tenants ORDER BY id"
NEW = """INSERT INTO tenants
    (id, name, plan, credits, per_minute, per_day, default_agent_id, allow_private, created_at, updated_at)
    VALUES (:id, :name, :plan, NULL, :per_minute, :per_day, NULL, :allow_private, :now, :now)
    ON CONFLICT (id) DO NOTHING"""
# Held before anything of it is read: two manifests at once would both give the same credits.
HOLD = "UPDATE tenants SET updated_at = updated_at WHERE id = :id"
CHANGE = """UPDATE tenants
    SET name = :name, plan = :plan, per_minute = :per_minute, per_day = :per_day, allow_private = :allow_private,
        updated_at = :now
    WHERE id = :id"""
PRICES = "SELECT model, credits_per_turn FROM prices ORDER BY model"
SET_PRICE = """INSERT INTO prices (model, credits_per_turn) VALUES (:model, :price)
    ON CONFLICT (model) DO UPDATE SET credits_per_turn = excluded.credits_per_turn"""


class Tenants:
    """The tenants of this server."""

    def __init__(self, database: Database, definitions: Definitions) -> None:
        self._database = database
        self._definitions = definitions

    async def put(self, tenant: Tenant, now: int) -> str:
        row = {
            "id": tenant.id,
            "name": tenant.name,
            "plan": tenant.plan,
            "per_minute": tenant.per_minute,
            "per_day": tenant.per_day,
            "allow_private": int(tenant.allow_private),
            "now": now,
        }

        async def job(transaction: Transaction) -> str:
            made = await transaction.run(NEW, row)
            await transaction.run(HOLD, {"id": tenant.id})
            found = await transaction.one(TENANT, {"id": tenant.id})
            # What a tenant was granted is brought to what is said: the same manifest gives nothing twice.
            granted = tenant.credits is not None and await grant(transaction, tenant.id, tenant.credits, now)
            if made or found is None:
                return "created"
            before = _tenant(found)
            same = replace(before, credits=None, default_agent_id=None) == replace(
                tenant, credits=None, default_agent_id=None
            )
            if not same:
                await transaction.run(CHANGE, row)
            return "unchanged" if same and not granted else "updated"

        return await self._database.write(job)

    async def get(self, tenant_id: str) -> Tenant | None:
        async def job(transaction: Transaction) -> Tenant | None:
            row = await transaction.one(TENANT, {"id": tenant_id})
            return _tenant(row) if row else None

        return await self._database.read(job)

    async def granted(self, tenant_id: str) -> int:
        async def job(transaction: Transaction) -> int:
            row = await transaction.one(GRANTED, {"tenant_id": tenant_id})
            return int(row[0]) if row else 0

        return await self._database.read(job)

    async def all(self) -> Sequence[Tenant]:
        async def job(transaction: Transaction) -> list[Tenant]:
            return [_tenant(row) for row in await transaction.all(ALL, {})]

        return await self._database.read(job)

    async def set_price(self, model: str, credits_per_turn: int) -> str:
        async def job(transaction: Transaction) -> str:
            row = await transaction.one(PRICE, {"model": model})
            if row and row[0] == credits_per_turn:
                return "unchanged"
            await transaction.run(SET_PRICE, {"model": model, "price": credits_per_turn})
            return "updated" if row else "created"

        done = await self._database.write(job)
        self._definitions.forget()
        return done

    async def prices(self) -> Sequence[tuple[str, int]]:
        async def job(transaction: Transaction) -> list[tuple[str, int]]:
            return [(str(row[0]), int(row[1])) for row in await transaction.all(PRICES, {})]

        return await self._database.read(job)


def _tenant(row: Row) -> Tenant:
    return replace(Tenant(*row[:7]), allow_private=bool(row[7]))
