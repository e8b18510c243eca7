"""The parser of server-sent events gives the same payloads however the bytes were cut, and keeps its bound."""

import time
from itertools import pairwise

import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from dragoman.adapters.models.sse import EventParser, EventTooLarge


def parse(*pieces: bytes, limit: int = 1 << 20) -> list[bytes]:
    parser = EventParser(limit)
    return [payload for piece in pieces for payload in parser.feed(piece)]


@pytest.mark.parametrize(
    ("stream", "payloads"),
    [
        (b"data: a\n\ndata: b\n\n", [b"a", b"b"]),
        (b"data: a\r\n\r\ndata: b\r\n\r\n", [b"a", b"b"]),
        (b"data: a\r\rdata: b\r\r", [b"a", b"b"]),
        (b"data: a\n\r\ndata: b\r\n\n", [b"a", b"b"]),
        (b"data: a\ndata: b\n\n", [b"a\nb"]),
        (b"data:a\n\ndata:  b\n\n", [b"a", b" b"]),
        (b"data\n\ndata:\ndata\n\n", [b"", b"\n"]),
        (b": ping\n\n:\n\ndata: a\n\n", [b"a"]),
        (b"event: delta\nid: 7\nretry: 10\ndata: a\n\n", [b"a"]),
        (b"id: 7\n\n\n\n\ndata: a\n\n\n", [b"a"]),
        (b"database: x\ndata : x\n data: x\nDATA: x\n\n", []),
        (b"\xef\xbb\xbfdata: a\n\n\xef\xbb\xbfdata: b\n\n", [b"a"]),
        (b"data: a\xe2\x80\xa8b\x0b\x0c\x1c\x85c\n\n", [b"a\xe2\x80\xa8b\x0b\x0c\x1c\x85c"]),
        (b"data: \xff\xfe\n\n", [b"\xff\xfe"]),
        (b"data: a: b\n\n", [b"a: b"]),
        (b"data: a\n\ndata: unfinished\n", [b"a"]),
        (b"", []),
    ],
)
def test_a_stream_is_read_as_the_standard_says_whole_and_byte_by_byte(stream: bytes, payloads: list[bytes]) -> None:
    assert parse(stream) == payloads
    assert parse(*(stream[at : at + 1] for at in range(len(stream)))) == payloads
    assert parse(b"", *(stream[at : at + 1] for at in range(len(stream))), b"") == payloads


def test_a_crlf_cut_in_two_is_one_line_end() -> None:
    assert parse(b"data: a\r", b"\ndata: b\r", b"", b"\n\r", b"\n") == [b"a\nb"]


def test_a_payload_is_given_as_soon_as_its_blank_line_is_there() -> None:
    parser = EventParser()
    assert parser.feed(b"data: a\r\r") == [b"a"]
    assert parser.feed(b"data: b\n") == []
    assert parser.feed(b"\ndata: c") == [b"b"]
    assert parser.feed(b"\n\ndata: d\n\ndata: e\n\n") == [b"c", b"d", b"e"]


LINES = st.sampled_from(
    [
        b"data: a",
        b"data:b",
        b"data: " + b"c" * 9,
        b"data",
        b"",
        b"",
        b": ping",
        b"id: 1",
        b"\xef\xbb\xbfdata: x",
        b"\xff",
    ]
)
ENDS = st.sampled_from([b"\n", b"\n", b"\r\n", b"\r"])


@given(
    st.lists(st.tuples(LINES, ENDS).map(b"".join)).map(b"".join) | st.text("da:t \r\n\ufeff").map(str.encode),
    st.lists(st.integers(0, 200)),
)
@example(b"data: a\n\n\ndata: b\n\n", [9])
@example(b"data: a\r\n\r\n", [8, 10])
def test_any_cutting_of_the_same_bytes_gives_the_same_payloads(stream: bytes, cuts: list[int]) -> None:
    bounds = [0, *sorted(min(cut, len(stream)) for cut in cuts), len(stream)]
    assert parse(*(stream[start:end] for start, end in pairwise(bounds))) == parse(stream)


@given(
    st.lists(st.tuples(LINES, ENDS).map(b"".join), max_size=12).map(b"".join),
    st.lists(st.integers(0, 200)),
    st.integers(6, 16),
)
def test_any_cutting_of_the_same_bytes_meets_the_bound_alike(stream: bytes, cuts: list[int], limit: int) -> None:
    def outcome(*pieces: bytes) -> list[bytes] | None:
        try:
            return parse(*pieces, limit=limit)
        except EventTooLarge:
            return None

    bounds = [0, *sorted(min(cut, len(stream)) for cut in cuts), len(stream)]
    assert outcome(*(stream[start:end] for start, end in pairwise(bounds))) == outcome(stream)


@pytest.mark.parametrize(
    "pieces",
    [
        [b"data: " + b"x" * 100],
        [b"data: " + b"x" * 100 + b"\n\n"],
        [b": " + b"x" * 100 + b"\n"],
        [b"data: xxxxxxx\n"] * 10,
        [b"data:\n"] * 100,
        [b"x"] * 100,
    ],
)
def test_a_line_or_an_event_over_the_bound_is_refused(pieces: list[bytes]) -> None:
    with pytest.raises(EventTooLarge):
        parse(*pieces, limit=64)


def test_many_events_in_one_read_may_be_larger_than_the_bound_of_one() -> None:
    assert parse(b"data: x\n\n" * 100, limit=64) == [b"x"] * 100


def test_a_line_that_drips_in_costs_no_more_than_its_length() -> None:
    pieces = [b"data: ", *[b"x"] * 500_000, b"\n\n"]
    started = time.process_time()
    assert parse(*pieces) == [b"x" * 500_000]
    assert time.process_time() - started < 5
