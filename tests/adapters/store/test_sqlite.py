"""What SQLite's driver alone does: commits in groups, the lock, damage and torn tails."""

import asyncio
import os
import shutil
import sqlite3
import subprocess
import sys
from collections.abc import AsyncIterator, Awaitable, Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

from dragoman.adapters.store import inspect, migrate, open_store
from dragoman.adapters.store.driver import Transaction
from dragoman.adapters.store.sqlite import SqliteDatabase, lock_file
from dragoman.core.errors import Unavailable
from dragoman.ports.store import StoreUnusable
from tests.adapters.store.scene import settled

ADD = "INSERT INTO things (id) VALUES (:id)"

HOLDING = """
import sys, time, pathlib
from dragoman.adapters.store.sqlite import lock_file
lock_file(pathlib.Path(sys.argv[1]))
print("held", flush=True)
time.sleep(60)
"""

Write = Callable[[Transaction], Awaitable[int]]


def adding(number: int, *, text: str = ADD) -> Write:
    async def job(transaction: Transaction) -> int:
        await transaction.run(text, {"id": number})
        return number

    return job


async def _things(transaction: Transaction) -> list[int]:
    return [row[0] for row in await transaction.all("SELECT id FROM things ORDER BY id", {})]


@pytest.fixture
async def database(tmp_path: Path) -> AsyncIterator[SqliteDatabase]:
    path = tmp_path / "things.db"
    connection = sqlite3.connect(path)
    connection.execute("CREATE TABLE things (id INTEGER PRIMARY KEY)")
    connection.execute(
        "CREATE TABLE parts (id INTEGER PRIMARY KEY, thing INTEGER REFERENCES things DEFERRABLE INITIALLY DEFERRED)"
    )
    connection.close()
    opened = SqliteDatabase(path, lock_file(path))
    yield opened
    await opened.close()


async def together(database: SqliteDatabase, *jobs: Write) -> list[int | BaseException]:
    """The results of jobs that wait for the writer all at once, and so share a batch."""
    held, go = asyncio.Event(), asyncio.Event()
    loop = asyncio.get_running_loop()

    async def hold(_: Transaction) -> int:
        loop.call_soon_threadsafe(held.set)
        asyncio.run_coroutine_threadsafe(go.wait(), loop).result(10)
        return 0

    holding = asyncio.create_task(database.write(hold))
    await held.wait()
    waiting = [asyncio.ensure_future(database.write(job)) for job in jobs]
    await asyncio.sleep(0)
    go.set()
    await holding
    return await asyncio.gather(*waiting, return_exceptions=True)


@contextmanager
def locked_elsewhere(url: str) -> Iterator["subprocess.Popen[bytes]"]:
    """Another process has the file's lock while the block runs."""
    path = url.removeprefix("sqlite:///")
    with subprocess.Popen([sys.executable, "-c", HOLDING, path], stdout=subprocess.PIPE) as holder:
        assert holder.stdout is not None
        assert holder.stdout.readline() == b"held\n"
        try:
            yield holder
        finally:
            holder.kill()


async def test_many_writes_at_once_are_all_kept_in_order(database: SqliteDatabase) -> None:
    assert await together(database, *(adding(number) for number in range(200))) == list(range(200))
    assert await database.read(_things) == list(range(200))


async def test_a_job_that_fails_fails_alone(database: SqliteDatabase) -> None:
    async def fail(transaction: Transaction) -> int:
        await transaction.run(ADD, {"id": 100})
        raise KeyError("mine")

    results = await together(database, adding(1), fail, adding(1), adding(2))
    assert results[0] == 1
    assert isinstance(results[1], KeyError)
    assert isinstance(results[2], sqlite3.IntegrityError)
    assert results[3] == 2
    assert await database.read(_things) == [1, 2]


async def test_a_job_that_rolls_the_transaction_back_harms_nobody_else(database: SqliteDatabase) -> None:
    broken = adding(1, text="INSERT OR ROLLBACK INTO things (id) VALUES (:id)")
    results = await together(database, adding(1), adding(2), broken, adding(3))
    assert [results[0], results[1], results[3]] == [1, 2, 3]
    assert isinstance(results[2], sqlite3.IntegrityError)
    assert await database.read(_things) == [1, 2, 3]


async def test_a_job_that_only_the_commit_refuses_harms_nobody_else(database: SqliteDatabase) -> None:
    orphan = adding(9, text="INSERT INTO parts (id, thing) VALUES (:id, :id)")
    results = await together(database, adding(1), orphan, adding(2))
    assert [results[0], results[2]] == [1, 2]
    assert isinstance(results[1], sqlite3.IntegrityError)
    assert await database.read(_things) == [1, 2]


async def test_a_job_that_awaits_something_foreign_is_refused_and_undone(database: SqliteDatabase) -> None:
    async def wander(transaction: Transaction) -> int:
        await transaction.run(ADD, {"id": 1})
        await asyncio.sleep(0)
        return 1

    with pytest.raises(RuntimeError, match="nothing but its transaction"):
        await database.write(wander)
    assert await database.read(_things) == []


async def test_a_beginning_is_applied_before_it_is_durable_and_a_failed_one_is_neither(
    database: SqliteDatabase,
) -> None:
    pending = database.begin(adding(1))
    assert await pending.applied == 1
    await pending.durable
    pending = database.begin(adding(1))
    for future in (pending.applied, pending.durable):
        with pytest.raises(sqlite3.IntegrityError):
            await future


async def test_a_read_cannot_write(database: SqliteDatabase) -> None:
    with pytest.raises((sqlite3.OperationalError, Unavailable)):
        await database.read(adding(1))
    assert await database.read(_things) == []


async def test_a_waiter_that_has_left_disturbs_nothing(database: SqliteDatabase) -> None:
    leaving = asyncio.create_task(database.write(adding(1)))
    await asyncio.sleep(0)
    leaving.cancel()
    assert await database.write(adding(2)) == 2
    assert await database.read(_things) == [1, 2]


async def test_a_second_open_is_refused_and_names_the_process_that_has_it(sqlite_url: str) -> None:
    store = await open_store(sqlite_url)
    with pytest.raises(StoreUnusable, match=rf"in use by another Dragoman process \(pid {os.getpid()}\)"):
        await open_store(sqlite_url)
    await store.close()
    await (await open_store(sqlite_url)).close()


async def test_the_lock_of_a_process_that_was_killed_is_free(sqlite_url: str) -> None:
    with locked_elsewhere(sqlite_url) as holder:
        with pytest.raises(StoreUnusable, match=rf"pid {holder.pid}\)"):
            await open_store(sqlite_url)
        holder.kill()
    await (await open_store(sqlite_url)).close()


def flip_a_page(path: Path) -> None:
    """Turn every bit of a page that belongs to a table."""
    page = 4096
    with path.open("r+b") as file:
        root = sqlite3.connect(path)
        (number,) = root.execute("SELECT rootpage FROM sqlite_master WHERE name = 'agent_versions'").fetchone()
        root.close()
        file.seek((number - 1) * page)
        flipped = bytes(byte ^ 0xFF for byte in file.read(page))
        file.seek((number - 1) * page)
        file.write(flipped)


async def test_a_flipped_page_stops_the_start_and_is_told(sqlite_url: str) -> None:
    store = await open_store(sqlite_url)
    for number in range(40):
        await settled(store, name=f"Agent {number}", instructions="x" * 2000)
    await store.close()
    path = Path(sqlite_url.removeprefix("sqlite:///"))
    flip_a_page(path)
    for use in (open_store, migrate, inspect):
        with pytest.raises(StoreUnusable, match=r"is damaged \(.+\); restore it from a backup") as told:
            await use(sqlite_url)
        assert str(path) in str(told.value)


@pytest.mark.parametrize("content", [b"this is not a database at all, not one bit of it" * 100, b"SQLite format 3\0"])
async def test_a_file_that_is_no_database_stops_the_start(tmp_path: Path, content: bytes) -> None:
    path = tmp_path / "dragoman.db"
    path.write_bytes(content)
    for use in (open_store, migrate, inspect):
        with pytest.raises(StoreUnusable, match=r"dragoman\.db is damaged"):
            await use(f"sqlite:///{path}")
    path.unlink()
    await (await open_store(f"sqlite:///{path}")).close()


async def test_a_torn_tail_of_the_log_opens_at_the_last_whole_commit(sqlite_url: str, tmp_path: Path) -> None:
    store = await open_store(sqlite_url)
    path = Path(sqlite_url.removeprefix("sqlite:///"))
    wal = path.with_name(f"{path.name}-wal")
    ends = []
    for number in range(12):
        await store.tenants.set_price(f"model {number:02}", number)
        ends.append(wal.stat().st_size)
    whole = wal.read_bytes()
    cuts = {*ends, *(end - 1 for end in ends), *(end - 4096 for end in ends), len(whole) - 4096 - 24, 32, 31, 0}
    for index, cut in enumerate(sorted(each for each in cuts if each >= 0)):
        copy = tmp_path / f"copy-{index}.db"
        shutil.copy(path, copy)
        copy.with_name(f"{copy.name}-wal").write_bytes(whole[:cut])
        reopened = await open_store(f"sqlite:///{copy}")
        kept = await reopened.tenants.prices()
        await reopened.close()
        assert kept == [(f"model {number:02}", number) for number, end in enumerate(ends) if end <= cut]
    await store.close()


async def test_a_wrong_byte_in_the_log_opens_at_the_last_commit_before_it(sqlite_url: str, tmp_path: Path) -> None:
    store = await open_store(sqlite_url)
    path = Path(sqlite_url.removeprefix("sqlite:///"))
    wal = path.with_name(f"{path.name}-wal")
    ends = []
    for number in range(6):
        await store.tenants.set_price(f"model {number}", number)
        ends.append(wal.stat().st_size)
    content = bytearray(wal.read_bytes())
    content[ends[3] - 100] ^= 0xFF
    copy = tmp_path / "copy.db"
    shutil.copy(path, copy)
    copy.with_name(f"{copy.name}-wal").write_bytes(content)
    await store.close()
    reopened = await open_store(f"sqlite:///{copy}")
    assert await reopened.tenants.prices() == [(f"model {number}", number) for number in range(3)]
    await reopened.close()
