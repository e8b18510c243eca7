"""What turns have used, by day, agent, key and model. Knows no table and no terminal."""

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import UTC, date, datetime, time, timedelta
from typing import get_args

from dragoman.core.clock import now_us
from dragoman.core.errors import Invalid, NotFound
from dragoman.ports.store import Store
from dragoman.ports.usage import Group, Spent, UsageRow
from dragoman.services.access import time_us

GROUPS: Sequence[Group] = get_args(Group)
MOST_ROWS = 10_000
DEFAULT_DAYS = 30

EPOCH = date(1970, 1, 1)
# What can be asked for ends here, in microseconds since the epoch: every time before can be written as ISO 8601 has it.
END = int(datetime(9999, 1, 1, tzinfo=UTC).timestamp()) * 1_000_000

_DAY = timedelta(days=1)


@dataclass(frozen=True, slots=True)
class Report:
    """What a tenant's turns of a span used. `until` is exclusive; `credits` is the balance, None: not metered."""

    since: int
    until: int
    rows: Sequence[UsageRow]
    total: Spent
    credits: int | None


class Usage:
    """What tenants have used. A turn counts where it began; a failed one with its tokens and no credits."""

    def __init__(self, store: Store) -> None:
        self._store = store

    async def tenants(self) -> Sequence[str]:
        """Every tenant's id."""
        return [tenant.id for tenant in await self._store.tenants.all()]

    async def report(self, tenant_id: str, since: int, until: int, by: Sequence[Group]) -> Report:
        """What was used from `since` on and before `until`, in microseconds since the epoch.

        Raises:
            NotFound: no such tenant.
            Invalid: it would have too many rows.
        """
        tenant = await self._store.tenants.get(tenant_id)
        if tenant is None:
            raise NotFound(f"there is no tenant {tenant_id!r}")
        rows = await self._store.usage.rows(tenant_id, since, until, by, MOST_ROWS + 1) if by else ()
        if len(rows) > MOST_ROWS:
            raise Invalid(f"This has over {MOST_ROWS} rows; choose a shorter span or fewer groups")
        total = await self._store.usage.total(tenant_id, since, until)
        return Report(since, until, rows, total, tenant.credits)


def moment_us(text: str, *, last: bool = False) -> int:
    """A UTC day or a time with its zone, in microseconds since the epoch: a day's begin, or its end if it is the last.

    Raises:
        Invalid: it is spelled otherwise, or not of this age.
    """
    try:
        begin = datetime.combine(date.fromisoformat(text), time(), UTC)
    except ValueError:
        moment = time_us(text)
    else:
        moment = int(begin.timestamp() + (_DAY.total_seconds() if last else 0)) * 1_000_000
    if not 0 <= moment <= END:
        raise Invalid(f"{text!r} is not between 1970 and 9999")
    return moment


def day_of(row: UsageRow) -> str:
    """The UTC day of a row that is of one."""
    return (EPOCH + (row.day or 0) * _DAY).isoformat()


def span_us(start: str | None, end: str | None) -> tuple[int, int]:
    """From the first day on to the end of the last; or the last 30 days, today too.

    Raises:
        Invalid: either is no day and no time, or the end is before the start.
    """
    until = now_us() if end is None else moment_us(end, last=True)
    if start is None:
        today = datetime.fromtimestamp(until // 1_000_000, UTC).date()
        start = max(EPOCH, today - (DEFAULT_DAYS - 1) * _DAY).isoformat()
    since = moment_us(start)
    if until <= since:
        raise Invalid("The end is before the start")
    return since, until


def groups_of(text: str) -> Sequence[Group]:
    """The groups that a list such as ``day,agent`` names, each once; none where it is empty.

    Raises:
        Invalid: it names something else, or something twice.
    """
    names = [name.strip() for name in text.split(",")] if text.strip() else []
    groups = [group for name in names for group in GROUPS if group == name]
    if len(groups) != len(names) or len(set(groups)) != len(groups):
        raise Invalid(f"{text!r} is no list of groups; they are {', '.join(GROUPS)}, each at most once")
    return groups
