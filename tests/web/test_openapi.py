"""The OpenAPI document of every dialect: valid, whole, and true of what the wire code makes."""

import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from fastapi.routing import APIRoute
from jsonschema import Draft202012Validator
from openapi_spec_validator import validate

from dragoman.server.errors import Dialect
from dragoman.web.openapi import openapi
from dragoman.web.schemas import resolved
from tests.web.scene import DOCUMENTED, HOSTILE, SAMPLE

GOLDEN = Path(__file__).parent.parent / "dialects"
every = pytest.mark.parametrize("dialect", DOCUMENTED, ids=lambda dialect: dialect.name)


def operations(document: dict[str, Any]) -> Iterator[tuple[str, str, dict[str, Any]]]:
    for path, methods in document["paths"].items():
        for method, said in methods.items():
            yield path, method, said


def contents(document: dict[str, Any], *, good: bool) -> Iterator[tuple[str, dict[str, Any]]]:
    """Media type and content of the answers that are good, or of those that say an error."""
    for _, _, said in operations(document):
        for status, answer in said["responses"].items():
            if status.startswith("2") == good:
                yield from resolved(answer, document).get("content", {}).items()


def conforms(document: dict[str, Any], schema: dict[str, Any], value: Any) -> bool:
    return Draft202012Validator({"allOf": [schema], "components": document["components"]}).is_valid(value)


def references(value: Any) -> Iterator[str]:
    if isinstance(value, dict):
        if isinstance(value.get("$ref"), str):
            yield value["$ref"]
        value = list(value.values())
    if isinstance(value, list):
        for each in value:
            yield from references(each)


@every
def test_it_is_openapi_3_1(dialect: Dialect) -> None:
    document = openapi(dialect)
    assert document["openapi"] == "3.1.0"
    validate(document)


@every
def test_every_reference_leads_somewhere(dialect: Dialect) -> None:
    document = openapi(dialect)
    found = set(references(document))
    assert found
    for reference in found:
        assert resolved({"$ref": reference}, document)


@every
def test_every_route_is_in_it_with_a_summary_an_answer_and_errors(dialect: Dialect) -> None:
    document = openapi(dialect)
    routes = [route for route in dialect.router.routes if isinstance(route, APIRoute) and route.include_in_schema]
    assert {path for path, _, _ in operations(document)} == {route.path_format for route in routes}
    for route in routes:
        assert set(document["paths"][route.path_format]) >= {method.lower() for method in route.methods}
    for path, _, said in operations(document):
        assert said["summary"]
        assert "Raises" not in said["summary"]
        assert any(status[0] in "23" for status in said["responses"])
        assert {"400", "401", "429", "500", "503"} <= set(said["responses"])
        named = {each["name"] for each in said.get("parameters", ()) if each["in"] == "path"}
        assert {f"{{{name}}}" for name in named} == {part for part in path.split("/") if part.startswith("{")}
        assert all(each["description"] for each in said.get("parameters", ()))


@every
def test_no_two_operations_have_one_name(dialect: Dialect) -> None:
    names = [said["operationId"] for _, _, said in operations(openapi(dialect))]
    assert len(names) == len(set(names))


@every
def test_every_example_conforms_to_its_schema(dialect: Dialect) -> None:
    document = openapi(dialect)
    asked = [
        content
        for _, _, said in operations(document)
        for content in said.get("requestBody", {}).get("content", {}).values()
    ]
    answered = [content for media, content in contents(document, good=True) if media == "application/json"]
    for content in (*asked, *answered):
        assert conforms(document, content["schema"], content["example"]), content["example"]
    failed = [content for _, content in contents(document, good=False)]
    assert failed
    for content in failed:
        for example in content["examples"].values():
            assert conforms(document, content["schema"], example["value"]), example["value"]
    for _, _, said in operations(document):
        for parameter in said.get("parameters", ()):
            if "example" in parameter:
                assert conforms(document, parameter["schema"], parameter["example"])


@every
def test_answers_have_no_further_fields_and_requests_may(dialect: Dialect) -> None:
    document = openapi(dialect)
    for media, content in contents(document, good=True):
        if media == "application/json" and isinstance(content["example"], dict):
            assert not conforms(document, content["schema"], {**content["example"], "further": 1})
    for _, _, said in operations(document):
        for content in said.get("requestBody", {}).get("content", {}).values():
            assert conforms(document, content["schema"], {**content["example"], "further": 1})


@every
def test_a_required_field_may_be_neither_missing_nor_null(dialect: Dialect) -> None:
    document = openapi(dialect)
    for _, _, said in operations(document):
        for content in said.get("requestBody", {}).get("content", {}).values():
            for name in resolved(content["schema"], document).get("required", ()):
                rest = {key: value for key, value in content["example"].items() if key != name}
                assert not conforms(document, content["schema"], rest)
                assert not conforms(document, content["schema"], {**rest, name: None})


@pytest.mark.parametrize("dialect", [each for each in DOCUMENTED if (GOLDEN / each.name / "golden").is_dir()])
def test_the_kept_transcripts_conform(dialect: Dialect) -> None:
    document = openapi(dialect)
    whole = [each["schema"] for media, each in contents(document, good=True) if media == "application/json"]
    whole += [each["schema"] for _, each in contents(document, good=False)]
    events = [each["schema"] for media, each in contents(document, good=True) if media == "text/event-stream"]
    files = list((GOLDEN / dialect.name / "golden").iterdir())
    for file in (file for file in files if file.suffix == ".json"):
        assert conforms(document, {"anyOf": whole}, json.loads(file.read_bytes())), file.name
    blocks = [block for file in files if file.suffix == ".txt" for block in file.read_bytes().decode().split("\n\n")]
    assert any(blocks)
    for block in filter(None, blocks):
        event = dict(line.split(": ", 1) for line in block.split("\n"))
        assert conforms(document, {"anyOf": events}, event), block
        assert any(data_conforms(document, each, event["data"]) for each in events), block


@every
def test_stream_is_true_false_or_null_as_it_is_taken(dialect: Dialect) -> None:
    document = openapi(dialect)
    for _, _, said in operations(document):
        for content in said.get("requestBody", {}).get("content", {}).values():
            if "stream" in resolved(content["schema"], document).get("properties", ()):
                for value, taken in ((True, True), (False, True), (None, True), ("true", False), (1, False)):
                    asked = {**content["example"], "stream": value}
                    assert conforms(document, content["schema"], asked) is taken, value


def test_a_user_of_a_chat_is_one_whom_a_path_can_name() -> None:
    (sessions,) = (dialect for dialect in DOCUMENTED if dialect.name == "sessions")
    document = openapi(sessions)
    schema = document["paths"]["/api/v1/chats/"]["post"]["requestBody"]["content"]["application/json"]["schema"]
    for user in ("user123", "...", ".a", "a b", "x" * 255):
        assert conforms(document, schema, {"user_id": user}), user
    for user in (" ", "", "org/7", "/", ".", "..", "a\0b", "x" * 256):
        assert not conforms(document, schema, {"user_id": user}), user


def data_conforms(document: dict[str, Any], event: dict[str, Any], data: str) -> bool:
    """Whether what stands in an event conforms: validators do not look into it by themselves."""
    *last, said = event["properties"]["data"].get("anyOf", [event["properties"]["data"]])
    return {"const": data} in last or conforms(document, said["contentSchema"], json.loads(data))


def test_a_form_is_told_in_every_media_type_and_its_files_in_one() -> None:
    document = openapi(SAMPLE)
    content = document["paths"]["/sample/v1/agents/{agent_id}/ask"]["post"]["requestBody"]["content"]
    assert list(content) == ["multipart/form-data", "application/x-www-form-urlencoded", "application/json"]
    assert "audio" in json.dumps(content["multipart/form-data"])
    assert "audio" not in json.dumps(content["application/json"])


def test_where_no_credential_is_needed_it_says_so() -> None:
    document = openapi(SAMPLE)
    assert document["security"] == [{"x-api-token": []}]
    assert document["paths"]["/sample/v1/agents/{agent_id}/ask"]["post"]["security"] == [{"x-api-token": []}, {}]
    assert "security" not in document["paths"]["/sample/v1/things/"]["delete"]


def test_an_answer_without_a_body_has_no_content() -> None:
    answer = openapi(SAMPLE)["paths"]["/sample/v1/things/"]["delete"]["responses"]["204"]
    assert "content" not in answer
    assert "X-Total-Count" in answer["headers"]


def test_errors_are_spelled_by_the_dialect_itself() -> None:
    answers = openapi(SAMPLE)["components"]["responses"]
    assert answers["Error404"]["content"]["application/json"]["examples"] == {
        "AgentNotFound": {"value": {"error": "Agent not found"}}
    }
    assert set(answers["Error500"]["content"]["application/json"]["examples"]) == {"Internal", "ModelFailed"}
    assert "Retry-After" in answers["Error429"]["headers"]
    assert "WWW-Authenticate" in answers["Error401"]["headers"]


def test_a_type_that_holds_itself_has_a_sample() -> None:
    document = openapi(SAMPLE)
    answers = document["paths"]["/sample/v1/agents/{agent_id}/ask"]["post"]["responses"]
    assert answers["200"]["content"]["application/json"]["example"]["calls"][0]["id"] == HOSTILE
