"""What a client of a conversation has missed since it left: the segments that closed meanwhile. Knows no frame."""

from collections.abc import AsyncIterator, Callable, Sequence

from dragoman.core.commands import Cursor
from dragoman.core.conversations import Turn
from dragoman.core.events import CLOSING, Group
from dragoman.ports.turns import TurnStore
from dragoman.services.replays import segments_of, started_of

# A segment of a turn, in the groups in which it was stored; None says that here something is no longer kept.
Missed = tuple[Turn, Sequence[Group]] | None


async def missed(
    turns: TurnStore, tenant_id: str, conversation_id: str, cursor: Cursor, is_live: Callable[[str], bool]
) -> AsyncIterator[Missed]:
    """Every closed segment since the cursor, the one that it stands in among them, oldest first.

    `is_live` says whether the segment with this answer is followed as it runs: those are left out.
    """
    turn = await turns.get(tenant_id, cursor.turn_id)
    logged = await turns.events(tenant_id, cursor.turn_id)
    if turn is None or turn.conversation_id != conversation_id or not (logged or is_live(turn.answer_id)):
        yield None
        return
    if _is_lost(turn, logged, cursor, is_live):
        yield None
    # Answers are numbered in the order in which they began: a turn that ran again comes after what came between.
    number = _number_at(turn, logged, cursor)
    for segment in _closed(logged, is_live):
        if started_of(segment).number <= number:
            yield turn, segment
    for turn in await turns.after(tenant_id, conversation_id, number):
        logged = await turns.events(tenant_id, turn.id)
        if not logged and turn.state != "running" and not is_live(turn.answer_id):
            yield None
        for segment in _closed(logged, is_live):
            if started_of(segment).number > number:
                yield turn, segment


def _number_at(turn: Turn, logged: Sequence[Group], cursor: Cursor) -> int:
    """The number of the answer that a cursor stands in."""
    begun = [
        started_of(segment).number
        for segment in segments_of(logged)
        if (segment[0].epoch, segment[0].first_sequence) <= (cursor.epoch, cursor.sequence)
    ]
    return begun[-1] if begun else turn.answer_number


def _is_lost(turn: Turn, logged: Sequence[Group], cursor: Cursor, is_live: Callable[[str], bool]) -> bool:
    """Whether the cursor's place is not in the log: a dead server had shown it before it was stored, or nobody had."""
    place = (cursor.epoch, cursor.sequence)
    last = place
    for group in logged:
        last = (group.epoch, group.first_sequence + len(group.events) - 1)
        if last > place:
            return group.epoch > cursor.epoch and group.first_sequence <= cursor.sequence
    return last != place and not is_live(turn.answer_id)


def _closed(logged: Sequence[Group], is_live: Callable[[str], bool]) -> Sequence[Sequence[Group]]:
    """The segments that have closed and are not followed."""
    return [
        segment
        for segment in segments_of(logged)
        if isinstance(segment[-1].events[-1], CLOSING) and not is_live(started_of(segment).message_id)
    ]
