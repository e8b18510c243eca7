"""What turns have used, over the management API and by the command; and deployments beside it."""

import json
from datetime import UTC, datetime

import pytest

from tests.management.scene import SALES_BOT, Manager
from tests.support.server import ServerProcess

NUMBERS = ("turns", "prompt_tokens", "completion_tokens", "credits")


@pytest.fixture(scope="module", autouse=True)
def priced(server: ServerProcess) -> None:
    """Turns of the model `priced` cost five credits."""
    priced = {"provider": "scripted", "name": "priced", "script": [{"text": "Dear."}]}
    agents = [{"name": "Priced Agent", "model": priced}]
    server.apply({"tenants": [{"id": "acme", "plan": "enterprise", "credits": 100, "agents": agents}]})


async def test_usage_adds_up_over_every_group(acme: Manager) -> None:
    day = datetime.now(UTC).date().isoformat()
    for slug in ("support-agent", "priced-agent", "priced-agent"):
        await acme.say(slug)
    told = (await acme.get("/usage")).ok()
    assert told["group_by"] == ["day"]
    assert {row["day"] for row in told["data"]} <= {day, datetime.now(UTC).date().isoformat()}
    assert (told["total"]["turns"], told["total"]["credits"], told["credits"]) == (3, 11, 89)
    for groups in ("day", "agent", "key", "model", "day,agent,key,model", "model,%20agent"):
        told = (await acme.get(f"/usage?group_by={groups}")).ok()
        assert {name: sum(row[name] for row in told["data"]) for name in NUMBERS} == told["total"]
    by_agent = (await acme.get("/usage?group_by=agent")).ok()["data"]
    assert sorted((row["agent"], row["turns"], row["credits"]) for row in by_agent) == [
        ("Priced Agent", 2, 10),
        ("Support Agent", 1, 1),
    ]
    (by_key,) = (await acme.get("/usage?group_by=key")).ok()["data"]
    key = next(key for key in await acme.pages("/keys") if key["name"] == "backend")
    assert (by_key["key_id"], by_key["key"]) == (key["id"], "backend")
    assert set(by_key) == {"key_id", "key", *NUMBERS}
    total = (await acme.get("/usage?group_by=")).ok()
    assert (total["data"], total["total"]["turns"]) == ([], 3)
    assert (await acme.other.get("/usage")).ok()["total"]["turns"] == 0


async def test_a_span_is_of_whole_days_or_of_exact_times(acme: Manager) -> None:
    today = datetime.now(UTC).date().isoformat()
    for query, counted in (
        (f"from={today}&to={today}", True),
        (f"from={today}", True),
        ("from=2020-01-01&to=2020-12-31", False),
        ("to=2020-12-31", False),
        ("to=1970-01-02", False),
        ("from=2020-01-01T00:00:00Z&to=2020-01-02T12:00:00Z", False),
    ):
        assert bool((await acme.get(f"/usage?{query}")).ok()["total"]["turns"]) is counted, query
    told = (await acme.get("/usage?from=2026-01-01&to=2026-01-31")).ok()
    assert (told["from"], told["to"]) == ("2026-01-01T00:00:00Z", "2026-02-01T00:00:00Z")
    for query, word in (
        ("group_by=week", "'week'"),
        ("group_by=day,day", "at most once"),
        ("group_by=day,", "groups"),
        ("from=soon", "'soon'"),
        ("from=2026-01-02&to=2026-01-01", "before the start"),
        ("from=9998-12-31T23:59:59Z", "before the start"),
        ("to=0001-01-01", "between 1970"),
        ("from=0001-01-01T00:00:00Z", "between 1970"),
        ("to=9999-12-31", "between 1970"),
        ("to=9999-12-31T23:59:59-14:00", "between 1970"),
    ):
        (await acme.get(f"/usage?{query}")).problem(400, word)


async def test_the_command_prints_what_the_api_tells(acme: Manager, server: ServerProcess) -> None:
    told = (await acme.get("/usage?group_by=day,agent,key,model")).ok()
    done = server.run("usage", "--tenant", "acme", "--by", "day,agent,key,model", "--json")
    (report,) = json.loads(done.stdout)
    assert (report["tenant"], report["total"], report["credits"]) == ("acme", told["total"], told["credits"])
    shown = [[row["day"], row["agent"], row["key"], row["model"], row["turns"]] for row in report["rows"]]
    assert shown == [[row["day"], row["agent"], row["key"], row["model"], row["turns"]] for row in told["data"]]
    assert [each["tenant"] for each in json.loads(server.run("usage", "--json").stdout)] == ["acme", "other"]
    table = server.run("usage", "--tenant", "acme", "--by", "agent").stdout
    for word in ("acme", "Priced Agent", "credits left", "total"):
        assert word in table
    assert server.run("usage", "--by", "").stdout.count("turns") == 2


def test_the_command_says_what_it_cannot_do(server: ServerProcess) -> None:
    assert "Usage: dragoman usage" in server.run("usage", "--help").stdout
    for arguments, status, word in (
        (("--tenant", "nobody"), 1, "no tenant 'nobody'"),
        (("--by", "week"), 2, "'week'"),
        (("--from", "soon"), 2, "'soon'"),
        (("--from", "2026-01-02", "--to", "2026-01-01"), 2, "before the start"),
    ):
        done = server.run("usage", *arguments, check=False)
        assert (done.returncode, done.stdout) == (status, "")
        assert word in done.stderr
        assert done.stderr.count("\n") == 1


async def test_deployments_are_made_once_listed_and_taken_back(acme: Manager) -> None:
    await acme.post("/agents", {**SALES_BOT, "name": "Deployed Bot"})
    path = "/agents/deployed-bot/deployments"
    web = (await acme.post(path, {"channel": "web", "region": "eu"})).ok(201)
    voice = (await acme.post(path, {"channel": "voice", "region": "eu"})).ok(201)
    assert voice == {"id": voice["id"], "channel": "voice", "region": "eu"}
    assert await acme.pages(f"{path}?limit=1") == [voice, web]
    (await acme.post(path, {"channel": "web", "region": "eu"})).problem(409, "'web'")
    for body, word in (
        ({"channel": "web"}, "`region`"),
        ({"channel": "We b", "region": "eu"}, "`channel`"),
        ({"channel": "web", "region": "eu", "zone": 1}, "`zone`"),
        ({"channel": "web", "region": "eu", "id": "x"}, "`id`"),
    ):
        (await acme.post(path, body)).problem(400, word)
    (await acme.delete(f"/agents/support-agent/deployments/{web['id']}")).problem(404, "no such deployment")
    (await acme.other.delete(f"{path}/{web['id']}")).problem(404)
    assert (await acme.delete(f"{path}/{web['id']}")).status == 204
    for reference in (web["id"], "x"):
        (await acme.delete(f"{path}/{reference}")).problem(404, "no such deployment")
    assert await acme.pages(path) == [voice]
