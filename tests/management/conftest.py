"""One server for each test module, with two tenants."""

from collections.abc import AsyncIterator, Iterator

import aiohttp
import pytest

from tests.management.scene import PUBLISHABLE_KEY, Manager, agents
from tests.support.server import KEY, ServerProcess, manifest

KEYS = [
    {"name": "backend", "type": "secret", "value": KEY},
    {"name": "widget", "type": "publishable", "value": PUBLISHABLE_KEY, "agents": ["support-agent"]},
]


@pytest.fixture(scope="module")
def server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[ServerProcess]:
    """The server; nothing that a module sends it may surprise it."""
    process = ServerProcess(tmp_path_factory.mktemp("server"))
    process.apply(manifest(*agents(), keys=KEYS))
    with process:
        yield process
    log = process.log_file.read_text()
    assert '"event":"unforeseen"' not in log
    assert '"level":"error"' not in log


@pytest.fixture
async def acme(server: ServerProcess) -> AsyncIterator[Manager]:
    """The secret key of `acme`."""
    async with aiohttp.ClientSession() as session:
        yield Manager(session, server.url)
