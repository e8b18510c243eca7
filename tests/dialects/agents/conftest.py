"""A server for each module, with the agents of S4's scene."""

from collections.abc import Iterator

import pytest

from tests.dialects.agents.scene import spelled
from tests.support.server import ServerProcess


@pytest.fixture(scope="module")
def server(tmp_path_factory: pytest.TempPathFactory, upstream: str) -> Iterator[ServerProcess]:
    """The server, behind a proxy that it trusts; nothing that a module sends it may surprise it."""
    process = ServerProcess(tmp_path_factory.mktemp("server"), DRAGOMAN_TRUSTED_PROXIES="127.0.0.1")
    process.apply(spelled(upstream))
    with process:
        yield process
    log = process.log_file.read_text()
    assert '"event":"unforeseen"' not in log
    assert '"level":"error"' not in log
