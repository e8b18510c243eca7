"""A credential opens what it is for, in the header that is meant for it, spelled as it is; and nothing by confusion."""

from collections.abc import Callable, Mapping, Sequence

import pytest

from tests.isolation.asked import Asked, Told, ask, fresh, leaks, masked
from tests.isolation.oracles import nobodys
from tests.isolation.refusals import check_refusal
from tests.isolation.rows import AGENT, AGENT_UUID, CHAT, CONVERSATION, SLUG, Row
from tests.isolation.scene import SPARE_KEY as KEY
from tests.isolation.scene import Scene, Somebody
from tests.support.server import OTHER_KEY

GARBAGE = "sk_" + "0" * 40
# A request of each contract that its owner is served, and the headers that carry the key there.
OWNED: Mapping[str, tuple[Row, Sequence[str]]] = {
    "aloochat": (
        Row("GET", "/api/v1/chat/conversations/{id}", {"id": CONVERSATION}),
        ("x-api-token", "x-api-key"),
    ),
    "alonchat": (Row("GET", "/v1/conversations/{id}", {"id": CONVERSATION}), ("Authorization",)),
    "slug": (Row("POST", "/v1/api/chat/{slug}", {"slug": SLUG}, body={"message": "Hello"}), ("Authorization",)),
    "sessions": (Row("GET", "/api/v1/chats/{id}", {"id": CHAT}), ("x-api-key",)),
    "agents": (Row("GET", "/api/agents/{id}/chat", {"id": AGENT}), ("Authorization",)),
    "management": (Row("GET", "/manage/v1/conversations/{id}", {"id": CONVERSATION}), ("Authorization",)),
}
WRONG_KEYS = (KEY.upper(), KEY.title(), KEY[:-1], f"{KEY}0", f"{KEY} x", f'"{KEY}"', f"{KEY},", f"\xa0{KEY}")
WRONG_SCHEMES = (
    *(f"{scheme}{KEY}" for scheme in ("", "Basic ", "Token ", "Bearer", "Bearer:", "Bearer Bearer ")),
    "Bearer",
)
each_owner = pytest.mark.parametrize("owner", OWNED)


def valued(header: str, key: str) -> tuple[str, str]:
    """A header that carries a key."""
    return header, f"Bearer {key}" if header == "Authorization" else key


Sending = Callable[..., Told]


@pytest.fixture(scope="module")
def sent(scene: Scene) -> Sending:
    """Sends an owner's request about a tenant's own things with these headers alone, and `more` behind its path."""
    own = scene.furnished("spare", Somebody(scene.url, KEY)).ids

    def sending(owner: str, *headers: tuple[str, str], more: str = "") -> Told:
        asked = OWNED[owner][0].asked(own)
        return ask(scene.url, Asked(asked.method, asked.path + more, (*asked.headers, *headers), asked.body))

    return sending


@each_owner
def test_a_key_opens_nothing_in_a_header_that_is_not_meant_for_it(sent: Sending, owner: str) -> None:
    row, carriers = OWNED[owner]
    for header in ("Authorization", "x-api-token", "x-api-key", "X-Visitor-Token", "Cookie", "Proxy-Authorization"):
        told = sent(owner, valued(header, KEY))
        if header in carriers:
            assert told.status == 200, told.text
            assert sent(owner, (header.upper(), valued(header, KEY)[1])).status == 200
        else:
            check_refusal(row.path, told, 401)
    for name in ("api_key", "x-api-token", "x-api-key", "token", "access_token", "ticket"):
        check_refusal(row.path, sent(owner, more=f"?{name}={KEY}"), 401)


@each_owner
def test_a_header_that_is_there_twice_is_read_once(sent: Sending, owner: str) -> None:
    row, carriers = OWNED[owner]
    for header in carriers:
        good, bad, others = (valued(header, key) for key in (KEY, GARBAGE, OTHER_KEY))
        assert sent(owner, good).status == 200
        check_refusal(row.path, sent(owner, bad, good), 401)
        assert sent(owner, good, bad).status in (200, 401)
        # Another tenant's key before the owner's: nothing of the owner's is told.
        told = sent(owner, others, good)
        assert told.status == 404, told.text
        joined = (header, f"{good[1]}, {good[1]}")
        check_refusal(row.path, sent(owner, joined), 401)


@each_owner
def test_a_key_is_read_as_it_is_and_white_space_around_it_is_none_of_it(sent: Sending, owner: str) -> None:
    row, carriers = OWNED[owner]
    for header in carriers:
        name, value = valued(header, KEY)
        for spelled in (f"{value}   ", f"  {value}", f"{value}\t"):
            assert sent(owner, (name, spelled)).status == 200, spelled
        for key in WRONG_KEYS:
            check_refusal(row.path, sent(owner, valued(name, key)), 401)


@pytest.mark.parametrize("owner", [owner for owner, (_, carriers) in OWNED.items() if carriers == ("Authorization",)])
def test_the_scheme_is_bearer_in_any_case_and_no_other(sent: Sending, owner: str) -> None:
    row, _ = OWNED[owner]
    for scheme in ("Bearer", "bearer", "BEARER", "bEaReR"):
        assert sent(owner, ("Authorization", f"{scheme} {KEY}")).status == 200
    for value in WRONG_SCHEMES:
        check_refusal(row.path, sent(owner, ("Authorization", value)), 401)


def test_an_idempotency_key_is_its_credentials_own(scene: Scene) -> None:
    slug = f"twin-{fresh()}"
    agent = {"name": "Twin", "slug": slug, "model": {"provider": "scripted"}}
    owner, other = Somebody(scene.url, KEY), Somebody(scene.url, OTHER_KEY)
    for each in (owner, other):
        each.do("POST", "/manage/v1/agents", agent, 201)
    wanted = {"name": fresh(), "type": "publishable", "agents": [slug]}
    widget = Somebody(scene.url, owner.do("POST", "/manage/v1/keys", wanted, 201).json["value"])
    asked = Asked("POST", f"/v1/api/chat/{slug}", [("Idempotency-Key", "the-same")], b'{"message": "Hello"}')
    told = [somebody.send(asked) for somebody in (owner, other, widget, widget)]
    assert [each.status for each in told] == [200] * 4
    assert [each.header("Idempotent-Replayed") for each in told] == [None] * 4
    assert len({each.header("X-Conversation-Id") for each in told}) == 4
    again = owner.send(asked)
    assert again.header("Idempotent-Replayed") == "true"
    assert again.header("X-Conversation-Id") == told[0].header("X-Conversation-Id")


def test_a_turn_of_others_cannot_be_resumed(scene: Scene) -> None:
    for credential in scene.credentials:
        if credential.kind == "dead":
            continue
        ids, answers = credential.own.ids, []
        for turn in (scene.acme.ids.turn, scene.thirds.ids.turn, nobodys(credential, ("turn",)).turn):
            for key in ("used", fresh()):
                headers = [("Idempotency-Key", key), ("Last-Event-ID", f"{turn}.1.1")]
                asked = Row("POST", "/v1/agents/{id}/chat", {"id": AGENT}, body={"message": "Hello"}).asked(ids)
                told = credential.acting.send(asked.holding(*headers))
                assert leaks(told, credential.secrets, asked.holding(*headers)) == []
                answers.append(masked(told, {"turn": turn}))
        assert len(set(answers[::2])) == len(set(answers[1::2])) == 1, answers


def test_a_name_that_is_taken_by_others_is_as_a_conversation_that_is_not_there(scene: Scene) -> None:
    for name in ("publishable", "other agent"):
        credential = next(each for each in scene.credentials if each.name == name)
        told = []
        for conversation in (scene.acme.ids.client_id, fresh()):
            body = {"message": "Hello", "conversation_id": conversation}
            asked = Row("POST", "/api/agents/{id}/chat", {"id": AGENT_UUID}, body=body).asked(credential.own.ids)
            told.append(credential.acting.send(asked))
        assert told[0].status == 404
        assert masked(told[0], {}) == masked(told[1], {})
