"""A server for each module, with the agents of S0's scene."""

from collections.abc import Iterator

import aiohttp
import pytest

from tests.dialects.aloochat.scene import Chat, spelled
from tests.support.client import Client
from tests.support.server import ServerProcess, serving


@pytest.fixture(scope="module")
def server(tmp_path_factory: pytest.TempPathFactory, upstream: str) -> Iterator[ServerProcess]:
    """The server; nothing that a module sends it may surprise it."""
    yield from serving(tmp_path_factory.mktemp("server"), spelled(upstream))


@pytest.fixture
def chat(server: ServerProcess, session: aiohttp.ClientSession) -> Chat:
    """A client of S0 with the secret key of `acme`, who talks to its support agent."""
    return Chat(Client(session, server.url))
