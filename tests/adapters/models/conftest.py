"""A model server with faults, and the adapter that asks it."""

from collections.abc import AsyncIterator

import pytest

from dragoman.adapters.models.openai import OpenAIModels
from tests.support.upstream import Upstream


@pytest.fixture
async def upstream() -> AsyncIterator[Upstream]:
    async with Upstream() as server:
        yield server


@pytest.fixture
async def models() -> AsyncIterator[OpenAIModels]:
    adapter = OpenAIModels()
    yield adapter
    await adapter.close()
