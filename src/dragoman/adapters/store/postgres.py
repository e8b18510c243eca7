"""PostgreSQL through an asyncpg pool. Knows no table.

A process holds a session lock named by its owner number: when the process dies, however it dies, its connection
closes and the lock is free, which is how others learn that its turns are orphans.
"""

import asyncio
import functools
import re
import secrets
from collections.abc import Sequence
from typing import Any, TypeVar, cast

import asyncpg

from dragoman.adapters.store.driver import Job, Kind, Params, Row
from dragoman.adapters.store.subscriptions import Subscriptions
from dragoman.core.errors import Unavailable
from dragoman.ports.store import StoreUnusable
from dragoman.ports.turns import Pending

T = TypeVar("T")

POOL_SIZE = 16
ATTEMPTS = 3
CONNECT_TIMEOUT = 5.0
COMMAND_TIMEOUT = 10.0
CLOSE_TIMEOUT = 5.0

_PARAMETER = re.compile(r"(?<!:):([a-z_]+[0-9]*)")
_PASSING = (
    OSError,
    asyncpg.PostgresConnectionError,
    asyncpg.InterfaceError,
    asyncpg.CannotConnectNowError,
    asyncpg.TooManyConnectionsError,
    asyncpg.AdminShutdownError,
    asyncpg.DiskFullError,
    TimeoutError,
)


@functools.cache
def numbered(sql: str) -> tuple[str, tuple[str, ...]]:
    """The statement with ``$1`` in place of ``:name``, and the names in order."""
    names: list[str] = []

    def number(match: "re.Match[str]") -> str:
        name = match.group(1)
        if name not in names:
            names.append(name)
        return f"${names.index(name) + 1}"

    return _PARAMETER.sub(number, sql), tuple(names)


class PostgresTransaction:
    """Statements on one connection of the pool."""

    __slots__ = ("_connection", "subscriptions")

    def __init__(self, connection: Any, subscriptions: Subscriptions) -> None:
        self._connection = connection
        self.subscriptions = subscriptions

    async def run(self, sql: str, params: Params, /) -> int:
        text, names = numbered(sql)
        status = await self._connection.execute(text, *[params[name] for name in names])
        count = status.rpartition(" ")[2]
        return int(count) if count.isdigit() else 0

    async def one(self, sql: str, params: Params, /) -> Row | None:
        text, names = numbered(sql)
        return cast("Row | None", await self._connection.fetchrow(text, *[params[name] for name in names]))

    async def all(self, sql: str, params: Params, /) -> Sequence[Row]:
        text, names = numbered(sql)
        return cast("Sequence[Row]", await self._connection.fetch(text, *[params[name] for name in names]))

    async def many(self, sql: str, params: Sequence[Params], /) -> None:
        text, names = numbered(sql)
        await self._connection.executemany(text, [[each[name] for name in names] for each in params])


class PostgresDatabase:
    """A pool of connections to one database."""

    def __init__(self, pool: Any, presence: Any, owner: int, url: str) -> None:
        self.url = url
        self.kind: Kind = "postgres"
        self.owner = owner
        self.subscriptions = Subscriptions()
        self._pool = pool
        self._presence = presence
        self._presence_lock = asyncio.Lock()
        self._tasks: set[asyncio.Task[Any]] = set()

    @classmethod
    async def open(cls, url: str) -> "PostgresDatabase":
        """Connect.

        Raises:
            StoreUnusable: the server cannot be reached, or refuses.
        """
        owner = secrets.randbits(62)
        try:
            pool = await asyncpg.create_pool(
                url, min_size=1, max_size=POOL_SIZE, timeout=CONNECT_TIMEOUT, command_timeout=COMMAND_TIMEOUT
            )
            presence = await asyncpg.connect(url, timeout=CONNECT_TIMEOUT, command_timeout=COMMAND_TIMEOUT)
            await presence.execute("SELECT pg_advisory_lock($1)", owner)
        except (*_PASSING, asyncpg.PostgresError, ValueError) as error:
            raise StoreUnusable(f"PostgreSQL cannot be used ({error}); see DRAGOMAN_DATABASE_URL") from error
        return cls(pool, presence, owner, url)

    def begin(self, job: Job[T]) -> Pending[T]:
        pending: Pending[T] = Pending(asyncio.get_running_loop())
        task = asyncio.ensure_future(self._run(job, pending))
        self._tasks.add(task)
        task.add_done_callback(self._tasks.discard)
        return pending

    async def write(self, job: Job[T]) -> T:
        pending = self.begin(job)
        value = await pending.applied
        await pending.durable
        return value

    async def read(self, job: Job[T]) -> T:
        try:
            async with self._pool.acquire(timeout=CONNECT_TIMEOUT) as connection, connection.transaction(readonly=True):
                return await job(PostgresTransaction(connection, self.subscriptions))
        except _PASSING as error:
            raise Unavailable("The database cannot be reached") from error

    async def dead(self, owners: Sequence[int]) -> Sequence[int]:
        await self._keep_presence()
        gone = []
        async with self._pool.acquire(timeout=CONNECT_TIMEOUT) as connection:
            for owner in owners:
                if owner != self.owner and await connection.fetchval("SELECT pg_try_advisory_lock($1)", owner):
                    await connection.execute("SELECT pg_advisory_unlock($1)", owner)
                    gone.append(owner)
        return gone

    async def version(self) -> str | None:
        return await self.read(_schema_version)

    async def close(self) -> None:
        if self._tasks:
            await asyncio.wait(self._tasks, timeout=CLOSE_TIMEOUT)
        try:
            async with asyncio.timeout(CLOSE_TIMEOUT):
                await self._presence.close()
                await self._pool.close()
        except TimeoutError:
            self._presence.terminate()
            self._pool.terminate()

    async def _keep_presence(self) -> None:
        """Take the lock of this process again after the server has been away."""
        async with self._presence_lock:
            if self._presence.is_closed():
                self._presence = await asyncpg.connect(
                    self.url, timeout=CONNECT_TIMEOUT, command_timeout=COMMAND_TIMEOUT
                )
                await self._presence.execute("SELECT pg_advisory_lock($1)", self.owner)

    async def _run(self, job: Job[T], pending: Pending[T]) -> None:
        try:
            for attempt in range(1, ATTEMPTS + 1):
                try:
                    await self._attempt(job, pending)
                    break
                except (asyncpg.SerializationError, asyncpg.DeadlockDetectedError):
                    # A result that was told already cannot be taken back: then the write fails as a whole.
                    if attempt == ATTEMPTS or pending.applied.done():
                        raise
        except BaseException as error:
            told: BaseException = error
            if isinstance(error, (*_PASSING, asyncpg.SerializationError, asyncpg.DeadlockDetectedError)):
                told = Unavailable("The database cannot be reached")
                told.__cause__ = error
            if not pending.applied.done():
                pending.applied.set_exception(told)
            if not pending.durable.done():
                pending.durable.set_exception(told)
                pending.durable.exception()
            if isinstance(error, asyncio.CancelledError):
                raise

    async def _attempt(self, job: Job[T], pending: Pending[T]) -> None:
        async with self._pool.acquire(timeout=CONNECT_TIMEOUT) as connection:
            transaction = connection.transaction()
            await transaction.start()
            try:
                value = await job(PostgresTransaction(connection, self.subscriptions))
            except BaseException:
                await transaction.rollback()
                raise
            if not pending.applied.done():
                pending.applied.set_result(value)
            await transaction.commit()
        if not pending.durable.done():
            pending.durable.set_result(None)


async def _schema_version(transaction: Any) -> str | None:
    known = await transaction.one("SELECT to_regclass('alembic_version')", {})
    row = await transaction.one("SELECT version_num FROM alembic_version", {}) if known and known[0] else None
    return str(row[0]) if row else None
