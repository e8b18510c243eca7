"""Credentials as headers carry them, addresses as they are counted, and limits as headers tell them."""

import pytest
from starlette.requests import Request

from dragoman.core.limits import DAY, MINUTE, Admission, Count, Window
from dragoman.server.access import address_of, bearer, in_header, limit_headers


def request(host: str | None = None, **headers: str) -> Request:
    raw = [(name.replace("_", "-").encode(), value.encode()) for name, value in headers.items()]
    return Request({"type": "http", "headers": raw, "client": (host, 1) if host is not None else None})


@pytest.mark.parametrize(
    ("given", "credential"),
    [("Bearer sk_x", "sk_x"), ("bearer  sk_x ", "sk_x"), ("Basic sk_x", ""), ("Bearer", ""), ("", "")],
)
def test_a_bearer_is_told_from_an_authorization_that_is_none(given: str, credential: str) -> None:
    assert bearer(request(authorization=given)) == credential
    assert bearer(request()) is None


def test_a_header_may_have_an_alias() -> None:
    credential_of = in_header("x-api-token", "x-api-key")
    assert credential_of(request(x_api_token="a", x_api_key="b")) == "a"
    assert credential_of(request(x_api_key="b")) == "b"
    assert credential_of(request(x_api_token="")) == ""
    assert credential_of(request(authorization="Bearer sk_x")) is None


@pytest.mark.parametrize(
    ("host", "address"),
    [
        ("203.0.113.9", "203.0.113.9"),
        ("2001:db8:1:2:3:4:5:6", "2001:db8:1:2::"),
        ("2001:DB8:1:2::1", "2001:db8:1:2::"),
        ("::ffff:203.0.113.9", "203.0.113.9"),
        ("fe80::1%eth0", "fe80::"),
        ("not:an:address", "not:an:address"),
        (None, ""),
    ],
)
def test_addresses_of_one_network_of_the_sixth_version_count_as_one(host: str | None, address: str) -> None:
    assert address_of(request(host)) == address


def test_headers_tell_the_tightest_window_and_the_state_of_all() -> None:
    now = 1_769_162_427_500_000
    minute = Count(Window("minute", 300, MINUTE), 1, now - 27_500_000)
    day = Count(Window("day", 10_000, DAY), 9_990, now - 27_500_000)
    told = dict(limit_headers(Admission([minute, day], False, now)))
    assert told == {
        b"x-ratelimit-limit": b"10000",
        b"x-ratelimit-remaining": b"10",
        b"x-ratelimit-reset": b"1769248800",
        b"ratelimit-policy": b'"minute";q=300;w=60, "day";q=10000;w=86400',
        b"ratelimit": b'"minute";r=299;t=33, "day";r=10;t=86373',
    }
