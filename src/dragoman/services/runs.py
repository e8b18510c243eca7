"""A turn while it runs in this process, and how a client watches one that runs or has ended. Knows no store."""

import asyncio
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from typing import Literal

from dragoman.core.answers import Answer
from dragoman.core.commands import Cursor
from dragoman.core.confidence import Grounds
from dragoman.core.conversations import Turn
from dragoman.core.events import Group, Source, SourcesFound, TextDelta, ToolCall, TurnCompleted
from dragoman.core.handover import Reason
from dragoman.ports.models import ModelPart, UsagePart
from dragoman.ports.turns import Begun, Call
from dragoman.services.live import TurnLog


@dataclass(slots=True)
class Run:
    """A segment of a turn that runs in this process."""

    begun: Begun
    log: TurnLog
    deadline: float
    task: asyncio.Task[None] = field(init=False)
    # Done when the segment's beginning is: what has effects elsewhere waits for it.
    durable: asyncio.Future[None] = field(init=False)
    ending: Literal["", "done", "stopped", "interrupted"] = ""
    asking: bool = False
    # Whether a model has been asked in this segment.
    consulted: bool = False
    prompt_tokens: int = 0
    completion_tokens: int = 0
    # What the model wants called in this step; what the turn waits for when it pauses, as it is to be kept.
    called: list[ToolCall] = field(default_factory=list)
    waits: Sequence[Call] = ()
    # Whether a step has stored the answer already; whether tools have been called here.
    kept: bool = False
    tooled: bool = False
    # Why a person is asked to answer from now on; who has answered, where it was a person.
    handover: Reason | None = None
    author: str = ""
    transcript: str | None = None
    grounds: Grounds | None = None
    confidence: float | None = None
    resolved: bool = True
    # What the model has said while it is not known yet whether that may be shown; None where it is shown at once.
    held: list[TextDelta] | None = None
    _apart: bool = False
    _step_from: int = 0

    def take(self, parts: Sequence[ModelPart]) -> None:
        """Log what one read of the model brought, all at once."""
        deltas = [part for part in parts if type(part) is TextDelta]
        if len(deltas) < len(parts):
            for part in parts:
                if isinstance(part, UsagePart):
                    self.prompt_tokens += part.prompt_tokens
                    self.completion_tokens += part.completion_tokens
                elif type(part) is ToolCall:
                    self.called.append(part)
        if deltas and self._apart:
            self._apart = False
            deltas.insert(0, TextDelta("\n\n"))
        if self.held is not None:
            self.held += deltas
        elif deltas:
            self.log.append(deltas)

    @property
    def said(self) -> str:
        """What the model has said in this step."""
        return self.text[self._step_from :].strip()

    def begin_step(self) -> None:
        """The model is asked again: what it says then stands apart from what it has said before."""
        text = self.text
        self._apart = bool(text) and not text[-1].isspace()
        self._step_from = len(text)

    @property
    def sources(self) -> tuple[Source, ...]:
        """What the answer names as its sources."""
        return next((event.sources for event in self.log.events if type(event) is SourcesFound), ())

    @property
    def text(self) -> str:
        """The answer so far."""
        return "".join([event.text for event in self.log.events if type(event) is TextDelta])

    async def stored(self) -> bool:
        """Whether the segment ended well and is durable, once it has ended."""
        await asyncio.wait([self.task])
        return isinstance(self.log.events[-1], TurnCompleted)

    def end(self, reason: Literal["stopped", "interrupted"]) -> None:
        """Have the turn end now, unless it is ending already."""
        if not self.ending:
            self.ending = reason
            # Not at once: a task that is cancelled before its first step would never reach its last.
            asyncio.get_running_loop().call_soon(self._break_off)

    def _break_off(self) -> None:
        if self.asking:
            self.task.cancel()


@dataclass(slots=True)
class Watch:
    """One watcher's view of a turn: its events from the segment's start, and the last one that the client has seen."""

    turn: Turn
    cursor: Cursor | None
    replayed: bool
    _run: Run | None
    _groups: list[Group] = field(default_factory=list)
    _position: int = 0
    _listener: Callable[[], None] | None = None
    _left: bool = False

    def take(self) -> Group | None:
        """What became ready since the last time; None where nothing has yet."""
        if self._run is None:
            return self._groups.pop(0) if self._groups else None
        group = self._run.log.since(self._position)
        if group is not None:
            self._position += len(group.events)
        return group

    @property
    def ended(self) -> bool:
        """Whether nothing more can be taken, now or later: the turn has closed, or the watch was left."""
        if self._run is None:
            return not self._groups
        return self._left or (self._run.log.closed and self._position == len(self._run.log.events))

    def listen(self, listener: Callable[[], None]) -> None:
        """Have a function called whenever there is something to take, where it was made: it must be quick."""
        if self._run is not None:
            self._listener = listener
            self._run.log.listeners.append(listener)

    def leave(self) -> None:
        """Listen no more, as the listener is told; the turn ends with its last watcher where its agent says so."""
        if self._run is None or self._listener is None or self._left:
            return
        self._left = True
        self._run.log.listeners.remove(self._listener)
        self._listener()
        if self.ends_when_left and not self._run.log.listeners:
            self._run.end("stopped")

    @property
    def ends_when_left(self) -> bool:
        """Whether the turn is to end when its last watcher leaves."""
        return self._run is not None and self._run.begun.agent.definition.on_disconnect == "cancel"

    async def answer(self) -> Answer:
        """The whole answer, when the turn has closed; the watch is left then."""
        answer = Answer()
        news = asyncio.Event()
        self.listen(news.set)
        try:
            while not self.ended:
                news.clear()
                while (group := self.take()) is not None:
                    for event in group.events:
                        answer.take(event)
                if not self.ended:
                    await news.wait()
        finally:
            self.leave()
        return answer
