"""A model whose address a tenant names is asked where it may be, and a model of the operator's wherever it is."""

from collections.abc import AsyncIterator, Iterator
from pathlib import Path

import aiohttp
import pytest

from tests.management.scene import Manager
from tests.support.server import KEY, ServerProcess, manifest
from tests.support.upstream import Upstream


@pytest.fixture
async def upstream() -> AsyncIterator[Upstream]:
    async with Upstream() as upstream:
        yield upstream


@pytest.fixture
def unstarted(tmp_path: Path) -> Iterator[ServerProcess]:
    server = ServerProcess(tmp_path)
    yield server
    server.kill9()


async def status(acme: Manager, session: aiohttp.ClientSession, slug: str) -> int:
    asked = {"message": "Hello"}
    headers = {"Authorization": f"Bearer {KEY}"}
    async with session.post(f"{acme.url}/v1/api/chat/{slug}", json=asked, headers=headers) as response:
        return response.status


async def test_a_tenants_address_of_a_model_is_reached_only_by_the_operators_word(
    unstarted: ServerProcess, upstream: Upstream, session: aiohttp.ClientSession
) -> None:
    model = {"provider": "openai", "name": "tokens=3", "base_url": upstream.url}
    unstarted.apply(manifest())
    with unstarted as server:
        acme = Manager(session, server.url)
        (await acme.post("/agents", {"name": "Own", "model": model})).ok(201)
        (await acme.post("/agents", {"name": "Sly", "model": {**model, "guard": None}})).problem(400, "guard")
        assert await status(acme, session, "own") == 500
        assert upstream.requests == 0
        assert "guard" not in (await acme.get("/agents/own")).ok()["definition"]["model"]
        server.apply(manifest({"name": "Operated", "model": model}))
        assert await status(acme, session, "operated") == 200
    # What a manifest lends counts at once where it is read anew.
    with unstarted as server:
        assert await status(Manager(session, server.url), session, "own") == 200
    assert upstream.requests == 2


async def test_a_tenant_that_may_reach_private_networks_has_models_there(
    unstarted: ServerProcess, upstream: Upstream, session: aiohttp.ClientSession
) -> None:
    unstarted.apply(manifest(egress={"allow_private": True}))
    with unstarted as server:
        acme = Manager(session, server.url)
        model = {"provider": "openai", "name": "tokens=3", "base_url": upstream.url}
        (await acme.post("/agents", {"name": "Own", "model": model})).ok(201)
        assert await status(acme, session, "own") == 200
        metadata = {**model, "base_url": "http://169.254.169.254/v1"}
        (await acme.post("/agents", {"name": "Metadata", "model": metadata})).ok(201)
        assert await status(acme, session, "metadata") == 500
