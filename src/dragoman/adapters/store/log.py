"""How a turn's events are written into a row and read back: a JSON array of `[letter, fields...]`. Knows no table.

The letters are kept data: a letter is never given another meaning.
"""

from collections.abc import Sequence
from dataclasses import astuple
from typing import Any

import msgspec

from dragoman.core.events import (
    ApprovalWanted,
    Group,
    Source,
    SourcesFound,
    StepStarted,
    TextDelta,
    ToolCallReady,
    ToolCallStarted,
    ToolResult,
    Transcribed,
    TurnCompleted,
    TurnEvent,
    TurnFailed,
    TurnInterrupted,
    TurnPaused,
    TurnStarted,
    TurnStopped,
)

_KINDS: dict[str, type[Any]] = {
    "s": TurnStarted,
    "h": Transcribed,
    "q": SourcesFound,
    "t": TextDelta,
    "k": ToolCallReady,
    "n": StepStarted,
    "b": ToolCallStarted,
    "a": ApprovalWanted,
    "r": ToolResult,
    "c": TurnCompleted,
    "p": TurnPaused,
    "x": TurnStopped,
    "f": TurnFailed,
    "i": TurnInterrupted,
}
_LETTERS = {kind: letter for letter, kind in _KINDS.items()}
_encoder = msgspec.json.Encoder()
_decoder = msgspec.json.Decoder(list[list[Any]])


def encode(events: Sequence[TurnEvent]) -> str:
    """The row's text for events in order."""
    rows = [
        ("t", event.text) if isinstance(event, TextDelta) else (_LETTERS[type(event)], *astuple(event))
        for event in events
    ]
    return _encoder.encode(rows).decode()


def decode(text: str) -> list[TurnEvent]:
    """The events that a row holds, in order."""
    return [_event(letter, fields) for letter, *fields in _decoder.decode(text)]


def _event(letter: str, fields: list[Any]) -> TurnEvent:
    if letter == "q":
        return SourcesFound(tuple(Source(*source) for source in fields[0]))
    event: TurnEvent = _KINDS[letter](*fields)
    return event


def text_of(answer_id: str, logged: Sequence[Group], epoch: int) -> str:
    """What an answer says so far; what an earlier attempt or segment said belongs to its own."""
    pieces: list[str] = []
    ours = False
    for group in logged:
        for event in group.events if group.epoch == epoch else ():
            if isinstance(event, TurnStarted):
                ours = event.message_id == answer_id
            elif isinstance(event, TextDelta) and ours:
                pieces.append(event.text)
    return "".join(pieces)
