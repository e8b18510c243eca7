"""The port to a language model: one attempt at one answer. Retries and time-outs belong to services."""

from collections.abc import AsyncIterator, Sequence
from dataclasses import dataclass
from typing import Protocol

from dragoman.core.agents import ModelChoice, Tool
from dragoman.core.events import TextDelta, ToolCall
from dragoman.core.prompt import PromptMessage


@dataclass(frozen=True, slots=True)
class UsagePart:
    """What the model counted for the whole request, in tokens."""

    prompt_tokens: int
    completion_tokens: int


ModelPart = TextDelta | ToolCall | UsagePart


class ModelError(Exception):
    """The attempt failed. The text is for the operator's log, never for a client.

    `retriable` says that the same request may succeed later (429, 5xx, a connection that broke);
    `retry_after` is what the server asked for, in seconds.
    """

    def __init__(self, message: str, *, retriable: bool = True, retry_after: float | None = None) -> None:
        super().__init__(message)
        self.retriable = retriable
        self.retry_after = retry_after


class Models(Protocol):
    """Every model that an agent can choose."""

    def stream(
        self, choice: ModelChoice, prompt: Sequence[PromptMessage], tools: Sequence[Tool] = ()
    ) -> AsyncIterator[Sequence[ModelPart]]:
        """Ask for an answer. Each item holds the parts that came in one read, in order.

        An item is empty where what came is no part yet, such as the first half of a call: the model is not silent.

        A call that the model wants made comes as one `ToolCall`, whole, after its text; its id is what the model gave
        it, maybe empty. Calls come of the tools that were offered and no others are invented: the rest is the caller's.

        The iterator ends when the answer is whole. Closing it (or cancelling the task that reads it) closes the
        connection to the model at once.

        Raises:
            ModelError: the model refused, broke off, or broke its protocol or a bound of size.
        """
        ...

    def upstream(self, choice: ModelChoice) -> str:
        """What breaks together: a name for the server behind this choice, for its circuit breaker."""
        ...
