"""A person at work beside a client: approvals and handovers, end to end, with their time-outs."""

import asyncio
from collections.abc import Iterator
from typing import Any

import aiohttp
import pytest

from tests.dialects.across.tongues import rendered
from tests.management.scene import Manager
from tests.support.chats import Chats
from tests.support.client import frames_of
from tests.support.server import KEY, ServerProcess, manifest, scripted
from tests.support.shop import TOKEN, Shop, shop

MESSAGE = "A colleague will be with you."
REFUND = [
    {"when": "pay it back", "tool_calls": [{"name": "refund", "arguments": {"order_id": "1234"}}]},
    {"when": "refunded", "text": "The money is on its way."},
]
STATUS = [
    {"when": "look it up", "tool_calls": [{"name": "order_status", "arguments": {"order_id": "1234"}}]},
    {"when": "both", "tool_calls": [{"name": "order_status", "arguments": {"order_id": "1234"}}, {"name": "refund"}]},
    {"when": "shipped", "text": "It is shipped."},
]
PATIENCE = 15.0


@pytest.fixture(scope="module")
def open_shop() -> Iterator[Shop]:
    with shop() as opened:
        yield opened


@pytest.fixture(scope="module", params=["sqlite", "postgres"])
def server(
    request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory, open_shop: Shop
) -> Iterator[ServerProcess]:
    """Agents that ask before they pay, and that hand over; of each one that does not wait for long."""
    url = request.getfixturevalue("postgres").database() if request.param == "postgres" else None
    handover = {"message": MESSAGE, "wait": PATIENCE}
    agents = [
        scripted("Support Agent", *REFUND, *STATUS, tools=[open_shop.refund, open_shop.order_status]),
        scripted("Hasty Agent", *REFUND, tools=[open_shop.refund], approval_timeout=1),
        scripted("Desk Agent", {"text": "I am the agent."}, handover=handover),
        scripted("Brief Agent", {"text": "I am the agent."}, handover={**handover, "wait": 0.2, "timeout": 1}),
        scripted(
            "Unsure Agent",
            {"text": "Blue, I think."},
            handover={**handover, "below_confidence": 2},
            min_confidence=0.99,
            fallback="I do not know.",
            knowledge=[{"type": "text", "title": "Colours", "text": "The door of the shop is green."}],
        ),
    ]
    process = ServerProcess(tmp_path_factory.mktemp("server"), database_url=url)
    process.apply(manifest(*agents, egress={"allow_private": True}, default_agent="desk-agent"))
    process.run("secrets", "set", "shop_token", "--tenant", "acme", given=TOKEN)
    with process:
        yield process
    process.check_log()


@pytest.fixture
def acme(server: ServerProcess, session: aiohttp.ClientSession) -> Manager:
    return Manager(session, server.url)


async def watching(chats: Chats, conversation: str) -> Any:
    """A socket that follows a conversation."""
    return await chats.open(rendered(conversation)[1])


async def begun(chats: Chats) -> str:
    """A chat of the desk's agent."""
    return f"conv_{(await chats.create()).replace('-', '')}"


async def streamed(session: aiohttp.ClientSession, url: str, slug: str, message: str, conversation: str) -> str:
    """The text of a streamed answer over S2."""
    body = {"message": message, "conversationId": conversation, "stream": True}
    headers = {"Authorization": f"Bearer {KEY}"}
    async with session.post(f"{url}/v1/api/chat/{slug}", json=body, headers=headers) as response:
        assert response.status == 200, await response.text()
        frames = [frame async for frame in frames_of(response)]
    return "".join(frame.json["chunk"] for frame in frames if frame.data != "[DONE]" and "chunk" in frame.json)


async def until(acme: Manager, path: str, state: str) -> dict[str, Any]:
    """What is at a path once it is in this state."""
    async with asyncio.timeout(PATIENCE):
        while (found := (await acme.get(path)).ok())["state"] != state:
            await asyncio.sleep(0.1)
    return dict(found)


async def test_a_call_that_writes_waits_for_a_yes_and_then_is_made_once(acme: Manager, open_shop: Shop) -> None:
    open_shop.asked.clear()
    answer = await acme.say("support-agent", "Please pay it back")
    assert answer["response"] == ""
    assert open_shop.asked == []
    (waiting,) = (await acme.get("/approvals?state=pending")).ok()["data"]
    assert (waiting["tool"], waiting["arguments"]) == ("refund", {"order_id": "1234"})
    assert waiting["conversation_id"] == answer["conversationId"]
    (await acme.other.get(f"/approvals/{waiting['id']}")).problem(404)
    (await acme.other.post(f"/approvals/{waiting['id']}/approve")).problem(404)
    decided = (await acme.post(f"/approvals/{waiting['id']}/approve", {"by": "Mona"})).ok()
    assert (decided["state"], decided["decided_by"]) == ("approved", "Mona")
    turn = await until(acme, f"/turns/{waiting['turn_id']}", "completed")
    assert turn["credits"] == 1
    assert open_shop.asked == [("POST", "/refunds", {"order_id": "1234"})]
    messages = (await acme.get(f"/conversations/{answer['conversationId']}")).ok()["messages"]
    assert [each["role"] for each in messages] == ["user", "assistant", "tool", "assistant"]
    assert messages[-1]["content"] == "The money is on its way."
    (await acme.post(f"/approvals/{waiting['id']}/deny")).problem(409, "approved")
    noted = [each["action"] for each in (await acme.get("/audit")).ok()["data"]]
    assert "approval.approved" in noted


async def test_a_call_that_reads_is_made_at_once(acme: Manager, open_shop: Shop) -> None:
    open_shop.asked.clear()
    answer = await acme.say("support-agent", "Please look it up")
    assert answer["response"] == "It is shipped."
    assert open_shop.asked == [("GET", "/orders/1234", None)]
    messages = (await acme.get(f"/conversations/{answer['conversationId']}")).ok()["messages"]
    assert [each["role"] for each in messages] == ["user", "assistant", "tool", "assistant"]
    assert "margin" not in messages[2]["content"]


async def test_of_two_calls_one_is_made_and_one_waits(acme: Manager, open_shop: Shop) -> None:
    open_shop.asked.clear()
    answer = await acme.say("support-agent", "Do both")
    assert open_shop.asked == [("GET", "/orders/1234", None)]
    # Arguments that do not fit are an error for the model, and nothing to ask a person about.
    assert (await acme.get("/approvals?state=pending")).ok()["data"] == []
    assert answer["response"] == "It is shipped."


async def test_whoever_watches_hears_the_answer_after_the_yes(
    acme: Manager, server: ServerProcess, session: aiohttp.ClientSession
) -> None:
    answer = await acme.say("support-agent", "Please pay it back")
    line = await watching(Chats(session, server.url), answer["conversationId"])
    (waiting,) = (await acme.get("/approvals?state=pending")).ok()["data"]
    (await acme.post(f"/approvals/{waiting['id']}/approve")).ok()
    told = await line.until("message_stream_ended")
    assert told[-1]["content"] == "The money is on its way."
    await line.leave()


async def test_after_a_no_nothing_is_called_and_the_turn_has_ended(acme: Manager, open_shop: Shop) -> None:
    asked = len(open_shop.asked)
    answer = await acme.say("support-agent", "Please pay it back")
    (waiting,) = (await acme.get("/approvals?state=pending")).ok()["data"]
    assert (await acme.post(f"/approvals/{waiting['id']}/deny", {"by": "Mona"})).ok()["state"] == "denied"
    await until(acme, f"/turns/{waiting['turn_id']}", "cancelled")
    assert len(open_shop.asked) == asked
    assert (await acme.say("support-agent", "Fine", answer["conversationId"]))["response"]


async def test_what_nobody_decides_in_time_expires_by_itself(acme: Manager, open_shop: Shop) -> None:
    asked = len(open_shop.asked)
    await acme.say("hasty-agent", "Please pay it back")
    (waiting,) = (await acme.get("/approvals?state=pending")).ok()["data"]
    expired = await until(acme, f"/approvals/{waiting['id']}", "expired")
    assert expired["decided_by"] is None
    await until(acme, f"/turns/{waiting['turn_id']}", "cancelled")
    assert len(open_shop.asked) == asked


async def test_a_person_answers_and_every_client_hears_it_live(
    acme: Manager, server: ServerProcess, session: aiohttp.ClientSession
) -> None:
    chats = Chats(session, server.url)
    conversation = await begun(chats)
    line = await watching(chats, conversation)
    assert (await acme.say("desk-agent", "Can I talk to a human?", conversation))["response"] == MESSAGE
    (open_one,) = (await acme.get("/inbox")).ok()["data"]
    assert (open_one["conversation_id"], open_one["reason"]) == (conversation, "requested")
    assert (await acme.other.get("/inbox")).ok()["data"] == []
    asking = asyncio.create_task(streamed(session, server.url, "desk-agent", "My parcel is lost", conversation))
    await line.until("message_received", times=2)
    (await acme.post(f"/conversations/{conversation}/messages", {"text": "I look for it.", "by": "Mona"})).ok(204)
    assert await asking == "I look for it."
    (await acme.post(f"/conversations/{conversation}/messages", {"text": "Found!", "by": "Mona"})).ok(204)
    told = await line.until("message_stream_ended", times=2)
    assert told[-1]["content"] == "Found!"
    messages = (await acme.get(f"/conversations/{conversation}")).ok()["messages"]
    assert [(each["content"], each["metadata"]) for each in messages[-2:]] == [
        ("I look for it.", {"author": "Mona"}),
        ("Found!", {"author": "Mona"}),
    ]
    assert (await acme.post(f"/conversations/{conversation}/give-back", {"by": "Mona"})).ok()["ended_by"] == "Mona"
    assert (await acme.say("desk-agent", "Thanks", conversation))["response"] == "I am the agent."
    await line.leave()


async def test_a_handover_that_nobody_answers_goes_back_to_the_agent(acme: Manager) -> None:
    answer = await acme.say("brief-agent", "Get me an operator")
    conversation = answer["conversationId"]
    assert (await acme.say("brief-agent", "Hello?", conversation))["response"] == MESSAGE
    async with asyncio.timeout(PATIENCE):
        while (await acme.get("/inbox")).ok()["data"]:
            await asyncio.sleep(0.1)
    assert (await acme.say("brief-agent", "Hello?", conversation))["response"] == "I am the agent."


async def test_an_agent_that_is_unsure_twice_hands_over(acme: Manager) -> None:
    async with asyncio.timeout(60):
        while any(each["state"] != "ready" for each in (await acme.get("/agents/unsure-agent/documents")).ok()["data"]):
            await asyncio.sleep(0.1)
    first = await acme.say("unsure-agent", "Which colour has the roof of the shop?")
    assert first["response"] == "I do not know."
    second = await acme.say("unsure-agent", "Which colour has the gate of the shop?", first["conversationId"])
    assert second["response"] == f"I do not know.\n\n{MESSAGE}"
    reasons = {each["conversation_id"]: each["reason"] for each in (await acme.get("/inbox")).ok()["data"]}
    assert reasons[first["conversationId"]] == "unsure"
    (await acme.post(f"/conversations/{first['conversationId']}/give-back")).ok()


@pytest.mark.parametrize(
    ("method", "path", "body", "status"),
    [
        ("GET", "/approvals?state=maybe", None, 400),
        ("GET", "/approvals/appr_1", None, 404),
        ("POST", "/approvals/appr_" + "0" * 32 + "/approve", None, 404),
        ("POST", "/approvals/appr_" + "0" * 32 + "/approve", {"who": "me"}, 400),
        ("POST", "/approvals/appr_" + "0" * 32 + "/deny", {"by": "Mona\n"}, 400),
        ("POST", "/conversations/conv_1/handover", None, 404),
        ("POST", "/conversations/conv_" + "0" * 32 + "/handover", {"by": "Mona"}, 404),
        ("POST", "/conversations/conv_" + "0" * 32 + "/handover", {"by": 7}, 400),
        ("POST", "/conversations/conv_" + "0" * 32 + "/handover", {"who": "me"}, 400),
        ("POST", "/conversations/conv_" + "0" * 32 + "/handover", b"{bad", 400),
        ("POST", "/conversations/conv_" + "0" * 32 + "/handover", {"by": "Mona\nEve"}, 400),
        ("POST", "/conversations/conv_" + "0" * 32 + "/messages", {"text": "Hello", "by": "\x1b[2J"}, 400),
        ("POST", "/conversations/conv_" + "0" * 32 + "/give-back", {"by": "Mona\u2028Eve"}, 400),
        ("POST", "/conversations/conv_" + "0" * 32 + "/messages", {"text": "Hello"}, 404),
        ("POST", "/conversations/conv_" + "0" * 32 + "/messages", {"text": "  "}, 400),
        ("POST", "/conversations/conv_" + "0" * 32 + "/messages", {}, 400),
        ("POST", "/conversations/conv_" + "0" * 32 + "/give-back", None, 404),
    ],
)
async def test_what_is_wrong_is_refused(acme: Manager, method: str, path: str, body: Any, status: int) -> None:
    (await acme.ask(method, path, body)).problem(status)


async def test_the_record_says_who_has_taken_a_conversation_over(acme: Manager) -> None:
    conversation = (await acme.say("desk-agent", "Hello"))["conversationId"]
    for body in ({"by": "Mona \u00c9lo\u00efse"}, None):
        (await acme.post(f"/conversations/{conversation}/handover", body)).ok()
        (noted,) = (await acme.get("/audit?limit=1")).ok()["data"]
        told = body or {"by": noted["actor"]}
        assert (noted["action"], noted["subject"], noted["detail"]) == ("handover.taken", conversation, told)
    (await acme.post(f"/conversations/{conversation}/give-back", {"by": "Mona"})).ok()


async def test_where_the_agent_answers_a_person_takes_over_first(acme: Manager) -> None:
    conversation = (await acme.say("desk-agent", "Hello"))["conversationId"]
    (await acme.post(f"/conversations/{conversation}/messages", {"text": "Hello"})).problem(409, "take it over")
    (await acme.post(f"/conversations/{conversation}/give-back")).problem(409)
    assert (await acme.post(f"/conversations/{conversation}/handover")).ok()["reason"] == "taken"
    (await acme.post(f"/conversations/{conversation}/messages", {"text": "Hello"})).ok(204)
    (await acme.post(f"/conversations/{conversation}/give-back")).ok()
