"""One server for each module, and a tenant of its own for each test."""

from collections.abc import Iterator
from itertools import count

import aiohttp
import pytest

from tests.dialects.sessions.scene import TENANTS, manifest, page_key, secret_key
from tests.support.chats import Chats
from tests.support.server import ServerProcess, serving

_numbers = count()


@pytest.fixture(scope="module")
def server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[ServerProcess]:
    """The server; nothing that a module sends it may surprise it."""
    yield from serving(tmp_path_factory.mktemp("server"), manifest())


@pytest.fixture
def tenant() -> str:
    return f"tenant-{next(_numbers) % TENANTS}"


@pytest.fixture
def chats(server: ServerProcess, session: aiohttp.ClientSession, tenant: str) -> Chats:
    """A client with the secret key of a tenant of its own."""
    return Chats(session, server.url, secret_key(tenant))


@pytest.fixture
def stranger(server: ServerProcess, session: aiohttp.ClientSession) -> Chats:
    """A client with the secret key of another tenant."""
    return Chats(session, server.url, secret_key("undecided"))


@pytest.fixture
def page(server: ServerProcess, session: aiohttp.ClientSession, tenant: str) -> Chats:
    """A page of any origin, behind a publishable key of the test's tenant."""
    return Chats(session, server.url, page_key(tenant, "any"))
