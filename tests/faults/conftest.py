"""What the fault tests share: counts, and a server over each database."""

import os
from collections.abc import AsyncIterator, Callable, Iterator
from contextlib import ExitStack
from pathlib import Path

import aiohttp
import pytest

from tests.support.postgres import TemporaryPostgres
from tests.support.server import ServerProcess

FULL = os.environ.get("DRAGOMAN_FAULTS") == "full"

MakeServer = Callable[..., ServerProcess]


def count(small: int, full: int) -> int:
    """How many, in `make test` and in `make faults`."""
    return full if FULL else small


@pytest.fixture(params=["sqlite", "postgres"])
def server(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[ServerProcess]:
    """A server that is not started yet, over each database."""
    url = None
    if request.param == "postgres":
        postgres: TemporaryPostgres = request.getfixturevalue("postgres")
        url = postgres.database()
    with ExitStack() as stack:
        made = ServerProcess(tmp_path, database_url=url)
        stack.callback(made.kill9)
        yield made


@pytest.fixture
def sqlite_server(tmp_path: Path) -> Iterator[ServerProcess]:
    """A server that is not started yet, on SQLite."""
    made = ServerProcess(tmp_path)
    yield made
    made.kill9()


@pytest.fixture
async def session() -> AsyncIterator[aiohttp.ClientSession]:
    """A client's connections, without a bound of their own."""
    connector = aiohttp.TCPConnector(limit=0, force_close=True)
    async with aiohttp.ClientSession(connector=connector, timeout=aiohttp.ClientTimeout(total=60)) as made:
        yield made
