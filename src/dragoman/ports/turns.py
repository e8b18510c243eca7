"""The port to stored turns and their logs. Each method is one transaction; knows no SQL and no driver."""

import asyncio
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Generic, Literal, Protocol, TypeVar

from dragoman.core.agents import Agent
from dragoman.core.commands import Idempotency, Recording
from dragoman.core.conversations import Message, Turn, TurnState
from dragoman.core.events import Group, Source, ToolCall, TurnEvent
from dragoman.core.handover import Reason
from dragoman.core.prompt import NO_OVERRIDES, Overrides, PromptMessage
from dragoman.core.tenants import Principal

T = TypeVar("T", covariant=True)


class Fenced(Exception):
    """Somebody else has taken the turn over: what this owner would have written is refused."""


class Pending(Generic[T]):
    """A write under way. `applied` has its result, `durable` says that no power cut can undo it."""

    __slots__ = ("applied", "durable")

    def __init__(self, loop: asyncio.AbstractEventLoop) -> None:
        self.applied: asyncio.Future[T] = loop.create_future()
        self.durable: asyncio.Future[None] = loop.create_future()


@dataclass(frozen=True, slots=True)
class TurnRequest:
    """What the first transaction of a turn needs. Ids of what may be made are chosen by the caller; `now` is in µs.

    `client_id` is the client's own name for the conversation, which is made under it where the agent allows that;
    `deployment` is a channel and a region of the agent.
    """

    principal: Principal
    agent_reference: str
    conversation_id: str | None
    new_conversation_id: str
    turn_id: str
    message_id: str
    answer_id: str
    text: str
    title: str
    metadata: Mapping[str, Any] | None
    idempotency: Idempotency | None
    resuming: bool
    owner: int
    now: int
    client_id: str | None = None
    deployment: tuple[str, str] | None = None
    context: Mapping[str, Any] | None = None
    overrides: Overrides = NO_OVERRIDES
    recording: Recording | None = None

    @property
    def tenant_id(self) -> str:
        """Whose turn it is."""
        return self.principal.tenant_id


@dataclass(frozen=True, slots=True)
class ResultsRequest:
    """Results of a paused turn's calls, as pairs of call id and content, with the ids of what may be made.

    `joining` says that the turn runs already: nothing is begun then, and only what came before is told.
    """

    principal: Principal
    agent_reference: str
    conversation_id: str
    results: Sequence[tuple[str, str]]
    message_ids: Sequence[str]
    answer_id: str
    owner: int
    now: int
    joining: bool = False

    @property
    def tenant_id(self) -> str:
        """Whose turn it is."""
        return self.principal.tenant_id


@dataclass(frozen=True, slots=True)
class Call:
    """A call as it is kept: open waits for its client, waiting for a person's yes, running is made by the server.

    `result_id` is the message that holds what a running call brings.
    """

    call: ToolCall
    state: Literal["open", "waiting", "running"]
    result_id: str = ""


@dataclass(frozen=True, slots=True)
class Decision:
    """A person's yes or no to the call that an approval is about; `by` names who says so."""

    principal: Principal
    approval_id: str
    approved: bool
    by: str
    answer_id: str
    owner: int
    now: int


@dataclass(frozen=True, slots=True)
class Approval:
    """What a person is asked: whether a call may be made. Times are in microseconds."""

    id: str
    state: Literal["pending", "approved", "denied", "expired", "cancelled"]
    conversation_id: str
    turn_id: str
    agent_id: str
    call: ToolCall
    expires_at: int
    created_at: int
    decided_by: str | None = None
    decided_at: int | None = None


@dataclass(frozen=True, slots=True)
class Step:
    """The calls of a segment that runs, before any is made.

    `message_id` and `content` are of the message that wants them. With `pausing` that is the segment's answer, for some
    of them wait; else the answer comes after what they bring. `approval_ends` is when waiting calls are given up.
    """

    turn: Turn
    message_id: str
    content: str
    calls: Sequence[Call]
    pausing: bool
    approval_ends: int
    now: int


@dataclass(frozen=True, slots=True)
class Begun:
    """A segment of the turn runs and is ours.

    `prompt` is what the model is asked, once the `approved` calls have been made. `price` is what the segment costs
    when it closes well, `reserved` what is set aside for it, in credits; what a turn has cost and used before is in
    the turn. `first` is as in `TurnStarted`; `goes_on` says that a pause of this turn came before; `metadata` is the
    user's message's where the tenant's own server sent it. With `handed_over` a person is to answer; with `said` a
    person does, by the name of `author`.
    """

    turn: Turn
    agent: Agent
    prompt: tuple[PromptMessage, ...]
    price: int
    reserved: int
    next_sequence: int
    first: bool = True
    goes_on: bool = False
    metadata: Mapping[str, Any] | None = None
    approved: Sequence[Call] = ()
    handed_over: bool = False
    said: str = ""
    author: str = ""


@dataclass(frozen=True, slots=True)
class Existing:
    """This has been asked for before and led to this turn; `answer_id` names the segment that it opened, if one."""

    turn: Turn
    answer_id: str | None = None


@dataclass(frozen=True, slots=True)
class Waiting:
    """A result is stored and the turn waits for others; `message` is the result as a message, the last of several."""

    turn: Turn
    message: Message


@dataclass(frozen=True, slots=True)
class LogRow:
    """Events of one flush, with the sequence number of the first; the others follow without a gap."""

    tenant_id: str
    turn_id: str
    epoch: int
    first_sequence: int
    events: Sequence[TurnEvent]


@dataclass(frozen=True, slots=True)
class TurnEnd:
    """What the last transaction of a segment stores; `last_row` holds the events that no flush has taken.

    Tokens and `credits` are the whole turn's, `charged` is what of the `reserved` credits this segment used. Where
    `kept`, a step has stored the answer and its calls already. `handover` says why a person is to answer from now on,
    if one is, for `handover_us` microseconds; `author` is the person who has answered this, if it was one.
    """

    tenant_id: str
    turn_id: str
    epoch: int
    owner: int
    answer_id: str
    state: TurnState
    text: str
    prompt_tokens: int
    completion_tokens: int
    credits: int
    error: str | None
    reserved: int
    charged: int
    last_row: LogRow
    now: int
    calls: Sequence[Call] = ()
    approval_ends: int = 0
    kept: bool = False
    handover: Reason | None = None
    handover_us: int = 0
    author: str = ""
    sources: Sequence[Source] = ()
    confidence: float | None = None
    resolved: bool = True


class TurnStore(Protocol):
    """Turns and their logs."""

    def begin(self, request: TurnRequest) -> Pending[Begun | Existing]:
        """Claim the idempotency key, load agent, conversation and history, store the message and the running turn.

        Raises (from `applied`):
            AgentNotFound, ConversationNotFound, KeyReused, Conflict, NoCredits, Forbidden, Unavailable
        """
        ...

    def begin_segment(self, request: ResultsRequest) -> Pending[Begun | Existing | Waiting]:
        """Store results of calls; when all of the turn's calls have theirs, the turn runs on in a new segment.

        A result that came before is left as it is: the answer is then what it led to (`Existing` or `Waiting`).

        Raises (from `applied`):
            AgentNotFound, ConversationNotFound, Conflict, Unavailable
            Invalid: a call id is of no call of this conversation, or of one that was cancelled.
        """
        ...

    def decide(self, decision: Decision) -> Pending[Begun | Existing | None]:
        """Store a yes or a no; after the last yes that a turn waits for it runs on in a new segment, a no ends it.

        None where the turn waits for other calls.

        Raises (from `applied`):
            ApprovalNotFound, Conflict: it has been decided, or its turn has ended.
        """
        ...

    async def approvals(
        self, tenant_id: str, state: str | None, limit: int, before: tuple[int, str] | None
    ) -> Sequence[Approval]:
        """Approvals before a place, newest first."""
        ...

    async def approval(self, tenant_id: str, approval_id: str) -> Approval | None:
        """The tenant's approval of this id."""
        ...

    async def end_approvals(self, now: int) -> int:
        """End the turns whose approvals have not been decided in time; how many there were."""
        ...

    async def call(self, step: Step) -> int:
        """Store calls before they are made; the number that the answer has now.

        Raises:
            Fenced: the turn is no longer this owner's.
        """
        ...

    async def keep_results(self, turn: Turn, results: Sequence[tuple[Call, str]], now: int) -> None:
        """Store what running calls brought.

        Raises:
            Fenced: the turn is no longer this owner's.
        """
        ...

    async def claimed(self, tenant_id: str, idempotency: Idempotency) -> Turn | None:
        """The turn that this Idempotency-Key began.

        Raises:
            KeyReused: it came with another body.
        """
        ...

    async def flush(self, rows: Sequence[LogRow]) -> None:
        """Append to the logs of running turns, all in one transaction."""
        ...

    async def finish(self, end: TurnEnd) -> None:
        """Store the answer, the events that are left and the turn's state, all or nothing.

        Raises:
            Fenced: the turn is no longer this owner's.
        """
        ...

    async def get(self, tenant_id: str, turn_id: str) -> Turn | None:
        """The tenant's turn of this id."""
        ...

    async def answers(self, tenant_id: str, turn_id: str) -> Sequence[Message]:
        """What the model has said in the turn, a message a segment, in order; what a later try replaced is left out."""
        ...

    async def turn_of_call(self, tenant_id: str, conversation_id: str, call_id: str) -> str | None:
        """The turn that wants or wanted a call."""
        ...

    async def known_calls(self, tenant_id: str, conversation_id: str, call_ids: Sequence[str]) -> Sequence[str]:
        """Which of these call ids the conversation has already."""
        ...

    async def after(self, tenant_id: str, conversation_id: str, number: int) -> Sequence[Turn]:
        """The turns of a conversation whose newest answer has a higher number, by that number."""
        ...

    async def events(self, tenant_id: str, turn_id: str) -> Sequence[Group]:
        """What is kept of the turn's log, in the groups in which it was flushed, in order."""
        ...

    async def interrupt_orphans(self, runs_here: Callable[[str], bool], now: int) -> int:
        """Close every running turn whose owner is dead, or is this process where it does not run; how many there were.

        `runs_here` is asked from any thread, after the turn was seen as running in the store.
        """
        ...

    async def cancel_pauses(self, tenant_id: str, conversation_id: str, now: int) -> None:
        """Cancel the turn that is paused in a conversation, and its open calls, if there is one."""
        ...

    async def end_pauses(self, before: int, now: int) -> int:
        """Cancel every turn that has been paused since before a time, in microseconds; how many there were."""
        ...

    async def prune(self, events_before: int, keys_before: int) -> None:
        """Forget logs of turns and idempotency keys older than these times, in microseconds."""
        ...
