"""What a client has missed: which segments, and where something is gone."""

from typing import Any

import pytest

from dragoman.core.commands import Cursor
from dragoman.core.conversations import Turn, TurnState
from dragoman.core.errors import TurnNotFound
from dragoman.core.events import Group, TextDelta, TurnCompleted, TurnEvent, TurnInterrupted, TurnPaused, TurnStarted
from dragoman.services.missed import missed

DONE = TurnCompleted("m", 1, 1, 1, 1)
PAUSED = TurnPaused("m", 1, 1, 1, 1)


def turn(name: str, conversation: str = "chat", state: TurnState = "completed") -> Turn:
    return Turn(name, "acme", conversation, "agent", state, 1, "message", f"answer to {name}", 1, "m", 1)


def started(answer: str) -> TurnStarted:
    return TurnStarted("turn", "chat", answer, 1, 1)


def group(epoch: int, first: int, *events: TurnEvent) -> Group:
    return Group(epoch, first, events)


class Turns:
    """Turns in the order in which they began, with their logs."""

    def __init__(self, **logs: list[Group]) -> None:
        self.logs = logs
        self.turns = {name: turn(name) for name in logs}

    async def get(self, tenant_id: str, turn_id: str) -> Turn | None:
        return self.turns.get(turn_id)

    async def events(self, tenant_id: str, turn_id: str) -> list[Group]:
        return self.logs.get(turn_id, [])

    async def after(self, tenant_id: str, conversation_id: str, turn_id: str) -> list[Turn]:
        if turn_id not in self.turns:
            raise TurnNotFound
        known = list(self.turns.values())
        return known[[each.id for each in known].index(turn_id) + 1 :]


async def told(turns: Any, cursor: Cursor, *live: str) -> list[Any]:
    """The answers of the segments that were missed, and None for what is gone."""
    found = []
    async for each in missed(turns, "acme", "chat", cursor, live.__contains__):
        first = each[1][0].events[0] if each else None
        found.append(first.message_id if isinstance(first, TurnStarted) else None)
    return found


PAUSING = [group(1, 1, started("one"), PAUSED), group(1, 3, started("two"), TextDelta("a")), group(1, 5, DONE)]
PLAIN = [group(1, 1, started("plain"), TextDelta("a"), DONE)]
RUNNING = [group(1, 1, started("running"), TextDelta("a"))]


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
    assert await told(Turns(first=PLAIN, second=[], third=PLAIN), Cursor("first", 1, 3)) == ["plain", None, "plain"]


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
