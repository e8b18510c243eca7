"""Segments of turns, any that the grammar of events allows, and their streams read by the letter. Knows no contract."""

import asyncio
import json
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from hypothesis import HealthCheck, settings
from hypothesis import strategies as st

from dragoman.core.answers import Answer
from dragoman.core.commands import Cursor
from dragoman.core.conversations import Turn
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
from dragoman.server.streaming import Encoder, EventStream
from dragoman.services.runs import Watch

checked = settings(
    max_examples=250,
    deadline=None,
    derandomize=True,
    database=None,
    suppress_health_check=[HealthCheck.too_slow, HealthCheck.data_too_large],
)

# What wires, parsers and terminals like to break on, among all of Unicode.
ODD = (
    "\0 \t\n\r\v\f\x1b\x1c\x7f\x85\xa0\u00ad\u200b\u200d\u2028\u2029\ufeff\ufffe\uffff\U0010ffff\"\\/<&:{}[],'😀é\u0301"
)
WIRES = ["data: x", "\n\ndata: [DONE]\n\n", "[DONE]", "\r\n\r\n", "id: 1.1.1\n", ": gap\n\n", '"}\n\n', "\\u0000"]
LETTERS = st.characters(exclude_categories=["Cs"]) | st.sampled_from(ODD)
TEXTS = st.text(LETTERS, min_size=1, max_size=12) | st.sampled_from(WIRES)
# The user's message of every turn here.
MESSAGE = "01a1fd10-a065-75ed-8d07-ee676cef880f"
IDS = st.uuids().map(str)
# The years 1970 to 9999.
TIMES = st.integers(0, 253_402_300_799_999_999)
COUNTS = st.integers(0, 2**53)
CALLS = st.builds(
    ToolCallReady,
    st.text(st.characters(min_codepoint=0x21, max_codepoint=0x7E), min_size=1, max_size=20),
    TEXTS,
    st.dictionaries(TEXTS, TEXTS | st.integers() | st.none(), max_size=2).map(json.dumps),
)
SHARES = st.floats(0, 1)
OUTCOMES = (TEXTS, COUNTS, COUNTS, COUNTS, TIMES, st.none() | SHARES, st.booleans())
CLOSINGS = st.one_of(
    [st.builds(kind, *OUTCOMES) for kind in (TurnCompleted, TurnPaused, TurnStopped)]
    + [st.builds(TurnFailed, TEXTS, TIMES), st.builds(TurnInterrupted, TIMES)]
)
STARTS = st.builds(TurnStarted, IDS, IDS, IDS, st.integers(1, 2**53), TIMES, st.booleans())
HEARD = st.lists(st.builds(Transcribed, TEXTS), max_size=1)
KINDS = st.sampled_from(("qa", "text", "file", "website", "table"))
FOUND = st.lists(
    st.builds(SourcesFound, st.lists(st.builds(Source, KINDS, TEXTS, SHARES), max_size=3).map(tuple)), max_size=1
)
SERVED = st.one_of(
    st.builds(StepStarted, st.integers(1, 2**53)),
    st.builds(ToolCallStarted, TEXTS, TEXTS),
    st.builds(ApprovalWanted, TEXTS, TEXTS),
    st.builds(ToolResult, TEXTS, TEXTS, st.booleans()),
)
MIDDLES = st.lists(st.builds(TextDelta, TEXTS) | CALLS | SERVED, max_size=12)


@st.composite
def segments(draw: st.DrawFn) -> list[TurnEvent]:
    """A segment of a turn, from its start to its one closing event."""
    return [draw(STARTS), *draw(HEARD), *draw(FOUND), *draw(MIDDLES), draw(CLOSINGS)]


@st.composite
def grouped(draw: st.DrawFn) -> list[Group]:
    """A segment in the groups in which it happened to become ready, from any sequence number on."""
    events, epoch, sequence = draw(segments()), draw(st.integers(1, 9)), draw(st.integers(1, 10**6))
    cuts = sorted(draw(st.sets(st.integers(1, len(events) - 1))))
    spans = zip([0, *cuts], [*cuts, len(events)], strict=True)
    return [Group(epoch, sequence + start, events[start:end]) for start, end in spans]


def events_of(groups: Sequence[Group]) -> list[TurnEvent]:
    return [event for group in groups for event in group.events]


def folded(events: Sequence[TurnEvent]) -> Answer:
    answer = Answer()
    for event in events:
        answer.take(event)
    return answer


def watch(groups: Sequence[Group], cursor: Cursor | None = None) -> Watch:
    """A watch of a closed turn, as one that has just come back has it."""
    started = groups[0].events[0]
    assert isinstance(started, TurnStarted)
    ids = (started.turn_id, "acme", started.conversation_id, "agent")
    answer = (started.message_id, started.number, "model", started.at)
    return Watch(Turn(*ids, "completed", groups[0].epoch, MESSAGE, *answer), cursor, True, None, list(groups))


def streamed(watching: Watch, encoder: Encoder, *, ids: bool) -> bytes:
    """The body of an event stream, byte for byte."""
    sent: list[dict[str, Any]] = []

    async def send(message: Any) -> None:
        sent.append(message)

    async def receive() -> Any:
        return await asyncio.get_running_loop().create_future()

    asyncio.run(EventStream(watching, encoder, {}, ids=ids)({"type": "http"}, receive, send))
    assert [message["type"] for message in sent] == ["http.response.start"] + ["http.response.body"] * (len(sent) - 1)
    assert [message["more_body"] for message in sent[1:]] == [True] * (len(sent) - 2) + [False]
    return b"".join(message["body"] for message in sent[1:])


@dataclass(frozen=True)
class Frame:
    """A server-sent event: its fields, and itself byte for byte."""

    raw: bytes
    data: str
    event: str | None = None
    id: str | None = None


def parsed(stream: bytes) -> list[Frame]:
    """The events of a stream, which uses no more of the format than every reader of it knows.

    Lines end on LF alone; a field is written with one space, once in an event, its name in lower case; comments stand
    between events; each event has data, on one line; the stream ends behind an event or a comment.
    """
    assert not stream.startswith(b"\xef\xbb\xbf")
    assert b"\r" not in stream
    *blocks, rest = stream.split(b"\n\n")
    assert rest == b""
    frames = []
    for block in blocks:
        if block.startswith(b":"):
            assert b"\n" not in block
            continue
        fields = [line.split(": ", 1) for line in block.decode().split("\n")]
        assert all(len(field) == 2 and field[0] in ("id", "event", "data") for field in fields), block
        said = dict(fields)
        assert len(said) == len(fields)
        frames.append(Frame(block + b"\n\n", said["data"], said.get("event"), said.get("id")))
    return frames
