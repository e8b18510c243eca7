"""What a database driver gives to the functions that hold SQL. Knows no table.

A job is a coroutine function over a transaction. On PostgreSQL it is awaited; in SQLite's writer thread it is stepped
through, so it may await nothing but its transaction. A job may run twice (a failed batch is tried one by one), so it
has no effects outside its transaction.
"""

from collections.abc import Awaitable, Callable, Mapping, Sequence
from typing import Any, Literal, Protocol, TypeVar

from dragoman.adapters.store.subscriptions import Subscriptions
from dragoman.ports.turns import Pending

T = TypeVar("T")
F = TypeVar("F", bound=Callable[..., Any])

Kind = Literal["sqlite", "postgres"]
Row = Sequence[Any]
Params = Mapping[str, Any]


class Transaction(Protocol):
    """Statements inside one transaction. Parameters are written ``:name`` on every database."""

    @property
    def subscriptions(self) -> Subscriptions:
        """What this process remembers of who is to be told of what happens here."""
        ...

    async def run(self, sql: str, params: Params, /) -> int:
        """Run a statement; the number of rows that it changed."""
        ...

    async def one(self, sql: str, params: Params, /) -> Row | None:
        """The first row of a query."""
        ...

    async def all(self, sql: str, params: Params, /) -> Sequence[Row]:
        """Every row of a query."""
        ...

    async def many(self, sql: str, params: Sequence[Params], /) -> None:
        """Run a statement once for each set of parameters."""
        ...


Job = Callable[[Transaction], Awaitable[T]]


class Database(Protocol):
    """A database that runs jobs, each in a transaction of its own."""

    owner: int
    # For the few statements that are not the same in both.
    kind: Kind
    subscriptions: Subscriptions

    def begin(self, job: Job[T]) -> Pending[T]:
        """Start a write whose result is wanted before it is durable."""
        ...

    async def write(self, job: Job[T]) -> T:
        """Run a write; it is durable when this returns."""
        ...

    async def read(self, job: Job[T]) -> T:
        """Run a query on a consistent view."""
        ...

    async def dead(self, owners: Sequence[int]) -> Sequence[int]:
        """Which of these owners of turns are gone."""
        ...

    async def version(self) -> str | None:
        """The revision of the schema, None where there is none."""
        ...

    async def close(self) -> None:
        """Finish what is under way and let go of the database."""
        ...


def across_tenants(reason: str) -> Callable[[F], F]:
    """Mark a function that reads or writes tenants' data without naming a tenant, and say why it may."""
    if not reason:
        raise ValueError("say why this function may reach across tenants")

    def mark(function: F) -> F:
        return function

    return mark


class _Undone(Exception):
    """Carries a job's result out of the transaction that it rolls back."""

    def __init__(self, value: Any) -> None:
        self.value = value


class Rehearsal:
    """A database on which a write tells what it would have done, and is undone."""

    def __init__(self, database: Database) -> None:
        self._database = database
        self.owner = database.owner
        self.kind = database.kind
        self.subscriptions = database.subscriptions

    def begin(self, job: Job[T]) -> Pending[T]:
        raise RuntimeError("a turn cannot be rehearsed")

    async def write(self, job: Job[T]) -> T:
        async def undone(transaction: Transaction) -> T:
            raise _Undone(await job(transaction))

        try:
            return await self._database.write(undone)
        except _Undone as told:
            result: T = told.value
            return result

    async def read(self, job: Job[T]) -> T:
        return await self._database.read(job)

    async def dead(self, owners: Sequence[int]) -> Sequence[int]:
        return await self._database.dead(owners)

    async def version(self) -> str | None:
        return await self._database.version()

    async def close(self) -> None:
        """The database itself goes on."""
