"""How a segment closes, purely: the event that says so, and what its last transaction is to store. Knows no store."""

from dragoman.core.clock import now_us
from dragoman.core.conversations import TurnState
from dragoman.core.events import (
    Outcome,
    TurnCompleted,
    TurnFailed,
    TurnInterrupted,
    TurnPaused,
    TurnStopped,
)
from dragoman.core.handover import HandoverRule
from dragoman.core.prompt import estimate_tokens
from dragoman.ports.turns import TurnEnd
from dragoman.services.runs import Run

Closing = TurnCompleted | TurnPaused | TurnStopped | TurnFailed | TurnInterrupted


def closing_of(run: Run, failure: str) -> Closing:
    """The event that closes a segment that runs no more; `failure` is what the client is told of one, if any."""
    if failure:
        return TurnFailed(failure, now_us())
    if run.ending == "interrupted":
        return TurnInterrupted(now_us())
    if run.consulted and not run.completion_tokens:
        text = run.text
        sizes = (estimate_tokens(message.content) for message in run.begun.prompt)
        run.prompt_tokens = run.prompt_tokens or sum(sizes)
        run.completion_tokens = estimate_tokens(text) if text else 0
    turn = run.begun.turn
    # A turn costs its price once, at its first pause or at its end; a stopped one, where it has said anything.
    price = run.begun.price if run.ending == "done" or run.text else 0
    kind = TurnStopped if run.ending == "stopped" else TurnPaused if run.waits else TurnCompleted
    return kind(
        turn.model,
        turn.prompt_tokens + run.prompt_tokens,
        turn.completion_tokens + run.completion_tokens,
        turn.credits or price,
        now_us(),
        None if run.confidence is None else round(run.confidence, 3),
        run.resolved,
    )


def end_of(run: Run, closing: Closing, owner: int) -> TurnEnd:
    """What the last transaction of a segment stores, once `closing_of` has said how it closes."""
    turn = run.begun.turn
    credits = closing.credits if isinstance(closing, Outcome) else turn.credits
    return TurnEnd(
        tenant_id=turn.tenant_id,
        turn_id=turn.id,
        epoch=turn.epoch,
        owner=owner,
        answer_id=turn.answer_id,
        state=_state_after(closing),
        text=run.text,
        prompt_tokens=turn.prompt_tokens + run.prompt_tokens,
        completion_tokens=turn.completion_tokens + run.completion_tokens,
        credits=credits,
        error=closing.message if isinstance(closing, TurnFailed) else None,
        reserved=run.begun.reserved,
        charged=credits - turn.credits,
        last_row=run.log.last_row(closing),
        now=closing.at,
        calls=run.waits if isinstance(closing, TurnPaused) and not run.kept else (),
        approval_ends=closing.at + int(run.begun.agent.definition.approval_timeout * 1_000_000),
        kept=run.kept,
        handover=run.handover if isinstance(closing, TurnCompleted | TurnPaused) else None,
        handover_us=int((run.begun.agent.definition.handover or HandoverRule()).timeout * 1_000_000),
        author=run.author or run.begun.author,
        sources=run.sources,
        confidence=run.confidence,
        resolved=run.resolved,
    )


def _state_after(closing: Closing) -> TurnState:
    match closing:
        case TurnCompleted():
            return "completed"
        case TurnPaused():
            return "paused"
        case TurnStopped():
            return "cancelled"
        case TurnFailed():
            return "failed"
    return "interrupted"
