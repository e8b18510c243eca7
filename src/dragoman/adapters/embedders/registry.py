"""All embedders behind the one port: picks the adapter by the choice's provider. Knows no adapter's kind."""

from collections.abc import Mapping, Sequence
from contextlib import AsyncExitStack

from dragoman.core.agents import VendorChoice
from dragoman.ports.embedders import Embedders


class EmbedderRegistry:
    """Every provider's adapter, as one `ports.embedders.Embedders`."""

    def __init__(self, adapters: Mapping[str, Embedders]) -> None:
        self._adapters = adapters

    async def embed(self, choice: VendorChoice, texts: Sequence[str]) -> Sequence[bytes]:
        return await self._adapters[choice.provider].embed(choice, texts)

    def name(self, choice: VendorChoice) -> str:
        return self._adapters[choice.provider].name(choice)

    def batch(self, choice: VendorChoice) -> int:
        return self._adapters[choice.provider].batch(choice)

    async def close(self) -> None:
        async with AsyncExitStack() as stack:
            for adapter in self._adapters.values():
                stack.push_async_callback(adapter.close)
