"""One server for the folder, with tenants enough that nothing is refused for having asked too often."""

from collections.abc import Iterator

import pytest

from tests.fuzz.documents import BODIES, DOCUMENTS, tenants_of
from tests.fuzz.scene import manifest
from tests.support.embeddings import embedding
from tests.support.server import ServerProcess, serving


@pytest.fixture(scope="package")
def server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[ServerProcess]:
    """The server; nothing that is sent may surprise it."""
    tenants = [*(tenant for name in DOCUMENTS for tenant in tenants_of(name)), *tenants_of("bodies", BODIES)]
    with embedding() as vendor:
        yield from serving(tmp_path_factory.mktemp("server"), manifest(tenants, vendor))
