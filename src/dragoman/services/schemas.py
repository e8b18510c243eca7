"""Schemas of OpenAPI as plain JSON Schema: references resolved, cycles cut, words of OpenAPI's own left out. Pure."""

from collections.abc import Mapping
from typing import Any
from urllib.parse import unquote

DEEPEST = 12
MOST_PARTS = 1_000
LONGEST_DESCRIPTION = 300

_AS_IT_IS = frozenset(
    (
        *("type", "enum", "const", "format", "default", "pattern", "minimum", "maximum", "multipleOf", "minLength"),
        *("maxLength", "minItems", "maxItems", "uniqueItems", "minProperties", "maxProperties", "required"),
    )
)
_SCHEMAS = frozenset(("allOf", "anyOf", "oneOf"))
_SCHEMA = frozenset(("items", "not", "additionalProperties"))


def resolved(document: Mapping[str, Any], value: Any) -> Any:
    """What a reference within the document leads to; anything else as it is, None where it leads nowhere."""
    for _ in range(DEEPEST):
        reference = value.get("$ref") if isinstance(value, dict) else None
        if not isinstance(reference, str):
            return value
        if not reference.startswith("#/"):
            return None
        value = document
        for step in reference[2:].split("/"):
            step = unquote(step).replace("~1", "/").replace("~0", "~")
            value = value.get(step) if isinstance(value, Mapping) else None
    return None


def plain_schema(document: Mapping[str, Any], schema: Any) -> Any:
    """A schema that stands alone; where it would come back to itself, goes too deep or too far, anything is allowed."""
    return _Plain(document).of(schema, ())


class _Plain:
    """One schema on its way to stand alone; `left` is how many more parts it may have."""

    def __init__(self, document: Mapping[str, Any]) -> None:
        self._document = document
        self._left = MOST_PARTS

    def of(self, schema: Any, within: tuple[str, ...]) -> Any:
        """A part of it; `within` are the references that have led here, and an empty text for each other step."""
        self._left -= 1
        if not isinstance(schema, dict):
            return schema if isinstance(schema, bool) else {}
        if len(within) > DEEPEST or self._left < 0:
            return {}
        reference = schema.get("$ref")
        if isinstance(reference, str):
            told = {} if reference in within else self.of(resolved(self._document, schema), (*within, reference))
            described = schema.get("description")
            return {**told, "description": _short(described)} if described and isinstance(told, dict) else told
        deeper = (*within, "")
        plain = {name: value for name, value in schema.items() if name in _AS_IT_IS}
        if schema.get("description"):
            plain["description"] = _short(schema["description"])
        for name in (each for each in schema if each in _SCHEMA):
            plain[name] = self.of(schema[name], deeper)
        for name in (each for each in schema if each in _SCHEMAS):
            plain[name] = [self.of(each, deeper) for each in schema[name] or ()]
        if isinstance(properties := schema.get("properties"), dict):
            shown = {name: each for name, each in properties.items() if not _is_read_only(self._document, each)}
            plain["properties"] = {name: self.of(each, deeper) for name, each in shown.items()}
            if isinstance(required := plain.get("required"), list):
                plain["required"] = [name for name in required if name in shown or name not in properties]
        _modernise(plain, schema)
        return _merged(plain)


def without_patterns(schema: Any) -> Any:
    """A schema without its patterns."""
    match schema:
        case dict():
            return {
                name: without_patterns(value)
                for name, value in schema.items()
                if not (name == "pattern" and isinstance(value, str))
            }
        case list():
            return [without_patterns(each) for each in schema]
    return schema


def _modernise(plain: dict[str, Any], schema: Mapping[str, Any]) -> None:
    """Say in words of JSON Schema what OpenAPI 3.0 says in its own."""
    for name, bound in (("exclusiveMinimum", "minimum"), ("exclusiveMaximum", "maximum")):
        told = schema.get(name)
        if told is True and bound in plain:
            plain[name] = plain.pop(bound)
        elif isinstance(told, int | float) and not isinstance(told, bool):
            plain[name] = told
    if schema.get("nullable") is True and isinstance(plain.get("type"), str):
        plain["type"] = [plain["type"], "null"]
        if isinstance(plain.get("enum"), list) and None not in plain["enum"]:
            plain["enum"] = [*plain["enum"], None]


def _merged(plain: dict[str, Any]) -> dict[str, Any]:
    """Objects that must all hold as one object, which models understand better."""
    parts = plain.get("allOf")
    if not isinstance(parts, list) or not all(isinstance(part, dict) and "properties" in part for part in parts):
        return plain
    whole = {name: value for name, value in plain.items() if name != "allOf"}
    properties: dict[str, Any] = {}
    required: list[str] = []
    for part in (*parts, whole):
        properties |= part.get("properties", {})
        required += part.get("required", [])
    whole |= {"type": "object", "properties": properties}
    return {**whole, "required": list(dict.fromkeys(required))} if required else whole


def _is_read_only(document: Mapping[str, Any], schema: Any) -> bool:
    told = resolved(document, schema)
    return isinstance(told, dict) and told.get("readOnly") is True


def _short(text: Any) -> str:
    return " ".join(str(text).split())[:LONGEST_DESCRIPTION]
