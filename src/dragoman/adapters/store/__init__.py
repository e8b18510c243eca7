"""The storage layer: the only place with SQL and database drivers, one module per noun. Knows no service."""

import os
from pathlib import Path

from dragoman.adapters.store.agents import Agents, Definitions
from dragoman.adapters.store.attachments import Attachments
from dragoman.adapters.store.audit import Audit
from dragoman.adapters.store.conversations import Conversations
from dragoman.adapters.store.deliveries import Deliveries
from dragoman.adapters.store.documents import Documents
from dragoman.adapters.store.drafts import Drafts
from dragoman.adapters.store.driver import Database, Rehearsal
from dragoman.adapters.store.endpoints import Endpoints
from dragoman.adapters.store.handovers import Handovers
from dragoman.adapters.store.keys import Keys
from dragoman.adapters.store.limits import Limits
from dragoman.adapters.store.migrate import HEAD, migrate_postgres, migrate_sqlite
from dragoman.adapters.store.passages import Passages
from dragoman.adapters.store.postgres import PostgresDatabase
from dragoman.adapters.store.search import Search
from dragoman.adapters.store.secrets import Secrets
from dragoman.adapters.store.sqlite import SqliteDatabase, check_file, lock_file, schema_version
from dragoman.adapters.store.tenants import Tenants
from dragoman.adapters.store.turns import Turns
from dragoman.adapters.store.usage import Usage
from dragoman.core.errors import Unavailable
from dragoman.ports.store import StoreUnusable


class SqlStore:
    """Everything that is kept, on either database; `ports.store.Store`."""

    def __init__(self, database: Database) -> None:
        self._database = database
        self.owner = database.owner
        definitions = Definitions()
        self.tenants = Tenants(database, definitions)
        self.keys = Keys(database)
        self.agents = Agents(database, definitions)
        self.drafts = Drafts(database, definitions)
        self.conversations = Conversations(database)
        self.search = Search(database)
        self.documents = Documents(database, definitions)
        self.passages = Passages(database)
        self.attachments = Attachments(database)
        self.limits = Limits(database)
        self.turns = Turns(database, definitions)
        self.handovers = Handovers(database, definitions)
        self.usage = Usage(database)
        self.audit = Audit(database)
        self.endpoints = Endpoints(database)
        self.deliveries = Deliveries(database)
        self.secrets = Secrets(database)

    def rehearsal(self) -> "SqlStore":
        return SqlStore(Rehearsal(self._database))

    async def check(self) -> None:
        if await self._database.version() != HEAD:
            raise Unavailable("The database schema is not current; run: dragoman migrate")

    async def close(self) -> None:
        await self._database.close()


def is_sqlite(url: str) -> bool:
    """Whether a database URL names a file of ours."""
    return url.startswith("sqlite:///")


def sqlite_path(url: str) -> Path:
    """The file that an ``sqlite:///`` URL names; a fourth slash makes it absolute."""
    return Path(url.removeprefix("sqlite:///"))


async def open_store(url: str) -> SqlStore:
    """Open the database behind a URL. A file is brought to this version's schema; PostgreSQL must be there already.

    Raises:
        StoreUnusable: it cannot be reached, is in use, is damaged, or its schema is old; the message says what to do.
    """
    if is_sqlite(url):
        return SqlStore(_open_file(sqlite_path(url))[0])
    database = await PostgresDatabase.open(url)
    try:
        version = await database.version()
    except Unavailable as error:
        await database.close()
        raise StoreUnusable(f"{error.message}; see DRAGOMAN_DATABASE_URL") from error
    if version != HEAD:
        await database.close()
        raise StoreUnusable(
            f"the database's schema is {version or 'not there yet'}, this version needs {HEAD}; run: dragoman migrate"
        )
    return SqlStore(database)


def _open_file(path: Path) -> tuple[SqliteDatabase, str | None]:
    """The database in a file, at this version's schema, and the revision that it had before."""
    try:
        path.parent.mkdir(parents=True, exist_ok=True, mode=0o700)
        lock = lock_file(path)
    except OSError as error:
        raise StoreUnusable(
            f"nothing can be kept in {path.parent} ({error.strerror}); "
            "choose another folder with DRAGOMAN_DATA_DIR, or another database with DRAGOMAN_DATABASE_URL"
        ) from error
    try:
        check_file(path)
        before = schema_version(path)
        if before != HEAD:
            migrate_sqlite(path)
    except BaseException:
        os.close(lock)
        raise
    return SqliteDatabase(path, lock), before


async def migrate(url: str) -> tuple[str | None, str]:
    """Bring the database behind a URL to this version's schema; what it was and what it is.

    Raises:
        StoreUnusable: it cannot be reached, is in use or is damaged.
    """
    if not is_sqlite(url):
        return await migrate_postgres(url), HEAD
    database, before = _open_file(sqlite_path(url))
    await database.close()
    return before, HEAD


async def inspect(url: str) -> str:
    """Look at the database behind a URL without changing it; what was found.

    Raises:
        StoreUnusable: it cannot be used; the message says what to do.
    """
    if not is_sqlite(url):
        await (await open_store(url)).close()
        return f"PostgreSQL, schema {HEAD}"
    path = sqlite_path(url)
    check_file(path)
    return f"{path}, schema {schema_version(path) or 'not there yet; serve makes it'}"
