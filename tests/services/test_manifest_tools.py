"""Tools in a manifest: what each type takes, and where what is wrong stands."""

import json
import re
from pathlib import Path
from typing import Any

import msgspec
import pytest
import yaml

from dragoman.core.agents import AgentDefinition
from dragoman.services.manifest import ManifestError, read
from dragoman.services.manifest.format import definition_of

HTTP: dict[str, Any] = {
    "type": "http",
    "name": "order_status",
    "description": "Status of an order",
    "url": "https://shop.example/orders/{order_id}",
    "parameters": {"type": "object", "properties": {"order_id": {"type": "string"}}, "required": ["order_id"]},
}
MCP = {"type": "mcp", "url": "https://tools.example/mcp", "allow": ["search"]}
FULL = {
    **HTTP,
    "name": "change",
    "method": "PATCH",
    "query": {"by": "{metadata.user}"},
    "headers": {
        "Authorization": {"secret": "shop_token", "prefix": "Bearer "},
        "X-Key": {"secret": "key"},
        "X-Order": "{order_id}",
    },
    "body": {"id": "{order_id}", "fixed": [1, None]},
    "response": ["order.status", "items.0.name"],
    "approval": "always",
    "timeout": 0.5,
    "per_turn": 2,
    "per_minute": 30,
}


def read_agent(**agent: Any) -> Any:
    tenants = [{"id": "acme", "agents": [{"name": "A", **agent}]}]
    return read(yaml.safe_dump({"tenants": tenants})).tenants[0].agents[0]


def test_every_example_of_the_page_is_a_manifest_or_a_part_of_one() -> None:
    page = (Path(__file__).parents[2] / "docs" / "tools.md").read_text(encoding="utf-8")
    whole, *parts = re.findall(r"```yaml\n(.*?)```", page, re.DOTALL)
    tools = [*read(whole).tenants[0].agents[0].tools]
    tools += [tool for part in parts for tool in read_agent(**yaml.safe_load(part)).tools]
    assert {tool.type for tool in tools} == {"http", "mcp", "builtin"}
    assert len(tools) == 7


def test_every_field_reaches_the_definition_as_it_was_told() -> None:
    tools = [FULL, {**MCP, "headers": {"X-Key": {"secret": "key"}}}, {"type": "builtin", "name": "clock"}]
    agent = read_agent(tools=tools, max_steps=3)
    kept = definition_of(agent)
    assert json.loads(json.dumps(kept["tools"])) == tools, "and an export tells it so again"
    definition = msgspec.convert(kept, AgentDefinition)
    assert definition.max_steps == 3
    http, mcp, builtin = definition.server_tools
    assert (http.method, http.timeout, http.per_turn, http.per_minute) == ("PATCH", 0.5, 2, 30)
    assert http.response == ("order.status", "items.0.name")
    assert http.headers == FULL["headers"]
    assert (mcp.allow, mcp.approval, builtin.name) == (("search",), "auto", "clock")


@pytest.mark.parametrize(
    ("tool", "path", "words"),
    [
        ({**HTTP, "name": None}, "name", "1 to 64"),
        ({**HTTP, "name": "with space"}, "name", "1 to 64"),
        ({**HTTP, "url": None}, "url", "needs it"),
        ({**HTTP, "description": None}, "description", "needs it"),
        ({**HTTP, "url": "https://{order_id}.example/"}, "url", "path and its query"),
        ({**HTTP, "url": "https://shop.example:{order_id}/"}, "url", "path and its query"),
        ({**HTTP, "url": "ftp://shop.example/"}, "url", "http://"),
        ({**HTTP, "url": "https://user:pass@shop.example/"}, "url", "no name or password"),
        ({**HTTP, "url": "https://shop.example/{other}"}, "url", "{other} is no parameter"),
        ({**HTTP, "query": {"q": "{other}"}}, "query", "{other} is no parameter"),
        ({**HTTP, "method": "POST", "body": {"a": ["{other}"]}}, "body", "{other} is no parameter"),
        ({**HTTP, "headers": {"X-A": "{other}"}}, "headers.X-A", "{other} is no parameter"),
        ({**HTTP, "headers": {"X A": "a"}}, "headers", "no name of a header"),
        ({**HTTP, "headers": {"X-A": "a\r\nX-B: b"}}, "headers.X-A", "printable"),
        ({**HTTP, "headers": {"X-A": {"secrte": "a"}}}, "headers.X-A", "{secret: NAME}"),
        ({**HTTP, "headers": {"X-A": {"secret": "a", "suffix": "b"}}}, "headers.X-A", "{secret: NAME}"),
        ({**HTTP, "headers": {"X-A": {"secret": 7}}}, "headers.X-A", "{secret: NAME}"),
        ({**HTTP, "headers": {"X-A": {"secret": "a", "prefix": "b\n"}}}, "headers.X-A", "{secret: NAME}"),
        ({**HTTP, "parameters": {**HTTP["parameters"], "type": "string"}}, "parameters", "object"),
        ({**HTTP, "parameters": {**HTTP["parameters"], "type": "nothing"}}, "parameters", "object"),
        ({**HTTP, "parameters": {**HTTP["parameters"], "minProperties": "x"}}, "parameters", "JSON Schema"),
        ({**HTTP, "parameters": {"$ref": "http://127.0.0.1:9/x"}}, "url", "no parameter"),
        (
            {**HTTP, "url": "https://a.example", "parameters": {"$ref": "http://127.0.0.1:9/x"}},
            "parameters",
            "JSON Sch",
        ),
        (
            {**HTTP, "url": "https://a.example", "parameters": {"properties": {"a": {"pattern": "(?=a)b"}}}},
            "parameters",
            "JSON Schema",
        ),
        ({**HTTP, "allow": ["x"]}, "allow", "takes none"),
        ({**MCP, "allow": []}, "allow", "needs it"),
        ({**MCP, "url": None}, "url", "needs it"),
        ({**MCP, "url": "https://tools.example/{x}"}, "url", "no placeholders"),
        ({**MCP, "headers": {"X-A": "{x}"}}, "headers.X-A", "no placeholders"),
        ({**MCP, "body": {}}, "body", "takes none"),
        ({"type": "builtin", "name": "shell"}, "name", "clock, calculator"),
        ({"type": "builtin"}, "name", "clock, calculator"),
        ({"type": "builtin", "name": "clock", "url": "https://a.example"}, "url", "takes none"),
        ({"type": "client", "name": "x", "parameters": {"required": 7}}, "parameters", "JSON Schema"),
        ({"type": "client", "name": "x", "headers": {}}, "headers", "takes none"),
    ],
)
def test_what_is_wrong_with_a_tool_is_told_with_its_path(tool: dict[str, Any], path: str, words: str) -> None:
    told = {name: value for name, value in tool.items() if value is not None}
    with pytest.raises(ManifestError) as refused:
        read_agent(tools=[told])
    assert refused.value.message.startswith(f"manifest: tenants[0].agents[0].tools[0].{path}: ")
    assert words in refused.value.message


@pytest.mark.parametrize(
    ("field", "value"),
    [
        ("timeout", 0.05),
        ("timeout", 61),
        ("per_turn", 0),
        ("per_minute", 0),
        ("method", "TRACE"),
        ("approval", "sometimes"),
        ("response", [""]),
    ],
)
def test_bounds_are_told_with_their_path(field: str, value: Any) -> None:
    with pytest.raises(ManifestError, match=rf"tools\[0\]\.{field}"):
        read_agent(tools=[{**HTTP, field: value}])


@pytest.mark.parametrize("steps", [0, 21, "many"])
def test_steps_are_bounded(steps: Any) -> None:
    with pytest.raises(ManifestError, match="max_steps"):
        read_agent(max_steps=steps)


def test_names_are_unique_among_all_but_what_servers_name() -> None:
    with pytest.raises(ManifestError, match=r"tools\[1\]\.name: 'clock' is there twice"):
        read_agent(tools=[{"type": "client", "name": "clock"}, {"type": "builtin", "name": "clock"}])
    assert len(read_agent(tools=[MCP, MCP, HTTP]).tools) == 3


def test_a_clients_patterns_are_the_clients_business() -> None:
    schema = {"type": "object", "properties": {"a": {"type": "string", "pattern": "(?=a)b"}}}
    assert read_agent(tools=[{"type": "client", "name": "x", "parameters": schema}]).tools
