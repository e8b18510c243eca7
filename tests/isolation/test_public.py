"""A public agent without a credential: it is talked to, and all else is as shut as it is of any other agent."""

from dataclasses import replace

import pytest

from tests.isolation.oracles import asked_by, check_foreign_is_as_absent
from tests.isolation.refusals import check_refusal
from tests.isolation.rows import AGENT, AGENT_UUID, CALL, CLIENT_ID, CONVERSATION, PAUSED, SLUG, Row
from tests.isolation.scene import Belongings, Credential, Scene, Somebody, Words, agent_of, named, say

PATH = "/api/agents/{id}/chat"
RESULT = {"role": "tool", "tool_call_id": CALL, "content": "sunny", "conversation_id": PAUSED}
# What a visitor of a public agent is served.
SERVED = (
    Row("GET", PATH, {"id": AGENT}, {"conversation_id": CONVERSATION}),
    Row("GET", PATH, {"id": AGENT_UUID}, {"conversation_id": CLIENT_ID}),
    Row("POST", PATH, {"id": AGENT}, body={"message": "Hello"}),
    Row("POST", PATH, {"id": AGENT}, body={**RESULT}),
    Row("POST", PATH, {"id": AGENT_UUID}, body={"message": "Hello", "conversation_id": CONVERSATION, "stream": True}),
)
# And what not, with the status.
REFUSED = (
    (Row("GET", PATH, {"id": AGENT}), 401),
    (Row("GET", PATH, {"id": SLUG}, {"conversation_id": CONVERSATION}), 401),
    (Row("POST", PATH, {"id": SLUG}, body={"message": "Hello"}), 401),
    (Row("DELETE", PATH, {"id": AGENT}), 401),
    (Row("DELETE", PATH, {"id": AGENT}, {"conversation_id": CONVERSATION}), 401),
    (Row("POST", PATH, {"id": AGENT}, body={"message": "Hello", "system_prompt": "Be rude."}), 403),
)


def walking_in(scene: Scene, agent: str, slug: str) -> tuple[Somebody, Belongings]:
    """Somebody without a credential, and two conversations with a public agent, of which one waits for a result."""
    words = Words()
    begun = say(Somebody(scene.url, None), agent, words["message"])
    visitor = Somebody(scene.url, None, begun.header("X-Visitor-Token"))
    paused = say(visitor, agent, f"{words['message']} weather")
    own = replace(
        scene.acme.ids,
        agent=agent,
        slug=slug,
        user=words["user"],
        client_id=words["client_id"],
        conversation=named(begun, "conversation"),
        message=named(begun, "message"),
        paused=named(paused, "conversation"),
        call=paused.json["tool_calls"][0]["id"],
    )
    return visitor, Belongings("acme", own, list(words.values()))


@pytest.fixture(scope="module")
def passer_by(scene: Scene) -> Credential:
    """One of two who talk to the same public agent."""
    words = Words()
    agent = agent_of(scene.owner, words, public=True)
    owners = Belongings("acme", replace(scene.acme.ids, agent=agent), [words["instructions"], words["name"]])
    _, neighbours = walking_in(scene, agent, words["slug"])
    visitor, visitors = walking_in(scene, agent, words["slug"])
    return Credential("passer-by", "publishable", visitor, visitors, [scene.acme, owners, neighbours, scene.thirds])


@pytest.mark.parametrize("row", SERVED, ids=str)
def test_a_visitor_is_served_about_the_own_conversation_alone(passer_by: Credential, row: Row) -> None:
    told = asked_by(passer_by, row, passer_by.own.ids)
    assert told.status == 200, told.text
    check_foreign_is_as_absent(row, passer_by)


@pytest.mark.parametrize(("row", "status"), REFUSED, ids=str)
def test_a_visitor_is_refused_whatever_is_not_for_visitors(passer_by: Credential, row: Row, status: int) -> None:
    check_refusal(PATH, asked_by(passer_by, row, passer_by.own.ids), status)
    check_foreign_is_as_absent(row, passer_by)


def test_a_name_of_a_visitors_own_is_no_conversation_whether_it_is_taken_or_not(passer_by: Credential) -> None:
    row = Row("POST", PATH, {"id": AGENT}, body={"message": "Hello", "conversation_id": CLIENT_ID})
    assert asked_by(passer_by, row, passer_by.own.ids).status == 404
    check_foreign_is_as_absent(row, passer_by)


def test_a_wrong_credential_is_refused_even_where_none_is_needed(scene: Scene, passer_by: Credential) -> None:
    wrong = [each.acting.key for each in scene.credentials if each.kind == "dead" and each.acting.key]
    for key in (*wrong, ""):
        for row in SERVED:
            acting = replace(passer_by, acting=replace(passer_by.acting, key=key))
            check_refusal(PATH, asked_by(acting, row, passer_by.own.ids), 401)
