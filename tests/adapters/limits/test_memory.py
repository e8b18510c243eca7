"""Counts in one process: all windows or none, what a restart keeps, and what a minute may cost in memory."""

import asyncio
from collections import Counter

import pytest
from hypothesis import given
from hypothesis import strategies as st

from dragoman.adapters.limits import memory
from dragoman.adapters.limits.memory import MemoryLimiter, MemorySlots
from dragoman.core.errors import Unavailable
from dragoman.core.limits import DAY, MINUTE, Window, start_of

SECOND = 1_000_000
NOW = 1_769_162_427_500_000
PER_MINUTE = Window("minute", 3, MINUTE)
PER_DAY = Window("day", 100, DAY)


class Kept:
    """Counts of days as a database keeps them: slowly, and at times not at all."""

    def __init__(self) -> None:
        self.counts: dict[tuple[str, str, int], int] = {}
        self.did: Counter[str] = Counter()
        self.away = False

    async def load(self, tenant_id: str, bucket: str, starts_at: int) -> int:
        await self._answer("load")
        return self.counts.get((tenant_id, bucket, starts_at), 0)

    async def keep(self, tenant_id: str, bucket: str, starts_at: int, count: int) -> None:
        await self._answer("keep")
        at = (tenant_id, bucket, starts_at)
        self.counts[at] = max(count, self.counts.get(at, 0))

    async def _answer(self, what: str) -> None:
        self.did[what] += 1
        for _ in range(3):
            await asyncio.sleep(0)
        if self.away:
            raise Unavailable


@pytest.fixture
def kept() -> Kept:
    return Kept()


@pytest.fixture
def limiter(kept: Kept) -> MemoryLimiter:
    return MemoryLimiter(kept)


async def test_a_window_admits_its_limit_and_then_nothing(limiter: MemoryLimiter) -> None:
    told = [await limiter.take("acme", [PER_MINUTE], NOW) for _ in range(5)]
    assert [each.refused for each in told] == [False, False, False, True, True]
    assert [each.counts[0].remaining for each in told] == [2, 1, 0, 0, 0]


async def test_a_refusal_takes_nothing_from_any_window(limiter: MemoryLimiter, kept: Kept) -> None:
    for _ in range(10):
        told = await limiter.take("acme", [PER_MINUTE, PER_DAY], NOW)
    assert [count.used for count in told.counts] == [3, 3]
    assert list(kept.counts.values()) == [3]
    told = await limiter.take("acme", [PER_DAY], NOW)
    assert (told.refused, told.counts[0].used) == (False, 4)


async def test_the_next_window_begins_at_nothing(limiter: MemoryLimiter) -> None:
    for _ in range(4):
        await limiter.take("acme", [PER_MINUTE], NOW)
    later = start_of(MINUTE, NOW) + MINUTE * SECOND
    assert (await limiter.take("acme", [PER_MINUTE], later - 1)).refused
    assert not (await limiter.take("acme", [PER_MINUTE], later)).refused


async def test_tenants_buckets_keys_and_addresses_count_apart(limiter: MemoryLimiter) -> None:
    windows = [
        Window("minute", 1, MINUTE),
        Window("chat", 1, MINUTE, key_id="k"),
        Window("chat", 1, MINUTE, key_id="l"),
        Window("chat", 1, MINUTE, key_id="k", address="1.2.3.4"),
        Window("chat", 1, MINUTE, key_id="k", address="1.2.3.5"),
    ]
    for tenant in ("acme", "other"):
        for window in windows:
            assert not (await limiter.take(tenant, [window], NOW)).refused
            assert (await limiter.take(tenant, [window], NOW)).refused


async def test_of_requests_at_one_time_exactly_the_limit_is_admitted(limiter: MemoryLimiter, kept: Kept) -> None:
    windows = [Window("minute", 60, MINUTE), PER_DAY]
    told = await asyncio.gather(*(limiter.take("acme", windows, NOW) for _ in range(200)))
    assert sum(not each.refused for each in told) == 60
    assert kept.did["load"] == 1
    assert kept.did["keep"] < 10
    assert list(kept.counts.values()) == [60]


async def test_a_count_of_a_day_is_kept_before_the_request_goes_on(limiter: MemoryLimiter, kept: Kept) -> None:
    async def once() -> None:
        told = await limiter.take("acme", [PER_DAY], NOW)
        assert kept.counts["acme", "day", start_of(DAY, NOW)] >= told.counts[0].used

    for _ in range(3):
        await asyncio.gather(*(once() for _ in range(5)))


async def test_a_day_goes_on_where_the_last_process_left_it(limiter: MemoryLimiter, kept: Kept) -> None:
    await limiter.take("acme", [PER_MINUTE, PER_DAY], NOW)
    again = MemoryLimiter(kept)
    told = await again.take("acme", [PER_MINUTE, PER_DAY], NOW)
    assert [count.used for count in told.counts] == [1, 2]


async def test_windows_of_minutes_cost_the_store_nothing(limiter: MemoryLimiter, kept: Kept) -> None:
    await limiter.take("acme", [PER_MINUTE], NOW)
    assert not kept.did


async def test_while_the_store_is_away_requests_are_admitted_and_counted(limiter: MemoryLimiter, kept: Kept) -> None:
    kept.counts["acme", "day", start_of(DAY, NOW)] = 50
    kept.away = True
    assert (await limiter.take("acme", [PER_DAY], NOW)).counts[0].used == 1
    kept.away = False
    assert (await limiter.take("acme", [PER_DAY], NOW)).counts[0].used == 52
    kept.away = True
    assert (await limiter.take("acme", [PER_DAY], NOW)).counts[0].used == 53
    kept.away = False
    assert (await limiter.take("acme", [PER_DAY], NOW)).counts[0].used == 54
    assert list(kept.counts.values()) == [54]


async def test_who_leaves_while_a_count_is_kept_takes_nobody_along(limiter: MemoryLimiter) -> None:
    tasks = [asyncio.create_task(limiter.take("acme", [PER_DAY], NOW)) for _ in range(3)]
    await asyncio.sleep(0)
    tasks[0].cancel()
    told = await asyncio.gather(*tasks, return_exceptions=True)
    assert isinstance(told[0], asyncio.CancelledError)
    assert [isinstance(each, BaseException) for each in told[1:]] == [False, False]


Steps = st.lists(st.tuples(st.integers(-600, 600), st.integers(1, 4)), min_size=1, max_size=60)


@given(Steps)
def test_a_clock_that_jumps_leaves_counts_sane(steps: list[tuple[int, int]]) -> None:
    async def run() -> None:
        kept = Kept()
        limiter, now = MemoryLimiter(kept), NOW
        of_day: Counter[int] = Counter()
        for jump, times in steps:
            now += jump * SECOND
            for _ in range(times):
                told = await limiter.take("acme", [PER_MINUTE, Window("day", 20, DAY)], now)
                minute, day = told.counts
                of_day[day.starts_at] += not told.refused
                assert (minute.starts_at, day.starts_at) == (start_of(MINUTE, now), start_of(DAY, now))
                assert 0 <= told.tightest.remaining < 20
                assert day.used == of_day[day.starts_at] <= 20
                if told.refused:
                    full = DAY if not day.remaining else MINUTE
                    assert 1 <= told.retry_after <= full

    asyncio.run(run())


async def test_addresses_without_number_fill_a_bounded_memory(
    limiter: MemoryLimiter, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(memory, "MOST_ADDRESSES", 10)
    await limiter.take("acme", [PER_MINUTE], NOW)
    for number in range(50):
        told = await limiter.take("acme", [Window("public", 2, MINUTE, address=f"10.0.0.{number}")], NOW)
        assert told.counts[0].used == 1
    assert len(limiter._open[MINUTE].of_addresses) == 10
    newest = await limiter.take("acme", [Window("public", 2, MINUTE, address="10.0.0.49")], NOW)
    assert newest.counts[0].used == 2
    assert (await limiter.take("acme", [PER_MINUTE], NOW)).counts[0].used == 2


async def test_what_has_ended_is_forgotten(limiter: MemoryLimiter) -> None:
    for number in range(50):
        await limiter.take(f"tenant-{number}", [PER_MINUTE, PER_DAY], NOW)
    await limiter.take("acme", [PER_MINUTE, PER_DAY], NOW + DAY * SECOND)
    assert [len(tallies.of_tenants) for tallies in limiter._open.values()] == [1, 1]


async def test_slots_are_taken_up_to_the_maximum_and_given_back() -> None:
    slots = MemorySlots()
    assert [await slots.take("acme", "sockets", 2) for _ in range(3)] == [True, True, False]
    assert await slots.take("other", "sockets", 2)
    assert await slots.take("acme", "others", 2)
    await slots.release("acme", "sockets")
    assert [await slots.take("acme", "sockets", 2) for _ in range(2)] == [True, False]


async def test_slots_that_nobody_holds_are_forgotten() -> None:
    slots = MemorySlots()
    assert not await slots.take("acme", "sockets", 0)
    await slots.take("acme", "sockets", 1)
    await slots.release("acme", "sockets")
    await slots.release("acme", "sockets")
    assert not slots._taken
