"""A whole OpenAPI document becomes tools that a manifest takes; what cannot be one says why."""

import json
import time
from typing import Any

import msgspec
import pytest
import yaml

from dragoman.core.errors import Invalid
from dragoman.services.manifest.tools import Tool, problems
from dragoman.services.openapi import Imported, header_of, read_document, tools_of

ORDER_ID = {"name": "orderId", "in": "path", "required": True, "schema": {"type": "string"}}
SHOP: dict[str, Any] = {
    "openapi": "3.0.3",
    "info": {"title": "Shop", "version": "1"},
    "servers": [{"url": "https://{region}.shop.example/v1/", "variables": {"region": {"default": "eu"}}}],
    "paths": {
        "/orders/{orderId}": {
            "parameters": [{"$ref": "#/components/parameters/OrderId"}],
            "get": {
                "operationId": "getOrder",
                "summary": "Status of an order.",
                "description": "By its\nnumber.",
                "parameters": [
                    {"name": "expand", "in": "query", "schema": {"type": "array", "items": {"type": "string"}}},
                    {"name": "X-Trace-Id", "in": "header", "schema": {"type": "string"}},
                    {"name": "Accept", "in": "header", "schema": {"type": "string"}},
                    {"name": "filter", "in": "query", "style": "deepObject", "schema": {"type": "object"}},
                ],
            },
            "put": {
                "requestBody": {
                    "required": True,
                    "content": {"application/json": {"schema": {"$ref": "#/components/schemas/Order"}}},
                },
            },
            "delete": {"operationId": "cancel order"},
        },
        "/orders": {
            "post": {
                "operationId": "getOrder",
                "requestBody": {
                    "required": True,
                    "content": {"application/json": {"schema": {"type": "array", "items": {"type": "integer"}}}},
                },
            },
        },
        "/upload": {
            "post": {
                "operationId": "upload",
                "requestBody": {"required": True, "content": {"multipart/form-data": {"schema": {}}}},
            },
            "get": {
                "operationId": "session",
                "parameters": [{"name": "sid", "in": "cookie", "required": True, "schema": {"type": "string"}}],
            },
        },
    },
    "components": {
        "parameters": {"OrderId": ORDER_ID},
        "schemas": {
            "Order": {
                "type": "object",
                "required": ["status", "id"],
                "properties": {
                    "id": {"type": "string", "readOnly": True},
                    "status": {"type": "string", "nullable": True, "enum": ["open", "closed"], "example": "open"},
                    "parent": {"$ref": "#/components/schemas/Order"},
                    "price": {"type": "number", "minimum": 0, "exclusiveMinimum": True},
                    "code": {"type": "string", "pattern": "(?=x)y"},
                },
            },
        },
    },
}


def imported(document: dict[str, Any], **more: Any) -> Imported:
    return tools_of(read_document(json.dumps(document)), **more)


def shop(**more: Any) -> dict[str, dict[str, Any]]:
    return {tool["name"]: tool for tool in imported(SHOP, **more).tools}


def of_operation(operation: dict[str, Any], path: str = "/x", method: str = "get") -> Imported:
    paths = {path: {method: {"operationId": "it", **operation}}}
    return imported({"openapi": "3.1.0", "servers": [{"url": "https://a.example"}], "paths": paths})


def test_every_tool_is_one_that_a_manifest_takes() -> None:
    tools = [msgspec.convert(tool, Tool) for tool in shop().values()]
    assert len(tools) == 4
    assert list(problems(tools)) == []


def test_a_read_has_its_path_query_and_headers() -> None:
    tool = shop()["getOrder"]
    assert tool["method"] == "GET"
    assert tool["url"] == "https://eu.shop.example/v1/orders/{orderId}"
    assert tool["description"] == "Status of an order. By its number"
    assert tool["query"] == {"expand": "{expand}"}
    assert tool["headers"] == {"X-Trace-Id": "{X_Trace_Id}"}
    assert tool["parameters"]["required"] == ["orderId"]
    assert set(tool["parameters"]["properties"]) == {"orderId", "expand", "X_Trace_Id"}


def test_a_body_is_folded_into_the_parameters_in_words_of_json_schema() -> None:
    tool = shop()["put_orders_orderId"]
    properties = tool["parameters"]["properties"]
    assert tool["parameters"]["required"] == ["orderId", "status"], "what only the server sets is not asked for"
    assert properties["status"] == {"type": ["string", "null"], "enum": ["open", "closed", None]}
    assert properties["price"] == {"type": "number", "exclusiveMinimum": 0}
    assert properties["parent"] == {}, "a cycle is cut"
    assert properties["code"] == {"type": "string"}, "a pattern that takes more than linear time is left out"
    assert "body" not in tool


def test_a_body_that_is_no_object_is_one_parameter() -> None:
    tool = shop()["getOrder_2"]
    assert tool["body"] == "{body}"
    assert tool["parameters"]["properties"] == {"body": {"type": "array", "items": {"type": "integer"}}}


def test_names_are_fit_and_unique() -> None:
    assert list(shop()) == ["getOrder", "put_orders_orderId", "cancel_order", "getOrder_2"]


def test_what_is_left_out_says_why() -> None:
    told = dict(imported(SHOP).left_out)
    assert "deepObject" in told["GET /orders/{orderId}, parameter 'filter'"]
    assert "multipart/form-data" in told["POST /upload"]
    assert "cookie" in told["GET /upload"]
    assert len(told) == 3


def test_only_named_operations_are_taken_and_unknown_ones_refused() -> None:
    assert list(shop(only=["cancel order"])) == ["cancel_order"]
    with pytest.raises(Invalid, match="'absent'"):
        imported(SHOP, only=["absent"])


def test_the_servers_address_can_be_said_and_headers_are_added() -> None:
    headers = dict([header_of("Authorization=Bearer secret:shop_token"), header_of("X-Client=dragoman")])
    tool = shop(base_url="http://127.0.0.1:9/api/", headers=headers)["getOrder"]
    assert tool["url"] == "http://127.0.0.1:9/api/orders/{orderId}"
    assert tool["headers"]["Authorization"] == {"secret": "shop_token", "prefix": "Bearer "}
    assert tool["headers"]["X-Client"] == "dragoman"
    assert header_of("X-Key=secret:k") == ("X-Key", {"secret": "k"})
    for wrong in ("X-Key", "=secret:k", "X-Key="):
        with pytest.raises(Invalid):
            header_of(wrong)


def test_a_relative_server_is_taken_from_the_documents_address() -> None:
    document = {**SHOP, "servers": [{"url": "/api"}]}
    tools = imported(document, source="https://docs.shop.example/openapi.json").tools
    assert tools[0]["url"].startswith("https://docs.shop.example/api/orders/")
    with pytest.raises(Invalid, match="--base-url"):
        imported(document)


def test_yaml_is_read_as_json_is() -> None:
    assert tools_of(read_document(yaml.safe_dump(SHOP, sort_keys=False))) == imported(SHOP)


def test_a_parameter_of_the_same_name_elsewhere_has_a_name_of_its_own() -> None:
    both = [{"name": "id", "in": place, "required": True, "schema": {}} for place in ("path", "query")]
    (tool,) = of_operation({"parameters": both}, "/x/{id}").tools
    assert tool["url"] == "https://a.example/x/{id}"
    assert tool["query"] == {"id": "{id_query}"}
    assert tool["parameters"]["required"] == ["id", "id_query"]


def test_a_path_parameter_that_is_not_told_is_a_text() -> None:
    (tool,) = of_operation({}, "/x/{the id}").tools
    assert tool["url"] == "https://a.example/x/{the_id}"
    assert tool["parameters"]["properties"] == {"the_id": {"type": "string"}}


@pytest.mark.parametrize(
    "text",
    [
        "",
        "[]",
        "{",
        "a: [",
        "openapi: 3.0.0",
        '{"swagger": "2.0", "paths": {}}',
        '{"openapi": "4.0.0", "paths": {}}',
        "[" * 50_000,
        '{"paths": ' + "[" * 50_000,
    ],
)
def test_what_is_no_document_is_refused(text: str) -> None:
    with pytest.raises(Invalid):
        read_document(text)


@pytest.mark.parametrize(
    "operation",
    [
        {"parameters": "none"},
        {"parameters": [None]},
        {"parameters": [{"$ref": "#/nowhere"}]},
        {"parameters": [{"$ref": "http://127.0.0.1:9/x"}]},
        {"parameters": [{"name": "a", "in": "query", "schema": "wrong"}]},
        {"parameters": [{"name": "a", "in": "query", "content": {"application/json": None}}]},
        {"requestBody": {"content": {"application/json": None}}},
        {"requestBody": []},
        {"summary": 7, "description": ["x"]},
    ],
)
def test_nonsense_in_an_operation_breaks_nothing(operation: dict[str, Any]) -> None:
    for method in ("get", "post"):
        found = of_operation(operation, method=method)
        assert len(found.tools) + len(found.left_out) >= 1


def test_schemas_that_grow_without_bound_are_cut_in_no_time() -> None:
    names = [f"S{number}" for number in range(30)]
    refs = {f"p{number}": {"$ref": f"#/components/schemas/{name}"} for number, name in enumerate(names)}
    schemas = {name: {"type": "object", "properties": refs} for name in names}
    body = {"required": True, "content": {"application/json": {"schema": {"$ref": "#/components/schemas/S0"}}}}
    document = {
        "openapi": "3.1.0",
        "servers": [{"url": "https://a.example"}],
        "paths": {"/x": {"post": {"requestBody": body}}},
        "components": {"schemas": schemas},
    }
    began = time.monotonic()
    found = imported(document)
    assert time.monotonic() - began < 5
    assert len(found.tools) + len(found.left_out) == 1
