"""Bringing the schema to this version, in one transaction on either database. Knows no data."""

import sqlite3
from pathlib import Path
from typing import Any

from dragoman.ports.store import StoreUnusable

# The newest revision in migrations/versions; a test holds it to what Alembic finds there.
HEAD = "0005"

_MIGRATION_LOCK = 0x647261676F6D616E


def migrate_sqlite(path: Path) -> None:
    """Bring a database file to HEAD; the caller holds its lock. Killed half-way, nothing of it has happened.

    Raises:
        StoreUnusable: a newer version has made it.
    """
    from sqlalchemy import create_engine, event
    from sqlalchemy.pool import NullPool

    def connect() -> sqlite3.Connection:
        connection = sqlite3.connect(path, isolation_level=None)
        connection.execute("PRAGMA journal_mode=WAL")
        connection.execute("PRAGMA synchronous=FULL")
        return connection

    engine = create_engine("sqlite://", creator=connect, poolclass=NullPool)
    # SQLAlchemy leaves BEGIN to the driver, which would begin too late for DDL to be undone.
    event.listen(engine, "begin", lambda connection: connection.exec_driver_sql("BEGIN IMMEDIATE"))
    with engine.begin() as connection:
        _upgrade(connection)
    engine.dispose()


async def migrate_postgres(url: str) -> str | None:
    """Bring a PostgreSQL database to HEAD; two that try at once take turns. The revision that it had before.

    Raises:
        StoreUnusable: it cannot be reached, or a newer version has made it.
    """
    import asyncpg
    from sqlalchemy.exc import SQLAlchemyError
    from sqlalchemy.ext.asyncio import create_async_engine
    from sqlalchemy.pool import NullPool

    # asyncpg reads the address by itself: it knows all the forms that a postgresql:// URL takes.
    engine = create_async_engine(
        "postgresql+asyncpg://", async_creator=lambda: asyncpg.connect(url), poolclass=NullPool
    )
    try:
        async with engine.begin() as connection:
            await connection.exec_driver_sql(f"SELECT pg_advisory_xact_lock({_MIGRATION_LOCK})")
            return await connection.run_sync(_upgrade)
    except (OSError, ValueError, asyncpg.PostgresError, SQLAlchemyError) as error:
        raise StoreUnusable(f"PostgreSQL cannot be migrated ({error}); see DRAGOMAN_DATABASE_URL") from error
    finally:
        await engine.dispose()


def _upgrade(connection: Any) -> str | None:
    from alembic import command
    from alembic.config import Config
    from alembic.migration import MigrationContext
    from alembic.util import CommandError

    before = MigrationContext.configure(connection).get_current_revision()
    config = Config()
    config.set_main_option("script_location", str(Path(__file__).parent / "migrations"))
    config.set_main_option("path_separator", "os")
    config.attributes["connection"] = connection
    try:
        command.upgrade(config, "head")
    except CommandError as error:
        raise StoreUnusable(
            f"the database's schema is {before}, which this version does not know, it knows {HEAD}; "
            "was it made by a newer version?"
        ) from error
    return before
