"""Keys over the management API: shown once, listed by prefix, rotated with an overlap, revoked."""

import asyncio
import time
from typing import Any

import pytest

from tests.management.scene import PUBLISHABLE_KEY, Manager
from tests.support.server import KEY, ServerProcess

FOLLOWS_WITHIN = 3.0


async def made(acme: Manager, name: str, **more: Any) -> dict[str, Any]:
    key: dict[str, Any] = (await acme.post("/keys", {"name": name, **more})).ok(201)
    return key


async def comes_to(manager: Manager, status: int) -> bool:
    """Whether a key comes to get this status within the time in which a server follows."""
    end = time.monotonic() + FOLLOWS_WITHIN
    while time.monotonic() < end:
        if (await manager.get("/tenant")).status == status:
            return True
        await asyncio.sleep(0.05)
    return False


async def state(acme: Manager, key: dict[str, Any]) -> str:
    return next(each["state"] for each in await acme.pages("/keys") if each["id"] == key["id"])


async def test_a_new_key_opens_the_tenant_and_its_value_is_never_shown_again(acme: Manager) -> None:
    key = await made(acme, "shown", limits={"chat_per_minute": 5})
    assert key["id"].startswith("key_")
    assert key["value"].startswith(key["prefix"])
    assert key["limits"] == {"chat_per_minute": 5}
    assert (await acme.with_key(key["value"]).get("/tenant")).ok()["id"] == "acme"
    listed = await acme.get("/keys?limit=100")
    assert key["value"].encode() not in str(listed.body).encode()
    (again,) = [each for each in listed.ok()["data"] if each["name"] == "shown"]
    assert again == {
        **{name: value for name, value in key.items() if name != "value"},
        "last_used_at": again["last_used_at"],
    }
    assert again["last_used_at"] is not None
    (await acme.post("/keys", {"name": "shown"})).problem(409, "'shown'")


async def test_a_rotated_key_goes_on_for_the_overlap_and_no_longer(acme: Manager) -> None:
    old = await made(acme, "rotated")
    new = (await acme.post(f"/keys/{old['id']}/rotate", {"overlap": "1h"})).ok()
    assert new["name"] == "rotated"
    assert new["id"] != old["id"]
    for value in (old["value"], new["value"]):
        (await acme.with_key(value).get("/tenant")).ok()
    last = (await acme.post("/keys/rotated/rotate", {"overlap": "0s"})).ok()
    for value in (old["value"], new["value"]):
        assert await comes_to(acme.with_key(value), 401)
    (await acme.with_key(last["value"]).get("/tenant")).ok()
    assert [await state(acme, key) for key in (old, new, last)] == ["expired", "expired", "active"]
    (await acme.post("/keys/rotated/rotate")).ok()
    (await acme.with_key(last["value"]).get("/tenant")).ok()


async def test_a_rotated_key_expires_when_the_one_before_would_have(acme: Manager) -> None:
    await made(acme, "bounded", expires_at="2999-01-01T00:00:00Z")
    assert (await acme.post("/keys/bounded/rotate")).ok()["expires_at"] == "2999-01-01T00:00:00Z"
    assert (await acme.post("/keys/bounded/rotate")).ok()["expires_at"] == "2999-01-01T00:00:00Z"


async def test_a_revoked_key_is_closed_for_good_with_those_that_it_replaced(acme: Manager) -> None:
    old = await made(acme, "revoked")
    new = (await acme.post("/keys/revoked/rotate")).ok()
    assert (await acme.post(f"/keys/{old['id']}/revoke")).ok()["state"] == "revoked"
    for key in (old, new):
        assert await comes_to(acme.with_key(key["value"]), 401)
        assert await state(acme, key) == "revoked"


async def test_a_key_expires_when_it_says(acme: Manager) -> None:
    key = await made(acme, "expiring", expires_at="2999-01-01T00:00:00+02:00")
    assert key["expires_at"] == "2998-12-31T22:00:00Z"
    for never in ("2020-01-01T00:00:00Z", "9999-12-31T23:59:59-14:00"):
        (await acme.post("/keys", {"name": "late", "expires_at": never})).problem(400, "expires_at")


async def test_a_publishable_key_names_agents_that_are_there(acme: Manager) -> None:
    key = await made(acme, "page", type="publishable", agents=["support-agent"], origins=["https://acme.example"])
    assert key["value"].startswith("pk_")
    assert (key["agents"], key["origins"]) == (["support-agent"], ["https://acme.example"])
    (await acme.post("/keys", {"name": "none", "type": "publishable"})).problem(400, "agents")
    wrong = {"name": "none", "type": "publishable", "agents": ["support-agent", "other-agent"]}
    (await acme.post("/keys", wrong)).problem(400, "agents[1]", "'other-agent'")


@pytest.mark.parametrize(
    "origin",
    [
        "shop.example",
        "https://",
        "https://*.shop.example",
        "https://m\u00fcller.example",
        "https://shop.example:99999",
        "ftp://shop.example",
        "null",
        "https:shop.example",
        "https://shop example",
    ],
)
async def test_an_origin_that_would_never_match_is_refused(acme: Manager, origin: str) -> None:
    body = {
        "name": "page",
        "type": "publishable",
        "agents": ["support-agent"],
        "origins": ["https://ok.example", origin],
    }
    (await acme.post("/keys", {**body, "name": "unmatched"})).problem(400, "origins[1]", repr(origin))
    assert "unmatched" not in [key["name"] for key in await acme.pages("/keys")]


async def test_origins_are_taken_however_a_page_may_have_them(acme: Manager) -> None:
    origins = ["*", "http://localhost:3000", "HTTPS://Shop.Example:443", "http://[::1]:8080", "http://my_host"]
    assert (await made(acme, "pages", origins=origins))["origins"] == origins


async def test_keys_are_listed_page_by_page_and_by_tenant(acme: Manager) -> None:
    whole = [key["id"] for key in await acme.pages("/keys?limit=100")]
    one_by_one = await acme.pages("/keys?limit=1")
    assert [key["id"] for key in one_by_one] == whole
    assert {"backend", "widget"} <= {key["name"] for key in one_by_one}
    assert [key["name"] for key in await acme.other.pages("/keys")] == ["backend"]


async def test_another_tenants_key_is_as_one_that_is_not_there(acme: Manager) -> None:
    key = await made(acme, "private")
    for reference in (key["id"], "private", "nobody", "key_zz"):
        for what in ("rotate", "revoke"):
            (await acme.other.post(f"/keys/{reference}/{what}")).problem(404)
    (await acme.with_key(key["value"]).get("/tenant")).ok()


@pytest.mark.parametrize(
    ("body", "word"),
    [
        ({}, "`name`"),
        ({"name": ""}, "`name`"),
        ({"name": "x" * 201}, "`name`"),
        ({"name": "x", "value": KEY}, "`value`"),
        ({"name": "x", "type": "admin"}, "`type`"),
        ({"name": "x", "expires_at": "soon"}, "`expires_at`"),
        ({"name": "x", "expires_at": "2999-01-01T00:00:00"}, "`expires_at`"),
        ({"name": "x", "limits": {"per_day": 1}}, "`per_day`"),
        ({"name": "x", "limits": {"chat_per_minute": 0}}, "`limits.chat_per_minute`"),
        ({"name": "a\0b"}, "U+0000"),
    ],
)
async def test_a_wrong_key_is_told_by_its_path(acme: Manager, body: dict[str, Any], word: str) -> None:
    (await acme.post("/keys", body)).problem(400, word)


async def test_a_wrong_overlap_changes_nothing(acme: Manager) -> None:
    key = await made(acme, "kept")
    for body in ({"overlap": "soon"}, {"overlap": 5}, {"overlaps": "1h"}, b"{"):
        (await acme.post("/keys/kept/rotate", body)).problem(400)
    assert await state(acme, key) == "active"


async def test_keys_that_open_nothing_here_are_refused(acme: Manager) -> None:
    for credential in (None, "sk_nothing_of_the_sort_00000000000000000", "x" * 5000):
        told = await acme.with_key(credential).get("/tenant")
        told.problem(401)
        assert told.headers["WWW-Authenticate"] == "Bearer"
    (await acme.with_key(PUBLISHABLE_KEY).get("/tenant")).problem(403)


async def test_the_command_and_the_api_make_the_same_keys(acme: Manager, server: ServerProcess) -> None:
    value = server.run("keys", "create", "--tenant", "acme", "--name", "typed").stdout.strip()
    assert await comes_to(acme.with_key(value), 200)
    (await acme.post("/keys/typed/revoke")).ok()
    assert await comes_to(acme.with_key(value), 401)
    assert "typed" in server.run("keys", "list", "--tenant", "acme").stdout
