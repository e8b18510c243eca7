"""Tools of a real MCP server: listed, spelled, called, and what becomes of servers that are down or hostile."""

import asyncio
import json
import time
from collections.abc import AsyncIterator, Iterator
from dataclasses import replace
from typing import Any

import pytest
from aiohttp import web

from dragoman.adapters.egress import Egress
from dragoman.adapters.tools import mcp
from dragoman.adapters.tools.mcp import McpTools, spelled
from dragoman.core.agents import Tool
from dragoman.ports.egress import Answer
from dragoman.ports.tools import ToolError
from tests.adapters.tools.conftest import TOKEN, Kept, Shop, Toolbox
from tests.support.mcp_server import LONG_NAME, McpServer


@pytest.fixture(scope="module")
def server() -> Iterator[McpServer]:
    with McpServer() as server:
        yield server


def allowing(server: McpServer | Shop, *names: str, **more: Any) -> Tool:
    return Tool("mcp", url=server.url, allow=names, **more)


async def test_an_allowed_tool_is_offered_and_called(toolbox: Toolbox, server: McpServer) -> None:
    offers = await toolbox.offers(allowing(server, "order_status"))
    assert list(offers) == ["order_status"]
    offer = offers["order_status"]
    assert offer.tool.description == "Status of an order"
    assert offer.tool.parameters is not None
    assert offer.tool.parameters["required"] == ["order_id"]
    assert toolbox.tools.problem(offer, {}) is not None
    assert toolbox.tools.problem(offer, {"order_id": "7"}) is None
    assert await toolbox.made(offer, order_id="7") == "Order 7 is shipped"


async def test_nothing_else_of_the_server_is_offered(toolbox: Toolbox, server: McpServer) -> None:
    offers = await toolbox.offers(allowing(server, "slow", "absent", "order_status"))
    assert list(offers) == ["slow", "order_status"], "in the owner's order"


async def test_a_tool_writes_where_its_server_declares_it(toolbox: Toolbox, server: McpServer) -> None:
    offers = await toolbox.offers(allowing(server, "order_status", "cancel_order", "add_note", "picture"))
    assert {name: offer.writes for name, offer in offers.items()} == {
        "order_status": False,
        "cancel_order": True,
        "add_note": True,
        "picture": False,
    }


async def test_a_name_and_a_description_are_made_fit_for_models(toolbox: Toolbox, server: McpServer) -> None:
    (offer,) = (await toolbox.offers(allowing(server, LONG_NAME))).values()
    assert offer.remote == LONG_NAME
    assert offer.tool.name == spelled(LONG_NAME)
    assert len(offer.tool.name) == 64
    assert len(offer.tool.description) < 1_100
    assert await toolbox.made(offer, town="Ulm") == '{\n  "shop": "in Ulm"\n}'


async def test_names_are_unique_among_the_tools_of_an_agent(toolbox: Toolbox, server: McpServer) -> None:
    taken = Tool("client", "order_status")
    own = Tool("http", "slow", "Own", url="http://127.0.0.1:9/")
    offers = await toolbox.offers(
        taken, own, allowing(server, "order_status", "slow"), allowing(server, "slow", "order_status", timeout=1)
    )
    assert list(offers) == ["slow", "order_status_2", "slow_2", "slow_3", "order_status_3"]
    assert await toolbox.made(offers["order_status_3"], order_id="1") == "Order 1 is shipped"


async def test_what_is_no_text_is_named(toolbox: Toolbox, server: McpServer) -> None:
    told = await toolbox.call(allowing(server, "picture"))
    assert told == "Here it is\n(image of type image/png, which cannot be shown)"


async def test_a_tool_that_fails_says_why(toolbox: Toolbox, server: McpServer) -> None:
    with pytest.raises(ToolError, match="the shelf is empty"):
        await toolbox.call(allowing(server, "fails"))


async def test_a_long_result_is_cut_and_one_without_end_is_an_error(toolbox: Toolbox, server: McpServer) -> None:
    told = await toolbox.call(allowing(server, "long"))
    assert told.startswith("x" * 8_000)
    assert len(told) < 8_100
    with pytest.raises(ToolError, match=r"^The tool's answer is larger than 1,000,000 bytes$"):
        await toolbox.call(allowing(server, "huge"))


async def test_a_slow_tool_ends_with_its_time_out(toolbox: Toolbox, server: McpServer) -> None:
    tool = allowing(server, "slow", timeout=1.0)
    await toolbox.offers(tool)
    began = time.monotonic()
    with pytest.raises(ToolError, match="within 1 s"):
        await toolbox.call(tool)
    assert time.monotonic() - began < 5


async def test_a_secret_goes_to_the_server_and_not_to_the_model(toolbox: Toolbox, server: McpServer) -> None:
    headers = {"Authorization": {"secret": "shop_token", "prefix": "Bearer "}}
    assert await toolbox.call(allowing(server, "who", headers=headers)) == "Bearer [secret]"
    assert await toolbox.call(allowing(server, "who")) == "None"
    assert await toolbox.offers(allowing(server, "who", headers={"X": {"secret": "absent"}})) == {}


@pytest.mark.parametrize("host", ["127.0.0.1", "localhost"])
async def test_a_private_address_wants_the_operators_leave(
    toolbox: Toolbox, server: McpServer, host: str, capsys: pytest.CaptureFixture[str]
) -> None:
    tool = Tool("mcp", url=server.url.replace("127.0.0.1", host), allow=("order_status",))
    assert await toolbox.offers(tool, allow_private=False) == {}
    assert "egress: {allow_private: true}" in "".join(capsys.readouterr())
    (offer,) = (await toolbox.offers(allowing(server, "order_status"))).values()
    with pytest.raises(ToolError) as refused:
        await toolbox.made(replace(offer, entry=tool), order_id="1", allow_private=False)
    # The log of a turn keeps what stands before the first colon; a model is told no address.
    said = str(refused.value).partition(":")[0]
    assert said == "The tool's server has an address that may not be reached from here, as it is not public"
    assert "egress: {allow_private: true}" in "".join(capsys.readouterr())


async def test_a_server_that_is_down_is_not_called_forbidden(
    toolbox: Toolbox, server: McpServer, unused_port: int
) -> None:
    (offer,) = (await toolbox.offers(allowing(server, "order_status"))).values()
    away = replace(offer.entry, url=f"http://127.0.0.1:{unused_port}/mcp")
    with pytest.raises(ToolError, match="could not be reached, or broke off"):
        await toolbox.made(replace(offer, entry=away), order_id="1")


@pytest.mark.parametrize("pieces", [1, 4])
@pytest.mark.parametrize("begin", ["", "id: 1\n"], ids=["plain", "with an id"])
async def test_a_stream_of_events_that_is_too_large_says_so(
    toolbox: Toolbox, server: McpServer, shop: Shop, pieces: int, begin: str
) -> None:
    async def answer(request: web.Request) -> web.StreamResponse:
        response = web.StreamResponse(headers={"Content-Type": "text/event-stream"})
        await response.prepare(request)
        note = {"level": "info", "data": "x" * (1_200_000 // pieces)}
        told = {"jsonrpc": "2.0", "method": "notifications/message", "params": note}
        for _ in range(pieces):
            await response.write(f"{begin}data: {json.dumps(told)}\n\n".encode())
        return response

    (offer,) = (await toolbox.offers(allowing(server, "order_status"))).values()
    shop.answer = answer
    with pytest.raises(ToolError, match=r"^The tool's answer is larger than 1,000,000 bytes$"):
        await toolbox.made(replace(offer, entry=allowing(shop, "order_status", timeout=3.0)), order_id="1")


class Counting(Egress):
    """Counts the requests that go out."""

    count = 0

    async def open(self, *given: Any, **more: Any) -> Any:
        self.count += 1
        return await super().open(*given, **more)

    async def request(self, *given: Any, **more: Any) -> Answer:
        raise AssertionError("servers are asked through the transport")


@pytest.fixture
async def counting() -> AsyncIterator[Counting]:
    egress = Counting()
    yield egress
    await egress.close()


async def test_a_list_is_remembered_and_asked_again_later(
    counting: Counting, server: McpServer, monkeypatch: pytest.MonkeyPatch
) -> None:
    tools, tool = McpTools(counting, Kept()), allowing(server, "order_status")
    first = await tools.offers(tool, "acme", allow_private=True)
    asked = counting.count
    assert asked > 0
    assert await tools.offers(tool, "acme", allow_private=True) == first
    assert counting.count == asked
    assert await tools.offers(tool, "other", allow_private=True) == first
    assert counting.count > asked, "another tenant asks by itself"
    asked, now = counting.count, time.monotonic()
    monkeypatch.setattr(mcp.time, "monotonic", lambda: now + 301)
    await tools.offers(tool, "acme", allow_private=True)
    assert counting.count > asked


async def test_a_server_that_is_down_offers_nothing_and_is_left_alone_for_a_while(
    counting: Counting, unused_port: int
) -> None:
    tools, tool = McpTools(counting, Kept()), Tool("mcp", url=f"http://127.0.0.1:{unused_port}/mcp", allow=("x",))
    assert await tools.offers(tool, "acme", allow_private=True) == []
    asked = counting.count
    assert asked > 0
    assert await tools.offers(tool, "acme", allow_private=True) == []
    assert counting.count == asked


async def test_a_log_has_no_query_of_an_address(
    toolbox: Toolbox, unused_port: int, capsys: pytest.CaptureFixture[str]
) -> None:
    url = f"http://127.0.0.1:{unused_port}/x?key=owners-own"
    assert await toolbox.offers(Tool("mcp", url=url, allow=("x",))) == {}
    with pytest.raises(ToolError):
        await toolbox.call(Tool("http", "x", "X", url=url))
    told = capsys.readouterr()
    assert "tool_server_failed" in told.out + told.err
    assert "tool_unreachable" in told.out + told.err
    assert "owners-own" not in told.out + told.err


@pytest.fixture
async def unused_port() -> int:
    server = await asyncio.start_server(lambda reader, writer: None, "127.0.0.1", 0)
    port: int = server.sockets[0].getsockname()[1]
    server.close()
    await server.wait_closed()
    return port


async def hang(request: web.Request) -> web.StreamResponse:
    await asyncio.sleep(60)
    return web.Response()


async def drip(request: web.Request) -> web.StreamResponse:
    response = web.StreamResponse(headers={"Content-Type": "text/event-stream"})
    await response.prepare(request)
    while True:
        await response.write(b": \n\n")
        await asyncio.sleep(0.05)


async def flood(request: web.Request) -> web.StreamResponse:
    response = web.StreamResponse(headers={"Content-Type": "application/json"})
    await response.prepare(request)
    for _ in range(1 << 14):
        await response.write(b"[" * 65_536)
    return response


async def page(request: web.Request) -> web.StreamResponse:
    return web.Response(text=f"<p>Hello {TOKEN}</p>", content_type="text/html")


async def elsewhere(request: web.Request) -> web.StreamResponse:
    return web.Response(status=307, headers={"Location": "http://localhost:9/mcp"})


@pytest.mark.parametrize("answer", [hang, drip, flood, page, elsewhere])
async def test_a_hostile_server_offers_nothing_and_holds_nobody_up(toolbox: Toolbox, shop: Shop, answer: Any) -> None:
    shop.answer = answer
    began = time.monotonic()
    assert await toolbox.offers(allowing(shop, "order_status")) == {}
    assert time.monotonic() - began < 12


@pytest.mark.parametrize(
    ("name", "fit"), [("a.b/c", "a_b_c"), ("ünï", "n"), ("日本", "tool"), ("x" * 70, "x" * 64), ("ok-1_2", "ok-1_2")]
)
def test_names_are_spelled_for_models(name: str, fit: str) -> None:
    assert spelled(name) == fit
