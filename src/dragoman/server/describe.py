"""What a route takes and gives, as its author says it. It describes and checks nothing; knows no dialect and no page.

A route says ``openapi_extra=operation(...)``, a dialect has one `Description`; `web` makes OpenAPI and pages of both.
"""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Annotated, Any, Literal

import msgspec
from msgspec import Meta

from dragoman.core.errors import (
    Conflict,
    DragomanError,
    Forbidden,
    Invalid,
    KeyReused,
    ModelFailed,
    NoCredits,
    RateLimited,
    TooLarge,
    Unauthenticated,
    Unavailable,
)

JSON = "application/json"
MULTIPART = "multipart/form-data"
URLENCODED = "application/x-www-form-urlencoded"

# Text that is not blank and holds no U+0000, for `Body.fields`.
TEXT: Mapping[str, Any] = {"pattern": r"^[^\u0000]*[^\s\u0000][^\u0000]*$"}


@dataclass(frozen=True, slots=True)
class Parameter:
    """One value beside the body: in the path, the query or a header. `kind` is its type, as msgspec takes types."""

    name: str
    place: Literal["path", "query", "header"]
    about: str
    kind: Any = str
    example: Any = None


def path(name: str, about: str, *, example: str) -> Parameter:
    """A part of the path."""
    return Parameter(name, "path", about, str, example)


def query(name: str, about: str, kind: Any = str, *, example: Any = None) -> Parameter:
    """A query parameter, which may be left out."""
    return Parameter(name, "query", about, kind, example)


def header(name: str, about: str, kind: Any = str, *, example: Any = None) -> Parameter:
    """A header of a request or of an answer, which may be missing."""
    return Parameter(name, "header", about, kind, example)


@dataclass(frozen=True, slots=True)
class Body:
    """A request body of one Struct, in each of `media`; the cURL line sends `example` in the first of them.

    `required` names fields that the Struct itself lets be absent; `fields` adds JSON Schema keywords to fields, a
    description above all; `files` are the file parts of a multipart body, each with what it is. `optional` says
    that there may be none.
    """

    kind: type
    example: Mapping[str, Any]
    media: Sequence[str] = (JSON,)
    required: Sequence[str] = ()
    fields: Mapping[str, Mapping[str, Any]] = field(default_factory=dict)
    files: Mapping[str, str] = field(default_factory=dict)
    optional: bool = False


@dataclass(frozen=True, slots=True)
class Stream:
    """Server-sent events: the types of their data, in what order they come, and a whole stream as it looks.

    `last` is the data of a last event that is no JSON.
    """

    frames: Sequence[Any]
    about: str
    example: str
    last: str = ""


@dataclass(frozen=True, slots=True)
class Operation:
    """One method of one path; see `operation` for what the fields mean."""

    answers: Mapping[int, Any]
    stream: Stream | None = None
    bodies: Sequence[Body] = ()
    parameters: Sequence[Parameter] = ()
    headers: Sequence[Parameter] = ()
    errors: Sequence[DragomanError] = ()
    about: str = ""
    public: bool = False


@dataclass(frozen=True, slots=True)
class Description:
    """What a whole document says: `error` is the type of every error's body, `security` has a scheme per credential.

    Any one of the credentials is enough. `asyncapi` makes the document of the dialect's sockets, where it has any.
    """

    title: str
    about: str
    error: Any
    security: Mapping[str, Mapping[str, Any]]
    asyncapi: Callable[[], dict[str, Any]] | None = None


class Problem(msgspec.Struct):
    """An error as RFC 9457 has it, for the paths that are our own."""

    type: Annotated[str, Meta(examples=["about:blank"])]
    title: Annotated[str, Meta(description="The kind of error, in one word.")]
    status: Annotated[int, Meta(description="The status of the answer.", ge=400, le=599)]
    detail: Annotated[str, Meta(description="What is wrong, for people.")]


def bearer_scheme(about: str = "A secret or publishable key of the tenant.") -> dict[str, dict[str, Any]]:
    """The credential ``Authorization: Bearer``."""
    return {"bearer": {"type": "http", "scheme": "bearer", "description": about}}


def header_scheme(name: str, about: str = "A key of the tenant.") -> dict[str, dict[str, Any]]:
    """A credential in a header of its own."""
    return {name: {"type": "apiKey", "in": "header", "name": name, "description": about}}


VISITOR = header(
    "X-Visitor-Token",
    "Names the visitor behind a publishable key. The first answer hands it out; send it back to stay the same visitor.",
)
RESUMING = (
    header(
        "Idempotency-Key",
        "Makes a retry safe: the same key with the same body joins or replays the turn, for 24 hours.",
        Annotated[str, Meta(pattern=r"^[!-~]([ -~]{0,253}[!-~])?$")],
    ),
    header(
        "Last-Event-ID",
        "The `id:` of the last event that was seen; with the same Idempotency-Key the stream goes on after it.",
    ),
)
TURN_HEADERS = (
    header("X-Conversation-Id", "The conversation.", example="conv_5f0c1d2e3b4a59687786a5b4c3d2e1f0"),
    header("X-Message-Id", "The message of the answer.", example="msg_0f1e2d3c4b5a69788796a5b4c3d2e1f0"),
    header(
        "X-Turn-Id",
        "The turn, by which it can be looked up and stopped.",
        example="turn_00112233445566778899aabbccddeeff",
    ),
    header("Idempotent-Replayed", "`true` where the answer was made for an earlier request.", Literal["true"]),
)
RATE_LIMITS = (
    header("X-RateLimit-Limit", "Requests in the tightest window.", int, example=60),
    header("X-RateLimit-Remaining", "Requests that are left in it.", int, example=59),
    header("X-RateLimit-Reset", "When it begins anew, in epoch seconds.", int, example=1767225660),
    header("RateLimit-Policy", "Every window: its size `q` and seconds `w`.", example='"plan";q=60;w=60'),
    header(
        "RateLimit", "Every window: what is left `r` and seconds `t` until it begins anew.", example='"plan";r=59;t=42'
    ),
)

_ALWAYS = (Invalid(), Unauthenticated(), Forbidden(), RateLimited(60), DragomanError(), Unavailable())
_OF_A_TURN = (NoCredits(), Conflict("Too many messages wait in this conversation"), KeyReused(), ModelFailed())


def operation(
    *,
    answers: Mapping[int, Any] | None = None,
    stream: Stream | None = None,
    bodies: Sequence[Body] = (),
    parameters: Sequence[Parameter] = (),
    headers: Sequence[Parameter] = (),
    errors: Sequence[DragomanError] = (),
    about: str = "",
    turn: bool = False,
    public: bool = False,
) -> dict[str, Any]:
    """The `openapi_extra` of a route; its summary is the first line of the endpoint's docstring.

    `answers` has the type of the JSON body for each good status, None where there is no body. `errors` are examples
    of what may go wrong beyond what can in every route (400, 401, 403, 429, 500, 503; with a body 413). `headers` are
    those of the good answers. `turn` adds what every route that begins a turn takes, gives and may fail with.
    `public` says that no credential is needed.
    """
    too_large = (TooLarge(),) if bodies else ()
    return {
        "operation": Operation(
            answers=answers or {},
            stream=stream,
            bodies=bodies,
            parameters=(*parameters, *RESUMING, VISITOR) if turn else parameters,
            headers=(*headers, *TURN_HEADERS, VISITOR) if turn else headers,
            errors=(*errors, *(_OF_A_TURN if turn else ()), *too_large, *_ALWAYS),
            about=about,
            public=public,
        )
    }
