"""Fixtures that the whole suite shares."""

from collections.abc import AsyncIterator, Iterator

import aiohttp
import pytest

from tests.support.postgres import TemporaryPostgres


@pytest.fixture(scope="session")
def postgres() -> Iterator[TemporaryPostgres]:
    """A running PostgreSQL; take a database of your own from it."""
    server = TemporaryPostgres()
    try:
        yield server.start()
    finally:
        server.delete()


@pytest.fixture
async def session() -> AsyncIterator[aiohttp.ClientSession]:
    """A client's connections."""
    async with aiohttp.ClientSession() as opened:
        yield opened
