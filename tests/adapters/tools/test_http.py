"""Tools of type http against a real server: what is sent, what a model is given, what hostile ends get."""

import asyncio
import json
import time
from typing import Any

import pytest
from aiohttp import web
from yarl import URL

from dragoman.adapters.egress import Egress
from dragoman.adapters.tools.http import HttpTools
from dragoman.core.agents import Tool
from dragoman.ports.tools import CallContext, ToolError
from tests.adapters.tools.conftest import TOKEN, Answer, Kept, Shop, Toolbox, agent_of

ORDER = {"type": "object", "properties": {"order_id": {"type": "string"}}, "required": ["order_id"]}


def order_status(shop: Shop, **more: Any) -> Tool:
    given: dict[str, Any] = {"url": f"{shop.url}/orders/{{order_id}}", "parameters": ORDER, **more}
    return Tool("http", "order_status", "Status of an order", **given)


def says(body: str | bytes, media_type: str = "application/json", status: int = 200, **headers: str) -> Answer:
    async def answer(request: web.Request) -> web.Response:
        data = body.encode() if isinstance(body, str) else body
        return web.Response(body=data, status=status, headers={"Content-Type": media_type, **headers})

    return answer


async def test_an_order_is_looked_up_with_a_secret_in_a_header(toolbox: Toolbox, shop: Shop) -> None:
    tool = order_status(
        shop,
        headers={"Authorization": {"secret": "shop_token", "prefix": "Bearer "}, "X-User": "{metadata.user}"},
        query={"verbose": "yes", "page": "{page}"},
    )
    assert await toolbox.call(tool, order_id="1234", metadata={"user": "u-7"}) == '{"status":"shipped"}'
    ((method, path, headers, body),) = shop.asked
    assert (method, path, body) == ("GET", "/orders/1234?verbose=yes", b"")
    assert headers["authorization"] == f"Bearer {TOKEN}"
    assert headers["x-user"] == "u-7"


@pytest.mark.parametrize(
    "value", ["../admin", "a/b?x=1", "1#frag", "1\r\nX-Evil: 1", "%2e%2e%2fadmin", "@evil", "\\..\\"]
)
async def test_an_argument_stays_one_segment_on_the_wire(toolbox: Toolbox, shop: Shop, value: str) -> None:
    await toolbox.call(order_status(shop), order_id=value)
    ((_, path, headers, _),) = shop.asked
    assert path.startswith("/orders/")
    assert path.count("/") == 2
    assert not {"?", "#"} & set(path)
    assert "X-Evil" not in headers


@pytest.mark.parametrize("value", ["..", ".", ""])
async def test_an_argument_that_leads_elsewhere_is_refused_before_a_request(
    toolbox: Toolbox, shop: Shop, value: str
) -> None:
    with pytest.raises(ToolError, match="order_id"):
        await toolbox.call(order_status(shop), order_id=value)
    assert shop.asked == []


async def test_what_no_template_takes_is_the_body_of_a_write_and_the_query_of_a_read(
    toolbox: Toolbox, shop: Shop
) -> None:
    await toolbox.call(order_status(shop, method="PUT"), order_id="1", note="ünï", lines=[{"sku": 1}])
    await toolbox.call(order_status(shop, method="DELETE"), order_id="1")
    await toolbox.call(order_status(shop), order_id="1", **{"a b": ["x", "y&z"], "n": 3})
    put, delete, get = shop.asked
    assert json.loads(put[3]) == {"note": "ünï", "lines": [{"sku": 1}]}
    assert put[2]["content-type"] == "application/json"
    assert delete[3] == b""
    assert get[1] == "/orders/1?a%20b=x&a%20b=y%26z&n=3"


async def test_a_body_template_says_what_is_sent(toolbox: Toolbox, shop: Shop) -> None:
    body = {"order": {"id": "{order_id}"}, "by": "{metadata.user}", "gone": "{absent}", "fixed": 1}
    await toolbox.call(order_status(shop, method="POST", body=body), order_id="7", metadata={"user": "Ann"})
    assert json.loads(shop.asked[0][3]) == {"order": {"id": "7"}, "by": "Ann", "fixed": 1}


async def test_no_argument_of_a_model_passes_for_metadata(toolbox: Toolbox, shop: Shop) -> None:
    tool = order_status(shop, headers={"X-User": "{metadata.user}"})
    await toolbox.call(tool, order_id="1", **{"metadata.user": "root"})
    assert "x-user" not in shop.asked[0][2]


@pytest.mark.parametrize("value", ["a\r\nX-Evil: 1", "a\nb", "\0", "\u2028", "\x7f"])
async def test_an_argument_cannot_add_a_header(toolbox: Toolbox, shop: Shop, value: str) -> None:
    with pytest.raises(ToolError, match="no header"):
        await toolbox.call(order_status(shop, headers={"X-Note": "{note}"}), order_id="1", note=value)
    assert shop.asked == []


async def test_a_secret_that_is_not_there_stops_the_call(toolbox: Toolbox, shop: Shop) -> None:
    with pytest.raises(ToolError, match="not set up"):
        await toolbox.call(order_status(shop, headers={"X-Key": {"secret": "absent"}}), order_id="1")
    assert shop.asked == []


@pytest.mark.parametrize("status", [200, 401])
@pytest.mark.parametrize("media_type", ["application/json", "text/plain", "text/html"])
async def test_a_secret_that_the_server_echoes_is_not_shown(
    toolbox: Toolbox, shop: Shop, status: int, media_type: str
) -> None:
    async def echo(request: web.Request) -> web.Response:
        sent = request.headers["X-Key"]
        said = json.dumps({"you_sent": sent, "url": "/x?key=" + sent.replace(" ", "%20").replace("+", "%2B")})
        return web.Response(text=said, status=status, content_type=media_type)

    shop.answer = echo
    tool = order_status(shop, headers={"X-Key": {"secret": "shop_token"}})
    try:
        told = await toolbox.call(tool, order_id="1")
    except ToolError as error:
        told = str(error)
    assert "[secret]" in told
    assert TOKEN not in told
    assert "9a+c1" not in told
    assert ("status 401" in told) == (status == 401)


async def test_a_secret_is_not_taken_to_another_server(toolbox: Toolbox, shop: Shop) -> None:
    async def lead_on(request: web.Request) -> web.Response:
        if request.host.startswith("127."):
            return web.Response(status=302, headers={"Location": str(request.url.with_host("localhost"))})
        return web.Response(text="elsewhere")

    shop.answer = lead_on
    await toolbox.call(order_status(shop, headers={"X-Key": {"secret": "shop_token"}}), order_id="1")
    assert [headers.get("x-key") for _, _, headers, _ in shop.asked] == [TOKEN, None]


@pytest.mark.parametrize("host", ["127.0.0.1", "localhost", "private.test"])
async def test_a_private_address_wants_the_operators_leave(
    shop: Shop, host: str, capsys: pytest.CaptureFixture[str]
) -> None:
    async def resolve(name: str, port: int) -> list[str]:
        return ["10.0.0.7"]

    egress = Egress(resolve=resolve)
    tools = HttpTools(egress, Kept())
    tool = order_status(shop, url=str(URL(shop.url).with_host(host) / "orders/{order_id}"))
    (offer,) = tools.offers(tool)
    with pytest.raises(ToolError) as refused:
        await tools.call(offer, {"order_id": "1"}, CallContext(agent_of(tool), "conv", "turn", "call", None, False))
    await egress.close()
    # The log of a turn keeps what stands before the first colon; a model is told no address.
    said = str(refused.value).partition(":")[0]
    assert said == "The tool's server has an address that may not be reached from here, as it is not public"
    assert host not in str(refused.value)
    told = "".join(capsys.readouterr())
    assert f"{host} " in told
    assert "egress: {allow_private: true}" in told
    assert shop.asked == []


async def test_an_address_that_nobody_may_reach_is_not_for_the_operator_to_open(
    toolbox: Toolbox, shop: Shop, capsys: pytest.CaptureFixture[str]
) -> None:
    tool = order_status(shop, url="http://169.254.169.254/{order_id}")
    with pytest.raises(ToolError, match="may not be reached from here"):
        await toolbox.call(tool, order_id="1")
    assert "allow_private" not in "".join(capsys.readouterr())


async def test_json_is_shaped_by_dot_paths(toolbox: Toolbox, shop: Shop) -> None:
    shop.answer = says('{"order": {"status": "shipped", "secret_notes": "no"}, "items": [{"name": "lamp"}, 2]}')
    tool = order_status(shop, response=("order.status", "items.0.name", "items.9.name", "gone", "items.-1"))
    assert json.loads(await toolbox.call(tool, order_id="1")) == {"order.status": "shipped", "items.0.name": "lamp"}


@pytest.mark.parametrize(
    ("body", "media_type", "told"),
    [
        ("", "application/json", "(no content)"),
        ("plain words", "text/plain", "plain words"),
        ("caf\xe9".encode("latin-1"), "text/plain; charset=iso-8859-1", "café"),
        ("\xff\xfe", "text/plain; charset=no-such", "ÿþ"),
        ("<p>Hi <b>Ann</b></p><script>alert('<p>')</script><p>2 &lt; 3</p>", "text/html", "Hi Ann\n2 < 3"),
        ("<a>1</a>", "application/xml", "<a>1</a>"),
        (b"\x89PNG", "image/png", "(the answer is of type image/png, 4 bytes, and cannot be shown)"),
        ('{"a": "nul\\u0000"}', "application/problem+json", '{"a":"nul\\u0000"}'),
        ("nul\0", "text/plain", "nul\ufffd"),
    ],
)
async def test_each_type_of_answer_becomes_text(
    toolbox: Toolbox, shop: Shop, body: str | bytes, media_type: str, told: str
) -> None:
    shop.answer = says(body, media_type)
    assert await toolbox.call(order_status(shop), order_id="1") == told


@pytest.mark.parametrize("body", ["not json", "[" * 100_000, '{"a": NaN}', b"\xff\xfe", '{"a": 1'])
async def test_what_says_that_it_is_json_and_is_not_is_an_error(
    toolbox: Toolbox, shop: Shop, body: str | bytes
) -> None:
    shop.answer = says(body)
    with pytest.raises(ToolError, match="no JSON"):
        await toolbox.call(order_status(shop), order_id="1")


@pytest.mark.parametrize("length", [1_000_001, 3_000_000])
async def test_json_that_is_too_large_says_so(toolbox: Toolbox, shop: Shop, length: int) -> None:
    shop.answer = says(f'"{"x" * (length - 2)}"')
    with pytest.raises(ToolError, match=r"^The tool's answer is larger than 1,000,000 bytes$"):
        await toolbox.call(order_status(shop), order_id="1")
    shop.answer = says(f'"{"x" * 999_998}"')
    assert "(cut: 1,000,000 characters in all)" in await toolbox.call(order_status(shop), order_id="1")


async def test_a_long_answer_is_cut_with_a_mark(toolbox: Toolbox, shop: Shop) -> None:
    shop.answer = says("x" * 50_000, "text/plain")
    told = await toolbox.call(order_status(shop), order_id="1")
    assert told.startswith("x" * 8_000)
    assert told.endswith("(cut: 50,000 characters in all)")
    assert len(told) < 8_100


async def test_an_error_has_its_status_and_the_beginning_of_its_body_alone(toolbox: Toolbox, shop: Shop) -> None:
    shop.answer = says("y" * 5_000, "text/plain", 503, **{"X-Internal": "10.0.0.7"})
    with pytest.raises(ToolError, match=r"status 503: y{300}") as failed:
        await toolbox.call(order_status(shop), order_id="1")
    assert len(str(failed.value)) < 400
    assert "10.0.0.7" not in str(failed.value)


async def test_an_answer_without_end_costs_a_megabyte_and_no_more(toolbox: Toolbox, shop: Shop) -> None:
    sent = 0

    async def endless(request: web.Request) -> web.StreamResponse:
        nonlocal sent
        response = web.StreamResponse(headers={"Content-Type": "text/plain", "Content-Length": str(1 << 30)})
        await response.prepare(request)
        while sent < 1 << 30:
            await response.write(b"x" * 65_536)
            sent += 65_536
        return response

    shop.answer = endless
    told = await toolbox.call(order_status(shop), order_id="1")
    assert len(told) < 8_100
    assert sent < 64 << 20


async def test_a_dripping_answer_ends_with_the_time_out(toolbox: Toolbox, shop: Shop) -> None:
    async def drip(request: web.Request) -> web.StreamResponse:
        response = web.StreamResponse(headers={"Content-Type": "text/plain"})
        await response.prepare(request)
        for _ in range(100):
            await response.write(b".")
            await asyncio.sleep(0.1)
        return response

    shop.answer = drip
    began = time.monotonic()
    with pytest.raises(ToolError, match=r"within 0\.5 s"):
        await toolbox.call(order_status(shop, timeout=0.5), order_id="1")
    assert time.monotonic() - began < 5


async def test_redirects_without_end_are_an_error(toolbox: Toolbox, shop: Shop) -> None:
    async def round_and_round(request: web.Request) -> web.Response:
        return web.Response(status=302, headers={"Location": f"/again/{len(shop.asked)}"})

    shop.answer = round_and_round
    with pytest.raises(ToolError, match="could not be reached"):
        await toolbox.call(order_status(shop), order_id="1")
    assert len(shop.asked) <= 10


@pytest.mark.parametrize(
    "piece", ["<!--", "<a ", "<a/", "<a x='", "<script>", "</", "<head><", "&#", "<!", "<![CDATA["]
)
async def test_markup_that_never_ends_is_read_in_no_time(toolbox: Toolbox, shop: Shop, piece: str) -> None:
    shop.answer = says(piece * (900_000 // len(piece)), "text/html")
    began = time.monotonic()
    await toolbox.call(order_status(shop), order_id="1")
    assert time.monotonic() - began < 5


@pytest.mark.parametrize(("method", "writes"), [("GET", False), ("HEAD", False), ("POST", True), ("DELETE", True)])
async def test_all_but_reading_methods_write(toolbox: Toolbox, shop: Shop, method: str, writes: bool) -> None:
    (offer,) = (await toolbox.offers(order_status(shop, method=method))).values()
    assert offer.writes is writes
    assert offer.tool.parameters == ORDER
    assert (offer.tool.url, offer.tool.headers) == ("", None), "a model is not told where its tool is"
