"""One server for each test module, with two tenants."""

from collections.abc import Iterator

import aiohttp
import pytest

from tests.management.scene import PUBLISHABLE_KEY, Manager, agents
from tests.support.server import KEY, ServerProcess, manifest, serving

KEYS = [
    {"name": "backend", "type": "secret", "value": KEY},
    {
        "name": "widget",
        "type": "publishable",
        "value": PUBLISHABLE_KEY,
        "agents": ["support-agent"],
        # It is shown every route, many a time.
        "limits": {"manage_per_minute": 6000},
    },
]


@pytest.fixture(scope="module")
def server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[ServerProcess]:
    """The server; nothing that a module sends it may surprise it."""
    yield from serving(tmp_path_factory.mktemp("server"), manifest(*agents(), keys=KEYS))


@pytest.fixture
def acme(server: ServerProcess, session: aiohttp.ClientSession) -> Manager:
    """The secret key of `acme`."""
    return Manager(session, server.url)
