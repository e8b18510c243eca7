"""The port to the audit log: who changed what, when. Each method is one transaction; knows no SQL."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Protocol

# Where a page begins, behind which row: its time in microseconds and its id.
Place = tuple[int, str]


@dataclass(frozen=True, slots=True)
class Act:
    """A change: who made it, what was done, to what. `detail` is JSON and never holds a secret's value.

    `actor` is a key as clients see its id, or `operator`; `subject` is the id of what was changed.
    """

    actor: str
    action: str
    subject: str
    detail: Mapping[str, Any]


@dataclass(frozen=True, slots=True)
class Entry:
    """An act as it is kept; `at` is in microseconds since the epoch."""

    id: str
    at: int
    act: Act

    @property
    def place(self) -> Place:
        """Where a page ends that ends with it."""
        return self.at, self.id


class AuditStore(Protocol):
    """The audit log of every tenant."""

    async def record(self, tenant_id: str, act: Act, now: int) -> None:
        """Keep an act."""
        ...

    async def page(self, tenant_id: str, limit: int, before: Place | None) -> Sequence[Entry]:
        """Acts before a place, newest first."""
        ...
