"""Ids are UUIDv7 inside, prefixed outside."""

import time
import uuid

from hypothesis import given
from hypothesis import strategies as st

from dragoman.core.ids import canonical, new_id, new_secret, parse_id, prefixed


def test_a_new_id_is_a_uuid_of_version_7_with_the_time_in_it() -> None:
    before = time.time_ns() // 1_000_000
    made = uuid.UUID(new_id())
    assert (made.version, made.variant) == (7, uuid.RFC_4122)
    assert before <= made.int >> 80 <= time.time_ns() // 1_000_000


def test_new_ids_are_distinct_and_later_ones_sort_later() -> None:
    first = [new_id() for _ in range(1000)]
    time.sleep(0.002)
    assert len(set(first)) == 1000
    assert max(first) < new_id()


@given(st.uuids())
def test_every_rendering_of_an_id_is_read_back(made: uuid.UUID) -> None:
    known = str(made)
    assert canonical(made.hex) == known
    for text in (known, known.upper(), prefixed("conv", known), prefixed("conv", known).upper()):
        assert parse_id("conv", text) == known
    assert parse_id("agent", prefixed("conv", known)) is None
    assert parse_id("conv", made.hex) is None


@given(st.text(max_size=60))
def test_other_text_is_no_id(text: str) -> None:
    assert parse_id("conv", text) is None


def test_what_only_looks_like_an_id_is_none() -> None:
    digits = "0" * 32
    for text in (
        "conv_",
        f"conv_{digits}0",
        f"conv_{digits}\n",
        f"conv-{digits}",
        f" conv_{digits}",
        f"conv_{'g' * 32}",
    ):
        assert parse_id("conv", text) is None


def test_a_secret_says_what_it_is_and_is_never_the_same() -> None:
    secrets = {new_secret("sk") for _ in range(100)}
    assert len(secrets) == 100
    assert all(secret.startswith("sk_") and len(secret) == 35 for secret in secrets)
