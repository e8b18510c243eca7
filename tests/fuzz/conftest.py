"""One server for the folder, with tenants enough that nothing is refused for having asked too often."""

from collections.abc import Iterator

import pytest

from tests.fuzz.documents import BODIES, DOCUMENTS, tenants_of
from tests.fuzz.scene import manifest
from tests.support.server import ServerProcess


@pytest.fixture(scope="package")
def server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[ServerProcess]:
    """The server; nothing that is sent may surprise it."""
    process = ServerProcess(tmp_path_factory.mktemp("server"))
    tenants = [*(tenant for name in DOCUMENTS for tenant in tenants_of(name)), *tenants_of("bodies", BODIES)]
    process.apply(manifest(tenants))
    with process:
        yield process
    log = process.log_file.read_text()
    assert '"event":"unforeseen"' not in log
    assert '"level":"error"' not in log
