"""One server for each test module, with the agents of the scene; and a model server that they can ask."""

import json
import subprocess
import sys
from collections.abc import Iterator

import aiohttp
import pytest

from tests.dialects.scene import KEYS, agents
from tests.support.client import Client
from tests.support.server import ServerProcess, manifest, serving


@pytest.fixture(scope="session")
def upstream() -> Iterator[str]:
    """The base URL of a scripted model server in a process of its own."""
    process = subprocess.Popen([sys.executable, "-m", "tests.support.upstream"], stdout=subprocess.PIPE)
    assert process.stdout is not None
    with process:
        yield json.loads(process.stdout.readline())["url"]
        process.kill()


@pytest.fixture(scope="module")
def server(tmp_path_factory: pytest.TempPathFactory, upstream: str) -> Iterator[ServerProcess]:
    """The server; nothing that a module sends it may surprise it."""
    tenants = manifest(*agents(upstream), keys=KEYS, default_agent="support-agent")
    yield from serving(tmp_path_factory.mktemp("server"), tenants)


@pytest.fixture
def client(server: ServerProcess, session: aiohttp.ClientSession) -> Client:
    """A client with the secret key of `acme` and its support agent."""
    return Client(session, server.url)
