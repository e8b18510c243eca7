"""What a closed segment of a turn looked like: from its log, or made anew from what is stored. Knows no watcher."""

from collections.abc import Sequence
from dataclasses import replace

from dragoman.core.conversations import Turn
from dragoman.core.errors import Conflict
from dragoman.core.events import (
    Group,
    SourcesFound,
    TextDelta,
    ToolCallReady,
    TurnCompleted,
    TurnEvent,
    TurnPaused,
    TurnStarted,
    TurnStopped,
)
from dragoman.ports.store import Store


async def replay(store: Store, turn: Turn, answer_id: str | None, *, whole_log: bool) -> list[Group]:
    """The events of the segment with this answer; None means the one that answered the user's message.

    Raises:
        Conflict: the log is gone, and `whole_log` says that nothing else will do.
    """
    segments = segments_of(await store.turns.events(turn.tenant_id, turn.id))
    if answer_id is None:
        chosen = _first_answer(segments)
    else:
        chosen = next((each for each in segments if started_of(each).message_id == answer_id), None)
    if chosen is not None:
        return chosen
    if whole_log:
        raise Conflict("The events of this turn are no longer kept; send the request without Last-Event-ID")
    return await _from_messages(store, turn, answer_id)


def as_answered(turn: Turn, segment: Sequence[Group]) -> Turn:
    """A turn as it was when this segment of it was its newest."""
    started = started_of(segment)
    return replace(turn, answer_id=started.message_id, answer_number=started.number)


def segments_of(logged: Sequence[Group]) -> list[list[Group]]:
    """A turn's log in its segments: each group is of one segment alone."""
    segments: list[list[Group]] = []
    for group in logged:
        if isinstance(group.events[0], TurnStarted):
            segments.append([])
        if segments:
            segments[-1].append(group)
    return segments


def started_of(segment: Sequence[Group]) -> TurnStarted:
    """The event that a segment begins with."""
    started = segment[0].events[0]
    if not isinstance(started, TurnStarted):
        raise TypeError("a segment begins with its start")
    return started


def _first_answer(segments: Sequence[list[Group]]) -> list[Group] | None:
    """What the user's message led to: up to the first pause, and of several tries the last."""
    for segment in segments:
        if isinstance(segment[-1].events[-1], TurnPaused):
            return segment
    return segments[-1] if segments else None


async def _from_messages(store: Store, turn: Turn, answer_id: str | None) -> list[Group]:
    """The answer in one piece, where the log has been pruned."""
    answers = await store.turns.answers(turn.tenant_id, turn.id)
    answer = next((each for each in answers if each.id == answer_id), None)
    if answer is None and answers:
        answer = next((each for each in answers if each.tool_calls), answers[-1])
    at = answer.created_at if answer is not None else turn.finished_at or turn.created_at
    outcome = (turn.model, turn.prompt_tokens, turn.completion_tokens, turn.credits, at)
    kind = TurnStopped if turn.state == "cancelled" else TurnCompleted
    if answer is None:
        started = TurnStarted(turn.id, turn.conversation_id, turn.answer_id, turn.answer_number, turn.created_at)
        return [Group(turn.epoch, 1, [started, kind(*outcome)])]
    events: list[TurnEvent] = [
        TurnStarted(turn.id, turn.conversation_id, answer.id, answer.number, answer.created_at),
        *([SourcesFound(answer.sources)] if answer.sources else []),
        *([TextDelta(answer.content)] if answer.content else []),
        *(ToolCallReady(*call) for call in answer.tool_calls),
        (TurnPaused if answer.tool_calls else kind)(*outcome, answer.confidence, answer.resolved),
    ]
    return [Group(turn.epoch, 1, events)]
