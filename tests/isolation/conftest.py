"""One server for the whole folder and each kind of database, with tenants that have everything and all who want it."""

from collections.abc import Iterator

import pytest

from tests.isolation.scene import MANIFEST, Scene
from tests.support.embeddings import embedding
from tests.support.server import ServerProcess


@pytest.fixture(scope="package", params=["sqlite", "postgres"])
def scene(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Scene]:
    """The scene; nothing that is sent in it may surprise the server."""
    url = request.getfixturevalue("postgres").database() if request.param == "postgres" else None
    folder = tmp_path_factory.mktemp("server")
    # Who comes without a key is counted by address: here by the one that the request names.
    server = ServerProcess(folder, database_url=url, DRAGOMAN_TRUSTED_PROXIES="127.0.0.1")
    server.apply(MANIFEST)
    server.start()
    try:
        with embedding() as vendor:
            yield Scene(server, vendor)
    finally:
        # Turns are still running: there is nothing to wait for.
        server.kill9()
    server.check_log()
