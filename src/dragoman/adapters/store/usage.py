"""What turns have used, counted by groups over the index of their tenant and time. Knows no plan."""

from collections.abc import Mapping, Sequence
from typing import Any

from dragoman.adapters.store.driver import Database, Row, Transaction
from dragoman.ports.usage import Group, Spent, UsageRow

_SPENT = """COUNT(*), COALESCE(SUM(prompt_tokens), 0), COALESCE(SUM(completion_tokens), 0), COALESCE(SUM(credits), 0)"""
_TURNS = "FROM turns WHERE tenant_id = :tenant_id AND created_at >= :since AND created_at < :until"

# What each group is told apart by, and the name that it is shown with.
GROUPS: Mapping[Group, str] = {
    "day": "created_at / 86400000000",
    "agent": "agent_id",
    "key": "key_id",
    "model": "model",
}
NAMES: Mapping[Group, str] = {
    "agent": "(SELECT name FROM agents WHERE agents.id = turns.agent_id AND agents.tenant_id = :tenant_id)",
    "key": "(SELECT name FROM api_keys WHERE api_keys.id = turns.key_id AND api_keys.tenant_id = :tenant_id)",
}
TOTAL = f"SELECT {_SPENT} {_TURNS}"


class Usage:
    """The usage of every tenant."""

    def __init__(self, database: Database) -> None:
        self._database = database

    async def rows(self, tenant_id: str, since: int, until: int, by: Sequence[Group], limit: int) -> Sequence[UsageRow]:
        groups = ", ".join(GROUPS[group] for group in by)
        shown = "".join(f", {GROUPS[group]}, {NAMES.get(group, 'NULL')}" for group in by)
        query = f"SELECT {_SPENT}{shown} {_TURNS} GROUP BY {groups} ORDER BY {groups} LIMIT :limit"
        span = {"tenant_id": tenant_id, "since": since, "until": until, "limit": limit}

        async def job(transaction: Transaction) -> list[UsageRow]:
            return [_row(row, by) for row in await transaction.all(query, span)]

        return await self._database.read(job)

    async def total(self, tenant_id: str, since: int, until: int) -> Spent:
        async def job(transaction: Transaction) -> Spent:
            row = await transaction.one(TOTAL, {"tenant_id": tenant_id, "since": since, "until": until})
            return _spent(row or (0, 0, 0, 0))

        return await self._database.read(job)


def _row(row: Row, by: Sequence[Group]) -> UsageRow:
    told: dict[str, Any] = {}
    for group, value, name in zip(by, row[4::2], row[5::2], strict=True):
        told |= {f"{group}_id": value, group: name} if group in NAMES else {group: value}
    return UsageRow(_spent(row), **told)


def _spent(row: Row) -> Spent:
    # PostgreSQL sums whole numbers into a numeric.
    return Spent(*(int(number) for number in row[:4]))
