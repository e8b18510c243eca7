"""Templates of requests: addresses, values and bodies with `{placeholders}` for arguments. Knows no HTTP client.

A value takes its own place and no more: in a path it is one segment or a part of one, in a query one value. What is
there to fill a template is a mapping from placeholder to JSON value; what is not in it, or is null, is absent.
"""

import json
import re
from collections.abc import Mapping, Sequence
from typing import Any
from urllib.parse import quote, unquote

PLACEHOLDER = re.compile(r"\{([A-Za-z0-9_][A-Za-z0-9_.\-]*)\}")
METADATA = "metadata."

_URL = re.compile(r"(?P<origin>https?://[^/?#\s]+)(?P<path>/[^?#\s]*)?(?:\?(?P<query>[^#\s]*))?", re.IGNORECASE)


class Unfillable(Exception):
    """A template cannot be filled with this; the message names the placeholder and no value."""


def placeholders(value: Any) -> list[str]:
    """What a template holds, whether it is a text or a JSON value with texts in it, each once, in order."""
    match value:
        case str():
            found = PLACEHOLDER.findall(value)
        case Mapping():
            found = [name for each in value.values() for name in placeholders(each)]
        case list() | tuple():
            found = [name for each in value for name in placeholders(each)]
        case _:
            found = []
    return list(dict.fromkeys(found))


def origin_problem(url: str) -> str | None:
    """What is wrong with the template of an address; None where nothing is."""
    parts = _URL.fullmatch(url)
    if parts is None:
        return "takes an address with http:// or https://, without spaces and without a fragment"
    if "{" in parts["origin"] or "@" in parts["origin"]:
        return "takes placeholders in its path and its query alone, and no name or password"
    return None


def fill_url(url: str, query: Mapping[str, str], values: Mapping[str, Any], more: Mapping[str, Any] = {}) -> str:
    """The address that a template leads to, with the query parameters of `query`, and of `more` as they are.

    A query parameter whose value is absent is left out; a list that is one alone repeats it.

    Raises:
        Unfillable: a value of the path is absent or empty, or would make a segment that leads upwards.
    """
    parts = _URL.fullmatch(url)
    if parts is None:
        raise Unfillable("the tool's address is none")
    path = "/".join(_segment(each, values) for each in (parts["path"] or "/").split("/"))
    pairs = [
        # What stands in the address is encoded already.
        (unquote(name), unquote(template))
        for name, _, template in (pair.partition("=") for pair in (parts["query"] or "").split("&") if pair)
    ]
    found = [(name, each) for name, template in (*pairs, *query.items()) for each in _query_values(template, values)]
    found += [(name, each) for name, value in more.items() for each in _texts(value)]
    written = [f"{quote(name, safe='')}={quote(value, safe='')}" for name, value in found]
    return f"{parts['origin']}{path}" + (f"?{'&'.join(written)}" if written else "")


def fill_text(template: str, values: Mapping[str, Any]) -> str | None:
    """A text with its placeholders filled; None where one of them is absent."""
    names = placeholders(template)
    if any(values.get(name) is None for name in names):
        return None
    return PLACEHOLDER.sub(lambda found: text_of(values[found[1]]), template)


def fill_json(template: Any, values: Mapping[str, Any]) -> Any:
    """A JSON value with its texts filled: one that is a placeholder and no more becomes the value as it is.

    A member whose text cannot be filled is left out, in a list it is null.
    """
    match template:
        case str():
            alone = PLACEHOLDER.fullmatch(template)
            return values.get(alone[1]) if alone else fill_text(template, values)
        case Mapping():
            filled = {name: (each, fill_json(each, values)) for name, each in template.items()}
            return {name: value for name, (each, value) in filled.items() if value is not None or each is None}
        case list() | tuple():
            return [fill_json(each, values) for each in template]
    return template


def text_of(value: Any) -> str:
    """A JSON value as it stands in an address or a header: a text as it is, of a list its items with commas."""
    match value:
        case str():
            return value
        case list() | tuple():
            return ",".join(text_of(each) for each in value)
    return json.dumps(value, ensure_ascii=False, separators=(",", ":"))


def _segment(template: str, values: Mapping[str, Any]) -> str:
    names = placeholders(template)
    if not names:
        return template
    for name in names:
        if values.get(name) is None or not text_of(values[name]):
            raise Unfillable(f"{name} is missing or empty, and the address needs it")
    filled = PLACEHOLDER.sub(lambda found: quote(text_of(values[found[1]]), safe=""), template)
    if unquote(filled) in (".", ".."):
        raise Unfillable(f"{names[0]} would lead to another address")
    return filled


def _query_values(template: str, values: Mapping[str, Any]) -> Sequence[str]:
    alone = PLACEHOLDER.fullmatch(template)
    return _texts(values.get(alone[1]) if alone else fill_text(template, values))


def _texts(value: Any) -> Sequence[str]:
    return [text_of(each) for each in value if each is not None] if isinstance(value, list) else _texts([value])
