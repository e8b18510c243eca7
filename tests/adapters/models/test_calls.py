"""Calls come whole out of whatever pieces a server makes of them, and never out of what is no call."""

import json
from typing import Any

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st

from dragoman.adapters.models.calls import MAX_CALLS, CallPiece, Calls
from dragoman.adapters.models.completions import MAX_ANSWER_BYTES, Answer, whole_answer
from dragoman.core.events import TextDelta, ToolCall
from dragoman.ports.models import ModelError, ModelPart, UsagePart

PARIS = '{"location":"Paris"}'
ROME = '{"location":"Rome"}'


def piece(arguments: Any = None, **fields: Any) -> dict[str, Any]:
    """A piece of a call as JSON; `name` belongs to its function."""
    name = {"name": fields.pop("name")} if "name" in fields else {}
    return {**fields, "function": {**name, **({} if arguments is None else {"arguments": arguments})}}


def put_together(*pieces: dict[str, Any], finish_reason: str | None = "tool_calls") -> list[ToolCall]:
    calls = Calls()
    for each in pieces:
        calls.take(msgspec.convert(each, CallPiece))
    return calls.whole(finish_reason)


def test_pieces_are_joined_by_their_index() -> None:
    assert put_together(
        piece("", index=0, id="a", name="weather"),
        piece("", index=1, id="b", name="time"),
        piece('{"location"', index=0),
        piece("{}", index=1),
        piece(':"Paris"}', index=0),
    ) == [ToolCall("a", "weather", PARIS), ToolCall("b", "time", "{}")]


@pytest.mark.parametrize(
    "pieces",
    [
        [piece(PARIS, index=0, id="a", name="weather"), piece(ROME, index=1, id="b", name="weather")],
        [piece(PARIS, index=0, id="a", name="weather"), piece(ROME, index=0, id="b", name="weather")],
        [piece(PARIS, id="a", name="weather"), piece(ROME, id="b", name="weather")],
        [piece(PARIS, id="a", name="weather"), piece(ROME, index=1, id="b", name="weather")],
    ],
    ids=["numbered", "numbered all alike", "not numbered", "the first not numbered"],
)
def test_calls_that_come_whole_are_calls_of_their_own(pieces: list[dict[str, Any]]) -> None:
    assert put_together(*pieces) == [ToolCall("a", "weather", PARIS), ToolCall("b", "weather", ROME)]


@pytest.mark.parametrize("id", [{}, {"id": ""}, {"id": None}])
def test_a_call_without_an_id_has_an_empty_one(id: dict[str, Any]) -> None:
    assert put_together(piece(PARIS, name="weather", **id), piece(ROME, name="weather", **id)) == [
        ToolCall("", "weather", PARIS),
        ToolCall("", "weather", ROME),
    ]


@pytest.mark.parametrize("arguments", [None, "", "  \n"])
def test_a_call_without_arguments_has_an_empty_object_of_them(arguments: str | None) -> None:
    assert put_together(piece(arguments, index=0, id="a", name="now")) == [ToolCall("a", "now", "{}")]


def test_arguments_that_are_an_object_become_its_text() -> None:
    assert put_together(piece({"location": "Paris"}, id="a", name="weather")) == [ToolCall("a", "weather", PARIS)]


def test_an_id_that_is_made_anew_for_each_piece_does_not_part_a_call() -> None:
    assert put_together(
        piece("{", index=0, id="a", name="now"), piece("}", index=0, id="b"), piece("", index=0, id="c")
    ) == [ToolCall("a", "now", "{}")]


def test_another_name_begins_another_call_though_nothing_else_tells() -> None:
    assert put_together(piece("{}", index=0, name="now"), piece(PARIS, index=0, name="weather")) == [
        ToolCall("", "now", "{}"),
        ToolCall("", "weather", PARIS),
    ]


def test_a_name_that_comes_again_before_any_arguments_is_a_repetition() -> None:
    assert put_together(piece("", name="weather"), piece(PARIS, name="weather")) == [ToolCall("", "weather", PARIS)]


def test_pieces_are_joined_by_their_ids_where_they_have_no_index() -> None:
    assert put_together(
        piece("{", id="a", name="now"),
        piece(PARIS[:9], id="b", name="weather"),
        piece("}", id="a"),
        piece(PARIS[9:], id="b"),
    ) == [ToolCall("a", "now", "{}"), ToolCall("b", "weather", PARIS)]


def test_an_id_that_comes_later_is_taken() -> None:
    assert put_together(piece("{", index=0, name="now"), piece("}", index=0, id="a")) == [ToolCall("a", "now", "{}")]


def test_pieces_that_hold_nothing_are_passed_over() -> None:
    assert put_together({}, {"index": 3, "id": "", "function": {"name": "", "arguments": ""}}) == []


# What each piece of a call says beside its arguments: the first, and those after it.
STYLES: list[tuple[set[str], set[str]]] = [
    ({"index", "id", "name"}, {"index"}),
    ({"index", "id", "name"}, {"index", "id", "name"}),
    ({"index", "name"}, {"index", "name"}),
    ({"id", "name"}, set()),
    ({"id", "name"}, {"id"}),
    ({"id", "name"}, {"id", "name"}),
    ({"name"}, set()),
    ({"name"}, {"name"}),
]
# Where nothing tells a new call from a name that is repeated, arguments that begin anew do.
WORDS = st.text(st.characters(exclude_characters="{", codec="utf-8"))


@given(
    st.lists(st.tuples(st.sampled_from(["weather", "time"]), st.dictionaries(WORDS, WORDS)), max_size=MAX_CALLS),
    st.sampled_from(STYLES),
    st.lists(st.integers(1, 5), min_size=1),
)
def test_any_cutting_in_any_style_gives_the_same_calls(
    wanted: list[tuple[str, dict[str, str]]], style: tuple[set[str], set[str]], lengths: list[int]
) -> None:
    pieces = []
    for index, (name, arguments) in enumerate(wanted):
        said = {"index": index, "id": f"call_{index}", "name": name}
        text, start = json.dumps(arguments, ensure_ascii=False), 0
        while start < len(text):
            length = lengths[len(pieces) % len(lengths)]
            fields = {field: said[field] for field in style[start > 0]}
            pieces.append(piece(text[start : start + length], **fields))
            start += length
    assert [(call.id, call.name, json.loads(call.arguments)) for call in put_together(*pieces)] == [
        (f"call_{index}" if "id" in style[0] else "", name, arguments) for index, (name, arguments) in enumerate(wanted)
    ]


@pytest.mark.parametrize(
    ("pieces", "finish_reason", "told"),
    [
        ([piece(PARIS[:-1], index=0, id="a", name="weather")], "tool_calls", "arguments for weather"),
        ([piece("[1]", index=0, id="a", name="weather")], "stop", "arguments for weather"),
        ([piece('"Paris"', index=0, id="a", name="weather")], "stop", "arguments for weather"),
        ([piece('{"a":' * 200_000, index=0, id="a", name="weather")], "stop", "arguments for weather"),
        ([piece(PARIS, index=0, id="a")], "tool_calls", "does not say of what"),
        ([piece("", index=0, id="a", name="weather")], "length", "bound of tokens"),
    ],
)
def test_what_is_no_whole_call_fails_the_answer_for_good(
    pieces: list[dict[str, Any]], finish_reason: str, told: str
) -> None:
    with pytest.raises(ModelError, match=told) as raised:
        put_together(*pieces, finish_reason=finish_reason)
    assert not raised.value.retriable


def test_there_are_no_more_calls_than_the_bound() -> None:
    pieces = [piece("{}", index=index, name="now") for index in range(MAX_CALLS + 1)]
    assert len(put_together(*pieces[:-1])) == MAX_CALLS
    with pytest.raises(ModelError, match="more than 32 calls") as raised:
        put_together(*pieces)
    assert not raised.value.retriable


def chunk(*pieces: dict[str, Any], content: str | None = None, finish_reason: str | None = None) -> dict[str, Any]:
    return {"choices": [{"delta": {"content": content, "tool_calls": list(pieces)}, "finish_reason": finish_reason}]}


def read(*chunks: Any, done: bool = True) -> tuple[list[ModelPart], Answer]:
    """All parts of a streamed answer of these chunks."""
    answer = Answer()
    frames = b"".join(b"data: " + json.dumps(each).encode() + b"\n\n" for each in chunks)
    parts = answer.read(frames + (b"data: [DONE]\n\n" if done else b""))
    if not (answer.whole or answer.failure):
        parts += answer.read_end()
    return parts, answer


@pytest.mark.parametrize("done", [True, False])
def test_calls_come_after_all_text_and_before_the_usage(done: bool) -> None:
    parts, answer = read(
        chunk(piece(PARIS, index=0, id="a", name="weather"), content="Let me"),
        chunk(content=" see."),
        chunk(piece(ROME, index=1, id="b", name="weather"), finish_reason="tool_calls"),
        {"choices": [], "usage": {"prompt_tokens": 5, "completion_tokens": 9}},
        done=done,
    )
    assert parts == [
        TextDelta("Let me"),
        TextDelta(" see."),
        ToolCall("a", "weather", PARIS),
        ToolCall("b", "weather", ROME),
        UsagePart(5, 9),
    ]
    assert answer.whole
    assert answer.failure is None


@pytest.mark.parametrize("finish_reason", [None, "tool_calls"])
def test_an_answer_that_breaks_off_brings_no_calls(finish_reason: str | None) -> None:
    broken = piece(PARIS[:-1] if finish_reason else PARIS, index=0, id="a", name="weather")
    parts, answer = read(chunk(broken, content="Let me see."), chunk(finish_reason=finish_reason), done=False)
    assert parts == [TextDelta("Let me see.")]
    assert not answer.whole
    assert answer.failure is not None
    assert answer.failure.retriable is (finish_reason is None)


@pytest.mark.parametrize("field", ["id", "name", "arguments"])
def test_a_call_counts_in_the_bound_of_the_answer(field: str) -> None:
    long = {"id": "a", "name": "weather", "arguments": "", field: "x" * 900_000}
    pieces = [piece(**{**long, "index": index}) for index in range(5)]
    _, answer = read(*(chunk(each) for each in pieces[: MAX_ANSWER_BYTES // 900_000]), done=False)
    assert "broke off" in str(answer.failure)
    _, answer = read(*(chunk(each) for each in pieces))
    assert f"over {MAX_ANSWER_BYTES} bytes" in str(answer.failure)


def test_what_is_repeated_counts_once() -> None:
    repeated = piece("x", index=0, id="a" * 8000, name="b" * 8000)
    _, answer = read(*[chunk(repeated)] * (MAX_ANSWER_BYTES // 4000), done=False)
    assert "broke off" in str(answer.failure)


@pytest.mark.parametrize("of_a_call", [{"index": "0"}, {"id": 7}, {"function": "now"}, {"function": {"name": ["now"]}}])
def test_a_piece_of_another_shape_is_a_failure_for_good(of_a_call: dict[str, Any]) -> None:
    parts, answer = read(chunk(of_a_call))
    assert not parts
    assert answer.failure is not None
    assert not answer.failure.retriable


def whole(finish_reason: str = "tool_calls", **message: Any) -> list[ModelPart]:
    choice = {"message": {"role": "assistant", **message}, "finish_reason": finish_reason}
    return whole_answer(json.dumps({"choices": [choice], "usage": {"prompt_tokens": 5}}).encode())


def test_a_whole_answer_brings_each_of_its_calls() -> None:
    calls = [piece(PARIS, id="a", name="weather"), piece(ROME, id="a", name="weather"), piece(name="now")]
    assert whole(content="Let me see.", tool_calls=calls) == [
        TextDelta("Let me see."),
        ToolCall("a", "weather", PARIS),
        ToolCall("a", "weather", ROME),
        ToolCall("", "now", "{}"),
        UsagePart(5, 0),
    ]
    assert whole(content=None, tool_calls=[]) == [UsagePart(5, 0)]


def test_a_whole_answer_with_a_broken_call_is_none() -> None:
    with pytest.raises(ModelError, match="arguments for weather"):
        whole(tool_calls=[piece("{", name="weather")])
    with pytest.raises(ModelError, match="bound of tokens"):
        whole("length", tool_calls=[piece("{}", name="weather")])
