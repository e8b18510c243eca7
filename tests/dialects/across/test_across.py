"""What holds in every contract: ids, tenants, unknown fields, the owner of a path, browsers."""

from typing import Any
from uuid import UUID

import pytest
from yarl import URL

from tests.dialects.scene import AGENTS, ALONCHAT, CONTRACTS, IDS, MANAGEMENT, SLUG, Contract
from tests.support.client import Client, authorised
from tests.support.server import OTHER_KEY

each_contract = pytest.mark.parametrize("contract", CONTRACTS, ids=lambda contract: contract.name)


async def say(client: Client, contract: Contract, message: str, conversation: str | None = None) -> tuple[str, str]:
    async with client.post(contract.path(), contract.body(message, conversation)) as response:
        told = await response.json()
        assert response.status == 200, told
        return contract.answer(told)


@pytest.mark.requirement("X-2")
@each_contract
async def test_a_conversation_is_named_by_its_prefixed_id_or_its_uuid(client: Client, contract: Contract) -> None:
    _, conversation = await say(client, contract, "Hello")
    uuid = str(UUID(conversation.removeprefix("conv_")))
    for spelled in (conversation, uuid, uuid.upper(), conversation.upper()):
        assert (await say(client, contract, "Again", spelled))[1] == conversation
    for spelled in (conversation, uuid):
        assert len(await client.history(spelled)) == 10


@pytest.mark.requirement("X-2", "X-1")
async def test_a_conversation_of_one_contract_goes_on_in_the_other(client: Client) -> None:
    for first, second in ((SLUG, ALONCHAT), (ALONCHAT, SLUG)):
        _, conversation = await say(client, first, "Here")
        assert (await say(client, second, "There", conversation))[1] == conversation
        told = [said["content"] for said in await client.history(conversation)]
        assert told == ["Here", "You said: Here", "There", "You said: There"]


@pytest.mark.requirement("X-2")
async def test_turns_and_conversations_of_the_management_api_take_both_forms(client: Client) -> None:
    async with client.s2("Hello") as response:
        turn, conversation = response.headers["X-Turn-Id"], response.headers["X-Conversation-Id"]
    assert await client.turn(turn) == await client.turn(str(UUID(turn.removeprefix("turn_"))))
    for spelled in (conversation, str(UUID(conversation.removeprefix("conv_")))):
        async with client.post(f"/manage/v1/conversations/{spelled}/stop", None) as response:
            assert await response.json() == {"stopped": None}


async def refused(client: Client, path: str, body: dict[str, Any]) -> tuple[bytes, Any]:
    """What a 404 says, as bytes and as JSON."""
    async with client.post(path, body) as response:
        assert response.status == 404
        return await response.read(), await response.json()


@pytest.mark.requirement("S1-15", "S2-5")
@each_contract
async def test_an_agent_of_another_tenant_is_told_as_one_that_nobody_has(client: Client, contract: Contract) -> None:
    stranger = Client(client.session, client.url, key=OTHER_KEY)
    absent = contract.path().replace("support-agent", "sopport-agent").replace("agent_123e", "agent_fff1")
    foreign = await refused(stranger, contract.path(), contract.body("Hello"))
    contract.check(foreign[1], "AgentNotFound")
    unknown = await refused(stranger, absent, contract.body("Hello"))
    assert foreign[0] == unknown[0].replace(b"sopport-agent", b"support-agent")


@pytest.mark.requirement("S1-21", "S2-7")
async def test_a_conversation_of_another_tenant_is_told_as_one_that_nobody_has(client: Client) -> None:
    _, conversation = await say(client, SLUG, "Hello")
    stranger = Client(client.session, client.url, slug="other-agent", key=OTHER_KEY)
    told = []
    for named in (conversation, "conv_" + "0" * 32):
        told.append(await refused(stranger, "/v1/api/chat/other-agent", SLUG.body("Hello", named)))
        SLUG.check(told[-1][1], "ConversationNotFound")
        async with stranger.get(f"/v1/conversations/{named}") as response:
            assert response.status == 404
            told.append((await response.read(), await response.json()))
            ALONCHAT.check(told[-1][1], "ConversationNotFound")
    assert told[:2] == told[2:]
    assert len(await client.history(conversation)) == 2


@pytest.mark.requirement("X-2")
async def test_a_turn_of_another_tenant_is_told_as_one_that_nobody_has(client: Client) -> None:
    async with client.s2("Hello") as response:
        turn, conversation = response.headers["X-Turn-Id"], response.headers["X-Conversation-Id"]
    stranger = Client(client.session, client.url, key=OTHER_KEY)
    for path in (f"turns/{turn}/stop", f"conversations/{conversation}/stop"):
        kind = "TurnNotFound" if "turns" in path else "ConversationNotFound"
        MANAGEMENT.check((await refused(stranger, f"/manage/v1/{path}", {}))[1], kind)


@pytest.mark.requirement("X-4")
@each_contract
@pytest.mark.parametrize(
    "unknown",
    [
        {"temperature": 0.2, "user": None, "history": [{"role": "user"}]},
        {"Message": 5, "message_": [], "conversationID": 5, "conversation": {}, "Stream": "yes", "": ""},
        {"model": {"deep": {"er": [1, 2, {"x": "\U0001f642"}]}}},
    ],
)
async def test_unknown_fields_are_ignored(client: Client, contract: Contract, unknown: dict[str, Any]) -> None:
    async with client.post(contract.path(), {**unknown, **contract.body("Hello")}) as response:
        assert response.status == 200
        assert contract.answer(await response.json())[0] == "You said: Hello"


UNROUTED = [
    (SLUG, "/v1/api"),
    (SLUG, "/v1/api/"),
    (SLUG, "/v1/api/chat"),
    (SLUG, "/v1/api/chat/"),
    (SLUG, "/v1/api/chat/a/b"),
    (SLUG, "/v1/api/chat//support-agent"),
    (SLUG, "/v1/api/chat/support-agent//"),
    (SLUG, "/v1/api/../agents/x/chat"),
    (SLUG, "/v1/api/chat/..%2f..%2fagents"),
    (SLUG, "/v1/api/conversations/x"),
    (SLUG, "/v1/api/v1/api/chat/support-agent"),
    (ALONCHAT, "/v1"),
    (ALONCHAT, "/v1/"),
    (ALONCHAT, "/v1//api/chat/support-agent"),
    (ALONCHAT, "/v1/apix"),
    (ALONCHAT, "/v1/apix/chat/support-agent"),
    (ALONCHAT, "/v1/API/chat/support-agent"),
    (ALONCHAT, "/v1/ap"),
    (ALONCHAT, "/v1/agents"),
    (ALONCHAT, "/v1/agents/x"),
    (ALONCHAT, "/v1/agents/x/chat/y"),
    (ALONCHAT, "/v1/conversations"),
    (ALONCHAT, "/v1/conversations/x/messages"),
    (ALONCHAT, "/v1/unknown"),
    (AGENTS, "/api/agents"),
    (AGENTS, "/api/agents/"),
    (AGENTS, "/api/agents/support-agent"),
    (AGENTS, "/api/agents//chat"),
    (AGENTS, "/api/agents/support-agent/chat/5"),
    (AGENTS, "/api/agents/support-agent//chat"),
    (AGENTS, "/api/agents/a%2fb/chat"),
    (MANAGEMENT, "/"),
    (MANAGEMENT, "/v1x"),
    (MANAGEMENT, "/v2/api"),
    (MANAGEMENT, "/V1/api"),
    (MANAGEMENT, "//v1/api/chat/support-agent"),
    (MANAGEMENT, "/api"),
    (MANAGEMENT, "/api/agentsx/support-agent/chat"),
    (MANAGEMENT, "/API/agents/support-agent/chat"),
    (MANAGEMENT, "/manage"),
    (MANAGEMENT, "/manage/v1"),
    (MANAGEMENT, "/manage/v1/turns"),
    (MANAGEMENT, "/unknown"),
]


@pytest.mark.requirement("X-6")
@pytest.mark.parametrize(("owner", "path"), UNROUTED, ids=lambda each: each if isinstance(each, str) else each.name)
async def test_what_no_route_takes_is_refused_by_the_owner_of_the_path(
    client: Client, owner: Contract, path: str
) -> None:
    for method in ("GET", "POST", "DELETE"):
        url = URL(client.url + path, encoded=True)
        async with client.session.request(method, url, json={"message": "x"}, headers=authorised()) as response:
            assert response.status == 404
            expected = "application/problem+json" if owner is MANAGEMENT else "application/json"
            assert response.headers["Content-Type"] == expected
            owner.check(await response.json(), "RouteNotFound")


ROUTES = [
    (SLUG, "POST", "/v1/api/chat/support-agent"),
    (ALONCHAT, "POST", ALONCHAT.path()),
    (ALONCHAT, "GET", "/v1/conversations/conv_abc123"),
    (AGENTS, "DELETE, GET, POST", AGENTS.path()),
    (MANAGEMENT, "GET", "/manage/v1/turns/turn_x"),
    (MANAGEMENT, "POST", "/manage/v1/turns/turn_x/stop"),
    (MANAGEMENT, "POST", "/manage/v1/conversations/conv_x/stop"),
]


@pytest.mark.requirement("X-6")
@pytest.mark.parametrize(("owner", "allowed", "path"), ROUTES)
@pytest.mark.parametrize("slash", ["", "/"])
async def test_a_wrong_method_is_refused_by_the_owner_and_says_which_is_right(
    client: Client, owner: Contract, allowed: str, path: str, slash: str
) -> None:
    for method in {"GET", "POST", "PUT", "PATCH", "DELETE", "HEAD", "OPTIONS", "TRACE"} - {*allowed.split(", ")}:
        async with client.session.request(method, client.url + path + slash, headers=authorised()) as response:
            told = ", ".join(sorted(response.headers["Allow"].split(", ")))
            assert (response.status, told) == (405, allowed), method
            if method != "HEAD":
                owner.check(await response.json(), "MethodNotAllowed")


@pytest.mark.requirement("X-6")
@each_contract
async def test_both_spellings_of_a_path_answer_without_a_redirect(client: Client, contract: Contract) -> None:
    for path in (contract.path(), contract.path() + "/"):
        url = client.url + path
        async with client.session.post(
            url, json=contract.body("Hello"), headers=authorised(), allow_redirects=False
        ) as response:
            assert response.status == 200
            _, conversation = contract.answer(await response.json())
    for path in (f"/v1/conversations/{conversation}", f"/v1/conversations/{conversation}/"):
        async with client.session.get(client.url + path, headers=authorised(), allow_redirects=False) as response:
            assert response.status == 200


@pytest.mark.requirement("X-6", "S2-9")
@pytest.mark.parametrize(
    "path", [SLUG.path(), ALONCHAT.path(), AGENTS.path(), "/v1/conversations/conv_abc123", "/v1/unknown"]
)
async def test_a_browser_of_any_origin_may_ask(client: Client, path: str) -> None:
    asked = "authorization, content-type, idempotency-key, last-event-id"
    headers = {
        "Origin": "https://shop.example",
        "Access-Control-Request-Method": "POST",
        "Access-Control-Request-Headers": asked,
    }
    async with client.session.options(client.url + path, headers=headers) as response:
        assert response.status == 200
        assert response.headers["Access-Control-Allow-Origin"] == "*"
        assert "POST" in response.headers["Access-Control-Allow-Methods"]
        allowed = response.headers["Access-Control-Allow-Headers"].lower().split(", ")
        assert "Access-Control-Allow-Credentials" not in response.headers
    assert set(asked.split(", ")) <= set(allowed)


@pytest.mark.requirement("X-6")
@each_contract
async def test_a_browser_may_read_errors_too(client: Client, contract: Contract) -> None:
    for path, status in ((contract.path(), 401), (contract.path() + "/unknown", 404)):
        async with client.session.post(client.url + path, headers={"Origin": "https://shop.example"}) as response:
            assert response.status == status
            assert response.headers["Access-Control-Allow-Origin"] == "*"
            contract.check(await response.json(), "Unauthenticated" if status == 401 else "RouteNotFound")


async def test_the_management_api_is_closed_to_other_origins(client: Client) -> None:
    headers = authorised(Origin="https://shop.example")
    async with client.session.get(f"{client.url}/manage/v1/turns/turn_x", headers=headers) as response:
        assert "Access-Control-Allow-Origin" not in response.headers


@pytest.mark.requirement("X-2")
async def test_the_ids_of_the_scene_are_known_by_s1(client: Client) -> None:
    for slug, uuid in IDS.items():
        if slug in ("support-agent", "second-agent"):
            async with client.s1(uuid, "Hello") as response:
                assert response.status == 200
