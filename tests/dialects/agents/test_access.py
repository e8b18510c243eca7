"""S4: who may talk to an agent with a key, with a page's key, or with none at all."""

import pytest

from tests.dialects.agents.scene import IDS, PAGE_KEY, TOKEN, Chat, agent_id, brought, calls_in, checked
from tests.dialects.scene import MINUTE, room_in
from tests.support.client import Client
from tests.support.server import OTHER_KEY

ORIGIN = "https://shop.example"


@pytest.fixture
def chat(client: Client) -> Chat:
    return Chat(client)


@pytest.fixture
def nobody(client: Client) -> Chat:
    """Somebody without a credential, at the public agent."""
    return Chat(client, IDS["public-agent"], None)


async def refused_everywhere(chat: Chat, status: int, code: str) -> None:
    for method, body in (("POST", {"message": "Hello"}), ("GET", None), ("DELETE", None)):
        await chat.refused(status, code, body, method)


@pytest.mark.requirement("S4-15")
async def test_an_agent_that_is_not_public_wants_a_key(client: Client) -> None:
    for name in (
        IDS["open-agent"],
        agent_id("open-agent"),
        "open-agent",
        "nobody",
        "123e4567-e89b-12d3-a456-4266141741ff",
    ):
        await refused_everywhere(Chat(client, name, None), 401, "UNAUTHORIZED")


@pytest.mark.requirement("S4-15", "S4-14")
@pytest.mark.parametrize(
    "credential",
    ["", "Bearer", "Bearer sk_test_acme_backend_0000000000000001", "Basic eDp5", "Bearer ключ", f"Bearer {PAGE_KEY}x"],
)
async def test_a_wrong_credential_is_refused_even_where_none_is_needed(nobody: Chat, credential: str) -> None:
    nobody.headers["Authorization"] = credential
    await refused_everywhere(nobody, 401, "UNAUTHORIZED")
    await refused_everywhere(nobody.named("open-agent"), 401, "UNAUTHORIZED")


@pytest.mark.requirement("S4-15", "S4-13")
async def test_a_public_agent_answers_without_a_credential_and_knows_its_visitor_by_a_token(nobody: Chat) -> None:
    first = await nobody.say("Hello")
    assert (first["content"], nobody.headers[TOKEN][:3]) == ("You said: Hello", "vt_")
    again = await nobody.named(agent_id("public-agent")).say("Again", first["conversation_id"])
    assert again["conversation_id"] == first["conversation_id"]
    assert len(await nobody.history(first["conversation_id"])) == 4
    frames = await nobody.stream({"message": "greet me", "conversation_id": first["conversation_id"]})
    assert [frames[0]["type"], frames[-1]["type"]] == ["start", "done"]
    assert len(await Chat(nobody.client, "public-agent").history(first["conversation_id"])) == 6


@pytest.mark.requirement("S4-15", "S4-5")
async def test_a_public_caller_brings_results_of_calls(nobody: Chat) -> None:
    first = await nobody.say("everything")
    weather, orders = calls_in(first)
    assert (await nobody.bring(first["conversation_id"], (orders, "none")))["role"] == "tool"
    assert (await nobody.bring(first["conversation_id"], (weather, "sunny")))["content"] == "It is sunny in Tokyo."
    stranger = Chat(nobody.client, nobody.agent, None)
    waiting = await nobody.say("weather")
    body = brought(waiting["conversation_id"], (calls_in(waiting)[0], "x"))
    await stranger.refused(404, "CONVERSATION_NOT_FOUND", body)


@pytest.mark.requirement("S4-15", "S4-16")
async def test_without_a_credential_a_slug_names_no_agent(client: Client) -> None:
    await refused_everywhere(Chat(client, "public-agent", None), 401, "UNAUTHORIZED")


@pytest.mark.requirement("S4-15", "S4-13")
async def test_what_a_public_agent_does_not_allow_without_a_credential(nobody: Chat) -> None:
    await nobody.refused(401, "UNAUTHORIZED", None, "GET")
    await nobody.refused(401, "UNAUTHORIZED", None, "DELETE")
    owner = Chat(nobody.client, "public-agent")
    await owner.say("Hello", "a name of the client's own")
    for name in ("a name of the client's own", "a new name"):
        await nobody.refused(404, "CONVERSATION_NOT_FOUND", {"message": "Hello", "conversation_id": name})
        assert (await nobody.read(conversation_id=name))["messages"] == []
    assert len(await owner.history("a name of the client's own")) == 2


@pytest.mark.requirement("S4-15", "S4-14")
async def test_a_conversation_of_another_visitor_or_of_nobody_is_as_one_that_does_not_exist(nobody: Chat) -> None:
    mine = (await nobody.say("My secret"))["conversation_id"]
    owners = (await Chat(nobody.client, "public-agent").say("Of the backend"))["conversation_id"]
    stranger = Chat(nobody.client, nobody.agent, None)
    empty = await stranger.read(conversation_id="conv_" + "0" * 32)
    for conversation in (mine, owners):
        await stranger.refused(404, "CONVERSATION_NOT_FOUND", {"message": "Me too", "conversation_id": conversation})
        assert await stranger.read(conversation_id=conversation) == empty
    assert len(await nobody.history(mine)) == 2


@pytest.mark.requirement("S4-14", "S4-15")
async def test_public_agents_are_limited_by_address(nobody: Chat) -> None:
    await room_in(MINUTE)
    for number in range(20):
        async with nobody.request("POST", {"message": "Hello"}) as response:
            assert response.status == 200, number
            assert response.headers["X-RateLimit-Limit"] == "20"
            assert response.headers["X-RateLimit-Remaining"] == str(19 - number)
    for method in ("POST", "GET"):
        async with nobody.request(method, {"message": "Hello"}) as response:
            assert response.status == 429
            told = await response.json()
            wait = int(response.headers["Retry-After"])
        assert 1 <= wait <= 60
        assert checked(told) == f"Too many requests. Retry after {wait} seconds."
        assert (told["error"]["code"], told["error"]["details"]) == ("RATE_LIMIT_EXCEEDED", {})
    elsewhere = Chat(nobody.client, nobody.agent, None)
    assert (await elsewhere.say("Hello"))["content"] == "You said: Hello"


@pytest.mark.requirement("S4-15", "S4-1")
async def test_a_publishable_key_sends_and_reads_its_own_visitors_conversation(client: Client, chat: Chat) -> None:
    page, other = Chat(client, key=PAGE_KEY), Chat(client, key=PAGE_KEY)
    first = await page.say("My secret", metadata={"page": "/"}, context={"plan": "free"})
    named = await page.say("Hello", "basket 7")
    assert named["conversation_id"] == "basket 7"
    assert (len(await page.history(first["conversation_id"])), len(await page.history("basket 7"))) == (2, 2)
    assert "system" not in {each["role"] for each in await page.history(first["conversation_id"])}
    assert len(await chat.history("basket 7")) == 2
    await other.say("Hello")
    for conversation in (first["conversation_id"], "basket 7"):
        await other.refused(404, "CONVERSATION_NOT_FOUND", {"message": "Me too", "conversation_id": conversation})
        assert (await other.read(conversation_id=conversation))["meta"]["total"] == 0


@pytest.mark.requirement("S4-15", "S4-1")
async def test_a_publishable_key_gets_no_lists_and_no_other_agents(client: Client) -> None:
    page = Chat(client, key=PAGE_KEY)
    await page.refused(403, "FORBIDDEN", None, "GET")
    await page.refused(403, "FORBIDDEN", None, "DELETE")
    closed = page.named("closed-agent")
    await closed.refused(404, "AGENT_NOT_FOUND", {"message": "Hello"})
    await closed.refused(404, "AGENT_NOT_FOUND", None, "GET", conversation_id="x")


@pytest.mark.requirement("S4-15")
async def test_a_conversation_of_another_tenant_is_as_one_that_does_not_exist(client: Client, chat: Chat) -> None:
    theirs = Chat(client, "other-agent", OTHER_KEY)
    conversation = (await chat.say("Ours"))["conversation_id"]
    await theirs.refused(404, "CONVERSATION_NOT_FOUND", {"message": "Hello", "conversation_id": conversation})
    assert (await theirs.read(conversation_id=conversation))["messages"] == []
    await theirs.named(IDS["open-agent"]).refused(404, "AGENT_NOT_FOUND", {"message": "Hello"})


@pytest.mark.requirement("S4-15")
async def test_a_browser_may_ask_in_every_documented_way(nobody: Chat) -> None:
    for method in ("GET", "POST", "DELETE"):
        asking = {
            "Origin": ORIGIN,
            "Access-Control-Request-Method": method,
            "Access-Control-Request-Headers": "content-type,x-visitor-token,idempotency-key,last-event-id",
        }
        async with nobody.request("OPTIONS", headers=asking) as response:
            assert response.status == 200
            assert method in response.headers["Access-Control-Allow-Methods"]
    async with nobody.request("POST", {"message": "Hello"}, headers={"Origin": ORIGIN}) as response:
        assert response.headers["Access-Control-Allow-Origin"] == "*"
        assert TOKEN in response.headers["Access-Control-Expose-Headers"]
