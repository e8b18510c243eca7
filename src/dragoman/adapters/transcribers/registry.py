"""All transcribers behind the one port: picks the adapter by the choice's provider. Knows no adapter's kind."""

from collections.abc import Mapping
from contextlib import AsyncExitStack

from dragoman.core.agents import VendorChoice
from dragoman.core.commands import Recording
from dragoman.core.errors import ModelFailed
from dragoman.ports.transcribers import Transcribers, Transcript


class TranscriberRegistry:
    """Every provider's adapter, as one `ports.transcribers.Transcribers`."""

    def __init__(self, adapters: Mapping[str, Transcribers]) -> None:
        self._adapters = adapters

    async def transcribe(self, choice: VendorChoice, recording: Recording) -> Transcript:
        """What the provider's adapter hears.

        Raises:
            ModelFailed: no adapter serves this provider; and as `ports.transcribers.Transcribers` says.
        """
        adapter = self._adapters.get(choice.provider)
        if adapter is None:
            raise ModelFailed(f"No transcriber serves the provider {choice.provider}")
        return await adapter.transcribe(choice, recording)

    async def close(self) -> None:
        """Close every adapter, also after one has failed to; raises the last failure."""
        async with AsyncExitStack() as stack:
            for adapter in self._adapters.values():
                stack.push_async_callback(adapter.close)
