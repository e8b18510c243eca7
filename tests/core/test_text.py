"""Which text can be kept."""

import pytest

from dragoman.core.text import can_be_kept


@pytest.mark.parametrize("value", ["a\x00b", {"a\x00": 1}, {"a": ["b", {"c": "\x00"}]}, "\ud800", ["\udfff"]])
def test_text_that_a_database_would_refuse_is_found_wherever_it_is(value: object) -> None:
    assert not can_be_kept(value)


@pytest.mark.parametrize("value", ["", None, 1, True, {"a": ["\U0001f600", 1.5]}, "\u2028"])
def test_all_other_text_can(value: object) -> None:
    assert can_be_kept(value)


def test_depth_is_no_matter() -> None:
    deep: list[object] = []
    for _ in range(100_000):
        deep = [deep]
    assert can_be_kept(deep)
