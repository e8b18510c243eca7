"""Deliveries and death: every event that an endpoint subscribed to arrives, under one id, in order."""

import asyncio
import random
from collections import defaultdict
from pathlib import Path

import aiohttp
import pytest
from standardwebhooks.webhooks import Webhook

from tests.faults.conftest import count
from tests.support.client import Client
from tests.support.postgres import TemporaryPostgres
from tests.support.receiver import Received, Receiver
from tests.support.server import ServerProcess, manifest, scripted

SECRET = "whsec_MfKQ9r8GKYqrTwjUPD8ILPZIo2LaLaSw"
ROUNDS = count(2, 10)
TALKERS = 8


def tenant_of(receiver: Receiver) -> dict[str, object]:
    webhooks = [{"url": f"{receiver.url}/hook", "secret": SECRET}]
    script = {"tokens": ["Hi ", "there"], "delay": 0.02}
    return manifest(scripted("Support Agent", script), webhooks=webhooks, egress={"allow_private": True})


def said(received: Received) -> str:
    return str(received.json["data"]["message"])


@pytest.mark.requirement("S1-17")
async def test_kill_9_between_commit_and_delivery_loses_no_event(
    server: ServerProcess, session: aiohttp.ClientSession
) -> None:
    acknowledged: dict[str, list[str]] = defaultdict(list)

    async def talk(client: Client, talker: str) -> None:
        conversation = None
        for number in range(1000):
            text = f"{talker}-{number}"
            told = await client.say(text, conversation)
            conversation = told["conversationId"]
            acknowledged[conversation].append(text)

    async with Receiver() as receiver:
        server.apply(tenant_of(receiver))
        # Nothing is answered before the last start: what is sent is not delivered, and more of it waits at each death.
        receiver.answer = "hang"
        for turn in range(ROUNDS):
            server.start()
            client = Client(session, server.url)
            talking = [asyncio.create_task(talk(client, f"{turn}.{each}")) for each in range(TALKERS)]
            await asyncio.sleep(random.uniform(0.5, 1.0))
            server.kill9()
            await asyncio.gather(*talking, return_exceptions=True)
        receiver.answer = 200
        receiver.received.clear()
        server.start()
        wanted = {text for texts in acknowledged.values() for text in texts}
        assert len(wanted) > TALKERS

        def came() -> list[Received]:
            return [each for each in receiver.received if each.event == "message.received"]

        await receiver.until(lambda: wanted <= {said(each) for each in came()}, 60)
        ids, order = defaultdict(set), defaultdict(list)
        for each in receiver.received:
            assert Webhook(SECRET).verify(each.body, dict(each.headers))
        for each in came():
            ids[said(each)].add(each.id)
            order[each.json["data"]["conversation_id"]].append(int(said(each).partition("-")[2]))
        assert {len(known) for known in ids.values()} == {1}
        assert all(numbers == sorted(numbers) for numbers in order.values())
        server.stop()


@pytest.mark.requirement("S1-17")
async def test_what_a_dead_node_had_taken_is_delivered_by_another_within_15_seconds(
    postgres: TemporaryPostgres, tmp_path: Path, session: aiohttp.ClientSession
) -> None:
    url = postgres.database()
    for name in ("one", "other"):
        (tmp_path / name).mkdir()
    one, other = (ServerProcess(tmp_path / name, database_url=url) for name in ("one", "other"))
    async with Receiver() as receiver:
        one.apply(tenant_of(receiver))
        receiver.answers = ["hang"]
        try:
            one.start()
            await Client(session, one.url).say("Hello")
            (taken,) = await receiver.count(1)
            other.start()
            one.kill9()
            again = (await receiver.count(2, 15))[1]
            await receiver.count(4)
        finally:
            one.kill9()
            other.kill9()
        assert (again.id, again.body) == (taken.id, taken.body)
