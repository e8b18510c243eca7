"""SQLite: one writer thread that groups commits, a savepoint per job; readers beside it. Knows no table.

The library before 3.51.3 can corrupt a WAL that two connections reset at once: so one connection writes and
checkpoints, and a lock file keeps a second process out.
"""

import asyncio
import contextlib
import fcntl
import os
import queue
import secrets
import sqlite3
import threading
from collections.abc import Awaitable, Callable, Coroutine, Sequence
from pathlib import Path
from typing import Any, Generic, TypeVar, cast

from dragoman.adapters.store.driver import Job, Kind, Params, Row
from dragoman.adapters.store.subscriptions import Subscriptions
from dragoman.core.errors import Unavailable
from dragoman.ports.store import StoreUnusable
from dragoman.ports.turns import Pending

T = TypeVar("T")

PRAGMAS = (
    "journal_mode=WAL",
    "synchronous=FULL",
    "foreign_keys=ON",
    "busy_timeout=5000",
    "wal_autocheckpoint=1000",
    "cache_size=-16000",
    "temp_store=MEMORY",
)
MAX_BATCH = 64
READERS = 2
STATEMENTS = 512


class SqliteTransaction:
    """Statements on one connection; its coroutines never suspend."""

    __slots__ = ("_connection", "subscriptions")

    def __init__(self, connection: sqlite3.Connection, subscriptions: Subscriptions) -> None:
        self._connection = connection
        self.subscriptions = subscriptions

    async def run(self, sql: str, params: Params, /) -> int:
        return self._connection.execute(sql, params).rowcount

    async def one(self, sql: str, params: Params, /) -> Row | None:
        return cast("Row | None", self._connection.execute(sql, params).fetchone())

    async def all(self, sql: str, params: Params, /) -> Sequence[Row]:
        return self._connection.execute(sql, params).fetchall()

    async def many(self, sql: str, params: Sequence[Params], /) -> None:
        self._connection.executemany(sql, params)


def step_through(job: Awaitable[T]) -> T:
    """Run a coroutine that never suspends to its end.

    Raises:
        RuntimeError: it awaited something that is not there in this thread.
    """
    coroutine = cast("Coroutine[Any, Any, T]", job)
    try:
        coroutine.send(None)
    except StopIteration as end:
        return cast("T", end.value)
    coroutine.close()
    raise RuntimeError("a job of the store may await nothing but its transaction")


class _Entry(Generic[T]):
    __slots__ = ("early", "job", "loop", "pending")

    def __init__(self, job: Job[T], early: bool) -> None:
        self.job = job
        self.early = early
        self.loop = asyncio.get_running_loop()
        self.pending: Pending[T] = Pending(self.loop)


_Settled = tuple[_Entry[Any], bool, Any]


class SqliteDatabase:
    """A database file that this process alone writes; `lock` is the descriptor that says so, closed in the end.

    Raises (when made):
        StoreUnusable: the file cannot be opened.
    """

    def __init__(self, path: Path, lock: int) -> None:
        self.path = path
        self.kind: Kind = "sqlite"
        self.owner = secrets.randbits(62)
        self.subscriptions = Subscriptions()
        self._lock = lock
        self._writes: queue.SimpleQueue[_Entry[Any] | None] = queue.SimpleQueue()
        self._reads: queue.SimpleQueue[_Entry[Any] | None] = queue.SimpleQueue()
        opened: queue.SimpleQueue[BaseException | None] = queue.SimpleQueue()
        writer = threading.Thread(target=self._write_all, args=(opened,), name="store-writer")
        writer.start()
        if problem := opened.get():
            os.close(lock)
            raise StoreUnusable(f"{path} cannot be opened: {problem}") from problem
        readers = [threading.Thread(target=self._read_all, name=f"store-reader-{number}") for number in range(READERS)]
        for reader in readers:
            reader.start()
        self._threads = [writer, *readers]

    def begin(self, job: Job[T]) -> Pending[T]:
        entry = _Entry(job, early=True)
        self._writes.put(entry)
        return entry.pending

    async def write(self, job: Job[T]) -> T:
        entry = _Entry(job, early=False)
        self._writes.put(entry)
        return await entry.pending.applied

    async def read(self, job: Job[T]) -> T:
        entry = _Entry(job, early=False)
        self._reads.put(entry)
        return await entry.pending.applied

    async def dead(self, owners: Sequence[int]) -> Sequence[int]:
        # The lock file says it: nobody else lives on this database.
        return [owner for owner in owners if owner != self.owner]

    async def version(self) -> str | None:
        return await asyncio.to_thread(schema_version, self.path)

    async def close(self) -> None:
        self._writes.put(None)
        for _ in range(READERS):
            self._reads.put(None)
        for thread in self._threads:
            await asyncio.to_thread(thread.join)
        os.close(self._lock)

    def _write_all(self, opened: "queue.SimpleQueue[BaseException | None]") -> None:
        try:
            connection = connect(self.path)
        except (sqlite3.Error, OSError) as error:
            opened.put(error)
            return
        opened.put(None)
        transaction = SqliteTransaction(connection, self.subscriptions)
        open_for_more = True
        while open_for_more:
            batch: list[_Entry[Any]] = []
            entry = self._writes.get()
            while True:
                if entry is None:
                    open_for_more = False
                    break
                batch.append(entry)
                if len(batch) == MAX_BATCH:
                    break
                try:
                    entry = self._writes.get_nowait()
                except queue.Empty:
                    break
            if batch:
                _commit_together(connection, transaction, batch)
        with contextlib.suppress(sqlite3.Error):
            connection.execute("PRAGMA optimize")
        connection.close()

    def _read_all(self) -> None:
        connection = connect(self.path, readonly=True)
        transaction = SqliteTransaction(connection, self.subscriptions)
        while entry := self._reads.get():
            try:
                connection.execute("BEGIN")
                settled: _Settled = (entry, True, step_through(entry.job(transaction)))
            except BaseException as error:
                settled = (entry, False, readable(error))
            if connection.in_transaction:
                with contextlib.suppress(sqlite3.Error):
                    connection.execute("ROLLBACK")
            _tell([settled], _settle)
        connection.close()


def _commit_together(
    connection: sqlite3.Connection, transaction: SqliteTransaction, batch: Sequence[_Entry[Any]]
) -> None:
    """Run a batch in one transaction; a job that fails is undone alone, a commit that fails fails them all."""
    settled: list[_Settled] = []
    undone_by_job = False
    try:
        connection.execute("BEGIN IMMEDIATE")
        for entry in batch:
            connection.execute("SAVEPOINT job")
            try:
                settled.append((entry, True, step_through(entry.job(transaction))))
            except BaseException as error:
                if not connection.in_transaction:
                    undone_by_job = True
                    raise
                connection.execute("ROLLBACK TO job")
                settled.append((entry, False, readable(error)))
            connection.execute("RELEASE job")
        if early := [item for item in settled if item[0].early]:
            _tell(early, _settle_applied)
        connection.execute("COMMIT")
    except BaseException as error:
        if connection.in_transaction:
            with contextlib.suppress(sqlite3.Error):
                connection.execute("ROLLBACK")
        if len(batch) > 1 and (undone_by_job or isinstance(error, sqlite3.IntegrityError)):
            for entry in batch:
                _commit_together(connection, transaction, [entry])
            return
        settled = [(entry, False, readable(error)) for entry in batch]
    _tell(settled, _settle)


def _tell(settled: list[_Settled], settle: Callable[[list[_Settled]], None]) -> None:
    """One wake-up of each loop for the whole batch."""
    by_loop: dict[asyncio.AbstractEventLoop, list[_Settled]] = {}
    for item in settled:
        by_loop.setdefault(item[0].loop, []).append(item)
    for loop, items in by_loop.items():
        with contextlib.suppress(RuntimeError):  # that loop is closed: nobody waits
            loop.call_soon_threadsafe(settle, items)


def _settle_applied(settled: list[_Settled]) -> None:
    for entry, succeeded, value in settled:
        applied = entry.pending.applied
        if applied.done():
            continue
        if succeeded:
            applied.set_result(value)
        else:
            applied.set_exception(value)


def _settle(settled: list[_Settled]) -> None:
    for entry, succeeded, value in settled:
        durable = entry.pending.durable
        if entry.early and not durable.done():
            if succeeded:
                durable.set_result(None)
            else:
                durable.set_exception(value)
                # Whoever saw `applied` fail need not ask again; a failed commit is asked for by those who go on.
                durable.exception()
    _settle_applied(settled)


def readable(error: BaseException) -> BaseException:
    """The error that the caller is to see: what will pass by itself is Unavailable."""
    if isinstance(error, sqlite3.OperationalError) and getattr(error, "sqlite_errorname", "").startswith(
        ("SQLITE_FULL", "SQLITE_IOERR", "SQLITE_BUSY", "SQLITE_CANTOPEN", "SQLITE_READONLY")
    ):
        unavailable = Unavailable("The database cannot write at the moment")
        unavailable.__cause__ = error
        return unavailable
    return error


def connect(path: Path, *, readonly: bool = False) -> sqlite3.Connection:
    """A connection with our settings; transactions are begun by hand."""
    connection = sqlite3.connect(path, isolation_level=None, cached_statements=STATEMENTS)
    for pragma in PRAGMAS:
        connection.execute(f"PRAGMA {pragma}")
    if readonly:
        connection.execute("PRAGMA query_only=ON")
        connection.execute("PRAGMA wal_autocheckpoint=0")
    return connection


def lock_file(path: Path) -> int:
    """Take the lock beside a database; a descriptor that holds it until it is closed.

    Raises:
        StoreUnusable: another process has it.
    """
    descriptor = os.open(f"{path}.lock", os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
    try:
        fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except OSError as error:
        holder = os.read(descriptor, 32).decode(errors="replace").strip()
        os.close(descriptor)
        raise StoreUnusable(
            f"{path} is in use by another Dragoman process{f' (pid {holder})' if holder else ''}; "
            "stop it first, or use PostgreSQL for more than one"
        ) from error
    os.ftruncate(descriptor, 0)
    os.write(descriptor, str(os.getpid()).encode())
    return descriptor


def check_file(path: Path) -> None:
    """Look a database file over before it is used.

    Raises:
        StoreUnusable: it is damaged.
    """
    if not path.exists():
        return
    try:
        with contextlib.closing(sqlite3.connect(path)) as connection:
            found = [str(row[0]) for row in connection.execute("PRAGMA quick_check(3)")]
    except sqlite3.DatabaseError as error:
        found = [str(error)]
    if found != ["ok"]:
        problem = " ".join("; ".join(found).split())
        raise StoreUnusable(
            f"{path} is damaged ({problem}); restore it from a backup, or recover what is left with "
            f"'sqlite3 {path} .recover'"
        )


def schema_version(path: Path) -> str | None:
    """The revision of a file's schema, None where it has none yet."""
    if not path.exists():
        return None
    with contextlib.closing(sqlite3.connect(path)) as connection:
        if connection.execute("SELECT 1 FROM sqlite_master WHERE name = 'alembic_version'").fetchone() is None:
            return None
        row = connection.execute("SELECT version_num FROM alembic_version").fetchone()
    return str(row[0]) if row else None
