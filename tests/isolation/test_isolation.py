"""Every route, every credential, every kind of id: nobody but the owner is told anything, or changes anything."""

import json
from collections.abc import Iterator
from typing import Any

import pytest
from starlette.applications import Starlette
from starlette.routing import Route, WebSocketRoute

from dragoman.app import make_app
from dragoman.core.ids import prefixed
from tests.isolation.oracles import alike, asked_by, check_foreign_is_as_absent
from tests.isolation.refusals import check_refusal
from tests.isolation.rows import AGENT, AGENT_UUID, DEPLOYMENT, Row, absent
from tests.isolation.scene import Scene, Somebody
from tests.isolation.table import ROWS, SOCKETS

each_row = pytest.mark.parametrize("row", ROWS, ids=str)


@pytest.fixture(scope="module")
def before(scene: Scene) -> dict[str, Any]:
    """All that the owner has, before others' requests."""
    return everything(scene.owner)


def everything(owner: Somebody) -> dict[str, Any]:
    """All that a tenant can read of itself, but for when its keys were last used and what its turns have used."""
    agents = listed(owner, "/manage/v1/agents")
    paths = [f"/manage/v1/agents/{agent['id']}" for agent in agents]
    lines = owner.do("GET", "/manage/v1/conversations/export").body.split(b"\n")[:-1]
    conversations = [json.loads(line) for line in lines]
    turns = {message["turn_id"] for each in conversations for message in each["messages"]} - {None}
    return {
        "agents": [owner.do("GET", path).json for path in paths],
        "versions": [listed(owner, f"{path}/versions") for path in paths],
        "deployments": [listed(owner, f"{path}/deployments") for path in paths],
        "documents": [(each["id"], each["title"]) for path in paths for each in listed(owner, f"{path}/documents")],
        "attachments": [
            attachment
            for each in conversations
            for attachment in listed(owner, f"/manage/v1/conversations/{each['id']}/attachments")
        ],
        "keys": [{**key, "last_used_at": None} for key in listed(owner, "/manage/v1/keys")],
        "tenant": owner.do("GET", "/manage/v1/tenant").json,
        "audit": listed(owner, "/manage/v1/audit"),
        "conversations": {each["id"]: each for each in conversations},
        "turns": {turn: owner.do("GET", f"/manage/v1/turns/{turn}").json for turn in turns},
    }


def listed(owner: Somebody, path: str) -> list[Any]:
    rows: list[Any] = []
    cursor = ""
    while True:
        page = owner.do("GET", f"{path}?limit=100{cursor}").json
        rows += page["data"]
        if page["next_cursor"] is None:
            return rows
        cursor = f"&cursor={page['next_cursor']}"


def routes() -> Iterator[tuple[str, str]]:
    """Every route of the app; of two spellings one."""
    app: Any = make_app(None)
    while not isinstance(app, Starlette):
        app = app._app
    for route in app.routes:
        assert isinstance(route, Route | WebSocketRoute), route
        path = route.path.rstrip("/") or "/"
        methods = route.methods or () if isinstance(route, Route) else ("WEBSOCKET",)
        yield from ((method, path) for method in methods if method != "HEAD")


def test_every_route_is_in_the_table_and_every_row_has_its_route() -> None:
    assert {*(row.route for row in ROWS), *SOCKETS} == set(routes())


@each_row
def test_a_secret_key_is_served_and_finds_nothing_of_other_tenants(
    scene: Scene, before: dict[str, Any], row: Row
) -> None:
    # A request that may take something away is made about things of its own.
    third = scene.third_secret(scene.thirds if row.method == "GET" else scene.furnished("third", scene.third))
    told = asked_by(third, row, third.own.ids)
    assert told.status == row.good, told.text
    check_foreign_is_as_absent(row, third)


@each_row
def test_whoever_is_not_the_owner_is_told_nothing(scene: Scene, before: dict[str, Any], row: Row) -> None:
    for credential in scene.credentials:
        own = credential.own.ids
        if row.open:
            assert asked_by(credential, row, own).status == row.good
        elif credential.kind == "dead":
            answers = {ids: asked_by(credential, row, ids) for ids in (own, *(each.ids for each in credential.others))}
            for told in answers.values():
                check_refusal(row.path, told, 401)
            assert len({alike(row, told, ids) for ids, told in answers.items()}) == 1
        else:
            if credential.kind == "publishable" and row.visitors:
                told = asked_by(credential, row, own)
                assert told.status == row.good, (credential.name, told.text)
            elif credential.kind == "publishable":
                check_refusal(row.path, asked_by(credential, row, own), 403)
            check_foreign_is_as_absent(row, credential)


@pytest.mark.parametrize("what", ["agent", "deployment"])
def test_an_id_that_another_tenant_uses_is_as_good_as_a_new_one(
    scene: Scene, before: dict[str, Any], what: str
) -> None:
    credential = next(each for each in scene.credentials if each.name == "other secret")
    if what == "agent":
        new = {"name": "Twin", "slug": "twin", "model": {"provider": "scripted"}, "id": AGENT_UUID}
        row = Row("POST", "/manage/v1/agents", body=new)
    else:
        agent = AGENT.render(credential.own.ids.agent)
        deployment = {"channel": "chat", "region": "asia", "id": DEPLOYMENT}
        row = Row("POST", f"/manage/v1/agents/{agent}/deployments", body=deployment)
    used, unused = (asked_by(credential, row, ids).status for ids in (scene.acme.ids, absent()))
    assert used == unused


def test_nothing_of_the_owners_has_changed(scene: Scene, before: dict[str, Any]) -> None:
    mine = [before["conversations"].get(prefixed("conv", each.own.ids.conversation)) for each in scene.credentials]
    visitors = {each["visitor_id"] for each in mine if each is not None}
    assert len(visitors) == 2
    assert None not in visitors
    assert without(everything(scene.owner), visitors) == without(before, visitors)


def without(everything: dict[str, Any], visitors: set[str]) -> dict[str, Any]:
    """All but the conversations and turns of visitors, who have gone on with them."""
    kept = {key: each for key, each in everything["conversations"].items() if each["visitor_id"] not in visitors}
    turns = {key: each for key, each in everything["turns"].items() if each["conversation_id"] in kept}
    return {**everything, "conversations": kept, "turns": turns}
