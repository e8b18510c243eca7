"""The JSON Schemas of a document: a component for each Struct, what refers to it, samples. Knows no route."""

from collections.abc import Iterator, Mapping, Sequence
from types import UnionType
from typing import Any, Union, get_args, get_origin

import msgspec

from dragoman.server.describe import Body

Json = dict[str, Any]
COMPONENTS = "#/components/schemas/"
# So deep a sample still has items in its lists: types may hold themselves.
DEEPEST = 4


class Schemas:
    """What is asked takes further fields, as the server does; what is only answered has none."""

    def __init__(self, asked: Sequence[Body], answered: Sequence[Any]) -> None:
        each_kind = [*(body.kind for body in asked), *(part for kind in answered for part in _choices(kind))]
        kinds = list(dict.fromkeys(each_kind))
        schemas, self.components = msgspec.json.schema_components(kinds, ref_template=COMPONENTS + "{name}")
        self._of = dict(zip(kinds, schemas, strict=True))
        for body in asked:
            self._demand(body)
        taken = self._reached([self.of(body.kind) for body in asked])
        for name in self._reached([self.of(kind) for kind in answered]) - taken:
            if "properties" in self.components[name]:
                self.components[name]["additionalProperties"] = False

    def of(self, kind: Any) -> Json:
        """The schema of a type: of a Struct the reference to it, of a union that of each part."""
        choices = [self._of[part] for part in _choices(kind)]
        return choices[0] if len(choices) == 1 else {"anyOf": choices}

    def sample(self, schema: Mapping[str, Any]) -> Any:
        """A value that a schema admits, of its examples where it has any."""
        return sample(schema, self._document)

    @property
    def _document(self) -> Json:
        return {"components": {"schemas": self.components}}

    def _demand(self, body: Body) -> None:
        """Write into a body's component what its Struct does not know of itself."""
        schema = resolved(self.of(body.kind), self._document)
        schema["required"] = sorted({*schema.get("required", ()), *body.required})
        for name in schema["required"]:
            property_ = schema["properties"][name]
            property_.pop("default", None)
            stated = [each for each in property_.get("anyOf", ()) if each != {"type": "null"}]
            if len(stated) == 1:
                del property_["anyOf"]
                property_.update(stated[0])
        for name, keywords in body.fields.items():
            schema["properties"][name].update(keywords)

    def _reached(self, schemas: Sequence[Json]) -> set[str]:
        """The names of all components that some schemas refer to, directly or through others."""
        reached: set[str] = set()
        waiting = list(schemas)
        while waiting:
            for name in set(references(waiting.pop())) - reached:
                reached.add(name)
                waiting.append(self.components[name])
        return reached


def _choices(kind: Any) -> Sequence[Any]:
    """The parts of a union, for msgspec describes no union of Structs without tags."""
    return get_args(kind) if get_origin(kind) in (Union, UnionType) else (kind,)


def references(value: Any) -> Iterator[str]:
    """The names of the components that a schema names."""
    if isinstance(value, dict):
        if isinstance(found := value.get("$ref"), str):
            yield found.removeprefix(COMPONENTS)
        value = list(value.values())
    if isinstance(value, list):
        for each in value:
            yield from references(each)


def resolved(value: Mapping[str, Any], document: Mapping[str, Any]) -> Any:
    """A value, or what it refers to in its document."""
    while "$ref" in value:
        found: Any = document
        for name in value["$ref"].removeprefix("#/").split("/"):
            found = found[name.replace("~1", "/").replace("~0", "~")]
        value = found
    return value


def sample(schema: Mapping[str, Any], document: Mapping[str, Any], depth: int = 0) -> Any:
    """A value that a schema admits, of its examples where it has any."""
    schema = resolved(schema, document)
    for keyword in ("examples", "enum"):
        if schema.get(keyword):
            return schema[keyword][0]
    if "const" in schema:
        return schema["const"]
    if choices := schema.get("oneOf") or schema.get("anyOf"):
        return sample(choices[0 if depth < DEEPEST else -1], document, depth)
    match schema.get("type"):
        case "object":
            return {name: sample(each, document, depth + 1) for name, each in schema.get("properties", {}).items()}
        case "array":
            return [sample(schema["items"], document, depth + 1)] if "items" in schema and depth < DEEPEST else []
        case "integer" | "number":
            return schema.get("minimum", 0)
        case "boolean":
            return schema.get("default", False)
        case "string":
            return schema.get("default", "string")
    return None
