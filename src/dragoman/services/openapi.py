"""Tools out of a whole OpenAPI document (3.0 and 3.1), purely. Knows no network, no file and no agent."""

import re
from collections.abc import Collection, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any
from urllib.parse import urljoin

import msgspec
import yaml

from dragoman.core.errors import Invalid
from dragoman.core.templates import PLACEHOLDER
from dragoman.services.manifest.tools import Tool, problems
from dragoman.services.schemas import plain_schema, resolved, without_patterns

METHODS = ("get", "head", "post", "put", "patch", "delete")
LONGEST_DESCRIPTION = 1_000
LONGEST_NAME = 64
MOST_OPERATIONS = 2_000
# What the request itself decides (OpenAPI 3.1, 4.8.12.1).
_NOT_OURS = ("accept", "content-type", "authorization")
_UNFIT = re.compile(r"[^A-Za-z0-9_]+")
_SECRET = re.compile(r"(?P<prefix>.*?)secret:(?P<name>[A-Za-z0-9_][A-Za-z0-9_.-]{0,63})")


class _LeftOut(Exception):
    """An operation cannot be a tool; the text says why."""


@dataclass(slots=True)
class Imported:
    """Tools as a manifest tells them, and what was left out: operations and parameters, each with why."""

    tools: list[dict[str, Any]] = field(default_factory=list)
    left_out: list[tuple[str, str]] = field(default_factory=list)


def read_document(text: str) -> Mapping[str, Any]:
    """An OpenAPI document, JSON or YAML.

    Raises:
        Invalid: it is none, or of a version that is not known here.
    """
    try:
        # YAML holds JSON, but reads it slowly.
        document = msgspec.json.decode(text) if text.lstrip()[:1] == "{" else yaml.safe_load(text)
    except (msgspec.DecodeError, yaml.YAMLError, RecursionError) as error:
        raise Invalid(f"it is neither JSON nor YAML: {' '.join(str(error).split())[:300]}") from error
    if isinstance(document, dict) and "swagger" in document:
        raise Invalid(
            f"it is Swagger {str(document['swagger'])[:20]}, and OpenAPI 3.0 or 3.1 is needed: convert it first"
        )
    if not isinstance(document, dict) or not isinstance(document.get("paths"), dict):
        raise Invalid("it is no OpenAPI document: there are no paths in it")
    version = str(document.get("openapi", ""))
    if not version.startswith(("3.0", "3.1")):
        raise Invalid(f"it is OpenAPI {version[:20] or 'of no version'}, and OpenAPI 3.0 or 3.1 is needed")
    return document


def header_of(text: str) -> tuple[str, Any]:
    """A header as it is given to a command: ``NAME=secret:NAME``, with a text before ``secret:`` or without.

    Raises:
        Invalid: there is no name or no value.
    """
    name, _, value = text.partition("=")
    if not name.strip() or not value:
        raise Invalid(f"{text!r} is no header; write it like Authorization=secret:NAME, or X-Client=text")
    found = _SECRET.fullmatch(value)
    if found is None:
        return name.strip(), value
    secret = {"secret": found["name"]}
    return name.strip(), {**secret, "prefix": found["prefix"]} if found["prefix"] else secret


def tools_of(
    document: Mapping[str, Any],
    *,
    base_url: str | None = None,
    source: str = "",
    only: Collection[str] = (),
    headers: Mapping[str, Any] | None = None,
) -> Imported:
    """A tool for each operation, or for those whose ids are in `only`.

    `base_url` stands in place of the document's server; `source` is the address that a relative one is taken from.
    `headers` are sent with each request.

    Raises:
        Invalid: there is no address to send requests to, or no such operation.
    """
    base = (base_url or _server(document, source)).rstrip("/")
    found = list(_operations(document))
    if missing := [name for name in only if name not in {_id_of(each) for _, _, each, _ in found}]:
        raise Invalid(f"there is no operation {missing[0]!r} in it")
    imported, named = Imported(), set[str]()
    for path, method, operation, shared in found[:MOST_OPERATIONS]:
        if only and _id_of(operation) not in only:
            continue
        where = f"{method.upper()} {path}"
        try:
            tool = _Operation(document, path, method, operation, shared, imported).tool(base, headers or {}, named)
        except _LeftOut as reason:
            imported.left_out.append((where, str(reason)))
            continue
        named.add(tool["name"])
        imported.tools.append(tool)
    return imported


def _operations(document: Mapping[str, Any]) -> Iterator[tuple[str, str, Mapping[str, Any], Sequence[Any]]]:
    for path, item in document["paths"].items():
        item = resolved(document, item)
        if not isinstance(item, dict):
            continue
        for method in METHODS:
            if isinstance(operation := item.get(method), dict):
                yield str(path), method, operation, _list(item.get("parameters"))


def _id_of(operation: Mapping[str, Any]) -> str:
    return str(operation.get("operationId") or "")


def _server(document: Mapping[str, Any], source: str) -> str:
    servers = _list(document.get("servers"))
    server: Mapping[str, Any] = servers[0] if servers and isinstance(servers[0], dict) else {"url": "/"}
    variables: Mapping[str, Any] = server.get("variables") or {}

    def default(found: re.Match[str]) -> str:
        variable = variables.get(found[1])
        return str(variable["default"]) if isinstance(variable, dict) and "default" in variable else found[0]

    url = urljoin(source, PLACEHOLDER.sub(default, str(server.get("url", "/"))))
    if not url.startswith(("http://", "https://")):
        raise Invalid("it names no server; say with --base-url where requests go to")
    return url


class _Operation:
    """One operation on its way to a tool."""

    def __init__(
        self,
        document: Mapping[str, Any],
        path: str,
        method: str,
        operation: Mapping[str, Any],
        shared: Sequence[Any],
        imported: Imported,
    ) -> None:
        self._document = document
        self._path = path
        self._method = method
        self._operation = operation
        self._shared = shared
        self._imported = imported
        self._properties: dict[str, Any] = {}
        self._required: list[str] = []
        self._query: dict[str, str] = {}
        self._headers: dict[str, Any] = {}
        self._body: Any = None

    def tool(self, base: str, headers: Mapping[str, Any], named: Collection[str]) -> dict[str, Any]:
        """The tool, whose name is none of those; raises _LeftOut."""
        renamed = self._add_parameters()
        if self._method not in ("get", "head"):
            self._add_body()
        parameters = {"type": "object", "properties": self._properties}
        if self._required:
            parameters["required"] = list(dict.fromkeys(self._required))
        told = self._operation.get("summary"), self._operation.get("description")
        described = ". ".join(dict.fromkeys(str(each).strip().rstrip(".") for each in told if each))
        where = f"{self._method.upper()} {self._path}"
        tool: dict[str, Any] = {
            "type": "http",
            "name": _free(_id_of(self._operation) or f"{self._method}{self._path}", named),
            "description": (" ".join(described.split()) or where)[:LONGEST_DESCRIPTION],
            "method": self._method.upper(),
            "url": base + renamed,
            "parameters": parameters,
            **({"query": self._query} if self._query else {}),
            **({"headers": {**self._headers, **headers}} if self._headers or headers else {}),
            **({"body": self._body} if self._body is not None else {}),
        }
        return _checked(tool)

    def _add_parameters(self) -> str:
        """Take in all parameters beside the body; the path with the names that they have in the tool."""
        found: dict[tuple[str, str], Mapping[str, Any]] = {}
        for told in (*self._shared, *_list(self._operation.get("parameters"))):
            parameter = resolved(self._document, told)
            if not isinstance(parameter, dict) or not {"name", "in"} <= parameter.keys():
                raise _LeftOut("a parameter of it cannot be found in the document")
            found[str(parameter["in"]), str(parameter["name"])] = parameter
        in_path: dict[str, str] = {}
        for (place, name), parameter in found.items():
            required = bool(parameter.get("required")) or place == "path"
            reason = _unsendable(place, name, parameter)
            if reason is None:
                own = self._property(name, place, parameter, required)
                if place == "path":
                    in_path[name] = own
                else:
                    {"query": self._query, "header": self._headers}[place][name] = f"{{{own}}}"
            elif required and reason:
                raise _LeftOut(f"its parameter {name!r} {reason}")
            elif reason:
                where = f"{self._method.upper()} {self._path}"
                self._imported.left_out.append((f"{where}, parameter {name!r}", reason))

        def own_name(match: re.Match[str]) -> str:
            name = match[1]
            if name not in in_path:
                in_path[name] = self._property(name, "path", {"schema": {"type": "string"}}, required=True)
            return f"{{{in_path[name]}}}"

        return re.sub(r"\{([^{}/]+)\}", own_name, self._path)

    def _property(self, name: str, place: str, parameter: Mapping[str, Any], required: bool) -> str:
        """Take a parameter in; what it is called in the tool."""
        own = _UNFIT.sub("_", name).strip("_") or place
        if own in self._properties:
            own = f"{own}_{place}"
        schema = parameter.get("schema")
        if schema is None and isinstance(content := parameter.get("content"), dict) and content:
            schema = (next(iter(content.values())) or {}).get("schema")
        plain = plain_schema(self._document, schema if schema is not None else {})
        if parameter.get("description") and isinstance(plain, dict):
            plain = {**plain, "description": " ".join(str(parameter["description"]).split())[:300]}
        self._properties[own] = plain
        if required:
            self._required.append(own)
        return own

    def _add_body(self) -> None:
        """Take in the JSON body: its members as parameters where they can stand beside the others, else as one."""
        body = resolved(self._document, self._operation.get("requestBody"))
        if not isinstance(body, dict):
            return
        content = body.get("content") or {}
        kinds = [kind for kind in content if str(kind).partition(";")[0].strip().lower().endswith(("/json", "+json"))]
        if not kinds:
            reason = f"is {', '.join(map(str, content)) or 'of no type'}, and not JSON"
            if body.get("required"):
                raise _LeftOut(f"its body {reason}")
            self._imported.left_out.append((f"{self._method.upper()} {self._path}, body", reason))
            return
        if kinds[0] != "application/json":
            self._headers["Content-Type"] = str(kinds[0])
        schema = plain_schema(self._document, (content[kinds[0]] or {}).get("schema", {}))
        properties = schema.get("properties") if isinstance(schema, dict) else None
        if (
            isinstance(schema, dict)
            and isinstance(properties, dict)
            and not properties.keys() & self._properties.keys()
        ):
            self._properties |= properties
            if body.get("required"):
                self._required += [name for name in _list(schema.get("required")) if name in properties]
            return
        own = "body" if "body" not in self._properties else "request_body"
        self._properties[own] = schema
        self._body = f"{{{own}}}"
        if body.get("required"):
            self._required.append(own)


def _unsendable(place: str, name: str, parameter: Mapping[str, Any]) -> str | None:
    """Why a parameter cannot be sent; empty where it is the request's own business, None where it can."""
    if place == "header" and name.lower() in _NOT_OURS:
        return ""
    if place not in ("path", "query", "header"):
        return f"is sent in a {place}"
    style = parameter.get("style", "form" if place == "query" else "simple")
    schema = parameter.get("schema")
    if style not in ("form", "simple"):
        return f"is written in the style {style}"
    if place == "query" and parameter.get("explode") is False and isinstance(schema, dict) and "items" in schema:
        return "is a list that is written with commas"
    return None


def _free(wanted: str, named: Collection[str]) -> str:
    name = re.sub(r"[^A-Za-z0-9_-]+", "_", wanted).strip("_")[:LONGEST_NAME] or "operation"
    copies, free = 1, name
    while free in named:
        copies += 1
        free = f"{name[: LONGEST_NAME - len(str(copies)) - 1]}_{copies}"
    return free


def _checked(tool: dict[str, Any]) -> dict[str, Any]:
    """The tool as a manifest takes it, without patterns where those are what it would not; raises _LeftOut."""
    for parameters in (tool["parameters"], without_patterns(tool["parameters"])):
        tool = {**tool, "parameters": parameters}
        try:
            wrong = next(problems([msgspec.convert(tool, Tool)]), None)
        except msgspec.ValidationError as error:
            wrong = ("", str(error))
        if wrong is None:
            return tool
    raise _LeftOut(f"{wrong[0].partition('.')[2] or 'it'}: {wrong[1]}" if wrong else "it cannot be told")


def _list(value: Any) -> Sequence[Any]:
    return value if isinstance(value, list) else ()
