"""The pages under /docs, drawn from OpenAPI and AsyncAPI documents alone. Knows no dialect and no route of theirs."""

import functools
import json
import re
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from dragoman.web.curl import credential, curl
from dragoman.web.html import Html, join, page, prose, tag
from dragoman.web.openapi import EVENT_STREAM, STREAM
from dragoman.web.schemas import resolved, sample

Json = Mapping[str, Any]
DEEPEST = 6


@dataclass(frozen=True, slots=True)
class Entry:
    """One document: its name in the address, OpenAPI, and AsyncAPI where it has sockets."""

    name: str
    openapi: Json
    asyncapi: Json | None = None

    def at(self, server: str) -> "Entry":
        """The same, on a server of this URL."""
        openapi = {**self.openapi, "servers": [{"url": server}]}
        if self.asyncapi is None:
            return Entry(self.name, openapi)
        scheme, _, host = server.partition("://")
        socket = {"host": host, "protocol": "wss" if scheme == "https" else "ws"}
        return Entry(self.name, openapi, {**self.asyncapi, "servers": {"here": socket}})


def index_page(entries: Sequence[Entry]) -> bytes:
    """All documents."""
    cards = [
        tag(
            "li",
            tag("a", tag("h2", entry.openapi["info"]["title"]), href=f"/docs/{entry.name}"),
            tag("p", prose(entry.openapi["info"]["description"])),
            *(_route(method, path) for path, method, _ in _operations(entry.openapi)),
            *(_route("ws", channel["address"]) for channel in (entry.asyncapi or {}).get("channels", {}).values()),
        )
        for entry in entries
    ]
    intro = tag(
        "p", "Every API of this server, as it is spoken here. Each has a document for machines too.", class_="lead"
    )
    return page("Dragoman: APIs", _side(entries, ""), join(tag("h1", "APIs"), intro, tag("ul", *cards, class_="cards")))


def document_page(entries: Sequence[Entry], entry: Entry) -> bytes:
    """One document whole."""
    document = entry.openapi
    info = document["info"]
    parts = [
        tag("h1", info["title"]),
        tag("p", prose(info["description"]), class_="lead"),
        _access(document),
        *(_operation(document, path, method, said) for path, method, said in _operations(document)),
        *([_socket(entry.asyncapi)] if entry.asyncapi else []),
        _errors(document),
    ]
    return page(f"{info['title']}: Dragoman", _side(entries, entry.name), join(*parts))


def _operations(document: Json) -> Iterator[tuple[str, str, Json]]:
    for path, methods in document["paths"].items():
        for method, said in methods.items():
            yield path, method, said


def _side(entries: Sequence[Entry], current: str) -> Html:
    items = []
    for entry in entries:
        link = tag("a", entry.openapi["info"]["title"], href=f"/docs/{entry.name}")
        items.append(tag("li", link, _contents(entry), class_="here") if entry.name == current else tag("li", link))
    return join(tag("a", "Dragoman", href="/docs", class_="brand"), tag("ul", *items))


def _contents(entry: Entry) -> Html:
    """The parts of the page, and its documents for machines."""
    links = [
        tag("a", tag("span", method, class_=f"method {method}"), said["summary"], href=f"#op-{said['operationId']}")
        for _, method, said in _operations(entry.openapi)
    ]
    if entry.asyncapi:
        links.append(tag("a", tag("span", "ws", class_="method ws"), entry.asyncapi["info"]["title"], href="#socket"))
    links.append(tag("a", "Errors", href="#errors"))
    links.append(tag("a", "openapi.json", href=f"/docs/{entry.name}/openapi.json"))
    if entry.asyncapi:
        links.append(tag("a", "asyncapi.json", href=f"/docs/{entry.name}/asyncapi.json"))
    return tag("ul", *(tag("li", link) for link in links))


def _route(method: str, path: str) -> Html:
    pieces = re.split(r"({\w+})", path)
    spelled = [tag("b", piece) if piece.startswith("{") else piece for piece in pieces]
    return tag("p", tag("span", method, class_=f"method {method}"), tag("code", *spelled), class_="route")


def _access(document: Json) -> Html:
    """Where the server is, and what it takes as a credential."""
    rows = [("Server", tag("code", document["servers"][0]["url"]))]
    for scheme in document["components"]["securitySchemes"].values():
        sent = tag("code", credential(scheme).replace("$KEY", "KEY"))
        rows.append(("Credential", join(sent, " ", prose(scheme.get("description", "")))))
    return tag("table", *(tag("tr", tag("td", name), tag("td", value)) for name, value in rows), class_="access")


def _operation(document: Json, path: str, method: str, said: Json) -> Html:
    text = [tag("p", prose(said["description"]))] if "description" in said else []
    if {} in said.get("security", ()):
        text.append(tag("p", "A public agent needs no credential.", class_="note"))
    if parameters := said.get("parameters"):
        text += [tag("h3", "Parameters"), _values(parameters)]
    code = [_code("cURL", curl(document, path, method, said), copied=True)]
    media_of: dict[str, list[str]] = {}
    for media, content in said.get("requestBody", {}).get("content", {}).items():
        media_of.setdefault(str(_fields(content["schema"], document, asked=True)), []).append(media)
    for fields, media in media_of.items():
        text += [tag("h3", "Body ", tag("small", ", ".join(media))), Html(fields)]
    errors = []
    for status, answer in said["responses"].items():
        if "$ref" in answer:
            errors.append(tag("a", status, href=f"#{status}", title=resolved(answer, document)["description"]))
        else:
            text += _answer(document, status, answer)
            for media, content in answer.get("content", {}).items():
                code.append(_code(f"{status} {media}", _shown(content[STREAM if media == EVENT_STREAM else "example"])))
    text.append(tag("p", "Errors ", *errors, class_="chips"))
    return tag(
        "section",
        tag("h2", said["summary"]),
        _route(method, path),
        tag("div", tag("div", *text), tag("div", *code, class_="codes"), class_="columns"),
        id=f"op-{said['operationId']}",
    )


def _answer(document: Json, status: str, answer: Json) -> Iterator[Html]:
    yield tag("h3", f"{status} {answer['description']}")
    if not answer.get("content"):
        yield tag("p", "No body.")
    for media, content in answer.get("content", {}).items():
        if media != EVENT_STREAM:
            yield tag("p", tag("small", media))
            yield _fields(content["schema"], document)
            continue
        yield tag("p", tag("small", media), " ", prose(content["schema"]["description"]))
        data = content["schema"]["properties"]["data"]
        for frame in data.get("anyOf", [data])[-1]["contentSchema"]["anyOf"]:
            said = resolved(frame, document)
            about = prose(said.get("description") or said.get("title", ""))
            yield tag("details", tag("summary", about), _fields(frame, document))
    if headers := answer.get("headers"):
        found = [{"name": name, **resolved(each, document)} for name, each in headers.items()]
        yield tag("details", tag("summary", "Headers"), _values(found))


def _values(values: Sequence[Json]) -> Html:
    """Parameters or headers, a row each."""
    rows = []
    for value in values:
        kind = ", ".join((*([value["in"]] if "in" in value else []), kind_of(value["schema"])))
        name = tag("td", tag("code", value["name"]), tag("small", kind))
        rows.append(tag("tr", name, tag("td", prose(value["description"]))))
    return tag("table", *rows)


def _fields(schema: Json, document: Json, depth: int = 0, *, asked: bool = False) -> Html:
    """The fields of an object, and of the objects in it; nothing for what is no object.

    Of what is `asked` the required ones are marked, of what is answered those that may be missing.
    """
    schema = resolved(schema, document)
    if depth > DEEPEST:
        return Html()
    deeper = functools.partial(_fields, document=document, depth=depth + 1, asked=asked)
    parts = [deeper(each) for each in schema.get("allOf", ())]
    choices = [deeper(each) for each in (*schema.get("oneOf", ()), *schema.get("anyOf", ()))]
    for number, choice in enumerate(filter(None, choices)):
        parts += [tag("p", "or", class_="or"), choice] if number else [choice]
    if "items" in schema:
        parts.append(deeper(schema["items"]))
    items = []
    for name, each in schema.get("properties", {}).items():
        mark = "required" if asked else "optional"
        marked = (name in schema.get("required", ())) == asked
        about = each.get("description") or resolved(each, document).get("description", "")
        items.append(
            tag(
                "li",
                tag("code", name),
                tag("small", kind_of(each, document)),
                tag("small", mark, class_=mark) if marked else "",
                tag("p", prose(about)) if about else "",
                deeper(each),
            )
        )
    return join(*parts, tag("ul", *items, class_="fields") if items else "")


def kind_of(schema: Json, document: Json | None = None) -> str:
    """A type in words."""
    if "$ref" in schema:
        return kind_of(resolved(schema, document), document) if document else "object"
    if "const" in schema or "enum" in schema:
        return " or ".join(json.dumps(each) for each in schema.get("enum", [schema.get("const")]))
    if choices := schema.get("anyOf") or schema.get("oneOf"):
        return " or ".join(dict.fromkeys(kind_of(each, document) for each in choices))
    if schema.get("type") == "array":
        return f"list of {kind_of(schema['items'], document)}" if "items" in schema else "list"
    if "contentMediaType" in schema:
        return "file"
    bounds = [f"{schema[key]}" if key in schema else "" for key in ("minimum", "maximum")]
    kind = schema.get("format") or schema.get("type", "anything")
    return f"{kind}, {' to '.join(filter(None, bounds))}" if all(bounds) else str(kind)


def _socket(document: Json) -> Html:
    """The channels of an AsyncAPI document; whoever is described there is the server."""
    parts = []
    for channel in document["channels"].values():
        parts.append(_route("ws", channel["address"]))
        opening = channel.get("bindings", {}).get("ws", {})
        for name in ("query", "headers"):
            if name in opening:
                parts += [tag("h3", name.title()), _fields(opening[name], document, asked=True)]
    for said in document["operations"].values():
        asked = said["action"] == "receive"
        parts.append(tag("h3", "The client sends" if asked else "The server sends"))
        channel = resolved(said["channel"], document)
        for message in said.get("messages") or channel.get("messages", {}).values():
            parts.append(_message(resolved(message, document), document, asked=asked))
    info = document["info"]
    heading = [tag("h2", info["title"]), tag("p", prose(info.get("description", "")))]
    return tag("section", *heading, *parts, id="socket")


def _message(message: Json, document: Json, *, asked: bool) -> Html:
    example = next(iter(message.get("examples", ())), {"payload": sample(message["payload"], document)})
    text = tag(
        "div",
        tag("h4", message.get("title") or message.get("name", "")),
        tag("p", prose(message.get("summary", ""))),
        _fields(message["payload"], document, asked=asked),
    )
    return tag("div", text, tag("div", _code("", _shown(example["payload"])), class_="codes"), class_="columns")


def _errors(document: Json) -> Html:
    parts = []
    for name, answer in document["components"]["responses"].items():
        status = name.removeprefix("Error")
        for content in answer["content"].values():
            codes = [_code(kind, _shown(each["value"])) for kind, each in content["examples"].items()]
            parts.append(tag("div", tag("h3", f"{status} {answer['description']}"), *codes, id=status))
    return tag("section", tag("h2", "Errors"), tag("div", *parts, class_="grid"), id="errors")


def _shown(value: Any) -> str:
    return value.strip() if isinstance(value, str) else json.dumps(value, indent=2, ensure_ascii=False)


def _code(label: str, text: str, *, copied: bool = False) -> Html:
    head = [tag("figcaption", label)] if label else []
    return tag("figure", *head, tag("pre", text, class_="whole") if copied else tag("pre", text))
