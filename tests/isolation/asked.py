"""Requests to the letter and answers with all that is in them; what two answers say alike. Knows no route."""

import json
import re
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from http.client import HTTPConnection
from typing import Any
from urllib.parse import urlsplit
from uuid import uuid4

Headers = Sequence[tuple[str, str]]

_UUID = re.compile(r"[0-9a-f]{8}-?[0-9a-f]{4}-?[0-9a-f]{4}-?[0-9a-f]{4}-?[0-9a-f]{12}", re.IGNORECASE)
# What differs from one answer to the next, whoever asks: times, counters, new tokens and keys.
_CHANGING = (
    (_UUID, "<id>"),
    (re.compile(r"\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d(\.\d+)?Z"), "<time>"),
    (re.compile(r'"(id|number|response_time_ms)": ?\d+'), r'"\1":<number>'),
    (re.compile(r"\b(vt|sk|pk|tk)_[A-Za-z0-9._-]{8,}"), r"<\1>"),
)
_COUNTING = ("ratelimit", "x-ratelimit-", "date", "x-request-id", "content-length", "retry-after", "etag")


@dataclass(frozen=True)
class Asked:
    """A request."""

    method: str
    path: str
    headers: Headers = ()
    body: bytes = b""

    def holding(self, *headers: tuple[str, str]) -> "Asked":
        """The same with further headers."""
        return Asked(self.method, self.path, (*self.headers, *headers), self.body)

    @property
    def text(self) -> str:
        """Everything that the client says."""
        return "\n".join([self.path, *(value for _, value in self.headers), self.body.decode(errors="replace")])


@dataclass(frozen=True)
class Told:
    """An answer."""

    status: int
    headers: Headers
    body: bytes = field(repr=False)

    @property
    def json(self) -> Any:
        return json.loads(self.body)

    def header(self, name: str) -> str | None:
        return next((value for known, value in self.headers if known.lower() == name.lower()), None)

    @property
    def text(self) -> str:
        """Everything that the server says."""
        said = (f"{name}: {value}" for name, value in self.headers)
        return "\n".join([str(self.status), *said, self.body.decode(errors="replace")])


def ask(url: str, asked: Asked, *, whole: bool = True) -> Told:
    """Send a request over a connection of its own: headers go out as they are, twice where they stand there twice.

    Not `whole` means to leave when the head of the answer has come.
    """
    address = urlsplit(url)
    assert address.hostname is not None
    connection = HTTPConnection(address.hostname, address.port, timeout=30)
    try:
        connection.putrequest(asked.method, asked.path, skip_accept_encoding=True)
        for name, value in asked.headers:
            connection.putheader(name, value)
        if asked.body or asked.method in ("POST", "PATCH"):
            connection.putheader("Content-Length", str(len(asked.body)))
        connection.endheaders(asked.body or None)
        with connection.getresponse() as answer:
            return Told(answer.status, answer.getheaders(), answer.read() if whole else b"")
    finally:
        connection.close()


def spellings(value: str) -> Sequence[str]:
    """How a value may stand in an answer: an id with dashes or without."""
    if not _UUID.fullmatch(value):
        return (value,)
    digits = value.replace("-", "").lower()
    dashed = "-".join((digits[:8], digits[8:12], digits[12:16], digits[16:20], digits[20:]))
    return (dashed, digits)


def masked(told: Told, named: Mapping[str, str]) -> tuple[int, Sequence[str], str]:
    """An answer without the ids that its request named, and without what changes from one answer to the next."""

    def mask(text: str) -> str:
        for name, value in sorted(named.items(), key=lambda pair: -len(pair[1])):
            for spelled in spellings(value):
                text = text.replace(spelled, f"<{name}>")
        for pattern, instead in _CHANGING:
            text = pattern.sub(instead, text)
        return text

    headers = [
        f"{name.lower()}: {'*' if name.lower().startswith(_COUNTING) else mask(value)}" for name, value in told.headers
    ]
    return told.status, tuple(sorted(headers)), mask(told.body.decode(errors="replace"))


def leaks(told: Told, secrets: Iterable[str], asked: Asked) -> Sequence[str]:
    """Which of these strings an answer holds that its request did not say, in any spelling."""
    said, answered = _plain(asked.text), _plain(told.text)
    return [secret for secret in secrets if _plain(secret) in answered and _plain(secret) not in said]


def _plain(text: str) -> str:
    return text.replace("-", "").lower()


def fresh() -> str:
    """An id that nobody has."""
    return str(uuid4())
