"""Tokens that name visitors, and origins from which their pages may ask."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from dragoman.core.ids import new_id
from dragoman.core.visitors import admits, token_of, visitor_of

KEY, OTHER_KEY = b"a" * 32, b"b" * 32


def test_a_token_names_its_visitor_to_its_tenant_alone() -> None:
    visitor = new_id()
    token = token_of(KEY, "acme", visitor)
    assert token.startswith("vt_")
    assert visitor_of(KEY, "acme", token) == visitor
    assert visitor_of(KEY, "other", token) is None
    assert visitor_of(OTHER_KEY, "acme", token) is None


@given(st.integers(0, 50), st.characters(codec="utf-8"))
def test_a_token_with_another_character_anywhere_names_nobody(place: int, character: str) -> None:
    token = token_of(KEY, "acme", "123e4567-e89b-12d3-a456-426614174000")
    changed = token[:place] + character + token[place + 1 :]
    assert (visitor_of(KEY, "acme", changed) is None) == (changed != token)


@given(st.text() | st.text().map("vt_".__add__))
def test_what_was_never_signed_names_nobody(text: str) -> None:
    assert visitor_of(KEY, "acme", text) is None


@pytest.mark.parametrize("origin", [None, "https://a.example", "null", "", "x"])
def test_a_star_admits_every_origin_and_requests_without_one(origin: str | None) -> None:
    assert admits(["https://shop.example", "*"], origin)


@pytest.mark.parametrize("origin", ["https://a.example", "null", ""])
def test_no_allowed_origins_means_no_browser(origin: str) -> None:
    assert not admits([], origin)
    assert admits([], None)


@pytest.mark.parametrize(
    ("origin", "may"),
    [
        ("http://localhost:3000", True),
        ("HTTP://LocalHost:3000", True),
        ("https://shop.example", True),
        ("https://shop.example:443", True),
        (None, False),
        ("null", False),
        ("", False),
        ("http://localhost", False),
        ("http://localhost:3001", False),
        ("https://localhost:3000", False),
        ("http://shop.example", False),
        ("https://evil.shop.example", False),
        ("https://shop.example.evil", False),
        ("https://shop.example:99999", False),
        ("https://[shop.example", False),
        ("shop.example", False),
    ],
)
def test_allowed_origins_are_matched_by_scheme_host_and_port(origin: str | None, may: bool) -> None:
    assert admits(["http://localhost:3000", "https://Shop.example"], origin) == may
