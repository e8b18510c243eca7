"""A server for each module, with the agents of S4's scene."""

from collections.abc import Iterator

import pytest

from tests.dialects.agents.scene import spelled
from tests.support.server import ServerProcess, serving


@pytest.fixture(scope="module")
def server(tmp_path_factory: pytest.TempPathFactory, upstream: str) -> Iterator[ServerProcess]:
    """The server, behind a proxy that it trusts; nothing that a module sends it may surprise it."""
    yield from serving(tmp_path_factory.mktemp("server"), spelled(upstream), DRAGOMAN_TRUSTED_PROXIES="127.0.0.1")
