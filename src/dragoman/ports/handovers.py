"""The port to conversations that persons answer in. Each method is one transaction; knows no SQL."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Protocol

from dragoman.core.handover import Handover, Reason
from dragoman.core.tenants import Principal
from dragoman.ports.turns import Begun, Existing, Pending


@dataclass(frozen=True, slots=True)
class Said:
    """What a person says in a conversation; `by` names who. It is a turn of its own, with an answer and no question."""

    principal: Principal
    conversation_id: str
    text: str
    by: str
    turn_id: str
    answer_id: str
    owner: int
    now: int


class HandoverStore(Protocol):
    """Handovers of every tenant."""

    async def begin(self, tenant_id: str, conversation_id: str, reason: Reason, timeout_us: int, now: int) -> Handover:
        """Hand a conversation to a person; one that is with a person already stays as it is.

        Raises:
            ConversationNotFound
        """
        ...

    async def end(self, tenant_id: str, conversation_id: str, by: str, now: int) -> Handover | None:
        """Give a conversation back to its agent; None where no person has it."""
        ...

    async def touch(self, tenant_id: str, conversation_id: str, due_at: int) -> bool:
        """A person has written: the handover ends later; whether there is one."""
        ...

    async def page(self, tenant_id: str, limit: int, before: tuple[int, str] | None) -> Sequence[Handover]:
        """Open handovers before a place, newest first."""
        ...

    async def end_overdue(self, now: int) -> int:
        """Give back what no person has written in for too long; how many there were."""
        ...

    async def unresolved(self, tenant_id: str, conversation_id: str, count: int) -> int:
        """How many of the newest so many answers were not resolved, from the newest on without a gap."""
        ...

    def say(self, said: Said) -> Pending[Begun | Existing]:
        """Begin the turn of what a person says.

        Raises (from `applied`):
            ConversationNotFound, Conflict
        """
        ...
