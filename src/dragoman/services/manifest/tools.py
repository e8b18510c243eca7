"""Tools as a manifest tells them, checked beyond their types. Knows no other key of it, and makes no call."""

import json
import re
from collections.abc import Iterator, Mapping, Sequence
from typing import Annotated, Any, Literal

import msgspec
from msgspec import Meta

from dragoman.core.templates import METADATA, origin_problem, placeholders

BUILTINS = ("clock", "calculator", "knowledge", "handover")
LARGEST_SCHEMA = 32_768

_NAME = re.compile(r"[A-Za-z0-9_-]{1,64}")
_HEADER = re.compile(r"[A-Za-z0-9!#$%&'*+.^_`|~-]{1,100}")
_PLAIN = re.compile(r"[\x20-\x7e]*")
# What each type takes beside what all take; the rest would be read by nothing.
_TAKES: Mapping[str, Sequence[str]] = {
    "client": ("parameters",),
    "http": ("parameters", "method", "url", "query", "headers", "body", "response"),
    "mcp": ("url", "headers", "allow"),
    "builtin": (),
}

Problems = Iterator[tuple[str, str]]


class Tool(msgspec.Struct, forbid_unknown_fields=True, omit_defaults=True, frozen=True):
    """Something that an agent can call."""

    type: Literal["client", "http", "mcp", "builtin"]
    name: Annotated[str, Meta(min_length=1, max_length=200)] | None = None
    description: Annotated[str, Meta(max_length=4_000)] | None = None
    parameters: dict[str, Any] | None = None
    method: Literal["GET", "HEAD", "POST", "PUT", "PATCH", "DELETE"] = "GET"
    url: Annotated[str, Meta(max_length=2_000)] | None = None
    query: dict[str, str] | None = None
    headers: dict[str, Any] | None = None
    body: Any = None
    response: Annotated[tuple[Annotated[str, Meta(min_length=1, max_length=200)], ...], Meta(max_length=100)] = ()
    allow: Annotated[tuple[Annotated[str, Meta(min_length=1, max_length=200)], ...], Meta(max_length=100)] = ()
    approval: Literal["auto", "never", "always"] = "auto"
    timeout: Annotated[float, Meta(ge=0.1, le=60)] = 15.0
    per_turn: Annotated[int, Meta(ge=1, le=100)] = 10
    per_minute: Annotated[int, Meta(ge=1, le=1_000_000)] | None = None


def problems(tools: Sequence[Tool]) -> Problems:
    """What is wrong with an agent's tools: where, such as ``tools[0].url``, and what."""
    named: set[str] = set()
    for index, tool in enumerate(tools):
        for field, problem in _problems(tool):
            yield f"tools[{index}].{field}", problem
        if tool.type != "mcp":
            if tool.name in named:
                yield f"tools[{index}].name", f"{tool.name!r} is there twice"
            named.add(tool.name or "")


def _problems(tool: Tool) -> Problems:
    given = msgspec.to_builtins(tool)
    for field in ("parameters", "method", "url", "query", "headers", "body", "response", "allow"):
        if field in given and field not in _TAKES[tool.type]:
            yield field, f"a tool of type {tool.type} takes none"
    if tool.type == "builtin":
        if tool.name not in BUILTINS:
            yield "name", f"takes one of {', '.join(BUILTINS)}"
    elif tool.type != "mcp" and (tool.name is None or not _NAME.fullmatch(tool.name)):
        yield "name", "takes 1 to 64 letters, digits, underscores and hyphens"
    if tool.type in ("http", "mcp"):
        yield from _address_problems(tool)
    if tool.type in ("client", "http") and tool.parameters is not None:
        yield from _schema_problems(tool.parameters, linear=tool.type == "http")


def _address_problems(tool: Tool) -> Problems:
    if tool.url is None:
        yield "url", f"a tool of type {tool.type} needs it"
    elif problem := origin_problem(tool.url):
        yield "url", problem
    if tool.type == "http":
        if not tool.description:
            yield "description", "a tool of type http needs it: it is what tells a model when to call it"
        parameters = tool.parameters or {}
        properties = parameters.get("properties")
        known = set(properties) if isinstance(properties, dict) else set()
    else:
        if not tool.allow:
            yield "allow", "a tool of type mcp needs it: it names the tools of the server that may be called"
        if placeholders(tool.url or ""):
            yield "url", "a server's address takes no placeholders"
        known = None
    yield from _header_problems(tool.headers or {}, known)
    for field, template in (("url", tool.url or ""), ("query", tool.query or {}), ("body", tool.body)):
        if known is not None:
            yield from _placeholder_problems(field, template, known)


def _header_problems(headers: Mapping[str, Any], known: set[str] | None) -> Problems:
    for name, value in headers.items():
        if not _HEADER.fullmatch(name):
            yield "headers", f"{name!r} is no name of a header"
        match value:
            case str() if _PLAIN.fullmatch(value):
                if known is not None:
                    yield from _placeholder_problems(f"headers.{name}", value, known)
                elif placeholders(value):
                    yield f"headers.{name}", "a server's header takes no placeholders"
            case {"secret": str(), "prefix": str(prefix)} if len(value) == 2 and _PLAIN.fullmatch(prefix):
                continue
            case {"secret": str()} if len(value) == 1:
                continue
            case _:
                yield (
                    f"headers.{name}",
                    "takes a text of printable ASCII, or {secret: NAME}, or {secret: NAME, prefix: TEXT}",
                )


def _placeholder_problems(field: str, template: Any, known: set[str]) -> Problems:
    for name in placeholders(template):
        if name not in known and not name.startswith(METADATA):
            yield field, f"{{{name}}} is no parameter; what comes from a message's metadata is {{{METADATA}name}}"


def _schema_problems(schema: dict[str, Any], *, linear: bool) -> Problems:
    import jsonschema_rs

    def nowhere(address: str) -> Any:
        raise ValueError(f"{address} is not in this schema")

    if schema.get("type", "object") != "object":
        yield "parameters", "its type is object: the arguments of a call are one"
    try:
        if len(json.dumps(schema)) > LARGEST_SCHEMA:
            yield "parameters", f"has over {LARGEST_SCHEMA} characters of JSON"
            return
        # What is checked here before each call is given patterns that take linear time.
        options = jsonschema_rs.RegexOptions() if linear else jsonschema_rs.FancyRegexOptions()
        jsonschema_rs.validator_for(schema, pattern_options=options, retriever=nowhere)
    except jsonschema_rs.ValidationError as error:
        yield "parameters", f"is no JSON Schema that can be used here: {error.message[:300]}"
    except (ValueError, TypeError, RecursionError) as error:
        yield "parameters", f"is no JSON Schema that can be used here: {' '.join(str(error).split())[:300]}"
