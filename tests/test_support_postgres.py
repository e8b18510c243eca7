"""The PostgreSQL that tests are given is a real one, and can be hurt like a real one."""

import shutil
import socket
import subprocess
import sys
import time
from collections.abc import Iterator
from urllib.parse import urlsplit

import asyncpg
import pytest

from tests.support.postgres import TemporaryPostgres


@pytest.fixture
def own_postgres() -> Iterator[TemporaryPostgres]:
    server = TemporaryPostgres()
    try:
        yield server.start()
    finally:
        server.delete()


def listens(port: int) -> bool:
    with socket.socket() as client:
        return client.connect_ex(("127.0.0.1", port)) == 0


async def ask(url: str, query: str) -> object:
    connection = await asyncpg.connect(url)
    try:
        return await connection.fetchval(query)
    finally:
        await connection.close()


async def test_a_server_of_version_18_answers(postgres: TemporaryPostgres) -> None:
    url = postgres.database()
    assert await ask(url, "SELECT 1") == 1
    assert str(await ask(url, "SHOW server_version")).startswith("18.")


async def test_each_database_is_fresh(postgres: TemporaryPostgres) -> None:
    first, second = postgres.database(), postgres.database()
    await ask(first, "CREATE TABLE kept (n BIGINT)")
    assert await ask(first, "SELECT to_regclass('kept') IS NOT NULL")
    assert await ask(second, "SELECT to_regclass('kept') IS NULL")


@pytest.mark.parametrize("how", ["killed", "stopped"])
async def test_a_server_that_went_away_comes_back_with_what_it_acknowledged(
    own_postgres: TemporaryPostgres, how: str
) -> None:
    url = own_postgres.database()
    await ask(url, "CREATE TABLE kept AS SELECT 7 AS n")
    if how == "killed":
        own_postgres.kill9()
    else:
        own_postgres.stop()
    with pytest.raises(ConnectionRefusedError):
        await ask(url, "SELECT 1")
    own_postgres.start()
    assert await ask(url, "SELECT n FROM kept") == 7


def test_a_server_dies_with_the_process_that_started_it() -> None:
    script = (
        "import time\n"
        "from tests.support.postgres import TemporaryPostgres\n"
        "server = TemporaryPostgres().start()\n"
        "print(server.home, server.database(), flush=True)\n"
        "time.sleep(60)\n"
    )
    with subprocess.Popen([sys.executable, "-c", script], stdout=subprocess.PIPE, text=True) as owner:
        assert owner.stdout is not None
        home, url = owner.stdout.readline().split()
        port = urlsplit(url).port
        assert port is not None
        assert listens(port)
        owner.kill()
    deadline = time.monotonic() + 10
    while listens(port) and time.monotonic() < deadline:
        time.sleep(0.02)
    assert not listens(port)
    shutil.rmtree(home)
