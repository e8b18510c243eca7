"""The events of one turn, in the order the grammar allows. Knows no frame and no vendor.

    TurnStarted, TextDelta*, (TurnCompleted | TurnFailed | TurnStopped | TurnInterrupted)

Exactly one closing event ends a turn's segment, always.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import NamedTuple


@dataclass(frozen=True, slots=True)
class TurnStarted:
    """The user's message is stored and the turn runs. `number` is the answer's integer id; `at` is in microseconds."""

    turn_id: str
    conversation_id: str
    message_id: str
    number: int
    at: int


class TextDelta(NamedTuple):
    """A piece of the answer, exactly as the model sent it, never empty. A tuple: one is made for every token."""

    text: str


@dataclass(frozen=True, slots=True)
class Outcome:
    """What a closed turn used: tokens, credits and the model's name."""

    model: str
    prompt_tokens: int
    completion_tokens: int
    credits: int
    at: int


@dataclass(frozen=True, slots=True)
class TurnCompleted(Outcome):
    """The model finished its answer."""


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


TurnEvent = TurnStarted | TextDelta | TurnCompleted | TurnStopped | TurnFailed | TurnInterrupted
CLOSING = (TurnCompleted, TurnStopped, TurnFailed, TurnInterrupted)


class Group(NamedTuple):
    """Events of a turn's log that became ready together, with the number of the first; the others follow on."""

    epoch: int
    first_sequence: int
    events: Sequence[TurnEvent]
