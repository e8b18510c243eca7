"""Who may act on a route, and what that counts in: every kind of caller on every kind of route, over a real store."""

from collections.abc import AsyncIterator
from dataclasses import fields
from pathlib import Path
from typing import Annotated, Any

import msgspec
import pytest
from fastapi import Depends
from starlette.responses import Response
from starlette.types import ASGIApp, Message

from dragoman.adapters.limits.memory import MemoryLimiter
from dragoman.adapters.store import open_store
from dragoman.core.clock import now_us
from dragoman.core.limits import Bucket
from dragoman.core.tenants import Principal, Tenant
from dragoman.server.access import Acting, in_header
from dragoman.server.errors import Dialect, problem_body
from dragoman.server.observe import Observed
from dragoman.server.routing import BothSpellings, DialectApp
from dragoman.server.services import Services
from dragoman.services.access import Access, NewKey
from dragoman.services.metering import PUBLIC_PER_MINUTE, Metering

AGENT = "123e4567-e89b-12d3-a456-426614174000"
CLOSED = "123e4567-e89b-12d3-a456-426614174001"
SECRET = "sk_test_backend_00000000000000000000"
PAGE = "pk_test_page_00000000000000000000000"
SHOP = "pk_test_shop_00000000000000000000000"
SHOP_ORIGIN = "https://shop.example"

MANAGE = Bucket("manage", 2, "key", "manage_per_minute")


async def whoami(principal: Principal) -> Response:
    return Response(msgspec.json.encode([principal.type, principal.visitor_id]))


def routes() -> BothSpellings:
    router = BothSpellings("/t", problem_body)

    @router.get("/secret")
    async def secret(principal: Annotated[Principal, Depends(Acting())]) -> Response:
        return await whoami(principal)

    @router.get("/visitors")
    async def visitors(principal: Annotated[Principal, Depends(Acting(visitors=True))]) -> Response:
        return await whoami(principal)

    opened = Acting(visitors=True, public_agent="agent", sends=True)

    @router.get("/public/{agent}")
    async def public(agent: str, principal: Annotated[Principal, Depends(opened)]) -> Response:
        return await whoami(principal)

    managing = Acting(in_header("x-api-token", "x-api-key"), bucket=MANAGE)

    @router.get("/token")
    async def token(principal: Annotated[Principal, Depends(managing)]) -> Response:
        return await whoami(principal)

    return router


class Caller:
    """Asks the app, without a socket."""

    def __init__(self, app: ASGIApp) -> None:
        self._app = app

    async def __call__(self, path: str, *, address: str = "1.2.3.4", **headers: str) -> tuple[int, dict[str, str], Any]:
        """Status, headers and body of a GET."""
        raw = [(name.replace("_", "-").encode(), value.encode()) for name, value in headers.items()]
        scope = {"type": "http", "method": "GET", "path": path, "query_string": b"", "headers": raw}
        sent: list[Message] = []

        async def receive() -> Message:
            return {"type": "http.request", "body": b"", "more_body": False}

        async def send(message: Message) -> None:
            sent.append(message)

        await self._app({**scope, "client": (address, 1), "root_path": ""}, receive, send)
        told = {name.decode(): value.decode() for name, value in sent[0]["headers"]}
        return sent[0]["status"], told, msgspec.json.decode(sent[1]["body"])


@pytest.fixture
async def ask(tmp_path: Path) -> AsyncIterator[Caller]:
    store = await open_store(f"sqlite:///{tmp_path / 'dragoman.db'}")
    await store.tenants.put(Tenant("acme", "Acme", "enterprise"), now_us())
    await store.agents.put("acme", AGENT, "open", "Open", {"public": True}, now_us())
    await store.agents.put("acme", CLOSED, "closed", "Closed", {}, now_us())
    access = Access(store, b"p" * 32, b"v" * 32)
    await access.create("acme", NewKey("backend", value=SECRET))
    await access.create("acme", NewKey("page", "publishable", PAGE, agents=("open",), origins=("*",)))
    await access.create("acme", NewKey("shop", "publishable", SHOP, agents=("open",), origins=(SHOP_ORIGIN,)))
    app = DialectApp([Dialect("t", ("/t",), routes(), problem_body, Acting())])
    services: dict[str, Any] = dict.fromkeys(field.name for field in fields(Services))
    services |= {"access": access, "metering": Metering(store, MemoryLimiter(store.limits))}
    app.state.services = Services(**services)
    yield Caller(Observed(app))
    await store.close()


def bearing(key: str) -> dict[str, str]:
    return {"authorization": f"Bearer {key}"}


@pytest.mark.parametrize(
    ("path", "headers", "status"),
    [
        ("secret", bearing(SECRET), 200),
        ("secret", bearing(PAGE), 403),
        ("secret", {}, 401),
        ("secret", bearing("sk_wrong"), 401),
        ("visitors", bearing(SECRET), 200),
        ("visitors", bearing(PAGE), 200),
        ("visitors", {}, 401),
        ("visitors", {**bearing(SHOP), "origin": SHOP_ORIGIN}, 200),
        ("visitors", bearing(SHOP), 403),
        ("visitors", {**bearing(SHOP), "origin": "https://evil.example"}, 403),
        ("visitors", {**bearing(SHOP), "x_visitor_token": "vt_nonsense"}, 403),
        ("visitors", {**bearing(SHOP), "origin": SHOP_ORIGIN, "x_visitor_token": "vt_nonsense"}, 401),
        ("secret", bearing(SHOP), 403),
        (f"public/{AGENT}", bearing(SECRET), 200),
        (f"public/{AGENT}", bearing(PAGE), 200),
        (f"public/{AGENT}", {}, 200),
        (f"public/{AGENT}", bearing("sk_wrong"), 401),
        (f"public/{AGENT}", bearing(""), 401),
        (f"public/{AGENT}", {"authorization": "Basic eDp5"}, 401),
        (f"public/{AGENT}", {"authorization": ""}, 401),
        (f"public/{AGENT}", {"x_visitor_token": "vt_nonsense"}, 401),
        ("public/open", {}, 401),
        (f"public/{CLOSED}", {}, 401),
        ("token", {"x_api_token": SECRET}, 200),
        ("token", {"x_api_key": SECRET}, 200),
        ("token", {"x_api_token": "wrong", "x_api_key": SECRET}, 401),
        ("token", bearing(SECRET), 401),
        ("token", {"x_api_token": PAGE}, 403),
    ],
)
async def test_who_may_act_on_which_route(ask: Caller, path: str, headers: dict[str, str], status: int) -> None:
    told, sent, _ = await ask(f"/t/{path}", **headers)
    assert told == status
    assert ("x-ratelimit-limit" in sent) == (status != 401)
    assert ("x-visitor-token" in sent) == (status == 200 and SECRET not in str(headers))


async def test_who_has_no_credential_is_a_visitor_with_a_token(ask: Caller) -> None:
    _, headers, (kind, visitor) = await ask(f"/t/public/{AGENT}")
    assert kind == "public"
    _, again, told = await ask(f"/t/public/{AGENT}", x_visitor_token=headers["x-visitor-token"])
    assert told == ["public", visitor]
    assert "x-visitor-token" not in again


async def test_who_has_no_credential_is_bounded_by_address_and_leaves_the_plan_alone(ask: Caller) -> None:
    statuses = []
    for _ in range(2 * PUBLIC_PER_MINUTE + 1):
        status, headers, _ = await ask(f"/t/public/{AGENT}", address="203.0.113.1")
        statuses.append(status)
    # The minute may end once within this test.
    assert 429 in statuses
    assert headers["ratelimit-policy"] == '"public";q=20;w=60'
    assert (await ask(f"/t/public/{AGENT}", address="203.0.113.2"))[0] == 200
    _, headers, _ = await ask("/t/secret", **bearing(SECRET))
    assert (headers["x-ratelimit-limit"], headers["x-ratelimit-remaining"]) == ("6000", "5999")


async def test_a_routes_bucket_is_told_where_it_is_the_tightest_and_refuses(ask: Caller) -> None:
    told = [await ask("/t/token", x_api_token=SECRET) for _ in range(5)]
    assert told[0][1]["x-ratelimit-limit"] == "2"
    assert told[0][1]["ratelimit-policy"] == '"minute";q=6000;w=60, "manage";q=2;w=60'
    _, headers, body = next(each for each in told if each[0] == 429)
    assert 1 <= int(headers["retry-after"]) <= 60
    assert body["detail"] == f"Too many requests. Retry after {headers['retry-after']} seconds."
    assert (await ask("/t/secret", **bearing(SECRET)))[0] == 200


async def test_what_no_route_takes_counts_where_the_credential_is_good(ask: Caller) -> None:
    status, headers, _ = await ask("/t/nothing", **bearing(SECRET))
    assert (status, headers["x-ratelimit-limit"]) == (404, "6000")
    status, headers, _ = await ask("/t/nothing", **bearing(PAGE))
    assert (status, "x-visitor-token" in headers) == (404, False)
    assert "x-ratelimit-limit" in headers
    for unknown in ({}, bearing("sk_wrong")):
        status, headers, _ = await ask("/t/nothing", **unknown)
        assert (status, "x-ratelimit-limit" in headers) == (404, False)
    status, headers, _ = await ask("/elsewhere", **bearing(SECRET))
    assert (status, "x-ratelimit-limit" in headers) == (404, False)


async def test_who_is_refused_for_the_origin_counts_and_may_be_one_too_many(ask: Caller) -> None:
    told = [await ask("/t/token", x_api_token=SHOP, origin="https://evil.example") for _ in range(5)]
    assert "origin" in next(body["detail"] for status, _, body in told if status == 403)
    assert 429 in [status for status, _, _ in told]
    assert all("x-ratelimit-remaining" in headers for _, headers, _ in told)
    status, headers, _ = await ask("/t/nothing", **bearing(SHOP))
    assert (status, "x-ratelimit-limit" in headers) == (404, True)
