"""S0: conversations, made, listed, read, changed and deleted, and their messages."""

import re
from typing import Any
from uuid import UUID

import pytest

from tests.dialects.aloochat.scene import (
    CHAT,
    CONVERSATION_FIELDS,
    CONVERSATIONS,
    DEPLOYMENT,
    IDS,
    PREFIX,
    SECOND_DEPLOYMENT,
    Chat,
    agent_key,
)
from tests.support.client import Client
from tests.support.server import OTHER_KEY

NO_CONVERSATION = "conv_" + "0" * 32
TIME = re.compile(r"\d{4}-\d\d-\d\dT\d\d:\d\d:\d\dZ")


@pytest.fixture
def stranger(chat: Chat) -> Chat:
    """Somebody of another tenant."""
    return Chat(chat.client, OTHER_KEY)


@pytest.mark.requirement("S0-2", "S0-3")
async def test_a_conversation_is_made_and_told_in_six_fields(chat: Chat) -> None:
    made = await chat.create(deployment_id=DEPLOYMENT, title="Customer Support Chat")
    assert list(made) == CONVERSATION_FIELDS
    assert re.fullmatch(r"conv_[0-9a-f]{32}", made["id"])
    assert (made["agent_id"], made["deployment_id"]) == (IDS["support-agent"], DEPLOYMENT)
    assert made["title"] == "Customer Support Chat"
    assert TIME.fullmatch(made["created_at"])
    assert TIME.fullmatch(made["updated_at"])
    assert await chat.read(made["id"]) == made


@pytest.mark.requirement("S0-2")
@pytest.mark.parametrize("rest", [{}, {"deployment_id": None, "title": None}, {"unknown": [1], "stream": True}])
async def test_only_the_agent_must_be_named(chat: Chat, rest: dict[str, Any]) -> None:
    uuid = IDS["support-agent"]
    for spelled in (uuid, uuid.upper(), "agent_" + uuid.replace("-", "")):
        made = await chat.create(agent_id=spelled, **rest)
        assert (made["agent_id"], made["deployment_id"], made["title"]) == (uuid, None, "")


@pytest.mark.requirement("S0-2")
async def test_a_missing_title_is_the_first_message_cut_at_60_characters(chat: Chat) -> None:
    words = "What are  your business\nhours, and are you open on Sundays and on holidays?"
    for title in ({}, {"title": None}, {"title": "  "}):
        made = await chat.create(**title)
        await chat.say(words, conversation_id=made["id"])
        await chat.say("And another", conversation_id=made["id"])
        told = (await chat.read(made["id"]))["title"]
        assert told == "What are your business hours, and are you open on Sundays and on holidays?"[:60]
    named = await chat.create(title="Mine")
    await chat.say(words, conversation_id=named["id"])
    assert (await chat.read(named["id"]))["title"] == "Mine"


@pytest.mark.requirement("S0-2", "S0-19", "S0-22")
async def test_a_deployment_must_be_the_agents_own(chat: Chat) -> None:
    for deployment in (SECOND_DEPLOYMENT, "456e7890-e89b-12d3-a456-426614174999", "voice", ""):
        body = {"agent_id": IDS["support-agent"], "deployment_id": deployment}
        assert await chat.refused(404, "POST", CONVERSATIONS, json=body) == "Deployment not found"


@pytest.mark.requirement("S0-2", "S0-19")
async def test_an_agent_that_is_missing_is_a_400_and_one_that_is_unknown_a_404(chat: Chat, stranger: Chat) -> None:
    for body in ({}, {"agent_id": None}, {"agent_id": ""}, {"title": "x"}, {"agent_id": 5}, [], "x", None):
        await chat.refused(400, "POST", CONVERSATIONS, json=body)
    assert await chat.refused(400, "POST", CONVERSATIONS, json={}) == "agent_id field is required"
    for agent in ("123e4567-e89b-12d3-a456-426614174999", "support-agent", "agent_x", "\u00e9"):
        message = await chat.refused(404, "POST", CONVERSATIONS, json={"agent_id": agent})
        assert message == "Agent not found"
    foreign = await stranger.refused(404, "POST", CONVERSATIONS, json={"agent_id": IDS["support-agent"]})
    assert foreign == "Agent not found"


@pytest.mark.requirement("S0-2", "S0-19")
@pytest.mark.parametrize(
    "body",
    [b"", b"[broken", b'{"agent_id": "\\u0000"}', b'{"agent_id": "x", "title": "a\\u0000"}', b"\xff", b"[" * 9999],
)
async def test_a_body_that_is_no_json_makes_no_conversation(chat: Chat, body: bytes) -> None:
    await chat.refused(400, "POST", CONVERSATIONS, data=body)


@pytest.fixture
def owner(client: Client) -> Chat:
    """The only one whose conversations are counted: of the tenant `other`."""
    return Chat(client, OTHER_KEY)


async def walked(chat: Chat, path: str) -> list[list[str]]:
    """The ids on each page, as the links lead."""
    pages = []
    url: str | None = path
    while url is not None:
        async with chat.request("GET", url) as response:
            assert response.status == 200
            pages.append([each["id"] for each in await response.json()])
            links = response.links
            goes_on = "next" in links
            assert goes_on == ("X-Next-Cursor" in response.headers) == ("Link" in response.headers)
            url = links["next"]["url"].path_qs.removeprefix(PREFIX) if goes_on else None
            if goes_on:
                assert links["next"]["url"].query["cursor"] == response.headers["X-Next-Cursor"]
    return pages


@pytest.mark.requirement("S0-4")
async def test_the_list_is_a_bare_array_newest_first_and_paged_by_cursor_or_offset(owner: Chat) -> None:
    agent = await other_agent(owner)
    made = [(await owner.create(agent_id=agent, title=f"Chat {number}"))["id"] for number in range(7)]
    async with owner.client.s2("Hello") as response:
        made.append(response.headers["X-Conversation-Id"])
    made.reverse()
    async with owner.request("GET", CONVERSATIONS) as response:
        told = await response.json()
        assert response.headers["X-Total-Count"] == "8"
        assert "X-Next-Cursor" not in response.headers
        assert "Link" not in response.headers
    assert [each["id"] for each in told] == made
    assert [list(each) for each in told] == [CONVERSATION_FIELDS] * 8
    assert await walked(owner, f"{CONVERSATIONS}?limit=3") == [made[:3], made[3:6], made[6:]]
    assert await walked(owner, f"{CONVERSATIONS}/?limit=4") == [made[:4], made[4:]]
    assert await walked(owner, f"{CONVERSATIONS}?limit=2&offset=3") == [made[3:5], made[5:7], made[7:]]
    for offset, rest in ((0, made), (5, made[5:]), (8, []), (999_999_999_999, [])):
        status, told = await owner.told("GET", f"{CONVERSATIONS}?offset={offset}")
        assert (status, [each["id"] for each in told]) == (200, rest)


async def other_agent(owner: Chat) -> str:
    """The agent of the tenant `other`, whom its first conversation names; that is then deleted."""
    owner.client.slug, owner.client.key = "other-agent", OTHER_KEY
    async with owner.client.s2("Hello") as response:
        conversation = response.headers["X-Conversation-Id"]
    agent = (await owner.read(conversation))["agent_id"]
    assert await owner.told("DELETE", f"{CONVERSATIONS}/{conversation}") == (204, b"")
    return str(agent)


@pytest.mark.requirement("S0-4")
async def test_a_cursor_goes_on_where_it_was_though_the_list_has_grown(chat: Chat) -> None:
    made = [(await chat.create())["id"] for _ in range(4)]
    async with chat.request("GET", f"{CONVERSATIONS}?limit=2") as response:
        cursor = response.headers["X-Next-Cursor"]
    await chat.create()
    status, told = await chat.told("GET", f"{CONVERSATIONS}?limit=2&cursor={cursor}")
    assert (status, [each["id"] for each in told]) == (200, [made[1], made[0]])


@pytest.mark.requirement("S0-4")
async def test_a_list_has_20_unless_said_and_100_at_the_most(chat: Chat) -> None:
    for _ in range(21):
        await chat.create()
    assert len((await chat.told("GET", CONVERSATIONS))[1]) == 20
    assert len((await chat.told("GET", f"{CONVERSATIONS}?limit=1"))[1]) == 1
    assert (await chat.told("GET", f"{CONVERSATIONS}?limit=100"))[0] == 200


@pytest.mark.requirement("S0-4", "S0-6", "S0-19")
@pytest.mark.parametrize(
    "query",
    [
        *(
            f"limit={limit}"
            for limit in ("0", "101", "-1", "", "x", "1.0", "1e1", "%EF%BC%95", "9" * 5000, "+5", "%00")
        ),
        *(f"cursor={cursor}" for cursor in ("", "x", "-1", "1.2.3", "%00", "'", "9" * 5000, "1." + "g" * 32)),
    ],
    ids=lambda query: query[:20],
)
async def test_a_query_that_is_out_of_bounds_is_a_400(chat: Chat, query: str) -> None:
    conversation = (await chat.create())["id"]
    for path in (CONVERSATIONS, f"{CONVERSATIONS}/{conversation}/messages"):
        await chat.refused(400, "GET", f"{path}?{query}")


@pytest.mark.requirement("S0-4", "S0-19")
@pytest.mark.parametrize("offset", ["-1", "x", "", "1.5", "9" * 19])
async def test_an_offset_that_is_no_number_is_a_400(chat: Chat, offset: str) -> None:
    assert "offset" in await chat.refused(400, "GET", f"{CONVERSATIONS}?offset={offset}")


@pytest.mark.requirement("S0-4", "S0-5")
async def test_an_archived_conversation_is_not_listed_but_can_be_read_and_brought_back(chat: Chat) -> None:
    made = await chat.create()

    async def is_listed() -> bool:
        return made["id"] in [each["id"] for each in (await chat.told("GET", CONVERSATIONS))[1]]

    async def count() -> int:
        async with chat.request("GET", CONVERSATIONS) as response:
            return int(response.headers["X-Total-Count"])

    path, before = f"{CONVERSATIONS}/{made['id']}", await count()
    assert await is_listed()
    for archived, listed in ((True, False), (True, False), (False, True)):
        status, told = await chat.told("PATCH", path, json={"archived": archived})
        assert (status, list(told)) == (200, CONVERSATION_FIELDS)
        assert await is_listed() == listed
        assert await count() == before - archived
        assert (await chat.read(made["id"]))["id"] == made["id"]


@pytest.mark.requirement("S0-5")
async def test_a_change_changes_what_it_names_and_nothing_else(chat: Chat) -> None:
    made = await chat.create(title="Before", deployment_id=DEPLOYMENT)
    path = f"{CONVERSATIONS}/{made['id']}"
    status, told = await chat.told("PATCH", path, json={"title": "After", "metadata": {"a": [1, {"b": None}]}, "x": 1})
    assert status == 200
    assert told["updated_at"] >= made["updated_at"]
    assert told == {**made, "title": "After", "updated_at": told["updated_at"]}
    for body in ({}, {"metadata": {}}, {"archived": False}):
        assert (await chat.told("PATCH", path, json=body))[1]["title"] == "After"


@pytest.mark.requirement("S0-5", "S0-19")
@pytest.mark.parametrize(
    "body",
    [
        *({name: value} for name in ("title", "metadata", "archived") for value in (None, 5, [], ["x"])),
        {"title": True},
        {"metadata": "x"},
        {"archived": "true"},
        {"archived": 1},
        {"title": "good", "archived": None},
        {"title": "a\x00b"},
        {"metadata": {"\x00": 1}},
        [],
        "x",
    ],
    ids=str,
)
async def test_a_change_of_a_wrong_type_changes_nothing(chat: Chat, body: Any) -> None:
    made = await chat.create(title="Before")
    await chat.refused(400, "PATCH", f"{CONVERSATIONS}/{made['id']}", json=body)
    assert await chat.read(made["id"]) == made


@pytest.mark.requirement("S0-5")
async def test_a_deleted_conversation_is_gone_everywhere(chat: Chat) -> None:
    made = await chat.create()
    await chat.say("Hello", conversation_id=made["id"])
    path = f"{CONVERSATIONS}/{made['id']}"
    async with chat.request("DELETE", path) as response:
        assert (response.status, await response.read()) == (204, b"")
        assert "Content-Type" not in response.headers
    for method, rest in (("GET", ""), ("PATCH", ""), ("DELETE", ""), ("GET", "/messages")):
        body = {"json": {}} if method == "PATCH" else {}
        assert await chat.refused(404, method, path + rest, **body) == "Conversation not found"
    form = {"agent_key": agent_key(), "query": "Hello", "conversation_id": made["id"]}
    assert await chat.refused(404, "POST", CHAT, data=form) == "Conversation not found"
    async with chat.client.get(f"/v1/conversations/{made['id']}") as response:
        assert response.status == 404
    assert made["id"] not in [each["id"] for each in (await chat.told("GET", CONVERSATIONS))[1]]


@pytest.mark.requirement("S0-5")
async def test_what_runs_in_a_deleted_conversation_is_stopped(chat: Chat) -> None:
    made = await chat.create()
    fields = {"agent_key": agent_key(), "query": "hang on", "conversation_id": made["id"]}
    async with chat.request("POST", "/agent/stream", data=fields) as response:
        while b"Well," not in await response.content.readline():
            pass
        assert await chat.told("DELETE", f"{CONVERSATIONS}/{made['id']}") == (204, b"")
        assert b'"type":"end"' in await response.read()


@pytest.mark.requirement("S0-5", "S0-6", "S0-19")
async def test_a_conversation_of_another_tenant_is_told_as_one_that_nobody_has(chat: Chat, stranger: Chat) -> None:
    made = await chat.create()
    for method, rest in (("GET", ""), ("PATCH", ""), ("DELETE", ""), ("GET", "/messages")):
        told = []
        for named in (made["id"], NO_CONVERSATION, "x", "%00", "turn_" + "0" * 32):
            body = {"json": {"title": "Theirs"}} if method == "PATCH" else {}
            told.append(await stranger.refused(404, method, f"{CONVERSATIONS}/{named}{rest}", **body))
        assert set(told) == {"Conversation not found"}
    assert await chat.read(made["id"]) == made
    assert made["id"] not in [each["id"] for each in (await stranger.told("GET", CONVERSATIONS))[1]]


@pytest.mark.requirement("S0-5")
async def test_a_conversation_may_be_named_by_its_uuid(chat: Chat) -> None:
    made = await chat.create()
    uuid = str(UUID(made["id"].removeprefix("conv_")))
    for spelled in (uuid, uuid.upper(), made["id"].upper()):
        assert await chat.read(spelled) == made


@pytest.mark.requirement("S0-6")
async def test_messages_are_a_bare_array_oldest_first_and_paged(chat: Chat) -> None:
    conversation = (await chat.say("First"))["conversation_id"]
    for message in ("Second", "Third"):
        await chat.say(message, conversation_id=conversation)
    path = f"{CONVERSATIONS}/{conversation}/messages"
    async with chat.request("GET", path) as response:
        told = await response.json()
        assert response.headers["X-Total-Count"] == "6"
        assert "X-Next-Cursor" not in response.headers
    assert [list(message) for message in told] == [["id", "role", "content", "created_at"]] * 6
    assert [message["role"] for message in told] == ["user", "assistant"] * 3
    assert [message["content"] for message in told[::2]] == ["First", "Second", "Third"]
    assert all(re.fullmatch(r"msg_[0-9a-f]{32}", message["id"]) for message in told)
    assert all(TIME.fullmatch(message["created_at"]) for message in told)
    ids = [message["id"] for message in told]
    assert await walked(chat, f"{path}?limit=4") == [ids[:4], ids[4:]]
    assert await walked(chat, f"{path}?limit=1") == [[each] for each in ids]
    assert await walked(chat, f"{path}/?limit=6") == [ids]


@pytest.mark.requirement("S0-6")
async def test_a_conversation_without_messages_has_none(chat: Chat) -> None:
    made = await chat.create()
    assert await chat.told("GET", f"{CONVERSATIONS}/{made['id']}/messages") == (200, [])


@pytest.mark.requirement("S0-22")
async def test_a_deployment_is_an_object_of_its_agent(chat: Chat) -> None:
    path = f"/manage/v1/agents/agent_{IDS['support-agent'].replace('-', '')}/deployments"
    async with chat.client.get(path) as response:
        listed = (await response.json())["data"]
    assert {"id": DEPLOYMENT, "channel": "voice", "region": "us-east-1"} in listed
    async with chat.client.post(path, {"channel": "web", "region": "eu-1"}) as response:
        assert response.status == 201
        made = await response.json()
    assert (await chat.create(deployment_id=made["id"]))["deployment_id"] == made["id"]
    answered = await chat.say("Hello", agent_key=agent_key(channel="web", region="eu-1"))
    assert (await chat.read(answered["conversation_id"]))["deployment_id"] == made["id"]


@pytest.mark.requirement("S0-4", "S0-21")
async def test_a_page_of_another_origin_may_read_where_a_list_goes_on(chat: Chat) -> None:
    async with chat.request("GET", CONVERSATIONS, headers={"Origin": "https://shop.example"}) as response:
        exposed = response.headers["Access-Control-Expose-Headers"].lower().split(", ")
    assert {"link", "x-total-count", "x-next-cursor"} <= set(exposed)
