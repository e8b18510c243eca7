"""What a client can ask for, after its dialect has decoded it. Knows no field name of any contract."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from dragoman.core.prompt import NO_OVERRIDES, Overrides
from dragoman.core.tenants import Principal


@dataclass(frozen=True, slots=True)
class Idempotency:
    """A client's wish that this request runs once: its scope (credential, method, path and key) and body, digested."""

    scope: str
    body_hash: str


@dataclass(frozen=True, slots=True)
class Cursor:
    """A place in a turn's log: the last event that a client has seen, whole, or `frames` frames of it."""

    turn_id: str
    epoch: int
    sequence: int
    frames: int | None = None

    def covers(self, epoch: int, sequence: int, frame: int) -> bool:
        """Whether the client has seen this frame (counted from 0) of this event."""
        if (epoch, sequence) == (self.epoch, self.sequence):
            return self.frames is None or frame < self.frames
        return (epoch, sequence) < (self.epoch, self.sequence)


@dataclass(frozen=True, slots=True)
class Recording:
    """Something spoken, as it came: the file's name, the media type that the client says it has, its bytes."""

    name: str
    media_type: str
    data: bytes


@dataclass(frozen=True, slots=True)
class StartTurn:
    """A message for an agent; `conversation_id` None begins a conversation.

    What a `recording` says is the message, after what `text` says, if anything.

    `client_id` is the client's own name for the conversation: where none has it yet, it is begun under that name.
    `deployment` is a channel and a region; `context` replaces what the conversation's context was.
    """

    principal: Principal
    agent_reference: str
    text: str
    conversation_id: str | None = None
    metadata: dict[str, Any] | None = None
    idempotency: Idempotency | None = None
    resume_after: Cursor | None = None
    client_id: str | None = None
    deployment: tuple[str, str] | None = None
    context: dict[str, Any] | None = None
    overrides: Overrides = NO_OVERRIDES
    recording: Recording | None = None


@dataclass(frozen=True, slots=True)
class AnswerCalls:
    """Results of the calls that a paused turn waits for, as pairs of call id and content, at least one."""

    principal: Principal
    agent_reference: str
    conversation_id: str
    results: Sequence[tuple[str, str]]
    resume_after: Cursor | None = None


def parse_cursor(text: str) -> Cursor | None:
    """The cursor behind ``turn.epoch.sequence`` or ``turn.epoch.sequence.frames``; None where it is no id of ours."""
    turn_id, *numbers = text.split(".")
    if len(numbers) not in (2, 3) or not all(part.isascii() and part.isdigit() and len(part) < 12 for part in numbers):
        return None
    return Cursor(turn_id, *map(int, numbers))
