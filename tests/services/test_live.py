"""The turn log by itself: numbers, flushes, listeners."""

from dragoman.core.events import Group, TextDelta, TurnCompleted, TurnStarted
from dragoman.services.live import TurnLog

STARTED = TurnStarted("turn", "conversation", "message", 2, 0)
COMPLETED = TurnCompleted("model", 1, 1, 1, 0)


def test_rows_follow_each_other_without_a_gap_and_the_last_takes_the_rest() -> None:
    log = TurnLog("tenant", "turn")
    log.number_from(3, 10)
    log.append([STARTED])
    first = log.take()
    log.append([TextDelta("a"), TextDelta("b")])
    last = log.last_row(COMPLETED)
    assert first is not None
    assert (first.epoch, first.first_sequence, list(first.events)) == (3, 10, [STARTED])
    assert (last.first_sequence, list(last.events)) == (11, [TextDelta("a"), TextDelta("b"), COMPLETED])


def test_no_flush_takes_what_the_last_row_has_taken() -> None:
    log = TurnLog("tenant", "turn")
    log.append([STARTED, TextDelta("a")])
    log.last_row(COMPLETED)
    assert log.take() is None


def test_a_flush_that_failed_gives_its_events_to_the_next() -> None:
    log = TurnLog("tenant", "turn")
    log.append([STARTED])
    failed = log.take()
    assert failed is not None
    log.append([TextDelta("a")])
    log.give_back(failed)
    again = log.take()
    assert again is not None
    assert (again.first_sequence, list(again.events)) == (1, [STARTED, TextDelta("a")])


def test_each_listener_is_told_once_for_events_that_came_together() -> None:
    log = TurnLog("tenant", "turn")
    told: list[str] = []
    log.listeners += [lambda: told.append("one"), lambda: told.append("two")]
    log.append([STARTED, TextDelta("a")])
    assert told == ["one", "two"]


def test_a_listener_that_leaves_when_it_is_told_does_not_keep_the_next_from_being_told() -> None:
    log = TurnLog("tenant", "turn")
    told: list[str] = []
    log.listeners += [log.listeners.clear, lambda: told.append("two")]
    log.append([STARTED])
    assert told == ["two"]


def test_what_is_ready_is_read_from_a_position_with_its_number() -> None:
    log = TurnLog("tenant", "turn")
    log.append([STARTED, TextDelta("a")])
    assert log.since(1) == Group(1, 2, [TextDelta("a")])
    assert log.since(2) is None
    assert not log.closed
    log.append([COMPLETED])
    assert log.closed
