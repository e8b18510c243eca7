"""The port that counts what turns have used. Each method is one transaction; knows no SQL."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Literal, Protocol

Group = Literal["day", "agent", "key", "model"]


@dataclass(frozen=True, slots=True)
class Spent:
    """What a number of turns used: tokens, and credits as they were charged."""

    turns: int
    prompt_tokens: int
    completion_tokens: int
    credits: int


@dataclass(frozen=True, slots=True)
class UsageRow:
    """What the turns of one group used. Of `group` are there: the day (since the epoch, UTC), ids and names."""

    spent: Spent
    day: int | None = None
    agent_id: str | None = None
    agent: str | None = None
    key_id: str | None = None
    key: str | None = None
    model: str | None = None


class UsageStore(Protocol):
    """What turns have used."""

    async def rows(self, tenant_id: str, since: int, until: int, by: Sequence[Group], limit: int) -> Sequence[UsageRow]:
        """Groups of the turns that began from `since` on and before `until`, in microseconds, in the groups' order."""
        ...

    async def total(self, tenant_id: str, since: int, until: int) -> Spent:
        """What all of them used."""
        ...
