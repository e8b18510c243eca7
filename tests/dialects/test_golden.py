"""Golden transcripts: what each contract's wire code makes of the same turns, kept byte for byte.

``UPDATE_GOLDEN=1 pytest tests/dialects/test_golden.py`` writes them anew; read the difference before it is kept.
"""

import json
import os
from collections.abc import Callable, Iterable, Sequence
from pathlib import Path
from typing import Any, NamedTuple

import msgspec
import pytest

from dragoman.core import events
from dragoman.core.answers import Answer
from dragoman.core.errors import DragomanError
from dragoman.core.events import TurnEvent
from dragoman.dialects.agents import wire as agents
from dragoman.dialects.alonchat import wire as alonchat
from dragoman.dialects.aloochat import wire as aloochat
from dragoman.dialects.slug import wire as slug

HERE = Path(__file__).parent
SCRIPTS: dict[str, list[dict[str, Any]]] = json.loads((HERE.parent / "golden" / "scripts.json").read_text())


class Wire(NamedTuple):
    """What a dialect's wire code makes of a turn: the frames of a stream, the whole reply, an error."""

    frames: Callable[[], Callable[[TurnEvent], Sequence[bytes]]]
    reply: Callable[[Answer], Any]
    error_body: Callable[[DragomanError], Any]


WIRES: dict[str, Wire] = {
    "agents": Wire(agents.Frames, agents.reply, agents.error_body),
    "alonchat": Wire(alonchat.Frames, alonchat.reply, alonchat.error_body),
    "aloochat": Wire(aloochat.Frames, lambda answer: aloochat.reply(answer, 1250), aloochat.error_body),
    "slug": Wire(lambda: slug.frames, slug.reply, slug.error_body),
}


def turn(script: str) -> list[TurnEvent]:
    """The events of a script."""
    return [event_of(**spelled) for spelled in SCRIPTS[script]]


def event_of(event: str, **fields: Any) -> TurnEvent:
    """An event as a script spells it."""
    if "sources" in fields:
        fields["sources"] = tuple(events.Source(*source) for source in fields["sources"])
    made: TurnEvent = getattr(events, event)(**fields)
    return made


def whole(wire: Wire, turn: Iterable[TurnEvent]) -> bytes:
    """The body of the reply that is not streamed, or of its error."""
    answer = Answer()
    for event in turn:
        answer.take(event)
    try:
        answer.check()
    except DragomanError as error:
        return msgspec.json.encode(wire.error_body(error))
    return msgspec.json.encode(wire.reply(answer))


def compare(file: Path, made: bytes) -> None:
    if os.environ.get("UPDATE_GOLDEN"):
        file.parent.mkdir(exist_ok=True)
        file.write_bytes(made)
    assert file.read_bytes() == made


@pytest.mark.requirement("S0-14", "S0-15", "S1-9", "S2-8", "S2-10", "S2-14", "S4-10", "X-7")
@pytest.mark.parametrize("dialect", WIRES)
@pytest.mark.parametrize("script", SCRIPTS)
def test_a_stream_is_what_it_was(dialect: str, script: str) -> None:
    encoder = WIRES[dialect].frames()
    stream = b"".join(frame for event in turn(script) for frame in encoder(event))
    compare(HERE / dialect / "golden" / f"{script}.txt", stream)


@pytest.mark.requirement("S0-12", "S0-19", "S1-2", "S2-2", "S1-15", "S2-6", "S4-3", "S4-4", "X-7")
@pytest.mark.parametrize("dialect", WIRES)
@pytest.mark.parametrize("script", SCRIPTS)
def test_a_whole_reply_is_what_it_was(dialect: str, script: str) -> None:
    compare(HERE / dialect / "golden" / f"{script}.json", whole(WIRES[dialect], turn(script)))


@pytest.mark.requirement("S0-14", "S1-9", "S2-8")
@pytest.mark.parametrize("dialect", WIRES)
@pytest.mark.parametrize("script", SCRIPTS)
def test_each_frame_is_fields_of_one_line_and_an_empty_one(dialect: str, script: str) -> None:
    encoder = WIRES[dialect].frames()
    for frame in (frame for event in turn(script) for frame in encoder(event)):
        lines = frame.split(b"\n")
        assert lines[-2:] == [b"", b""]
        assert b"\r" not in frame
        names = [line.partition(b": ")[0] for line in lines[:-2]]
        assert names == ([b"event", b"data"] if dialect == "alonchat" else [b"data"])


@pytest.mark.parametrize("dialect", WIRES)
def test_no_transcript_is_left_over(dialect: str) -> None:
    kept = {file.name for file in (HERE / dialect / "golden").iterdir()}
    assert kept == {f"{script}.{kind}" for script in SCRIPTS for kind in ("txt", "json")}
