"""How a turn's events are written into a row and read back: a JSON array of `[letter, fields...]`. Knows no table.

The letters are kept data: a letter is never given another meaning.
"""

from collections.abc import Sequence
from dataclasses import astuple
from typing import Any

import msgspec

from dragoman.core.events import (
    TextDelta,
    TurnCompleted,
    TurnEvent,
    TurnFailed,
    TurnInterrupted,
    TurnStarted,
    TurnStopped,
)

_KINDS: dict[str, type[Any]] = {
    "s": TurnStarted,
    "t": TextDelta,
    "c": TurnCompleted,
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
    return [_KINDS[letter](*fields) for letter, *fields in _decoder.decode(text)]


def text_of(events: Sequence[TurnEvent]) -> str:
    """The answer's text so far."""
    return "".join(event.text for event in events if type(event) is TextDelta)
