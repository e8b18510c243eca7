"""Any legal sequence of events, in every contract: frames that parse, in order, and say what the whole reply says."""

import asyncio
import json
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from functools import partial
from typing import Any
from unittest.mock import ANY

import msgspec
import pytest
from hypothesis import given, note
from hypothesis import strategies as st

from dragoman.adapters.store import log
from dragoman.core.answers import Answer
from dragoman.core.clock import iso
from dragoman.core.commands import Cursor, parse_cursor
from dragoman.core.errors import DragomanError, ModelFailed, Unavailable
from dragoman.core.events import (
    Group,
    Outcome,
    SourcesFound,
    StepStarted,
    TextDelta,
    ToolCallReady,
    Transcribed,
    TurnEvent,
    TurnFailed,
    TurnInterrupted,
    TurnPaused,
    TurnStarted,
)
from dragoman.core.ids import prefixed
from dragoman.dialects.agents import wire as agents
from dragoman.dialects.alonchat import wire as alonchat
from dragoman.dialects.aloochat import wire as aloochat
from dragoman.dialects.sessions import wire as sessions
from dragoman.dialects.slug import wire as slug
from dragoman.server.requests import known_cursor
from dragoman.server.sockets import unseen
from dragoman.server.streaming import COMMENT, GAP, Encoder
from dragoman.services.replays import segments_of
from tests.dialects.segments import MESSAGE, checked, events_of, folded, grouped, parsed, streamed, watch

Told = list[tuple[str | None, Any]]


@dataclass(frozen=True)
class Grammar:
    """One contract: its encoder, its whole reply, and the frames that it has for a segment, each with its name.

    `shown` says what a whole reply must be, `told` what a stream must be, given the reply or else the error.
    """

    name: str
    encoder: Callable[[], Encoder]
    whole: Callable[[Answer], dict[str, Any]]
    shown: Callable[[TurnStarted, Outcome, list[TurnEvent]], dict[str, Any]]
    told: Callable[[list[TurnEvent], dict[str, Any]], Told]
    error_body: Callable[[DragomanError], dict[str, Any]]


def texts_of(events: Sequence[TurnEvent]) -> list[str]:
    return [event.text for event in events if isinstance(event, TextDelta)]


def conversation_of(events: Sequence[TurnEvent]) -> str:
    started = events[0]
    assert isinstance(started, TurnStarted)
    return prefixed("conv", started.conversation_id)


def aloochat_shown(started: TurnStarted, closing: Outcome, events: list[TurnEvent]) -> dict[str, Any]:
    return {
        "conversation_id": conversation_of(events),
        "agent_response_text": "".join(texts_of(events)),
        "response_time_ms": 7,
        "was_resolved": closing.resolved and not isinstance(closing, TurnPaused),
    }


def aloochat_told(events: list[TurnEvent], last: dict[str, Any]) -> Told:
    def frame(kind: str, content: Any = "", **more: Any) -> tuple[None, dict[str, Any]]:
        return None, {"type": kind, "content": content, "conversation_id": conversation_of(events), **more}

    told: Told = [frame("start")]
    for event in events[1:-1]:
        match event:
            case TextDelta(text):
                told.append(frame("agent_text_chunk", text))
            case Transcribed(text):
                told.append(frame("transcribed_text", text))
            case SourcesFound(sources):
                told += [frame("chunk", ANY)] if sources else []
            case StepStarted():
                pass
            case _:
                told.append(frame("chunk", ANY))
    return [*told, frame("error", last["message"], **last) if "error" in last else frame("end")]


def alonchat_shown(started: TurnStarted, closing: Outcome, events: list[TurnEvent]) -> dict[str, Any]:
    found = next((event.sources for event in events if isinstance(event, SourcesFound)), ())
    return {
        "response": "".join(texts_of(events)),
        "conversation_id": conversation_of(events),
        "message_id": prefixed("msg", started.message_id),
        "confidence": closing.confidence,
        "model": closing.model,
        "sources": [{"type": source.type, "title": source.title, "relevance": source.relevance} for source in found],
        "credits_used": closing.credits,
    }


def alonchat_told(events: list[TurnEvent], last: dict[str, Any]) -> Told:
    texts: Told = [("text", {"type": "text", "content": text}) for text in texts_of(events)]
    if "error" in last:
        return [*texts, ("error", {"type": "error", **last})]
    return [*texts, ("sources", {"type": "sources", "sources": last["sources"]}), ("done", {"type": "done", **last})]


def slug_shown(started: TurnStarted, closing: Outcome, events: list[TurnEvent]) -> dict[str, Any]:
    data = {
        "response": "".join(texts_of(events)),
        "conversationId": conversation_of(events),
        "metadata": {"model": closing.model, "tokens": closing.prompt_tokens + closing.completion_tokens},
    }
    return {"data": data, "error": None}


def slug_told(events: list[TurnEvent], last: dict[str, Any]) -> Told:
    failure: Told = [(None, {"error": last["error"]})] if last["error"] else []
    return [*((None, {"chunk": text}) for text in texts_of(events)), *failure, (None, "[DONE]")]


NAME = 'the client\'s own "name"'


def agents_shown(
    started: TurnStarted, closing: Outcome, events: list[TurnEvent], name: str | None = None
) -> dict[str, Any]:
    text = "".join(texts_of(events))
    calls = [
        {"id": event.call_id, "type": "function", "function": {"name": event.name, "arguments": event.arguments}}
        for event in events
        if isinstance(event, ToolCallReady) and isinstance(closing, TurnPaused)
    ]
    steps = [event.number for event in events if isinstance(event, StepStarted)]
    return {
        "id": steps[-1] if steps else started.number,
        "role": "assistant",
        "content": text if text or not calls else None,
        "tool_calls": calls or None,
        "conversation_id": name or conversation_of(events),
        "created_at": iso(closing.at),
    }


def agents_told(events: list[TurnEvent], last: dict[str, Any]) -> Told:
    started = events[0]
    assert isinstance(started, TurnStarted)
    ending = {"type": "error", **last} if "error" in last else {"type": "done", "message": last}
    told: Told = [(None, {"type": "start", "id": started.number})]
    for event in events:
        match event:
            case TextDelta(text):
                told.append((None, {"type": "delta", "content": text}))
            case StepStarted(number):
                told.append((None, {"type": "start", "id": number}))
    return [*told, (None, ending)]


GRAMMARS = (
    Grammar(
        "aloochat",
        aloochat.Frames,
        lambda answer: aloochat.reply(answer, 7),
        aloochat_shown,
        aloochat_told,
        aloochat.error_body,
    ),
    Grammar("alonchat", alonchat.Frames, alonchat.reply, alonchat_shown, alonchat_told, alonchat.error_body),
    Grammar("slug", lambda: slug.frames, slug.reply, slug_shown, slug_told, slug.error_body),
    Grammar("agents", agents.Frames, agents.reply, agents_shown, agents_told, agents.error_body),
    Grammar(
        "agents, by a name",
        partial(agents.Frames, NAME),
        partial(agents.reply, client_id=NAME),
        partial(agents_shown, name=NAME),
        agents_told,
        agents.error_body,
    ),
)


def failure_of(events: Sequence[TurnEvent]) -> DragomanError | None:
    """What a stream says of a segment that brought no answer."""
    match events[-1]:
        case TurnFailed(message):
            return ModelFailed(message)
        case TurnInterrupted():
            return Unavailable("The server was restarted during this answer")
    return None


def as_json(value: Any) -> Any:
    return json.loads(msgspec.json.encode(value))


def each_grammar() -> Iterator[Grammar]:
    """The contracts one by one, for the same segment: to make one takes longer than to look at it."""
    for grammar in GRAMMARS:
        note(grammar.name)
        yield grammar


@given(groups=grouped(), ids=st.booleans())
@checked
def test_a_stream_has_the_frames_of_its_contract_in_order_and_ends_once(groups: list[Group], ids: bool) -> None:
    events = events_of(groups)
    failure = failure_of(events)
    for grammar in each_grammar():
        frames = parsed(streamed(watch(groups), grammar.encoder(), ids=ids))
        last = as_json(grammar.error_body(failure) if failure else grammar.whole(folded(events)))
        said = [(frame.event, frame.data if frame.data == "[DONE]" else json.loads(frame.data)) for frame in frames]
        assert said == grammar.told(events, last)


@given(groups=grouped())
@checked
def test_a_whole_reply_says_what_the_stream_says(groups: list[Group]) -> None:
    events = events_of(groups)
    answer = asyncio.run(watch(groups).answer())
    assert answer == folded(events)
    assert answer.text == "".join(texts_of(events))
    started, closing = events[0], events[-1]
    assert isinstance(started, TurnStarted)
    if isinstance(closing, Outcome):
        answer.check()
        for grammar in each_grammar():
            assert as_json(grammar.whole(answer)) == grammar.shown(started, closing, events)
    else:
        with pytest.raises(ModelFailed if isinstance(closing, TurnFailed) else Unavailable):
            answer.check()


@given(groups=grouped())
@checked
def test_a_stream_that_is_cut_behind_any_frame_goes_on_with_exactly_the_rest(groups: list[Group]) -> None:
    for grammar in each_grammar():
        whole = streamed(watch(groups), grammar.encoder(), ids=True)
        frames = parsed(whole)
        assert whole == COMMENT + b"".join(frame.raw for frame in frames)
        assert len({frame.id for frame in frames}) == len(frames)
        for index, frame in enumerate(frames):
            assert (frame.id is None) == (frame.data == "[DONE]")
            if frame.id is not None:
                rest = streamed(watch(groups, parse_cursor(frame.id)), grammar.encoder(), ids=True)
                assert rest == COMMENT + b"".join(each.raw for each in frames[index + 1 :])


@given(groups=grouped(), behind=st.integers(0, 20), frames=st.none() | st.integers(0, 3))
@checked
def test_a_place_in_a_log_that_was_never_stored_is_a_gap_and_then_everything(
    groups: list[Group], behind: int, frames: int | None
) -> None:
    seen = Cursor(watch(groups).turn.id, groups[0].epoch, groups[0].first_sequence + behind, frames)
    later = [each._replace(epoch=each.epoch + 1) for each in groups]
    for grammar in each_grammar():
        whole = streamed(watch(later), grammar.encoder(), ids=True)
        resumed = streamed(watch(later, seen), grammar.encoder(), ids=True)
        assert resumed.count(GAP) == 1
        assert resumed.replace(GAP, b"") == whole


@given(groups=st.lists(grouped(), min_size=1, max_size=3))
@checked
def test_a_log_keeps_every_event_and_each_segment(groups: list[list[Group]]) -> None:
    kept = [[group._replace(events=log.decode(log.encode(group.events))) for group in segment] for segment in groups]
    assert kept == groups
    logged = [group for segment in kept for group in segment]
    assert segments_of(logged) == groups
    epoch = groups[-1][0].epoch
    ours = [segment for segment in groups if segment[0].epoch == epoch]
    (answer_id,) = {event.message_id for event in events_of(ours[-1]) if isinstance(event, TurnStarted)}
    said = [segment for segment in ours if any(is_start(event, answer_id) for event in events_of(segment))]
    assert log.text_of(answer_id, logged, epoch) == "".join(text for each in said for text in texts_of(events_of(each)))


def is_start(event: TurnEvent, answer_id: str) -> bool:
    return isinstance(event, TurnStarted) and event.message_id == answer_id


def chat_frames(groups: Sequence[Group], cursor: Cursor | None = None) -> list[dict[str, Any]]:
    """The frames of a socket that follows a segment, or comes back to it."""
    encoder = sessions.Frames(watch(groups).turn)
    told = []
    for group in groups:
        for sequence, event in enumerate(group.events, start=group.first_sequence):
            frames = encoder(group.epoch, sequence, event)
            told += frames if cursor is None else unseen(frames, cursor, group.epoch, sequence)
    return [json.loads(frame) for frame in told]


@given(groups=grouped())
@checked
def test_a_socket_has_the_frames_of_its_contract_in_order_and_ends_once(groups: list[Group]) -> None:
    events, answer = events_of(groups), folded(events_of(groups))
    started, closing, frames = events[0], events[-1], chat_frames(groups)
    assert isinstance(started, TurnStarted)
    message = {"message_id": prefixed("msg", started.message_id)}
    told: list[dict[str, Any]] = [{"event_type": "message_stream_started", **message}]
    if started.first:
        received = {"message_id": prefixed("msg", MESSAGE), "chat_id": started.conversation_id}
        told.insert(0, {"event_type": "message_received", **received})
    for index, text in enumerate(texts_of(events)):
        told.append({"event_type": "message_stream_token", **message, "token": text, "index": index})
    if isinstance(closing, Outcome):
        told.append({"event_type": "message_stream_ended", **message, "content": answer.text, "metadata": {}})
    else:
        code = "INTERNAL_ERROR" if isinstance(closing, TurnFailed) else "SERVICE_UNAVAILABLE"
        told.append({"event_type": "error", "error_code": code, "message": ANY, "details": ANY})
        assert "event_id" not in frames[-1]
    placed = frames if isinstance(closing, Outcome) else frames[:-1]
    assert len({frame["event_id"] for frame in placed}) == len(placed)
    times = [frame.pop("timestamp") for frame in frames]
    assert times == [iso(started.at)] * (len(frames) - 1) + [iso(closing.at)]
    assert [{name: value for name, value in frame.items() if name != "event_id"} for frame in frames] == told


@given(groups=grouped())
@checked
def test_a_socket_that_comes_back_is_told_exactly_the_rest(groups: list[Group]) -> None:
    frames = chat_frames(groups)
    for index, frame in enumerate(frames):
        if "event_id" in frame:
            cursor = known_cursor(frame["event_id"])
            assert cursor is not None
            assert chat_frames(groups, cursor) == frames[index + 1 :]
