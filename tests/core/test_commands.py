"""A cursor is read from an event's id and says what the client has seen."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from dragoman.core.commands import Cursor, parse_cursor

NUMBERS = st.integers(0, 10**11 - 1)


@given(st.uuids().map(str), NUMBERS, NUMBERS, st.none() | NUMBERS)
def test_an_event_id_is_read_back(turn_id: str, epoch: int, sequence: int, frames: int | None) -> None:
    written = ".".join(map(str, (turn_id, epoch, sequence, *(() if frames is None else (frames,)))))
    assert parse_cursor(written) == Cursor(turn_id, epoch, sequence, frames)


@pytest.mark.parametrize(
    "text", ["", "turn", "turn.1", "turn.1.2.3.4", "turn.1.", "turn.-1.2", "turn.1.²", "turn.1.٣", "turn.1.2 ", "a.1.x"]
)
def test_other_text_is_no_cursor(text: str) -> None:
    assert parse_cursor(text) is None


def test_a_number_without_end_is_no_cursor() -> None:
    assert parse_cursor(f"turn.1.{'9' * 12}") is None


@given(st.text(max_size=40))
def test_any_text_is_read_without_a_fault(text: str) -> None:
    parse_cursor(text)


@pytest.mark.parametrize(
    ("frames", "place", "seen"),
    [
        (None, (1, 4, 9), True),
        (None, (1, 5, 0), True),
        (None, (1, 5, 7), True),
        (None, (1, 6, 0), False),
        (2, (1, 5, 1), True),
        (2, (1, 5, 2), False),
        (0, (1, 5, 0), False),
        (2, (2, 1, 0), False),
    ],
)
def test_a_cursor_covers_what_came_before_it(frames: int | None, place: tuple[int, int, int], seen: bool) -> None:
    assert Cursor("turn", 1, 5, frames).covers(*place) is seen


def test_an_earlier_epoch_is_covered_whole() -> None:
    assert Cursor("turn", 2, 1).covers(1, 99, 3)
