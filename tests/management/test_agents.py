"""Agents over the management API: made, drafted, published, rolled back, deleted; and what a manifest keeps."""

import json
from typing import Any

import pytest

from tests.management.scene import ABSENT_ID, AGENT_ID, SALES_BOT, Manager
from tests.support.server import ServerProcess, manifest


async def made(acme: Manager, name: str, **more: Any) -> dict[str, Any]:
    agent: dict[str, Any] = (await acme.post("/agents", {**SALES_BOT, "name": name, **more})).ok(201)
    return agent


async def test_a_new_agent_answers_at_once_and_is_named_in_three_ways(acme: Manager) -> None:
    agent = await made(acme, "New Bot", instructions="Sell.")
    assert agent["id"].startswith("agent_")
    assert (agent["slug"], agent["version"], agent["managed"], agent["draft"]) == ("new-bot", 1, "api", None)
    assert agent["definition"]["instructions"] == "Sell."
    uuid = agent["id"].removeprefix("agent_")
    dashed = f"{uuid[:8]}-{uuid[8:12]}-{uuid[12:16]}-{uuid[16:20]}-{uuid[20:]}"
    for reference in (agent["id"], dashed, "new-bot"):
        assert (await acme.get(f"/agents/{reference}")).ok() == agent
    assert (await acme.say("new-bot"))["response"] == "Buy!"


async def test_an_agent_is_made_with_its_slug_and_deployments_but_ids_are_made_here(acme: Manager) -> None:
    agent = await made(acme, "Whole Bot", slug="whole", deployments=[{"channel": "web", "region": "eu"}])
    assert agent["slug"] == "whole"
    (deployment,) = (await acme.get("/agents/whole/deployments")).ok()["data"]
    assert (deployment["channel"], deployment["region"]) == ("web", "eu")
    (await acme.post("/agents", {**SALES_BOT, "slug": "whole"})).problem(409, "'whole'")
    chosen = "0188e0c2-0000-4000-8000-000000000001"
    (await acme.post("/agents", {**SALES_BOT, "id": chosen})).problem(400, "`id`")
    place = {"channel": "chat", "region": "eu", "id": chosen}
    (await acme.post("/agents", {**SALES_BOT, "deployments": [place]})).problem(400, "`id`")
    (await acme.post("/agents/whole/deployments", place)).problem(400, "`id`")


async def test_a_draft_is_not_told_until_it_is_published_and_then_at_once(acme: Manager) -> None:
    await made(acme, "Draft Bot")
    script = {"provider": "scripted", "script": [{"text": "Anew!"}]}
    drafted = (await acme.patch("/agents/draft-bot", {"model": script})).ok()
    assert (drafted["version"], drafted["draft"]["model"]["script"]) == (1, [{"text": "Anew!"}])
    assert (await acme.say("draft-bot"))["response"] == "Buy!"
    published = (await acme.post("/agents/draft-bot/publish")).ok()
    assert (published["version"], published["draft"]) == (2, None)
    assert (await acme.say("draft-bot"))["response"] == "Anew!"


async def test_each_field_of_a_change_replaces_the_whole_field_and_the_rest_stays(acme: Manager) -> None:
    await made(acme, "Field Bot", instructions="Sell.", fallback="Sorry.")
    first = (await acme.patch("/agents/field-bot", {"fallback": None, "min_confidence": 0.5})).ok()["draft"]
    assert "fallback" not in first
    second = (await acme.patch("/agents/field-bot", {"model": {"provider": "scripted"}})).ok()["draft"]
    assert second == {**first, "model": {"provider": "scripted", "name": "scripted"}}
    assert second["instructions"] == "Sell."


async def test_a_draft_that_says_what_is_published_is_none(acme: Manager) -> None:
    await made(acme, "Same Bot", instructions="Sell.")
    assert (await acme.patch("/agents/same-bot", {"instructions": "Buy."})).ok()["draft"] is not None
    assert (await acme.patch("/agents/same-bot", {"instructions": "Sell."})).ok()["draft"] is None


async def test_names_change_at_once_and_a_rename_keeps_the_slug(acme: Manager) -> None:
    await made(acme, "Old Name")
    renamed = (await acme.patch("/agents/old-name", {"name": "New Name"})).ok()
    assert (renamed["name"], renamed["slug"], renamed["draft"]) == ("New Name", "old-name", None)
    moved = (await acme.patch("/agents/old-name", {"slug": "moved"})).ok()
    assert moved["slug"] == "moved"
    assert (await acme.say("moved"))["response"] == "Buy!"
    (await acme.get("/agents/old-name")).problem(404, "Agent not found")
    (await acme.patch("/agents/moved", {"slug": "support-agent"})).problem(409, "'support-agent'")


async def test_publishing_without_a_draft_changes_nothing(acme: Manager) -> None:
    agent = await made(acme, "Quiet Bot")
    assert (await acme.post("/agents/quiet-bot/publish")).ok() == agent


async def test_a_rollback_publishes_an_earlier_version_again_and_leaves_the_draft(acme: Manager) -> None:
    await made(acme, "Back Bot", instructions="one")
    await acme.patch("/agents/back-bot", {"instructions": "two"})
    await acme.post("/agents/back-bot/publish")
    await acme.patch("/agents/back-bot", {"instructions": "three"})
    back = (await acme.post("/agents/back-bot/rollback", {"version": 1})).ok()
    assert (back["version"], back["definition"]["instructions"], back["draft"]["instructions"]) == (3, "one", "three")
    versions = (await acme.get("/agents/back-bot/versions")).ok()["data"]
    assert [(each["version"], each["published"]) for each in versions] == [(3, True), (2, False), (1, False)]
    assert await acme.pages("/agents/back-bot/versions?limit=1") == versions
    second = (await acme.get("/agents/back-bot/versions/2")).ok()
    assert (second["definition"]["instructions"], second["published"]) == ("two", False)
    for version in ("4", "0", "x", "99999999999999999999"):
        (await acme.get(f"/agents/back-bot/versions/{version}")).problem(404, "no such version")
    (await acme.post("/agents/back-bot/rollback", {"version": 4})).problem(404, "no such version")
    assert (await acme.post("/agents/back-bot/rollback", {"version": 1})).ok()["version"] == 3


async def test_a_deleted_agent_answers_no_more_and_its_slug_is_free(acme: Manager) -> None:
    first = await made(acme, "Gone Bot")
    conversation = (await acme.say("gone-bot"))["conversationId"]
    assert (await acme.delete("/agents/gone-bot")).status == 204
    for told in (await acme.get("/agents/gone-bot"), await acme.delete(f"/agents/{first['id']}")):
        told.problem(404)
    assert (await acme.get(f"/conversations/{conversation}")).ok()["agent_id"] == first["id"]
    assert (await acme.get(f"/conversations?agent={first['id']}")).ok()["data"][0]["id"] == conversation
    assert (await made(acme, "Gone Bot"))["slug"] == "gone-bot"


async def test_an_entity_tag_names_a_state_and_guards_every_change(acme: Manager) -> None:
    await made(acme, "Tagged Bot")
    stale = (await acme.get("/agents/tagged-bot")).headers["ETag"]
    assert stale.startswith('"1-')
    unchanged = await acme.get("/agents/tagged-bot", If_None_Match=f'"other", {stale}')
    assert (unchanged.status, unchanged.body, unchanged.headers["ETag"]) == (304, b"", stale)
    for weak in (f"W/{stale}", "*"):
        assert (await acme.get("/agents/tagged-bot", If_None_Match=weak)).status == 304
    changed = await acme.patch("/agents/tagged-bot", {"instructions": "one"}, If_Match=stale)
    changed.ok()
    assert (await acme.get("/agents/tagged-bot", If_None_Match=stale)).ok() == changed.body
    for told in (
        await acme.patch("/agents/tagged-bot", {"instructions": "two"}, If_Match=stale),
        await acme.post("/agents/tagged-bot/publish", If_Match=stale),
        await acme.post("/agents/tagged-bot/rollback", {"version": 1}, If_Match=stale),
        await acme.delete("/agents/tagged-bot", If_Match=stale),
        await acme.delete("/agents/tagged-bot", If_Match=f"W/{changed.headers['ETag']}"),
    ):
        told.problem(412, "changed meanwhile")
    assert (await acme.get("/agents/tagged-bot")).headers["ETag"] == changed.headers["ETag"]
    published = await acme.post("/agents/tagged-bot/publish", If_Match=f"{stale}, {changed.headers['ETag']}")
    assert published.ok()["version"] == 2
    (await acme.patch("/agents/tagged-bot", {}, If_Match="2-unquoted")).problem(400, "If-Match")
    assert (await acme.delete("/agents/tagged-bot", If_Match=published.headers["ETag"])).status == 204
    (await acme.delete("/agents/tagged-bot", If_Match="*")).problem(404)


async def test_what_a_manifest_made_is_read_here_and_changed_there(acme: Manager) -> None:
    agent = (await acme.get("/agents/support-agent")).ok()
    assert agent["managed"] == "manifest"
    for told in (
        await acme.patch("/agents/support-agent", {"name": "Mine"}),
        await acme.patch("/agents/support-agent", {"instructions": "Mine."}),
        await acme.post("/agents/support-agent/publish"),
        await acme.post("/agents/support-agent/rollback", {"version": 1}),
        await acme.delete("/agents/support-agent"),
    ):
        told.problem(409, "A manifest made this agent")
    assert (await acme.get("/agents/support-agent")).ok() == agent


async def test_a_manifest_takes_over_an_agent_that_it_names(acme: Manager, server: ServerProcess) -> None:
    await made(acme, "Taken Bot")
    await acme.patch("/agents/taken-bot", {"instructions": "Waiting."})
    done = server.apply(
        {"tenants": [{"id": "acme", "plan": "enterprise", "agents": [{**SALES_BOT, "name": "Taken Bot"}]}]}
    )
    assert "agent acme/taken-bot" in done["updated"]
    agent = (await acme.get("/agents/taken-bot")).ok()
    assert (agent["managed"], agent["draft"], agent["version"]) == ("manifest", None, 1)
    (await acme.delete("/agents/taken-bot")).problem(409)


async def test_an_export_gives_back_agents_that_were_made_here(acme: Manager, server: ServerProcess) -> None:
    await made(acme, "Exported Bot", instructions="Sell.")
    exported = server.run("export", "--tenant", "acme").stdout
    assert "slug: exported-bot" in exported


async def test_what_reaches_into_the_machine_is_only_what_the_operator_has_lent(acme: Manager) -> None:
    vendor = {"provider": "openai", "name": "gpt", "base_url": "http://127.0.0.1:9/v1", "api_key_env": "VENDOR_KEY"}
    assert (await made(acme, "Lent Bot", model=vendor))["definition"]["model"]["api_key_env"] == "VENDOR_KEY"
    for path, stolen in (
        ("model.api_key_env", {"model": {**vendor, "base_url": "http://127.0.0.1:10/v1"}}),
        ("model.api_key_env", {"model": {**vendor, "api_key_env": "DRAGOMAN_SECRET"}}),
        ("model.path", {"model": {"provider": "embedded", "path": "/etc/passwd"}}),
        ("transcriber.api_key_env", {"transcriber": {**vendor, "api_key_env": "DRAGOMAN_SECRET"}}),
        ("knowledge[0].path", {"knowledge": [{"type": "file", "title": "T", "path": "/etc/passwd"}]}),
    ):
        (await acme.post("/agents", {**SALES_BOT, "name": "Thief", **stolen})).problem(403, path)
        (await acme.patch("/agents/lent-bot", stolen)).problem(403, path)
    (await acme.other.post("/agents", {"name": "Thief", "model": vendor})).problem(403, "model.api_key_env")
    (await acme.get("/agents/thief")).problem(404)


async def test_agents_are_listed_page_by_page_and_by_tenant(acme: Manager) -> None:
    for index in range(3):
        await made(acme, f"Listed {index}")
    whole = await acme.pages("/agents?limit=100")
    assert await acme.pages("/agents?limit=1") == whole
    assert [each["slug"] for each in whole][:3] == ["listed-2", "listed-1", "listed-0"]
    assert whole[0]["model"] == "scripted"
    assert (await acme.other.get("/agents")).ok()["data"][0]["slug"] == "other-agent"
    assert len((await acme.other.get("/agents")).ok()["data"]) == 1


@pytest.mark.parametrize(
    ("body", "words"),
    [
        ({}, ["`name`"]),
        ({"name": ""}, ["`name`"]),
        ({"name": "A", "modle": {}}, ["`modle`"]),
        ({"name": "A", "model": {"provider": "scripted", "scrip": []}}, ["`scrip`", "`model`"]),
        ({"name": "A", "tools": [{"type": "client", "nam": "x"}]}, ["`nam`", "`tools[0]`"]),
        ({"name": "A", "model": {"provider": "nobody"}}, ["`model.provider`"]),
        ({"name": "A", "model": {"provider": "openai"}}, ["model.name: "]),
        ({"name": "A", "model": {"provider": "openai", "name": "gpt"}}, ["model.base_url: "]),
        ({"name": "A", "model": {"provider": "scripted", "script": [{"tex": 1}]}}, ["model: "]),
        ({"name": "A", "min_confidence": 2}, ["`min_confidence`"]),
        ({"name": "A", "slug": "Not A Slug"}, ["`slug`"]),
        ({"name": "A", "slug": AGENT_ID}, ["`slug`"]),
        ({"name": "A", "instructions": 5}, ["`instructions`"]),
        ({"name": "A", "instructions": None}, ["`instructions`"]),
        ({"name": "A", "instructions": "a\0b"}, ["U+0000"]),
        ([], ["`array`"]),
        (b"{", ["JSON"]),
        (b'{"name": "\\ud800"}', ["JSON"]),
        (b'{"name": "\xff"}', ["JSON"]),
        (b'{"name": ' + b"[" * 100_000, ["64 levels"]),
        (b'{"name": "A", "model": {"script": ' + b"[" * 60, ["JSON"]),
    ],
    ids=lambda value: json.dumps(value)[:50] if isinstance(value, dict | list) else str(value)[:20],
)
async def test_a_wrong_definition_is_told_by_its_path(acme: Manager, body: Any, words: list[str]) -> None:
    (await acme.post("/agents", body)).problem(400, *words)


async def test_a_wrong_change_is_told_by_its_path_and_changes_nothing(acme: Manager) -> None:
    agent = await made(acme, "Wrong Bot")
    for body, words in (
        ({"id": AGENT_ID}, "`id`"),
        ({"deployments": []}, "`deployments`"),
        ({"draft": {}}, "`draft`"),
        ({"name": None}, "`name`"),
        ({"model": {"provider": "openai"}}, "model.name"),
        ({"model": {"provider": "scripted", "script": [{}]}}, "model: "),
        ({"instructions": "a\0b"}, "U+0000"),
    ):
        (await acme.patch("/agents/wrong-bot", body)).problem(400, words)
    for body in ({}, {"version": "1"}, {"version": 0}, {"version": 2**70}, {"version": 1, "more": 1}):
        (await acme.post("/agents/wrong-bot/rollback", body)).problem(400)
    assert (await acme.get("/agents/wrong-bot")).ok() == agent


async def test_a_definition_of_any_depth_is_kept_or_refused(acme: Manager) -> None:
    for depth in (50, 70, 500, 900, 950, 980, 990, 1000, 5000):
        parameters = b'{"a":' * depth + b"1" + b"}" * depth
        tools = b'{"tools": [{"type": "client", "name": "deep", "parameters": %s}]' % parameters
        told = await acme.post("/agents", tools + b', "name": "Deep Bot"}')
        assert told.status == 201 or told.problem(400), depth
        agent = await made(acme, f"Bot {depth}")
        told = await acme.patch(f"/agents/{agent['slug']}", tools + b"}")
        assert told.status == 200 or told.problem(400), depth


async def test_another_tenants_agent_is_as_one_that_is_not_there(acme: Manager) -> None:
    for reference in (AGENT_ID, ABSENT_ID, "nobody", "agent_zz", "%20", "a%2Fb"):
        for method, path, body in (
            ("GET", "", None),
            ("PATCH", "", {"name": "Mine"}),
            ("DELETE", "", None),
            ("POST", "/publish", None),
            ("POST", "/rollback", {"version": 1}),
            ("GET", "/versions", None),
            ("GET", "/versions/1", None),
            ("GET", "/deployments", None),
            ("POST", "/deployments", {"channel": "web", "region": "eu"}),
        ):
            (await acme.other.ask(method, f"/agents/{reference}{path}", body)).problem(404)
    (await acme.get("/agents/a%00b")).problem(400, "U+0000")
    assert (await acme.get(f"/agents/{AGENT_ID}")).ok()["name"] == "Support Agent"


async def test_agents_are_the_same_after_a_restart(tmp_path_factory: pytest.TempPathFactory) -> None:
    import aiohttp

    process = ServerProcess(tmp_path_factory.mktemp("restarted"))
    process.apply(manifest())
    async with aiohttp.ClientSession() as session:
        with process:
            manager = Manager(session, process.url)
            await made(manager, "Kept Bot")
            kept = await manager.patch("/agents/kept-bot", {"instructions": "Waiting."})
        with process:
            again = await Manager(session, process.url).get("/agents/kept-bot")
    assert (again.ok(), again.headers["ETag"]) == (kept.ok(), kept.headers["ETag"])
