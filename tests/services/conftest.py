"""The world that tests of turns live in."""

import asyncio
import shutil
from collections.abc import AsyncIterator
from pathlib import Path

import pytest

from dragoman.adapters.store import open_store
from dragoman.core.tenants import Tenant
from tests.services.scene import World
from tests.support.server import migrated

CLIENT_TOOLS = [
    {"type": "client", "name": "get_weather", "parameters": {"type": "object"}},
    {"type": "client", "name": "get_time"},
]


@pytest.fixture
async def world(tmp_path: Path) -> AsyncIterator[World]:
    store = await open_store(f"sqlite:///{shutil.copy(migrated(), tmp_path)}")
    definition = {"model": {"provider": "scripted", "name": "m"}, "tools": CLIENT_TOOLS}
    for tenant in ("acme", "other"):
        await store.tenants.put(Tenant(tenant, tenant), 1)
        await store.agents.put(tenant, None, "agent", "Agent", definition, 1)
    made = World(store)
    flushing = asyncio.create_task(made.live.flush_for_ever())
    yield made
    await made.runner.drain(0)
    flushing.cancel()
    await store.close()
