"""The migrations make the schema that schema.py tells of, all or nothing, on either database."""

import asyncio
import subprocess
import sys
from pathlib import Path
from typing import Any

import asyncpg
import pytest
from alembic.autogenerate import compare_metadata
from alembic.config import Config
from alembic.migration import MigrationContext
from alembic.script import ScriptDirectory
from sqlalchemy import Connection, create_engine, inspect
from sqlalchemy.ext.asyncio import create_async_engine
from sqlalchemy.pool import NullPool

from dragoman.adapters import store as store_package
from dragoman.adapters.store import migrate, open_store
from dragoman.adapters.store.migrate import HEAD
from dragoman.adapters.store.schema import metadata
from dragoman.ports.store import StoreUnusable
from tests.adapters.store.scene import settled
from tests.support.postgres import TemporaryPostgres
from tests.support.server import COMMAND, SECRET

# Migrates, but stops in the middle of it for as long as it may live.
HALF_WAY = """
import asyncio, sys, time
from alembic import op
from dragoman.adapters.store import migrate

def create_index(*arguments, **options):
    print("half-way", flush=True)
    time.sleep(60)

op.create_index = create_index
asyncio.run(migrate(sys.argv[1]))
"""


@pytest.fixture(params=["sqlite", "postgres"])
def empty_url(request: pytest.FixtureRequest, tmp_path: Path) -> str:
    """Where nothing is yet."""
    if request.param == "sqlite":
        return f"sqlite:///{tmp_path / 'dragoman.db'}"
    server: TemporaryPostgres = request.getfixturevalue("postgres")
    return server.database()


async def looked_at(url: str, look: Any) -> Any:
    """What a function finds on a SQLAlchemy connection."""
    if url.startswith("sqlite"):
        engine = create_engine(url, poolclass=NullPool)
        with engine.connect() as connection:
            return look(connection)
    remote = create_async_engine(
        "postgresql+asyncpg://", async_creator=lambda: asyncpg.connect(url), poolclass=NullPool
    )
    async with remote.connect() as connection:
        return await connection.run_sync(look)


def migrate_half_way(url: str) -> None:
    """Migrate in a process that is killed within it."""
    with subprocess.Popen([sys.executable, "-c", HALF_WAY, url], stdout=subprocess.PIPE) as half:
        assert half.stdout is not None
        assert half.stdout.readline() == b"half-way\n"
        half.kill()


def tables(connection: Connection) -> list[str]:
    return inspect(connection).get_table_names()


def differences(connection: Connection) -> list[Any]:
    # Words are indexed by each database in its own form: those tables are in no metadata.
    ours = {"compare_type": True, "include_name": lambda name, kind, _: not (kind == "table" and is_of_words(name))}
    return list(compare_metadata(MigrationContext.configure(connection, opts=ours), metadata))


def is_of_words(table: str) -> bool:
    return table.startswith("chunk_words")


def test_head_is_the_newest_revision_and_there_is_one_line_of_them() -> None:
    config = Config()
    config.set_main_option("script_location", str(Path(store_package.__file__).parent / "migrations"))
    config.set_main_option("path_separator", "os")
    assert ScriptDirectory.from_config(config).get_heads() == [HEAD]


async def test_the_migrated_schema_is_the_one_that_is_written_down(url: str) -> None:
    assert await looked_at(url, differences) == []
    named = await looked_at(url, tables)
    assert {name for name in named if not is_of_words(name)} == {*metadata.tables, "alembic_version"}
    assert "chunk_words" in named


async def test_a_second_migration_changes_nothing(empty_url: str) -> None:
    assert await migrate(empty_url) == (None, HEAD)
    store = await open_store(empty_url)
    agent = await settled(store)
    await store.close()
    assert await migrate(empty_url) == (HEAD, HEAD)
    store = await open_store(empty_url)
    assert [each.id for each, _ in await store.agents.definitions("acme")] == [agent.id]
    await store.close()


async def test_a_migration_that_is_killed_leaves_nothing_and_the_next_one_finishes(empty_url: str) -> None:
    migrate_half_way(empty_url)
    assert await looked_at(empty_url, tables) == []
    assert await migrate(empty_url) == (None, HEAD)
    assert await looked_at(empty_url, differences) == []


async def test_two_migrations_at_once_take_turns(postgres: TemporaryPostgres) -> None:
    url = postgres.database()
    assert sorted(await asyncio.gather(migrate(url), migrate(url)), key=str) == [(HEAD, HEAD), (None, HEAD)]


async def test_a_schema_of_a_newer_version_is_left_alone(url: str) -> None:
    def age(connection: Connection) -> None:
        connection.exec_driver_sql("UPDATE alembic_version SET version_num = '9999'")
        connection.commit()

    await looked_at(url, age)
    for use in (migrate, open_store):
        with pytest.raises(StoreUnusable, match=f"schema is 9999, .*{HEAD}"):
            await use(url)


async def test_a_postgres_without_the_schema_is_refused_by_name_of_the_command(postgres: TemporaryPostgres) -> None:
    url = postgres.database()
    with pytest.raises(StoreUnusable, match=r"schema is not there yet, this version needs .*; run: dragoman migrate"):
        await open_store(url)


async def test_a_postgres_that_is_not_there_is_told_of() -> None:
    for use in (migrate, open_store):
        with pytest.raises(StoreUnusable, match=r"PostgreSQL cannot be .*; see DRAGOMAN_DATABASE_URL"):
            await use("postgresql://nobody@127.0.0.1:1/nothing")


def test_serve_refuses_a_postgres_without_the_schema_until_it_is_migrated(
    postgres: TemporaryPostgres, tmp_path: Path
) -> None:
    settings = {
        "DRAGOMAN_DATABASE_URL": postgres.database(),
        "DRAGOMAN_DATA_DIR": str(tmp_path),
        "DRAGOMAN_SECRET": SECRET,
    }

    def run(*arguments: str) -> subprocess.CompletedProcess[str]:
        return subprocess.run([*COMMAND, *arguments], env=settings, capture_output=True, text=True, timeout=30)

    refused = run("serve", "--port", "0")
    assert refused.returncode == 1
    assert refused.stderr.startswith("dragoman: ")
    assert refused.stderr.count("\n") == 1
    assert "run: dragoman migrate" in refused.stderr
    assert run("migrate").stdout == f"updated  schema none to {HEAD}\n"
    assert run("migrate").stdout == f"unchanged  schema {HEAD}\n"
    assert run("export").stdout == "models: []\ntenants: []\n"
