"""Webhooks as their owner uses them: made, tried, looked at, made anew, over a server and a receiver of its own."""

import asyncio
from collections.abc import AsyncIterator, Iterator
from typing import Any

import aiohttp
import pytest
from standardwebhooks.webhooks import Webhook

from tests.management.scene import AGENT_ID, PUBLISHABLE_KEY, Manager
from tests.support.client import Client
from tests.support.receiver import Received, Receiver
from tests.support.server import KEY, OTHER_KEY, ServerProcess, manifest, scripted, serving

WEBHOOKS = "/webhooks"
FIELDS = {"id", "url", "events", "state", "managed", "created_at", "updated_at", "old_secret_until"}
SCRIPT = ({"when": "fail", "error": "server_error"}, {"text": "Hi there"})
ABSENT = "wh_" + "0" * 32


@pytest.fixture(scope="module")
def server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[ServerProcess]:
    """A server of a tenant whose webhooks may reach this machine."""
    keys = [
        {"name": "backend", "type": "secret", "value": KEY},
        {"name": "widget", "type": "publishable", "value": PUBLISHABLE_KEY, "agents": ["support-agent"]},
    ]
    agent = scripted("Support Agent", *SCRIPT, id=AGENT_ID)
    whole = manifest(agent, keys=keys, credits=1000, egress={"allow_private": True})
    yield from serving(tmp_path_factory.mktemp("server"), whole)


@pytest.fixture
def acme(server: ServerProcess, session: aiohttp.ClientSession) -> Manager:
    return Manager(session, server.url)


@pytest.fixture
async def receiver() -> AsyncIterator[Receiver]:
    async with Receiver() as made:
        yield made


@pytest.fixture
async def made(acme: Manager, receiver: Receiver) -> AsyncIterator[dict[str, Any]]:
    """A webhook for everything, gone afterwards."""
    webhook = (await acme.post(WEBHOOKS, {"url": f"{receiver.url}/hook"})).ok(201)
    yield webhook
    await acme.delete(f"{WEBHOOKS}/{webhook['id']}")


def client(server: ServerProcess, session: aiohttp.ClientSession) -> Client:
    return Client(session, server.url)


def verified(webhook: dict[str, Any], received: Received) -> Any:
    told = Webhook(webhook["secret"]).verify(received.body, dict(received.headers))
    assert set(told) == {"event", "data"}
    return told


async def logged(acme: Manager, webhook: dict[str, Any], wanted: str, count: int = 1, query: str = "") -> list[Any]:
    """The webhook's deliveries, once so many of them are in this state."""
    async with asyncio.timeout(15):
        while True:
            found: list[Any] = (await acme.get(f"{WEBHOOKS}/{webhook['id']}/deliveries{query}")).ok()["data"]
            if sum(each["state"] == wanted for each in found) >= count:
                return found
            await asyncio.sleep(0.05)


@pytest.mark.requirement("S1-16")
@pytest.mark.requirement("S1-17")
async def test_a_message_is_told_with_its_metadata_and_signed(
    server: ServerProcess, session: aiohttp.ClientSession, receiver: Receiver, made: dict[str, Any]
) -> None:
    speaker = client(server, session)
    async with speaker.s1(AGENT_ID, "Hello", metadata={"page": "/pricing"}) as response:
        answer = await response.json()
        assert response.status == 200
    created, received, sent = [verified(made, each) for each in await receiver.count(3)]
    assert [each["event"] for each in (created, received, sent)] == [
        "conversation.created",
        "message.received",
        "message.sent",
    ]
    data = received["data"]
    assert set(data) == {"conversation_id", "message_id", "message", "role", "metadata", "agent_id", "created_at"}
    assert data["conversation_id"] == created["data"]["conversation_id"] == answer["conversation_id"]
    assert (data["message"], data["role"], data["metadata"]) == ("Hello", "user", {"page": "/pricing"})
    assert data["agent_id"] == "agent_" + AGENT_ID.replace("-", "")
    shown = (await Manager(session, server.url).get(f"/conversations/{data['conversation_id']}")).ok()
    ids = [each["id"] for each in shown["messages"]]
    assert [received["data"]["message_id"], sent["data"]["message_id"]] == ids
    assert (sent["data"]["message"], sent["data"]["role"]) == ("Hi there", "assistant")
    assert data["created_at"].endswith("Z")
    assert len({each.id for each in receiver.received}) == 3


async def test_a_failed_turn_is_told(
    server: ServerProcess, session: aiohttp.ClientSession, receiver: Receiver, made: dict[str, Any]
) -> None:
    async with client(server, session).s2("fail") as response:
        assert response.status == 500
    await receiver.count(3)
    told = verified(made, receiver.received[-1])
    assert told["event"] == "turn.failed"
    assert (told["data"]["state"], told["data"]["turn_id"][:5]) == ("failed", "turn_")


@pytest.mark.requirement("S1-17")
async def test_a_test_event_is_delivered_and_in_the_log(
    acme: Manager, receiver: Receiver, made: dict[str, Any]
) -> None:
    begun = (await acme.post(f"{WEBHOOKS}/{made['id']}/test")).ok(202)
    (received,) = await receiver.count(1)
    assert verified(made, received)["event"] == "webhook.test"
    (delivery,) = await logged(acme, made, "delivered")
    assert (delivery["id"], delivery["event_id"]) == (begun["id"], received.id)
    assert delivery["body"].encode() == received.body
    (attempt,) = delivery["attempts"]
    assert (attempt["status"], attempt["answer"], attempt["error"]) == (200, "told", None)
    assert (await acme.get(f"{WEBHOOKS}/{made['id']}/deliveries?state=failed")).ok()["data"] == []


@pytest.mark.requirement("S1-17")
async def test_what_failed_is_tried_again_and_anything_can_be_sent_again(
    acme: Manager, receiver: Receiver, made: dict[str, Any]
) -> None:
    receiver.answers = [500]
    begun = (await acme.post(f"{WEBHOOKS}/{made['id']}/test")).ok(202)
    await receiver.count(2)
    (delivery,) = await logged(acme, made, "delivered")
    assert [each["status"] for each in delivery["attempts"]] == [500, 200]
    (await acme.post(f"/deliveries/{begun['id']}/replay")).ok(202)
    await receiver.count(3)
    assert len({each.id for each in receiver.received}) == 1
    await logged(acme, made, "delivered")
    span = {"since": "2020-01-01T00:00:00Z", "until": "2020-01-02T00:00:00Z"}
    assert (await acme.post(f"{WEBHOOKS}/{made['id']}/replay", span)).ok(202) == {"deliveries": 0}
    again = {"since": delivery["created_at"], "state": "delivered"}
    assert (await acme.post(f"{WEBHOOKS}/{made['id']}/replay", again)).ok(202) == {"deliveries": 1}
    await receiver.count(4)


async def test_an_endpoint_that_is_gone_is_disabled_until_it_is_enabled(
    acme: Manager, receiver: Receiver, made: dict[str, Any]
) -> None:
    place = f"{WEBHOOKS}/{made['id']}"
    receiver.answers = [410]
    begun = (await acme.post(f"{place}/test")).ok(202)
    await logged(acme, made, "failed")
    assert (await acme.get(place)).ok()["state"] == "disabled"
    (await acme.post(f"{place}/test")).problem(409, "enable")
    (await acme.post(f"/deliveries/{begun['id']}/replay")).problem(409, "enable")
    (await acme.post(f"{place}/replay", {"since": "2020-01-01T00:00:00Z"})).problem(409, "enable")
    assert (await acme.post(f"{place}/enable")).ok()["state"] == "active"
    (await acme.post(f"/deliveries/{begun['id']}/replay")).ok(202)
    await logged(acme, made, "delivered")


async def test_a_secret_is_kept_where_nobody_can_read_it(
    server: ServerProcess, acme: Manager, made: dict[str, Any]
) -> None:
    (await acme.get(f"{WEBHOOKS}/{made['id']}")).ok()
    kept = b"".join(file.read_bytes() for file in server.data_dir.glob("dragoman.db*"))
    assert made["url"].encode() in kept
    assert made["secret"].encode() not in kept
    assert made["secret"] not in server.log_file.read_text()


async def test_a_new_secret_signs_beside_the_old_one(acme: Manager, receiver: Receiver, made: dict[str, Any]) -> None:
    place = f"{WEBHOOKS}/{made['id']}"
    rotated = (await acme.post(f"{place}/rotate")).ok()
    assert rotated["secret"] != made["secret"]
    assert rotated["old_secret_until"] is not None
    (await acme.post(f"{place}/test")).ok(202)
    (received,) = await receiver.count(1)
    assert verified(made, received) == verified(rotated, received)


async def test_an_endpoint_gets_what_it_asks_for(
    server: ServerProcess, session: aiohttp.ClientSession, acme: Manager, receiver: Receiver, made: dict[str, Any]
) -> None:
    place = f"{WEBHOOKS}/{made['id']}"
    changed = (await acme.patch(place, {"events": ["message.sent", "message.sent"]})).ok()
    assert changed["events"] == ["message.sent"]
    await client(server, session).say("Hello")
    (received,) = await receiver.count(1)
    assert received.event == "message.sent"
    async with Receiver() as moved:
        (await acme.patch(place, {"url": f"{moved.url}/elsewhere"})).ok()
        await client(server, session).say("Hello")
        (received,) = await moved.count(1)
        assert received.path == "/elsewhere"
    assert len(receiver.received) == 1


async def test_a_webhook_is_made_shown_listed_and_deleted(acme: Manager) -> None:
    wanted = {"url": "https://hooks.example.com/a", "events": ["message.received"]}
    first = (await acme.post(WEBHOOKS, wanted)).ok(201)
    assert set(first) == {*FIELDS, "secret"}
    assert first["secret"].startswith("whsec_")
    assert (first["state"], first["managed"], first["events"]) == ("active", "api", ["message.received"])
    (await acme.post(WEBHOOKS, wanted)).problem(409, "already")
    second = (await acme.post(WEBHOOKS, {"url": "https://hooks.example.com/b"})).ok(201)
    shown = (await acme.get(f"{WEBHOOKS}/{first['id']}")).ok()
    assert set(shown) == FIELDS
    page = (await acme.get(f"{WEBHOOKS}?limit=1")).ok()
    assert [each["id"] for each in page["data"]] == [second["id"]]
    page = (await acme.get(f"{WEBHOOKS}?limit=1&cursor={page['next_cursor']}")).ok()
    assert (page["data"], page["next_cursor"]) == ([shown], None)
    (await acme.patch(f"{WEBHOOKS}/{second['id']}", {"url": wanted["url"]})).problem(409, "already")
    for each in (first, second):
        assert (await acme.delete(f"{WEBHOOKS}/{each['id']}")).status == 204
        (await acme.get(f"{WEBHOOKS}/{each['id']}")).problem(404)
    actions = [each["action"] for each in (await acme.get("/audit?limit=10")).ok()["data"]]
    assert actions[:4] == ["webhook.deleted", "webhook.deleted", "webhook.created", "webhook.created"]


@pytest.mark.parametrize(
    ("wanted", "words"),
    [
        ({"url": "https://hooks.example.com", "events": ["message.read"]}, ("message.read", "message.received")),
        ({"url": "ftp://hooks.example.com"}, ("http://",)),
        ({"url": "https://169.254.169.254/latest"}, ("may not be reached",)),
        ({"url": "https://user:secret@hooks.example.com"}, ("password",)),
        ({"url": "https://2130706433/"}, ("may not be reached",)),
        ({"url": "https://hooks.example.com/a#b"}, ("fragment",)),
        ({"url": "https://hooks.example.com/a#"}, ("fragment",)),
        ({"url": ""}, ("url",)),
        ({}, ("url",)),
        ({"url": "https://hooks.example.com", "secret": "mine"}, ("secret",)),
    ],
)
async def test_what_no_webhook_can_be_is_refused(acme: Manager, wanted: dict[str, Any], words: tuple[str, ...]) -> None:
    (await acme.post(WEBHOOKS, wanted)).problem(400, *words)


@pytest.mark.parametrize("host", ["127.0.0.1", "localhost", "LocalHost.", "hooks.localhost"])
async def test_private_addresses_are_for_tenants_whose_operator_says_so(acme: Manager, host: str) -> None:
    wanted = {"url": f"http://{host}:9/hook"}
    (await acme.other.post(WEBHOOKS, wanted)).problem(400, "may not be reached")
    made = (await acme.post(WEBHOOKS, wanted)).ok(201)
    (await acme.patch(f"{WEBHOOKS}/{made['id']}", {"url": f"{wanted['url']}#x"})).problem(400, "fragment")
    await acme.delete(f"{WEBHOOKS}/{made['id']}")


async def test_a_name_that_only_ends_like_this_machines_is_anybodys(acme: Manager) -> None:
    made = (await acme.other.post(WEBHOOKS, {"url": "https://notlocalhost/hook"})).ok(201)
    await acme.other.delete(f"{WEBHOOKS}/{made['id']}")


@pytest.mark.parametrize("query", ["?state=lost", "?limit=0", "?since=now", "?cursor=x"])
async def test_a_query_of_the_log_that_means_nothing_is_refused(
    acme: Manager, made: dict[str, Any], query: str
) -> None:
    (await acme.get(f"{WEBHOOKS}/{made['id']}/deliveries{query}")).problem(400)


async def test_another_tenants_webhooks_and_deliveries_are_as_absent_ones(
    server: ServerProcess, session: aiohttp.ClientSession, acme: Manager, receiver: Receiver, made: dict[str, Any]
) -> None:
    begun = (await acme.post(f"{WEBHOOKS}/{made['id']}/test")).ok(202)
    await receiver.count(1)
    other = Manager(session, server.url, OTHER_KEY)
    for webhook in (made["id"], ABSENT, "nonsense"):
        for method, path in (
            (other.get, ""),
            (other.delete, ""),
            (other.get, "/deliveries"),
            (other.post, "/test"),
            (other.post, "/rotate"),
            (other.post, "/enable"),
        ):
            assert (await method(f"{WEBHOOKS}/{webhook}{path}")).problem(404) == "There is no such webhook"
    for delivery in (begun["id"], "dlv_" + "0" * 32):
        (await other.post(f"/deliveries/{delivery}/replay")).problem(404, "no such delivery")
    assert (await other.get(WEBHOOKS)).ok()["data"] == []


async def test_what_a_manifest_says_is_changed_there(server: ServerProcess, acme: Manager, receiver: Receiver) -> None:
    secret = "whsec_MfKQ9r8GKYqrTwjUPD8ILPZIo2LaLaSw"
    given = {"url": f"{receiver.url}/given", "events": ["message.received"], "secret": secret}
    tenant = {"id": "acme", "name": "Acme", "credits": 1000, "egress": {"allow_private": True}}
    whole = {"tenants": [{**tenant, "webhooks": [given, {"url": f"{receiver.url}/made"}]}]}
    done = server.apply(whole)
    named = [f"webhook acme/{receiver.url}/given", f"webhook acme/{receiver.url}/made"]
    assert [each for each in done["created"] if each.startswith("webhook")] == named
    (shown,) = done["webhooks"]
    assert (shown["tenant"], shown["url"]) == ("acme", f"{receiver.url}/made")
    again = server.apply(whole)
    assert [each for each in again["unchanged"] if each.startswith("webhook")] == named
    assert "webhooks" not in again
    webhooks = {each["url"].rpartition("/")[2]: each for each in (await acme.get(WEBHOOKS)).ok()["data"]}
    place = f"{WEBHOOKS}/{webhooks['given']['id']}"
    assert webhooks["given"]["managed"] == "manifest"
    (await acme.post(f"{place}/test")).ok(202)
    await receiver.count(1)
    assert verified(given, receiver.received[0])["event"] == "webhook.test"
    (await acme.patch(place, {"events": []})).problem(409, "manifest")
    (await acme.delete(place)).problem(409, "manifest")
    (await acme.post(f"{place}/rotate")).problem(409, "manifest")
    (await acme.post(f"{WEBHOOKS}/{webhooks['made']['id']}/rotate")).ok()
    other_secret = "whsec_" + "b" * 32
    whole["tenants"][0]["webhooks"][0] |= {"secret": other_secret}
    assert f"webhook acme/{receiver.url}/given" in server.apply(whole)["updated"]
    (await acme.post(f"{place}/test")).ok(202)
    await receiver.count(2)
    for each in (given, {"secret": other_secret}):
        assert verified(each, receiver.received[1])["event"] == "webhook.test"
    exported = server.run("export", "--tenant", "acme").stdout
    assert f"{receiver.url}/given" in exported
    assert "whsec_" not in exported
