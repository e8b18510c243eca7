"""Conversations, messages and turns as they are kept. Knows no table and no rendering."""

from dataclasses import dataclass
from typing import Any, Literal

from dragoman.core.events import Source, ToolCall

Role = Literal["user", "assistant", "system", "tool"]
TurnState = Literal["running", "paused", "completed", "failed", "cancelled", "interrupted"]

TITLE_LENGTH = 60


@dataclass(frozen=True, slots=True)
class Conversation:
    """A run of messages between somebody and one agent. Times are microseconds since the epoch.

    `client_id` is the client's own name for it; `user_id` whom a client says that it belongs to; `visitor_id` the
    visitor who began it behind a publishable key or a public agent. `context` is what models are told of it.
    """

    id: str
    tenant_id: str
    agent_id: str
    title: str
    created_at: int
    updated_at: int
    client_id: str | None = None
    user_id: str | None = None
    visitor_id: str | None = None
    deployment_id: str | None = None
    last_message_at: int | None = None
    archived_at: int | None = None
    metadata: dict[str, Any] | None = None
    context: dict[str, Any] | None = None


@dataclass(frozen=True, slots=True)
class Message:
    """One message; `number` rises per agent and is never used again. `content` is None where only calls were said."""

    id: str
    number: int
    role: Role
    content: str | None
    created_at: int
    metadata: dict[str, Any] | None = None
    conversation_id: str = ""
    tool_calls: tuple[ToolCall, ...] = ()
    tool_call_id: str | None = None
    sources: tuple[Source, ...] = ()
    confidence: float | None = None
    resolved: bool = True


@dataclass(frozen=True, slots=True)
class Turn:
    """One user input and what became of it. `epoch` rises when somebody else takes the turn over or runs it again.

    `message_id` is the user's, `answer_id` and `answer_number` are of the answer of its newest segment;
    `client_id` is the client's own name for the conversation.
    """

    id: str
    tenant_id: str
    conversation_id: str
    agent_id: str
    state: TurnState
    epoch: int
    message_id: str
    answer_id: str
    answer_number: int
    model: str
    created_at: int
    prompt_tokens: int = 0
    completion_tokens: int = 0
    credits: int = 0
    error: str | None = None
    finished_at: int | None = None
    client_id: str | None = None


def title_from(text: str) -> str:
    """A conversation's title where nobody gave one: its first message, one line, cut at 60 characters."""
    return " ".join(text.split())[:TITLE_LENGTH]
