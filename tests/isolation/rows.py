"""A row of the table of routes: how its request is made of a set of ids, and who may send it. Knows no route."""

import json
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field, fields
from typing import Any, NamedTuple
from urllib.parse import quote, urlencode

from dragoman.core.ids import prefixed
from tests.isolation.asked import Asked, fresh
from tests.support.forms import CONTENT_TYPE, multipart


@dataclass(frozen=True)
class Ids:
    """What a request can name. `conversation` has a history, `paused` waits for `call`, `turn` is running in `busy`.

    In `handed` a person answers; `approval` is about a call that waits for one.
    """

    agent: str
    slug: str
    deployment: str
    conversation: str
    client_id: str
    user: str
    message: str
    paused: str
    call: str
    turn: str
    busy: str
    key: str
    key_name: str
    document: str
    attachment: str
    secret: str
    webhook: str
    delivery: str
    approval: str
    handed: str

    def values(self) -> Mapping[str, str]:
        """Each by its name."""
        return {each.name: getattr(self, each.name) for each in fields(self)}


def absent() -> Ids:
    """Ids of the right form that nothing has."""
    names = {each.name: fresh() for each in fields(Ids)}
    named = ("slug", "client_id", "user", "call", "key_name", "secret")
    return Ids(**{**names, **{name: f"absent-{name.replace('_', '-')}-{names[name][:8]}" for name in named}})


class Slot(NamedTuple):
    """A place in a request where one of the ids stands."""

    name: str
    render: Callable[[str], str] = str


class New(NamedTuple):
    """A place in a request where something stands that was never there before."""

    prefix: str = "new-"


def slot(name: str, prefix: str) -> Slot:
    """A place for an id as it is shown behind a prefix."""
    return Slot(name, lambda value: prefixed(prefix, value))


AGENT, AGENT_UUID, SLUG = slot("agent", "agent"), Slot("agent"), Slot("slug")
AGENT_KEY = Slot("agent", lambda value: f"agent:{value}:voice:eu")
DEPLOYMENT = Slot("deployment")
CONVERSATION, CHAT, CLIENT_ID = slot("conversation", "conv"), Slot("conversation"), Slot("client_id")
MESSAGE, USER = slot("message", "msg"), Slot("user")
PAUSED, CALL = slot("paused", "conv"), Slot("call")
TURN, BUSY = slot("turn", "turn"), slot("busy", "conv")
KEY, KEY_NAME = slot("key", "key"), Slot("key_name")
APPROVAL, HANDED = slot("approval", "appr"), slot("handed", "conv")
WEBHOOK, DELIVERY = slot("webhook", "wh"), slot("delivery", "dlv")
DOCUMENT, ATTACHMENT, SECRET = slot("document", "doc"), slot("attachment", "att"), Slot("secret")


@dataclass(frozen=True)
class Row:
    """One request of a route, as its owner would send it; Slots stand where its ids go.

    `good` is what the owner is answered. `visitors` says that publishable keys may send it too, `open` that no
    credential is looked at. `names` says that it gives a conversation the client's own name, where none has it yet.
    """

    method: str
    path: str
    parts: Mapping[str, Any] = field(default_factory=dict)
    query: Mapping[str, Any] = field(default_factory=dict)
    body: Any = None
    form: Mapping[str, Any] | None = None
    headers: Mapping[str, Any] = field(default_factory=dict)
    good: int = 200
    visitors: bool = False
    open: bool = False
    names: bool = False

    @property
    def route(self) -> tuple[str, str]:
        """The route that it is of."""
        return self.method, self.path

    @property
    def slots(self) -> frozenset[str]:
        """Which ids it names."""
        return frozenset(_slots((self.parts, self.query, self.body, self.form, self.headers)))

    def asked(self, ids: Ids) -> Asked:
        """The request."""
        parts, query, body, form, headers = (
            _filled(each, ids) for each in (self.parts, self.query, self.body, self.form, self.headers)
        )
        path = self.path.format_map({name: quote(value, safe="") for name, value in parts.items()})
        if query:
            path += "?" + urlencode(query)
        if form is not None:
            headers["Content-Type"] = CONTENT_TYPE
            return Asked(self.method, path, tuple(headers.items()), multipart(form.items()))
        if body is not None:
            headers["Content-Type"] = "application/json"
        return Asked(self.method, path, tuple(headers.items()), b"" if body is None else json.dumps(body).encode())

    def __str__(self) -> str:
        named = " ".join(sorted(self.slots))
        return f"{self.method} {self.path}" + (f" ({named})" if named else "")


def _slots(value: Any) -> set[str]:
    match value:
        case Slot():
            return {value.name}
        case New():
            return set()
        case Mapping():
            return _slots(list(value.values()))
        case list() | tuple():
            return {name for each in value for name in _slots(each)}
    return set()


def _filled(value: Any, ids: Ids) -> Any:
    match value:
        case Slot():
            return value.render(getattr(ids, value.name))
        case New():
            return value.prefix + fresh()
        case Mapping():
            return {name: _filled(each, ids) for name, each in value.items()}
        case list():
            return [_filled(each, ids) for each in value]
    return value
