"""Tools given to agents: over the API, by the command, out of a whole OpenAPI document."""

import asyncio
import json
import subprocess
from pathlib import Path
from typing import Any

import pytest
import yaml
from aiohttp import web

from tests.management.scene import Manager
from tests.support.handling import handled
from tests.support.server import ServerProcess

TOOL = {
    "type": "http",
    "name": "order_status",
    "description": "Status of an order",
    "url": "https://shop.example/orders/{order_id}",
    "parameters": {"type": "object", "properties": {"order_id": {"type": "string"}}, "required": ["order_id"]},
}
PATHS = {
    "/orders/{order_id}": {"get": {"operationId": "order_status", "summary": "Status of an order"}},
    "/orders": {"post": {"operationId": "place_order", "requestBody": {"content": {"text/csv": {}}, "required": True}}},
    "/shops": {"get": {"operationId": "shops"}},
    "/photos": {"post": {"operationId": "add_photo", "requestBody": {"content": {"multipart/form-data": {}}}}},
}
OPENAPI = {"openapi": "3.1.0", "servers": [{"url": "https://shop.example"}], "paths": PATHS}


async def made(acme: Manager, name: str, **more: Any) -> dict[str, Any]:
    agent: dict[str, Any] = (
        await acme.post("/agents", {"name": name, "model": {"provider": "scripted", "script": ["Hi"]}, **more})
    ).ok(201)
    return agent


def told(folder: Path) -> str:
    file = folder / "openapi.json"
    file.write_text(json.dumps(OPENAPI))
    return str(file)


def imported(server: ServerProcess, *arguments: str, check: bool = True) -> subprocess.CompletedProcess[str]:
    return server.run("tools", "import", *arguments, check=check)


async def test_an_agent_of_the_api_takes_every_kind_of_tool(acme: Manager) -> None:
    mcp = {"type": "mcp", "url": "https://tools.example/mcp", "allow": ["search"], "timeout": 5.0}
    agent = await made(acme, "Tooled", tools=[TOOL, mcp, {"type": "builtin", "name": "clock"}], max_steps=4)
    assert agent["definition"]["tools"] == [TOOL, mcp, {"type": "builtin", "name": "clock"}]
    assert agent["definition"]["max_steps"] == 4
    wrong = {"tools": [{**TOOL, "url": "https://{order_id}.example/"}]}
    (await acme.patch(f"/agents/{agent['slug']}", wrong)).problem(400, "tools[0].url")


async def test_a_document_becomes_tools_of_a_manifest_on_standard_output(server: ServerProcess, tmp_path: Path) -> None:
    done = imported(server, told(tmp_path), "--header", "Authorization=Bearer secret:shop_token")
    tools = yaml.safe_load(done.stdout)["tools"]
    assert [tool["name"] for tool in tools] == ["order_status", "shops", "add_photo"]
    assert [tool["headers"] for tool in tools] == [tools[0]["headers"]] * 3
    assert not {"&", "*"} & set(done.stdout), "each stands by itself"
    assert tools[0]["headers"] == {"Authorization": {"secret": "shop_token", "prefix": "Bearer "}}
    assert "left out  POST /orders: its body is text/csv, and not JSON" in done.stderr
    assert "left out  POST /photos, body: is multipart/form-data, and not JSON" in done.stderr


async def test_tools_are_given_to_an_agent_and_published(acme: Manager, server: ServerProcess, tmp_path: Path) -> None:
    own = {"type": "client", "name": "ring"}
    agent = await made(acme, "Importer", tools=[own, {**TOOL, "description": "Old"}])
    done = imported(server, told(tmp_path), "--agent", "importer", "--tenant", "acme")
    assert done.stdout == "updated   agent acme/importer, version 2\n"
    now = (await acme.get(f"/agents/{agent['id']}")).ok()
    assert [(tool["name"], tool.get("description")) for tool in now["definition"]["tools"]] == [
        ("ring", None),
        ("order_status", "Status of an order"),
        ("shops", "GET /shops"),
        ("add_photo", "POST /photos"),
    ]
    again = imported(server, told(tmp_path), "--agent", "acme/importer")
    assert again.stdout == "unchanged agent acme/importer\n"


async def test_a_draft_with_other_changes_is_not_published(
    acme: Manager, server: ServerProcess, tmp_path: Path
) -> None:
    agent = await made(acme, "Drafted")
    (await acme.patch(f"/agents/{agent['id']}", {"instructions": "Unfinished"})).ok()
    done = imported(server, told(tmp_path), "--agent", "drafted", "--only", "shops")
    assert "the draft of agent acme/drafted" in done.stdout
    now = (await acme.get(f"/agents/{agent['id']}")).ok()
    assert now["version"] == 1
    assert [tool["name"] for tool in now["draft"]["tools"]] == ["shops"]


async def test_a_manifests_agent_is_left_to_its_manifest(server: ServerProcess, tmp_path: Path) -> None:
    done = imported(server, told(tmp_path), "--agent", "support-agent", "--only", "shops")
    assert "a manifest made acme/support-agent" in done.stderr
    assert [tool["name"] for tool in yaml.safe_load(done.stdout)["tools"]] == ["shops"]


async def test_a_dry_run_changes_nothing(acme: Manager, server: ServerProcess, tmp_path: Path) -> None:
    agent = await made(acme, "Untouched")
    done = imported(server, told(tmp_path), "--agent", "untouched", "--dry-run")
    assert yaml.safe_load(done.stdout)["tools"]
    assert (await acme.get(f"/agents/{agent['id']}")).ok()["version"] == 1


async def test_a_document_is_fetched_where_it_is_an_address(server: ServerProcess) -> None:
    async def answer(request: web.BaseRequest) -> web.Response:
        return web.json_response({**OPENAPI, "servers": [{"url": "/v2"}]})

    async with handled(answer) as url:
        done = await asyncio.to_thread(imported, server, f"{url}/docs/openapi.json", "--only", "shops")
    assert yaml.safe_load(done.stdout)["tools"][0]["url"] == f"{url}/v2/shops"


async def test_wrong_usage_is_told_in_one_line(server: ServerProcess, tmp_path: Path) -> None:
    file = told(tmp_path)
    (tmp_path / "wrong.yaml").write_text("swagger: '2.0'\npaths: {}\n")
    for arguments, status in (
        (("absent.json",), 2),
        ((str(tmp_path / "wrong.yaml"),), 2),
        ((file, "--only", "absent"), 2),
        ((file, "--header", "nonsense"), 2),
        ((file, "--agent", "nobody"), 1),
    ):
        done = imported(server, *arguments, check=False)
        assert done.returncode == status, arguments
        assert done.stderr.splitlines()[-1].startswith("dragoman: ")
        assert "Traceback" not in done.stderr


@pytest.mark.parametrize("text", ["swagger: '2.0'\npaths: {}\n", "swagger: '2.0'\n"])
async def test_a_document_of_swagger_is_told_what_is_needed(server: ServerProcess, tmp_path: Path, text: str) -> None:
    (tmp_path / "old.yaml").write_text(text)
    done = imported(server, str(tmp_path / "old.yaml"), check=False)
    assert done.returncode == 2
    assert "it is Swagger 2.0, and OpenAPI 3.0 or 3.1 is needed" in done.stderr
