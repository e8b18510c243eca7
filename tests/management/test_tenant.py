"""The tenant over the management API, and what every route has in common: credentials, wrong input, the audit log."""

from typing import Any

import pytest

from dragoman.management import router
from tests.management.scene import PUBLISHABLE_KEY, SALES_BOT, Manager
from tests.support.server import KEY, OTHER_KEY, ServerProcess

PARTS = {
    "{agent_id}": "support-agent",
    "{version}": "1",
    "{deployment_id}": "456e7890-e89b-12d3-a456-426614174001",
    "{key_id}": "backend",
    "{conversation_id}": "conv_" + "0" * 32,
    "{turn_id}": "turn_" + "0" * 32,
}


def routes() -> list[tuple[str, str]]:
    """Every method and path, with parts that can be asked for."""
    found = []
    for route in router.routes:
        path: str = getattr(route, "path", "").removeprefix("/manage/v1")
        for part, value in PARTS.items():
            path = path.replace(part, value)
        found += [(method, path) for method in sorted(getattr(route, "methods", ()))]
    return found


ROUTES = routes()


async def test_a_tenant_sees_itself(acme: Manager) -> None:
    told = (await acme.get("/tenant")).ok()
    assert told == {
        "id": "acme",
        "name": "Acme",
        "plan": "enterprise",
        "limits": {"per_minute": 6000, "per_day": None},
        "credits": None,
        "default_agent": None,
    }
    assert (await acme.other.get("/tenant")).ok()["id"] == "other"


async def test_a_tenant_changes_its_name_and_default_agent_and_gets_no_credits_by_it(
    acme: Manager, server: ServerProcess
) -> None:
    server.apply(
        {
            "tenants": [
                {
                    "id": "other",
                    "name": "Other",
                    "plan": "free",
                    "credits": 100,
                    "limits": {"per_day": 5000, "per_minute": 6000},
                }
            ]
        }
    )
    other = acme.other
    await other.say("other-agent")
    changed = (await other.patch("/tenant", {"name": "Changed", "default_agent": "other-agent"})).ok()
    agent = (await other.get("/agents/other-agent")).ok()["id"]
    assert (changed["name"], changed["default_agent"], changed["credits"]) == ("Changed", agent, 99)
    assert changed["limits"] == {"per_minute": 6000, "per_day": 5000}
    assert (await other.get("/tenant")).ok() == changed
    assert (await other.patch("/tenant", {})).ok() == changed
    assert (await other.patch("/tenant", {"default_agent": None})).ok()["default_agent"] is None
    (await other.patch("/tenant", {"default_agent": "support-agent"})).problem(404, "Agent not found")


@pytest.mark.parametrize(
    ("body", "word"),
    [
        ({"plan": "pro"}, "`plan`"),
        ({"credits": 5}, "`credits`"),
        ({"name": None}, "`name`"),
        ({"name": "a\0b"}, "U+0000"),
        ({"default_agent": 5}, "`default_agent`"),
        ([], "`array`"),
    ],
)
async def test_a_wrong_change_is_told_by_its_path(acme: Manager, body: Any, word: str) -> None:
    (await acme.patch("/tenant", body)).problem(400, word)


@pytest.mark.parametrize(("method", "path"), ROUTES, ids=lambda part: part)
async def test_every_route_wants_a_secret_key_before_anything_else(acme: Manager, method: str, path: str) -> None:
    for key, status in ((None, 401), ("sk_unknown_00000000000000000000000000000", 401), (PUBLISHABLE_KEY, 403)):
        (await acme.with_key(key).ask(method, path, b"{")).problem(status)


@pytest.mark.parametrize(
    ("method", "path"), [each for each in ROUTES if "/stop" not in each[1] and "/turns" not in each[1]]
)
async def test_a_parameter_that_a_route_does_not_know_is_an_error(acme: Manager, method: str, path: str) -> None:
    for query, word in (("agnet=x", "'agnet'"), ("limit%00=1", "no parameter")):
        (await acme.ask(method, f"{path}?{query}", b"{}")).problem(400, word)


@pytest.mark.parametrize(
    "path",
    [
        "/agents",
        "/agents/support-agent/versions",
        "/agents/support-agent/deployments",
        "/keys",
        "/audit",
        "/conversations",
    ],
)
async def test_a_page_is_asked_for_in_one_way(acme: Manager, path: str) -> None:
    for query, word in (
        ("limit=0", "limit"),
        ("limit=101", "limit"),
        ("limit=-1", "limit"),
        ("limit=x", "limit"),
        ("limit=" + "9" * 400, "limit"),
        ("limit=", "limit"),
        ("limit=1&limit=2", "twice"),
        ("cursor=", "cursor"),
        ("cursor=x", "cursor"),
        ("cursor=%C3%A9", "cursor"),
        ("cursor=" + "OTk5OTk5OTk5OTk5OTk5OTk5OTk5OTk5OS4", "cursor"),
        ("cursor=MS4nIE9SIDE9MQ", "cursor"),
        ("cursor=" + "A" * 501, "cursor"),
    ):
        (await acme.get(f"{path}?{query}")).problem(400, word)
    assert set((await acme.get(f"{path}?limit=100")).ok()) == {"data", "next_cursor"}


async def test_paths_are_served_with_and_without_their_last_slash(acme: Manager) -> None:
    assert (await acme.get("/tenant/")).ok() == (await acme.get("/tenant")).ok()
    (await acme.get("/nothing")).problem(404)
    (await acme.delete("/tenant")).problem(405)


async def test_every_change_is_in_the_audit_log_and_no_secret_is(acme: Manager, server: ServerProcess) -> None:
    me = next(key for key in await acme.pages("/keys") if key["name"] == "backend")
    await acme.post("/agents", {**SALES_BOT, "name": "Logged Bot"})
    await acme.patch("/agents/logged-bot", {"instructions": "A", "name": "B"})
    await acme.post("/agents/logged-bot/publish")
    await acme.post("/agents/logged-bot/rollback", {"version": 1})
    deployment = (await acme.post("/agents/logged-bot/deployments", {"channel": "web", "region": "eu"})).ok(201)
    await acme.delete(f"/agents/logged-bot/deployments/{deployment['id']}")
    said = await acme.say("logged-bot")
    await acme.delete(f"/conversations/{said['conversationId']}")
    await acme.delete("/agents/logged-bot")
    key = (await acme.post("/keys", {"name": "logged"})).ok(201)
    rotated = (await acme.post("/keys/logged/rotate", {"overlap": "1h"})).ok()
    await acme.post("/keys/logged/revoke")
    await acme.patch("/tenant", {"name": "Acme & Co"})
    printed = server.run("keys", "create", "--tenant", "acme", "--name", "printed").stdout.strip()
    server.run("keys", "rotate", "--tenant", "acme", "printed")
    server.run("keys", "revoke", "--tenant", "acme", "printed")
    server.apply({"tenants": [{"id": "acme", "plan": "enterprise", "name": "Acme"}]})
    server.apply({"tenants": [{"id": "acme", "plan": "enterprise", "name": "Acme"}]})
    whole = await acme.pages("/audit?limit=7")
    assert whole == await acme.pages("/audit?limit=100")
    log = whole[::-1]
    first = next(index for index, entry in enumerate(log) if entry["detail"] == {"name": "Logged Bot"})
    assert [(entry["action"], entry["actor_name"]) for entry in log[first:]] == [
        *[
            (action, "backend")
            for action in (
                "agent.created",
                "agent.changed",
                "agent.published",
                "agent.rolled_back",
                "deployment.created",
                "deployment.deleted",
                "conversation.deleted",
                "agent.deleted",
                "key.created",
                "key.rotated",
                "key.revoked",
                "tenant.changed",
            )
        ],
        *[(action, None) for action in ("key.created", "key.rotated", "key.revoked", "manifest.applied")],
    ]
    assert {entry["actor"] for entry in log[first:]} == {me["id"], "operator"}
    assert log[first + 1]["detail"] == {"fields": ["instructions", "name"]}
    assert log[first + 6]["subject"] == said["conversationId"]
    assert log[-1]["detail"] == {"updated": ["tenant acme"]}
    for secret in (KEY, key["value"], rotated["value"], printed):
        assert secret not in str(log)


async def test_a_refused_change_leaves_no_trace_in_the_audit_log(acme: Manager) -> None:
    before = await acme.pages("/audit")
    await acme.patch("/agents/support-agent", {"name": "Mine"})
    await acme.post("/agents", {"name": ""})
    await acme.post("/keys", {"name": "backend"})
    await acme.delete("/agents/nobody")
    await acme.with_key(OTHER_KEY).delete("/agents/support-agent")
    assert await acme.pages("/audit") == before
    assert "support-agent" not in str(await acme.other.pages("/audit"))
