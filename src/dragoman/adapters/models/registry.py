"""All models behind the one port: picks the adapter by the choice's provider. Knows no adapter's kind."""

from collections.abc import AsyncIterator, Mapping, Sequence
from contextlib import AsyncExitStack
from typing import Protocol

from dragoman.core.agents import ModelChoice, Provider, Tool
from dragoman.core.prompt import PromptMessage
from dragoman.ports.models import ModelError, ModelPart, Models


class ModelAdapter(Models, Protocol):
    """The models of one provider, and what must be let go of at the end."""

    async def close(self) -> None:
        """Let go of connections and processes."""
        ...


class ModelRegistry:
    """Every provider's adapter, as one `ports.models.Models`."""

    def __init__(self, adapters: Mapping[Provider, ModelAdapter]) -> None:
        self._adapters = adapters

    def stream(
        self, choice: ModelChoice, prompt: Sequence[PromptMessage], tools: Sequence[Tool] = ()
    ) -> AsyncIterator[Sequence[ModelPart]]:
        """One attempt by the provider's adapter.

        Raises:
            ModelError: no adapter serves this provider, or as `ports.models.Models` says.
        """
        return self._adapter(choice).stream(choice, prompt, tools)

    def upstream(self, choice: ModelChoice) -> str:
        """What the provider's adapter calls the server.

        Raises:
            ModelError: no adapter serves this provider.
        """
        return self._adapter(choice).upstream(choice)

    async def close(self) -> None:
        """Close every adapter, also after one has failed to; raises the last failure."""
        async with AsyncExitStack() as stack:
            for adapter in self._adapters.values():
                stack.push_async_callback(adapter.close)

    def _adapter(self, choice: ModelChoice) -> ModelAdapter:
        adapter = self._adapters.get(choice.provider)
        if adapter is None:
            raise ModelError(f"no adapter serves the provider {choice.provider}", retriable=False)
        return adapter
