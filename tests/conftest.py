"""Fixtures that the whole suite shares."""

from collections.abc import Iterator

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
