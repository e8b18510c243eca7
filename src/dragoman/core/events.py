"""The events of one turn, in the order the grammar allows. Knows no frame and no vendor.

    TurnStarted, Transcribed?, SourcesFound?,
    (TextDelta | StepStarted | ToolCallStarted | ToolCallReady | ApprovalWanted | ToolResult)*,
    (TurnCompleted | TurnPaused | TurnFailed | TurnStopped | TurnInterrupted)

Exactly one closing event ends a segment, always. A pause ends a segment of a turn that goes on in another one.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import NamedTuple

from dragoman.core.knowledge import SourceType


@dataclass(frozen=True, slots=True)
class TurnStarted:
    """The turn runs. `message_id` and `number` are the answer's; `at` is in microseconds.

    `first` says that the user's message has just been stored: it is False where a turn goes on or runs again.
    """

    turn_id: str
    conversation_id: str
    message_id: str
    number: int
    at: int
    first: bool = True


@dataclass(frozen=True, slots=True)
class Transcribed:
    """What the user's recording says: the turn's message."""

    text: str


class Source(NamedTuple):
    """Something that an answer can rest on; `relevance` is from 0 to 1."""

    type: SourceType
    title: str
    relevance: float


@dataclass(frozen=True, slots=True)
class SourcesFound:
    """What the agent knows about the question, the most relevant first."""

    sources: tuple[Source, ...]


class TextDelta(NamedTuple):
    """A piece of the answer, exactly as the model sent it, never empty. A tuple: one is made for every token."""

    text: str


class ToolCall(NamedTuple):
    """A call that the model wants made; `arguments` is a JSON text, as the model wrote it."""

    id: str
    name: str
    arguments: str


@dataclass(frozen=True, slots=True)
class ToolCallReady:
    """A call is whole and waits for its result."""

    call_id: str
    name: str
    arguments: str


@dataclass(frozen=True, slots=True)
class StepStarted:
    """Calls are made here, and the model is asked again: between its question and its answer stand calls and results.

    They have the numbers up to `number`, which the answer has from now on; its id stays.
    """

    number: int


@dataclass(frozen=True, slots=True)
class ToolCallStarted:
    """The server makes a call."""

    call_id: str
    name: str


@dataclass(frozen=True, slots=True)
class ApprovalWanted:
    """A call waits for a person to say yes."""

    call_id: str
    name: str


@dataclass(frozen=True, slots=True)
class ToolResult:
    """What a call of the server's brought is stored; `failed` says that it was an error."""

    call_id: str
    name: str
    failed: bool


@dataclass(frozen=True, slots=True)
class Outcome:
    """What a closed turn used: tokens, credits and the model's name; and how good its answer is.

    `confidence` is from 0 to 1, None for an agent without knowledge; `resolved` is False where the agent's fallback
    stands in place of an answer.
    """

    model: str
    prompt_tokens: int
    completion_tokens: int
    credits: int
    at: int
    confidence: float | None = None
    resolved: bool = True


@dataclass(frozen=True, slots=True)
class TurnCompleted(Outcome):
    """The model finished its answer."""


@dataclass(frozen=True, slots=True)
class TurnPaused(Outcome):
    """Calls wait for the client's results or a person's yes: the turn goes on when all have theirs."""


@dataclass(frozen=True, slots=True)
class TurnStopped(Outcome):
    """Somebody stopped the turn; what there is, is the answer."""


@dataclass(frozen=True, slots=True)
class TurnFailed:
    """The model failed for good; the partial answer is kept."""

    message: str
    at: int


@dataclass(frozen=True, slots=True)
class TurnInterrupted:
    """The server went away under the turn; the partial answer is kept."""

    at: int


TurnEvent = (
    TurnStarted
    | Transcribed
    | SourcesFound
    | TextDelta
    | StepStarted
    | ToolCallStarted
    | ToolCallReady
    | ApprovalWanted
    | ToolResult
    | TurnCompleted
    | TurnPaused
    | TurnStopped
    | TurnFailed
    | TurnInterrupted
)
CLOSING = (TurnCompleted, TurnPaused, TurnStopped, TurnFailed, TurnInterrupted)


class Group(NamedTuple):
    """Events of a turn's log that became ready together, with the number of the first; the others follow on."""

    epoch: int
    first_sequence: int
    events: Sequence[TurnEvent]
