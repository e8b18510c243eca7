"""The port to embedders: texts into vectors. Knows no vendor."""

from collections.abc import Sequence
from typing import Protocol

from dragoman.core.agents import VendorChoice


class EmbedderError(Exception):
    """The texts were not embedded. The text is for the operator's log.

    `retriable` says that the same request may succeed later.
    """

    def __init__(self, message: str, *, retriable: bool = True) -> None:
        super().__init__(message)
        self.retriable = retriable


class Embedders(Protocol):
    """Every embedder that an agent can choose."""

    async def embed(self, choice: VendorChoice, texts: Sequence[str]) -> Sequence[bytes]:
        """A vector of length 1 for each text, packed as 32-bit floats, little-endian.

        Raises:
            EmbedderError
        """
        ...

    def name(self, choice: VendorChoice) -> str:
        """What makes vectors comparable: those of one name are, those of two are not."""
        ...

    def batch(self, choice: VendorChoice) -> int:
        """How many texts are best given at once."""
        ...

    async def close(self) -> None:
        """Let go of connections and memory."""
        ...
