"""What a tool brought, as text that a model is given: shaped, stripped, bounded, without secrets. Knows no request."""

import json
import re
from collections.abc import Collection, Mapping, Sequence
from html import escape, unescape
from typing import Any
from urllib.parse import quote

import msgspec

from dragoman.core.text import keepable
from dragoman.ports.tools import ToolError

# So much of an answer is read.
MOST_BYTES = 1_000_000
LONGEST = 8_000
LONGEST_ERROR = 300
# Markup beyond this is not looked at.
MOST_MARKUP = 400_000

TOO_LARGE = f"The tool's answer is larger than {MOST_BYTES:,} bytes"

_CHARSET = re.compile(r"charset=\"?([A-Za-z0-9._-]{1,40})", re.IGNORECASE)
_QUERY = re.compile(r"\?[^\s'\"]+")
_MISSING = object()

_TAG = re.compile(r"<(?:!--|[/!?]?([a-z][a-z0-9-]*)|[!?])")
_UNSEEN = frozenset(("script", "style", "noscript", "template", "head", "svg"))
_INLINE = frozenset(("a", "abbr", "b", "code", "em", "font", "i", "mark", "q", "small", "span", "strong", "sub", "sup"))
# Lower case of the same length, so that a place in the one is a place in the other.
_LOWER = {ord(letter): letter.lower() for letter in "ABCDEFGHIJKLMNOPQRSTUVWXYZ"}


def shown(body: bytes, headers: Mapping[str, str], media_type: str, parts: Sequence[str] = ()) -> str:
    """The body of an answer as text; of JSON only the parts at these dot paths, where any are named.

    Raises:
        ToolError: it says that it is JSON and is not, or it was cut.
    """
    if not body.strip():
        return "(no content)"
    if is_json(media_type):
        try:
            value = msgspec.json.decode(body)
        except (ValueError, RecursionError) as error:
            if len(body) >= MOST_BYTES:
                raise ToolError(TOO_LARGE) from error
            raise ToolError("The tool answered with what is no JSON, or is nested too deep") from error
        return compact(shaped(value, parts) if parts else value)
    if media_type in ("text/html", "application/xhtml+xml"):
        return _stripped(_decoded(body[:MOST_MARKUP], headers.get("content-type", "")))
    if media_type.startswith("text/") or media_type.rpartition("/")[2].rpartition("+")[2] == "xml":
        return _decoded(body, headers.get("content-type", ""))
    named = "".join(filter(str.isprintable, media_type))[:100]
    return f"(the answer is of type {named}, {len(body):,} bytes, and cannot be shown)"


def is_json(media_type: str) -> bool:
    """Whether what is called so is JSON."""
    return media_type in ("application/json", "text/json") or media_type.endswith("+json")


def compact(value: Any) -> str:
    """A JSON value as text without any white space that means nothing."""
    return json.dumps(value, ensure_ascii=False, separators=(",", ":"))


def shaped(value: Any, parts: Sequence[str]) -> dict[str, Any]:
    """The parts of a JSON value at dot paths such as ``order.lines.0.name``, by their paths; one that is not there
    is left out."""
    found = {part: _at(value, part.split(".")) for part in parts}
    return {part: each for part, each in found.items() if each is not _MISSING}


def bounded(text: str, secrets: Collection[str] = (), most: int = LONGEST) -> str:
    """A text without these secrets, in any spelling, and without what cannot be kept; with a mark where it was cut."""
    for secret in secrets:
        spellings = {secret, json.dumps(secret)[1:-1], quote(secret, safe=""), quote(secret), escape(secret)}
        spellings |= {" ".join(secret.split())}
        # The longest first: one may be a part of another.
        for spelling in sorted(spellings, key=len, reverse=True):
            text = text.replace(spelling, "[secret]")
    text = keepable(text)
    return text if len(text) <= most else f"{text[:most]}... (cut: {len(text):,} characters in all)"


def loggable(reason: str) -> str:
    """Why something failed, without the queries of addresses: those hold what users said, and some owners' keys."""
    return _QUERY.sub("?...", reason)[:LONGEST_ERROR]


def _at(value: Any, path: Sequence[str]) -> Any:
    for step in path:
        if isinstance(value, dict) and step in value:
            value = value[step]
        elif isinstance(value, list) and step.isascii() and step.isdigit() and int(step[:9]) < len(value):
            value = value[int(step[:9])]
        else:
            return _MISSING
    return value


def _decoded(body: bytes, content_type: str) -> str:
    named = _CHARSET.search(content_type)
    try:
        return body.decode(named[1] if named else "utf-8", errors="replace")
    except (LookupError, ValueError):
        return body.decode(errors="replace")


def _stripped(page: str) -> str:
    """The text of a page, without markup, scripts and styles; each character is looked at a few times at the most."""
    lowered, kept, at = page.translate(_LOWER), list[str](), 0
    while (begin := page.find("<", at)) >= 0:
        kept.append(page[at:begin])
        tag = _TAG.match(lowered, begin)
        if tag is None:
            kept.append("<")
            at = begin + 1
            continue
        unseen = f"</{tag[1]}" if tag[1] in _UNSEEN and lowered[begin + 1] != "/" else None
        # A comment ends as it began; what has no end takes all the rest with it.
        end = lowered.find("-->" if tag[0] == "<!--" else unseen or ">", tag.end())
        at = lowered.find(">", end) + 1 if end >= 0 else 0
        if at == 0:
            break
        kept.append(" " if tag[1] in _INLINE else "\n")
    else:
        kept.append(page[at:])
    lines = (" ".join(line.split()) for line in unescape("".join(kept)).splitlines())
    return "\n".join(line for line in lines if line) or "(no content)"
