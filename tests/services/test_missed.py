"""What a client has missed: which segments, and where something is gone."""

from typing import Any

import pytest

from dragoman.core.commands import Cursor
from dragoman.core.conversations import Turn, TurnState
from dragoman.core.events import (
    Group,
    TextDelta,
    TurnCompleted,
    TurnEvent,
    TurnFailed,
    TurnInterrupted,
    TurnPaused,
    TurnStarted,
)
from dragoman.services.missed import missed

DONE = TurnCompleted("m", 1, 1, 1, 1)
PAUSED = TurnPaused("m", 1, 1, 1, 1)


def turn(name: str, conversation: str = "chat", state: TurnState = "completed", number: int = 1) -> Turn:
    return Turn(name, "acme", conversation, "agent", state, 1, "message", f"answer to {name}", number, "m", 1)


def started(answer: str, number: int = 1) -> TurnStarted:
    return TurnStarted("turn", "chat", answer, number, 1)


def group(epoch: int, first: int, *events: TurnEvent) -> Group:
    return Group(epoch, first, events)


def number_of(log: list[Group], at: int) -> int:
    """The number of a log's newest answer."""
    events = [event for each in log for event in each.events]
    return max((event.number for event in events if isinstance(event, TurnStarted)), default=10 * at)


class Turns:
    """Turns in the order in which they began, with their logs."""

    def __init__(self, **logs: list[Group]) -> None:
        self.logs = logs
        self.turns = {name: turn(name, number=number_of(log, at)) for at, (name, log) in enumerate(logs.items(), 1)}

    async def get(self, tenant_id: str, turn_id: str) -> Turn | None:
        return self.turns.get(turn_id)

    async def events(self, tenant_id: str, turn_id: str) -> list[Group]:
        return self.logs.get(turn_id, [])

    async def after(self, tenant_id: str, conversation_id: str, number: int) -> list[Turn]:
        later = [each for each in self.turns.values() if each.answer_number > number]
        return sorted(later, key=lambda each: each.answer_number)


async def told(turns: Any, cursor: Cursor, *live: str) -> list[Any]:
    """The answers of the segments that were missed, and None for what is gone."""
    found = []
    async for each in missed(turns, "acme", "chat", cursor, live.__contains__):
        first = each[1][0].events[0] if each else None
        found.append(first.message_id if isinstance(first, TurnStarted) else None)
    return found


PAUSING = [group(1, 1, started("one", 2), PAUSED), group(1, 3, started("two", 4), TextDelta("a")), group(1, 5, DONE)]
PLAIN = [group(1, 1, started("plain", 14), TextDelta("a"), DONE)]
RUNNING = [group(1, 1, started("running", 24), TextDelta("a"))]


async def test_a_turn_that_ran_again_comes_after_what_came_between() -> None:
    failed = [group(1, 1, started("failed", 2), TurnFailed("no", 1)), group(2, 3, started("again", 20), DONE)]
    turns = Turns(first=failed, second=PLAIN)
    assert await told(turns, Cursor("first", 1, 2)) == ["failed", "plain", "again"]
    assert await told(turns, Cursor("second", 1, 3)) == ["plain", "again"]
    assert await told(turns, Cursor("first", 2, 4)) == ["failed", "again"]


async def test_the_segment_of_the_cursor_comes_and_all_that_closed_after_it() -> None:
    turns = Turns(first=PAUSING, second=PLAIN, third=RUNNING)
    turns.turns["third"] = turn("third", state="running")
    assert await told(turns, Cursor("first", 1, 2)) == ["one", "two", "plain"]
    assert await told(turns, Cursor("second", 1, 3)) == ["plain"]
    assert await told(turns, Cursor("second", 1, 3), "plain") == []


async def test_what_is_followed_as_it_runs_is_left_out() -> None:
    turns = Turns(first=PAUSING, second=PLAIN)
    assert await told(turns, Cursor("first", 1, 1), "two", "plain") == ["one"]


@pytest.mark.parametrize("cursor", [Cursor("nobody's", 1, 1), Cursor("elsewhere", 1, 1), Cursor("pruned", 1, 1)])
async def test_a_turn_that_is_unknown_or_has_no_log_is_a_gap_and_the_end(cursor: Cursor) -> None:
    turns = Turns(elsewhere=PLAIN, pruned=[], later=PLAIN)
    turns.turns["elsewhere"] = turn("elsewhere", "another chat")
    assert await told(turns, cursor) == [None]


async def test_a_turn_that_has_no_log_yet_is_no_gap_while_it_runs() -> None:
    turns = Turns(first=[], second=[])
    turns.turns = {name: turn(name, state="running") for name in turns.turns}
    assert await told(turns, Cursor("first", 1, 1), "answer to first") == []


async def test_a_later_turn_without_a_log_is_a_gap_in_its_place() -> None:
    later = [group(1, 1, started("later", 30), DONE)]
    assert await told(Turns(first=PLAIN, second=[], third=later), Cursor("first", 1, 3)) == ["plain", None, "later"]


@pytest.mark.parametrize(
    ("cursor", "gap"),
    [
        (Cursor("turn", 1, 3), False),
        (Cursor("turn", 1, 4), True),
        (Cursor("turn", 1, 9), True),
        (Cursor("turn", 2, 4), False),
        (Cursor("turn", 2, 5), True),
        (Cursor("turn", 3, 1), True),
    ],
)
async def test_what_a_dead_server_had_shown_and_not_stored_is_a_gap(cursor: Cursor, gap: bool) -> None:
    log = [group(1, 1, started("answer"), TextDelta("a"), TextDelta("b")), group(2, 4, TurnInterrupted(1))]
    assert await told(Turns(turn=log), cursor) == ([None, "answer"] if gap else ["answer"])
