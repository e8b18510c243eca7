"""Conversations over the management API: found, read, exported, deleted, stopped."""

import asyncio
import json
from typing import Any
from urllib.parse import quote

import aiohttp
import pytest

from tests.management.scene import ABSENT_ID, AGENT_ID, SALES_BOT, Manager


async def said(acme: Manager, *messages: str, slug: str = "support-agent") -> str:
    """A conversation of these messages."""
    conversation = None
    for message in messages:
        conversation = (await acme.say(slug, message, conversation))["conversationId"]
    assert conversation is not None
    return conversation


async def found(acme: Manager, query: str) -> list[str]:
    return [each["id"] for each in await acme.pages(f"/conversations?{query}")]


async def exported(acme: Manager, query: str = "") -> list[Any]:
    told = await acme.get(f"/conversations/export?{query}")
    assert told.headers["Content-Type"] == "application/jsonl"
    return [json.loads(line) for line in told.ok().splitlines()]


async def test_a_conversation_is_shown_with_its_messages_and_the_version_that_said_them(acme: Manager) -> None:
    await acme.post("/agents", {**SALES_BOT, "name": "Told Bot"})
    conversation = await said(acme, "One", slug="told-bot")
    await acme.patch("/agents/told-bot", {"instructions": "Anew."})
    await acme.post("/agents/told-bot/publish")
    await acme.say("told-bot", "Two", conversation)
    told = (await acme.get(f"/conversations/{conversation}")).ok()
    assert (told["id"], told["title"], told["next_cursor"]) == (conversation, "One", None)
    assert [(each["role"], each["content"], each["agent_version"]) for each in told["messages"]] == [
        ("user", "One", 1),
        ("assistant", "Buy!", 1),
        ("user", "Two", 2),
        ("assistant", "Buy!", 2),
    ]
    turn = told["messages"][0]["turn_id"]
    assert (await acme.get(f"/turns/{turn}")).ok()["conversation_id"] == conversation
    assert [each["id"][:4] for each in told["messages"]] == ["msg_"] * 4
    page = (await acme.get(f"/conversations/{conversation}?limit=3")).ok()
    rest = (await acme.get(f"/conversations/{conversation}?limit=3&cursor={page['next_cursor']}")).ok()
    assert page["messages"] + rest["messages"] == told["messages"]
    assert rest["next_cursor"] is None


async def test_conversations_are_listed_newest_first_page_by_page(acme: Manager) -> None:
    made = [await said(acme, f"Listed {index}") for index in range(3)]
    assert (await found(acme, "limit=2"))[:3] == made[::-1]
    assert await found(acme, "limit=1") == await found(acme, "limit=100")


async def test_every_filter_finds_what_it_says(acme: Manager) -> None:
    await acme.post("/agents", {**SALES_BOT, "name": "Filter Bot"})
    mine = await said(acme, "I want a REFUND of 100%", slug="filter-bot")
    agent = (await acme.get("/agents/filter-bot")).ok()["id"]
    for query in (
        "agent=filter-bot",
        f"agent={agent}",
        "agent=filter-bot&q=refund",
        "q=refund%20of%20100%25",
        "agent=filter-bot&q=buy!",
        "agent=filter-bot&from=2020-01-01",
        "agent=filter-bot&to=2999-12-31",
        "agent=filter-bot&from=2020-01-01T00:00:00Z&to=2999-12-31T00:00:00Z",
    ):
        assert await found(acme, query) == [mine], query
        assert [each["id"] for each in await exported(acme, query)] == [mine], query
    for query in (
        "agent=filter-bot&q=refund_of",
        "agent=filter-bot&from=2999-01-01",
        "agent=filter-bot&to=2020-01-01",
        "agent=filter-bot&user=nobody",
        "agent=filter-bot&metadata[plan]=pro",
        f"agent={ABSENT_ID}",
    ):
        assert await found(acme, query) == [], query
        assert await exported(acme, query) == [], query


async def test_a_key_of_metadata_is_a_name_whatever_it_looks_like(acme: Manager) -> None:
    metadata = {"2026": "x", "2fa": "on", "größe": "XL", "0": "zero", "-1": "less", "a b": 5}
    body = {"user_id": "u", "agent_id": "support-agent", "metadata": metadata}
    async with (
        aiohttp.ClientSession(headers={"X-API-Key": acme.key}) as session,
        session.post(f"{acme.url}/api/v1/chats", json=body) as response,
    ):
        mine = "conv_" + (await response.json())["id"].replace("-", "")
    for key, value in metadata.items():
        assert await found(acme, f"metadata[{quote(key)}]={value}") == [mine], key
        assert await found(acme, f"metadata[{quote(key)}]=other") == [], key


@pytest.mark.parametrize(
    ("query", "status", "word"),
    [
        ("agent=nobody", 404, "Agent not found"),
        ("agent=", 400, "agent"),
        ("from=soon", 400, "'soon'"),
        ("to=2026-13-01", 400, "'2026-13-01'"),
        ("from=2026-01-01T00:00:00", 400, "is not a time"),
        ("q=", 400, "q is empty"),
        ("q=" + "x" * 201, 400, "q takes up to 200"),
        ("q=a%00b", 400, "U+0000"),
        ("user=" + "x" * 501, 400, "user takes up to 500"),
        ("metadata[]=x", 400, "metadata"),
        ("metadata[a.b]=x", 400, "metadata"),
        ("metadata[a%22]=x", 400, "metadata"),
        ("metadata=x", 400, "'metadata'"),
        ("&".join(f"metadata[k{index}]=x" for index in range(9)), 400, "8 keys"),
        ("nothing=x", 400, "'nothing'"),
    ],
)
async def test_a_wrong_filter_is_an_error_here_and_in_an_export(
    acme: Manager, query: str, status: int, word: str
) -> None:
    for path in ("/conversations", "/conversations/export"):
        (await acme.get(f"{path}?{query}")).problem(status, word)


async def test_an_export_has_every_conversation_with_all_of_its_messages(acme: Manager) -> None:
    await acme.post("/agents", {**SALES_BOT, "name": "Export Bot"})
    # More than a page of conversations, and in one more than a page of messages.
    short = await asyncio.gather(*(said(acme, f"Short {index}", slug="export-bot") for index in range(52)))
    long = await said(acme, *(f"Message {index}" for index in range(101)), slug="export-bot")
    lines = await exported(acme, "agent=export-bot")
    assert len(lines) == 53
    assert {line["id"] for line in lines} == {*short, long}
    (whole,) = [line for line in lines if line["id"] == long]
    assert [message["content"] for message in whole["messages"][::2]] == [f"Message {index}" for index in range(101)]
    assert len(whole["messages"]) == 202
    listed = await acme.pages("/conversations?agent=export-bot")
    assert [{**line, "messages": None} for line in lines] == [{**each, "messages": None} for each in listed]


async def test_a_deleted_conversation_is_gone_and_what_it_used_stays_counted(acme: Manager) -> None:
    await acme.post("/agents", {**SALES_BOT, "name": "Forgetful Bot"})
    conversation = await said(acme, "Forget me", slug="forgetful-bot")
    assert (await acme.delete(f"/conversations/{conversation}")).status == 204
    (await acme.get(f"/conversations/{conversation}")).problem(404)
    (await acme.delete(f"/conversations/{conversation}")).problem(404)
    assert await found(acme, "agent=forgetful-bot") == []
    rows = (await acme.get("/usage?group_by=agent")).ok()["data"]
    assert [row["turns"] for row in rows if row["agent"] == "Forgetful Bot"] == [1]


async def test_what_runs_in_a_conversation_is_stopped_and_that_is_written_down(acme: Manager) -> None:
    await said(acme, "Hello")
    running = asyncio.create_task(acme.say("support-agent", "slowly"))
    async with asyncio.timeout(10):
        while not (listed := await found(acme, "q=slowly")):
            await asyncio.sleep(0.02)
        (conversation,) = listed
        while (stopped := (await acme.post(f"/conversations/{conversation}/stop")).ok()["stopped"]) is None:
            await asyncio.sleep(0.02)
    assert stopped["state"] == "cancelled"
    assert (await running)["conversationId"] == conversation
    assert (await acme.post(f"/conversations/{conversation}/stop")).ok() == {"stopped": None}
    entry = (await acme.get("/audit?limit=1")).ok()["data"][0]
    assert (entry["action"], entry["subject"]) == ("turn.stopped", stopped["id"])
    assert (await acme.get(f"/turns/{stopped['id']}")).ok() == stopped
    assert (await acme.post(f"/turns/{stopped['id']}/stop")).ok() == stopped
    assert (await acme.get("/audit?limit=1")).ok()["data"] == [entry]
    for reference in (stopped["id"], "turn_zz"):
        (await acme.other.post(f"/turns/{reference}/stop")).problem(404, "Turn not found")


async def test_another_tenants_conversation_is_as_one_that_is_not_there(acme: Manager) -> None:
    mine = await said(acme, "Private refund")
    for reference in (mine, "conv_" + "0" * 32, ABSENT_ID, "nothing", "a%00b"):
        (await acme.other.get(f"/conversations/{reference}")).problem(404, "Conversation not found")
        (await acme.other.delete(f"/conversations/{reference}")).problem(404, "Conversation not found")
        (await acme.other.post(f"/conversations/{reference}/stop")).problem(404, "Conversation not found")
    assert await found(acme.other, "q=private") == []
    assert await found(acme.other, f"agent={AGENT_ID}") == []
    assert mine not in str(await exported(acme.other))
    assert (await acme.get(f"/conversations/{mine}")).ok()["title"] == "Private refund"
