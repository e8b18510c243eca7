"""Either database, its schema made once; each test finds it empty."""

import asyncio
import shutil
from collections.abc import AsyncIterator
from pathlib import Path

import asyncpg
import pytest

from dragoman.adapters.store import SqlStore, migrate, open_store
from dragoman.adapters.store.migrate import HEAD
from dragoman.adapters.store.schema import metadata
from tests.support.postgres import TemporaryPostgres
from tests.support.server import migrated


@pytest.fixture(scope="session")
def migrated_database(postgres: TemporaryPostgres) -> str:
    url = postgres.database()
    asyncio.run(migrate(url))
    return url


@pytest.fixture
def sqlite_url(tmp_path: Path) -> str:
    """A file with the schema and nothing in it."""
    return f"sqlite:///{shutil.copy(migrated(), tmp_path)}"


@pytest.fixture
async def postgres_url(migrated_database: str) -> str:
    """A PostgreSQL database with the schema and nothing in it: emptied, which is far cheaper than a copy."""
    connection = await asyncpg.connect(migrated_database)
    forget = "; ".join(f"DELETE FROM {table}" for table in (*metadata.tables, "chunk_words"))
    await connection.execute(f"{forget}; UPDATE alembic_version SET version_num = '{HEAD}'")
    await connection.close()
    return migrated_database


@pytest.fixture(params=["sqlite", "postgres"])
def url(request: pytest.FixtureRequest) -> str:
    """Where a store can be opened, on each database in turn."""
    address: str = request.getfixturevalue(f"{request.param}_url")
    return address


@pytest.fixture
async def store(url: str) -> AsyncIterator[SqlStore]:
    opened = await open_store(url)
    yield opened
    await opened.close()
