"""Windows that begin with the UTC minute or day, and what is left of them."""

from datetime import UTC, datetime

from hypothesis import given
from hypothesis import strategies as st

from dragoman.core.limits import DAY, MINUTE, Admission, Count, Window, start_of

SECOND = 1_000_000
TIMES = st.integers(min_value=0, max_value=4_000_000_000 * SECOND)


def at(text: str) -> int:
    return int(datetime.fromisoformat(text).replace(tzinfo=UTC).timestamp() * SECOND)


def count(limit: int, used: int, seconds: int = MINUTE, now: int = at("2026-01-23T10:00:27.5")) -> Count:
    window = Window("day" if seconds == DAY else "minute", limit, DAY if seconds == DAY else MINUTE)
    return Count(window, used, start_of(seconds, now))


def test_windows_begin_with_the_utc_minute_and_the_utc_day() -> None:
    now = at("2026-01-23T10:00:27.5")
    assert start_of(MINUTE, now) == at("2026-01-23T10:00:00")
    assert start_of(DAY, now) == at("2026-01-23T00:00:00")
    assert count(60, 1).resets_at == at("2026-01-23T10:01:00") // SECOND
    assert count(60, 1, DAY).resets_at == at("2026-01-24T00:00:00") // SECOND
    assert count(60, 1).seconds_left(now) == 33


@given(TIMES, st.sampled_from([MINUTE, DAY]))
def test_a_time_lies_in_its_window_and_has_from_a_second_to_the_whole_of_it_left(now: int, seconds: int) -> None:
    each = count(1, 0, seconds, now)
    assert each.starts_at <= now < each.resets_at * SECOND
    assert 1 <= each.seconds_left(now) <= seconds
    assert 0 <= now + each.seconds_left(now) * SECOND - each.resets_at * SECOND < SECOND


def test_nothing_is_left_where_the_limit_was_lowered_below_what_was_used() -> None:
    assert count(10, 60).remaining == 0


def test_the_tightest_window_has_the_fewest_left_and_ends_last_of_those() -> None:
    now = at("2026-01-23T10:00:27.5")
    minute, day = count(60, 10), count(100, 60, DAY)
    assert Admission([minute, day], False, now).tightest == day
    assert Admission([day, count(60, 59)], False, now).tightest == count(60, 59)
    assert Admission([count(60, 20), count(100, 60, DAY)], False, now).tightest == count(100, 60, DAY)


def test_a_refused_request_waits_for_the_last_of_the_windows_that_are_full() -> None:
    now = at("2026-01-23T23:59:27.5")
    minute, day = count(60, 60, now=now), count(100, 100, DAY, now=now)
    assert Admission([minute, count(100, 99, DAY, now=now)], True, now).retry_after == 33
    noon = at("2026-01-23T12:00:00")
    full = [count(60, 60, now=noon), count(100, 100, DAY, now=noon)]
    assert Admission(full, True, noon).retry_after == 12 * 3600
    assert Admission([minute, day], True, now).retry_after == 33
