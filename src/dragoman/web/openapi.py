"""The OpenAPI 3.1 document of a dialect, made of its routes and what they say. Knows no dialect by name.

Not FastAPI's own: it leaves the nulls out of examples, and adds answers (422, an untyped 200) that no route gives.
"""

import re
from collections.abc import Iterable, Iterator, Mapping, Sequence
from functools import cached_property
from http import HTTPStatus
from importlib.metadata import version
from typing import Any

import msgspec
from fastapi.routing import APIRoute

from dragoman.core.errors import DragomanError, RateLimited, Unauthenticated, Unavailable, row_of
from dragoman.server.describe import (
    JSON,
    MULTIPART,
    RATE_LIMITS,
    Body,
    Description,
    Operation,
    Parameter,
    Stream,
    header,
    operation,
)
from dragoman.server.errors import STATUS, Dialect, problem_body
from dragoman.web.schemas import Schemas

EVENT_STREAM = "text/event-stream"
# Our own word for a whole stream as it looks, which an example of one event is not.
STREAM = "x-stream"
RETRY_AFTER = header("Retry-After", "Seconds to wait.", int, example=1)
CHALLENGE = header("WWW-Authenticate", "The scheme of the credential.", example="Bearer")

Json = dict[str, Any]


def openapi(dialect: Dialect) -> Json:
    """The document of a dialect.

    Raises:
        ValueError: the dialect has no description.
    """
    return _Document(dialect).whole()


def operations(dialect: Dialect) -> Iterator[tuple[APIRoute, Operation]]:
    """The documented routes of a dialect and what each says; one that says nothing has what every route has."""
    for route in dialect.router.routes:
        if isinstance(route, APIRoute) and route.include_in_schema:
            said: Operation = {**operation(), **(route.openapi_extra or {})}["operation"]
            yield route, said


class _Document:
    """A document in the making."""

    def __init__(self, dialect: Dialect) -> None:
        if dialect.description is None:
            raise ValueError(f"{dialect.name} has no description")
        self._dialect = dialect
        self._description: Description = dialect.description
        self._operations = list(operations(dialect))
        said = [operation for _, operation in self._operations]
        self._schemas = Schemas(
            asked=[body for operation in said for body in operation.bodies],
            answered=[self._description.error, *(kind for operation in said for kind in _answered(operation))],
        )

    def whole(self) -> Json:
        """The document."""
        return {
            "openapi": "3.1.0",
            "info": {
                "title": self._description.title,
                "version": version("dragoman"),
                "description": self._description.about,
            },
            "servers": [{"url": "/"}],
            "security": self._security,
            "paths": self._paths(),
            "components": {
                "schemas": self._schemas.components,
                "responses": dict(self._errors()),
                "headers": {each.name: _header(each) for each in self._headers},
                "securitySchemes": {name: dict(scheme) for name, scheme in self._description.security.items()},
            },
        }

    @property
    def _security(self) -> list[Json]:
        return [{name: []} for name in self._description.security]

    def _paths(self) -> Json:
        paths: Json = {}
        for route, said in self._operations:
            for method in sorted(route.methods or ()):
                paths.setdefault(route.path_format, {})[method.lower()] = self._operation(route, said)
        return paths

    def _operation(self, route: APIRoute, said: Operation) -> Json:
        made: Json = {
            "operationId": route.name,
            "summary": (route.endpoint.__doc__ or route.name).strip().partition("\n")[0].rstrip("."),
        }
        if said.about:
            made["description"] = said.about
        if said.public:
            made["security"] = [*self._security, {}]
        described = {(each.place, each.name) for each in said.parameters}
        unsaid = [name for name in re.findall(r"{(\w+)}", route.path_format) if ("path", name) not in described]
        if parameters := [*(Parameter(name, "path", "") for name in unsaid), *said.parameters]:
            made["parameters"] = [_parameter(each) for each in parameters]
        if said.bodies:
            content = {media: self._body(body, media) for body in said.bodies for media in body.media}
            made["requestBody"] = {"required": not all(body.optional for body in said.bodies), "content": content}
        made["responses"] = dict(self._responses(said))
        return made

    def _body(self, body: Body, media: str) -> Json:
        schema = self._schemas.of(body.kind)
        if media == MULTIPART and body.files:
            binary = {"type": "string", "contentMediaType": "application/octet-stream"}
            parts = {name: {**binary, "description": about} for name, about in body.files.items()}
            schema = {"allOf": [schema, {"type": "object", "properties": parts}]}
        return {"schema": schema, "example": dict(body.example)}

    def _responses(self, said: Operation) -> Iterator[tuple[str, Json]]:
        headers = _references("headers", (*said.headers, *RATE_LIMITS))
        answers = dict(said.answers)
        if said.stream is not None:
            answers.setdefault(200, None)
        for status, kind in answers.items():
            content: Json = {}
            if kind is not None:
                schema = self._schemas.of(kind)
                content[JSON] = {"schema": schema, "example": self._schemas.sample(schema)}
            if said.stream is not None and status == HTTPStatus.OK:
                content[EVENT_STREAM] = self._stream(said.stream)
            answer: Json = {"description": HTTPStatus(status).phrase, "headers": headers}
            yield str(status), {**answer, "content": content} if content else answer
        for status in sorted({row_of(error, STATUS) for error in said.errors}):
            yield str(status), {"$ref": f"#/components/responses/{_component(status)}"}

    def _stream(self, stream: Stream) -> Json:
        # OpenAPI 3.1 has no word for the items of a stream; as its tools read it, the schema is that of an event.
        frames = {"anyOf": [self._schemas.of(kind) for kind in stream.frames]}
        data: Json = {"type": "string", "contentMediaType": JSON, "contentSchema": frames}
        if stream.last:
            data = {"anyOf": [{"const": stream.last}, data]}
        fields = {"id": {"type": "string"}, "event": {"type": "string"}, "data": data}
        schema = {"description": stream.about, "type": "object", "properties": fields, "required": ["data"]}
        return {"schema": schema, STREAM: stream.example}

    def _errors(self) -> Iterator[tuple[str, Json]]:
        """The answers that say an error, with what this dialect makes of each; those of all operations together."""
        by_status: dict[int, dict[str, DragomanError]] = {}
        for _, said in self._operations:
            for error in said.errors:
                by_status.setdefault(row_of(error, STATUS), {}).setdefault(_kind(error), error)
        problem = self._dialect.error_body is problem_body
        for status, examples in sorted(by_status.items()):
            shown = {name: {"value": self._dialect.error_body(error)} for name, error in sorted(examples.items())}
            content = {"schema": self._schemas.of(self._description.error), "examples": shown}
            yield (
                _component(status),
                {
                    "description": HTTPStatus(status).phrase,
                    "headers": _references("headers", _error_headers(examples.values())),
                    "content": {"application/problem+json" if problem else JSON: content},
                },
            )

    @cached_property
    def _headers(self) -> Sequence[Parameter]:
        """Every header of any answer, once."""
        said = [each for _, operation in self._operations for each in operation.headers]
        return tuple({each.name: each for each in (*said, *RATE_LIMITS, RETRY_AFTER, CHALLENGE)}.values())


def _answered(said: Operation) -> Iterator[Any]:
    yield from (kind for kind in said.answers.values() if kind is not None)
    yield from said.stream.frames if said.stream is not None else ()


def _error_headers(errors: Iterable[DragomanError]) -> Sequence[Parameter]:
    if any(isinstance(error, Unauthenticated) for error in errors):
        return (CHALLENGE,)
    if any(isinstance(error, RateLimited | Unavailable) for error in errors):
        return (*RATE_LIMITS, RETRY_AFTER)
    return RATE_LIMITS


def _component(status: int) -> str:
    """What the answer of an error's status is called."""
    return f"Error{status}"


def _kind(error: DragomanError) -> str:
    return type(error).__name__ if type(error) is not DragomanError else "Internal"


def _references(kind: str, headers: Iterable[Parameter]) -> Mapping[str, Json]:
    return {each.name: {"$ref": f"#/components/{kind}/{each.name}"} for each in headers}


def _header(said: Parameter) -> Json:
    example = {} if said.example is None else {"example": said.example}
    return {"description": said.about, "schema": msgspec.json.schema(said.kind), **example}


def _parameter(said: Parameter) -> Json:
    return {"name": said.name, "in": said.place, "required": said.place == "path", **_header(said)}
