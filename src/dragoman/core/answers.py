"""A turn's answer, folded from its events: what a whole reply shows and what a stream shows last. Knows no wire."""

from dataclasses import dataclass, field
from typing import Literal

from dragoman.core.errors import ModelFailed, Unavailable
from dragoman.core.events import (
    Outcome,
    Source,
    SourcesFound,
    StepStarted,
    TextDelta,
    ToolCall,
    ToolCallReady,
    Transcribed,
    TurnEvent,
    TurnFailed,
    TurnInterrupted,
    TurnPaused,
    TurnStarted,
)


@dataclass(slots=True)
class Answer:
    """What is known of an answer so far; `take` adds an event. Until the turn has closed, `state` is running."""

    turn_id: str = ""
    conversation_id: str = ""
    message_id: str = ""
    number: int = 0
    started_at: int = 0
    closed_at: int = 0
    model: str = ""
    prompt_tokens: int = 0
    completion_tokens: int = 0
    credits: int = 0
    state: Literal["running", "done", "paused", "failed", "interrupted"] = "running"
    problem: str = ""
    calls: list[ToolCall] = field(default_factory=list)
    transcript: str = ""
    sources: tuple[Source, ...] = ()
    confidence: float | None = None
    resolved: bool = False
    _pieces: list[str] = field(default_factory=list)

    @property
    def text(self) -> str:
        """The text of the answer so far."""
        return "".join(self._pieces)

    @property
    def tokens(self) -> int:
        """Prompt and completion together."""
        return self.prompt_tokens + self.completion_tokens

    def take(self, event: TurnEvent) -> None:
        """Fold one event in; the grammar of turns says which may come."""
        match event:
            case TextDelta(text):
                self._pieces.append(text)
            case Transcribed(text):
                self.transcript = text
            case SourcesFound(sources):
                self.sources = sources
            case StepStarted(number):
                self.number = number
            case ToolCallReady():
                self.calls.append(ToolCall(event.call_id, event.name, event.arguments))
            case TurnStarted():
                # A turn that runs again after a failure starts its answer anew.
                self._pieces.clear()
                self.calls.clear()
                self.sources, self.confidence, self.resolved = (), None, False
                self.turn_id, self.conversation_id = event.turn_id, event.conversation_id
                self.message_id, self.number, self.started_at = event.message_id, event.number, event.at
                self.state = "running"
            case Outcome():
                self.model, self.credits, self.closed_at = event.model, event.credits, event.at
                self.prompt_tokens, self.completion_tokens = event.prompt_tokens, event.completion_tokens
                self.state = "paused" if isinstance(event, TurnPaused) else "done"
                self.confidence = event.confidence
                self.resolved = event.resolved and self.state == "done"
            case TurnFailed():
                self.state, self.problem, self.closed_at = "failed", event.message, event.at
            case TurnInterrupted():
                self.state, self.closed_at = "interrupted", event.at

    def check(self) -> None:
        """Raise what a whole reply has to say instead of an answer.

        Raises:
            ModelFailed: the turn failed.
            Unavailable: the server went away under it.
        """
        if self.state == "failed":
            raise ModelFailed(self.problem)
        if self.state in ("interrupted", "running"):
            raise Unavailable("The server was restarted during this turn; send it again")
