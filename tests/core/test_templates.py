"""Templates of requests: no value leaves the place that the template gives it."""

from typing import Any
from urllib.parse import parse_qsl, unquote, urlsplit

import pytest
from hypothesis import given
from hypothesis import strategies as st

from dragoman.core.templates import Unfillable, fill_json, fill_text, fill_url, origin_problem, placeholders

URL = "https://shop.example/orders/{id}/lines"
JSON_VALUES = st.recursive(
    st.none() | st.booleans() | st.integers() | st.text(), lambda each: st.lists(each, max_size=3), max_leaves=5
)


@pytest.mark.parametrize(
    ("value", "segment"),
    [
        ("1234", "1234"),
        (1234, "1234"),
        (True, "true"),
        ("../admin", "..%2Fadmin"),
        ("a/b?x=1#y", "a%2Fb%3Fx%3D1%23y"),
        ("1\r\nHost: evil", "1%0D%0AHost%3A%20evil"),
        ("%2e%2e", "%252e%252e"),
        ("@evil.example", "%40evil.example"),
        ("{id}", "%7Bid%7D"),
        (["a", "b"], "a%2Cb"),
        ({"a": 1}, "%7B%22a%22%3A1%7D"),
    ],
)
def test_a_value_is_one_segment_of_the_path(value: Any, segment: str) -> None:
    assert fill_url(URL, {}, {"id": value}) == f"https://shop.example/orders/{segment}/lines"


@pytest.mark.parametrize("value", ["..", ".", "", None, []])
def test_a_value_that_would_lead_elsewhere_is_refused(value: Any) -> None:
    with pytest.raises(Unfillable):
        fill_url(URL, {}, {"id": value})


def test_dots_that_only_the_whole_segment_makes_are_refused() -> None:
    with pytest.raises(Unfillable):
        fill_url("https://shop.example/.{id}/x", {}, {"id": "."})


@given(value=JSON_VALUES)
def test_no_value_adds_a_segment_a_parameter_or_a_host(value: Any) -> None:
    try:
        filled = fill_url("https://shop.example/a/{x}/b?fixed=1&q={x}&r=-{x}", {}, {"x": value})
    except Unfillable:
        return
    parts = urlsplit(filled)
    assert (parts.scheme, parts.netloc, parts.fragment) == ("https", "shop.example", "")
    segments = parts.path.split("/")
    assert len(segments) == 4
    assert (segments[1], segments[3]) == ("a", "b")
    assert unquote(segments[2]) not in ("", ".", "..")
    assert {name for name, _ in parse_qsl(parts.query, keep_blank_values=True)} <= {"fixed", "q", "r"}


def test_query_parameters_are_left_out_repeated_and_encoded() -> None:
    query = {"q": "{words}", "tag": "{tags}", "page": "{page}", "by": "name", "who": "user {metadata.user}"}
    values = {"words": "a&b=c d", "tags": ["x", "y&z"], "metadata.user": "ünï"}
    filled = fill_url("https://shop.example/find?fixed=a%20b&old={page}", query, values)
    assert filled == (
        "https://shop.example/find?fixed=a%20b&q=a%26b%3Dc%20d&tag=x&tag=y%26z&by=name&who=user%20%C3%BCn%C3%AF"
    )


def test_a_body_keeps_the_types_of_what_fills_it() -> None:
    template = {"order": "{id}", "lines": ["{line}", "{absent}"], "note": "for {who}", "gone": "{absent}", "n": None}
    filled = fill_json(template, {"id": 7, "line": {"sku": "a"}, "who": "Ann"})
    assert filled == {"order": 7, "lines": [{"sku": "a"}, None], "note": "for Ann", "n": None}


def test_a_value_is_never_read_as_a_template() -> None:
    assert fill_text("{a}{b}", {"a": "{b}", "b": "{a}"}) == "{b}{a}"
    assert fill_json("{a}", {"a": "{b}", "b": 1}) == "{b}"


@pytest.mark.parametrize(
    "url",
    [
        "https://{host}/x",
        "https://shop.{tld}/x",
        "https://shop.example:{port}/",
        "{url}",
        "https://{user}@shop.example/",
        "https://user:pass@shop.example/",
        "ftp://shop.example/",
        "//shop.example/",
        "https://shop.example/#{part}",
        "https://shop.example/a b",
        "https://",
    ],
)
def test_host_and_scheme_come_from_the_template_alone(url: str) -> None:
    assert origin_problem(url)


def test_good_templates_have_no_problem() -> None:
    for url in (URL, "http://shop.example", "https://shop.example?q={q}", "http://[::1]:8080/{a}-{b}.json"):
        assert origin_problem(url) is None
    assert placeholders({"a": ["{x}", {"b": "{y} {x}"}], "c": 1}) == ["x", "y"]
