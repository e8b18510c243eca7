"""S4: a turn that waits for its client outlives other contracts, a crash and the ledger's end."""

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import aiohttp
import pytest

from tests.dialects.agents.scene import CALLING, TOOLS, Chat, brought, calls_in
from tests.dialects.scene import ALONCHAT, SLUG, Contract
from tests.support.client import Client
from tests.support.postgres import TemporaryPostgres
from tests.support.server import KEY, ServerProcess, manifest, scripted

PRICED = {"provider": "scripted", "name": "priced", "script": CALLING}


@pytest.fixture
def chat(client: Client) -> Chat:
    return Chat(client, "weather-agent")


async def begin(chat: Chat, contract: Contract, message: str, conversation: str | None = None) -> tuple[str, str]:
    """The text and the conversation of an answer in another contract."""
    agent = "123e4567-e89b-12d3-a456-426614174102" if contract is ALONCHAT else chat.agent
    path = contract.path(agent) if contract is SLUG else f"/v1/agents/{agent}/chat"
    async with chat.client.post(path, contract.body(message, conversation)) as response:
        assert response.status == 200
        return contract.answer(await response.json())


@pytest.mark.requirement("S4-5", "S4-7", "X-1")
@pytest.mark.parametrize("contract", [SLUG, ALONCHAT], ids=lambda contract: contract.name)
async def test_results_of_a_turn_that_began_in_another_contract_come_over_s4(chat: Chat, contract: Contract) -> None:
    text, conversation = await begin(chat, contract, "everything")
    assert text == "Let me look."
    asking = (await chat.history(conversation))[-1]
    assert (asking["role"], asking["content"]) == ("assistant", "Let me look.")
    weather, orders = calls_in(asking)
    kept = await chat.bring(conversation, (weather, "sunny"))
    assert kept["conversation_id"] == conversation
    assert (await chat.bring(conversation, (orders, "none")))["content"] == "It is sunny in Tokyo."
    shown = [(said["role"], said["content"]) for said in await chat.client.history(conversation)]
    assert shown == [("user", "everything"), ("assistant", "Let me look."), ("assistant", "It is sunny in Tokyo.")]


@pytest.mark.requirement("S4-6", "X-1")
@pytest.mark.parametrize("contract", [SLUG, ALONCHAT], ids=lambda contract: contract.name)
async def test_a_message_in_another_contract_cancels_open_calls(chat: Chat, contract: Contract) -> None:
    first = await chat.say("weather")
    conversation = first["conversation_id"]
    assert (await begin(chat, contract, "Never mind", conversation))[0] == "You said: Never mind"
    await chat.refused(400, "VALIDATION_ERROR", brought(conversation, ("call_123", "sunny")))
    assert [each["role"] for each in await chat.history(conversation)] == [
        "user",
        "assistant",
        "tool",
        "user",
        "assistant",
    ]
    shown = [said["content"] for said in await chat.client.history(conversation)]
    assert shown == ["weather", "Never mind", "You said: Never mind"]


@pytest.fixture(params=["sqlite", "postgres"])
def mortal(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[ServerProcess]:
    """A server over each database with one agent, whose turns cost five of the seven credits that there are."""
    url = None
    if request.param == "postgres":
        postgres: TemporaryPostgres = request.getfixturevalue("postgres")
        url = postgres.database()
    process = ServerProcess(tmp_path, database_url=url)
    agent: dict[str, Any] = {**scripted("Weather Agent", tools=TOOLS), "model": PRICED}
    process.apply(manifest(agent, credits=7))
    process.start()
    try:
        yield process
    finally:
        process.kill9()


@pytest.mark.requirement("S4-5")
async def test_results_still_count_after_a_crash_in_the_pause_and_the_turn_is_paid_once(
    mortal: ServerProcess, session: aiohttp.ClientSession
) -> None:
    chat = Chat(Client(session, mortal.url), "weather-agent", KEY)
    first = await chat.say("everything")
    conversation, (weather, orders) = first["conversation_id"], calls_in(first)
    kept = await chat.bring(conversation, (orders, "none"))
    mortal.kill9()
    mortal.start()
    chat = Chat(Client(session, mortal.url), "weather-agent", KEY)
    assert await chat.bring(conversation, (orders, "none")) == kept
    async with chat.request("POST", brought(conversation, (weather, "sunny"))) as response:
        told = await response.json()
        turn = await chat.client.turn(response.headers["X-Turn-Id"])
    assert told["content"] == "It is sunny in Tokyo."
    assert (turn["state"], turn["credits"]) == ("completed", 5)
    ids = [each["id"] for each in await chat.history(conversation)]
    assert ids == sorted(set(ids))
    assert len(ids) == 5
    # Two credits are left: the pause took five, what came after it nothing.
    await chat.refused(402, "INSUFFICIENT_CREDITS", {"message": "weather"})


@pytest.mark.requirement("S4-5")
async def test_a_crash_within_the_segment_leaves_results_that_can_be_sent_again(
    mortal: ServerProcess, session: aiohttp.ClientSession
) -> None:
    chat = Chat(Client(session, mortal.url), "weather-agent", KEY)
    first = await chat.say("weather")
    body = brought(first["conversation_id"], ("call_123", "slow result"))
    async with chat.request("POST", {**body, "stream": True}) as response:
        await response.content.readuntil(b'"Hm,"}\n\n')
        turn = response.headers["X-Turn-Id"]
        mortal.kill9()
    mortal.start()
    chat = Chat(Client(session, mortal.url), "weather-agent", KEY)
    assert (await chat.client.turn(turn))["state"] == "interrupted"
    async with chat.request("POST", {**body, "stream": True}) as response:
        assert response.status == 200
        assert response.headers["X-Turn-Id"] == turn
        await response.content.readuntil(b'"Hm,"}\n\n')
        async with chat.client.post(f"/manage/v1/turns/{turn}/stop", None) as stopped:
            assert await stopped.json() == await chat.client.turn(turn)
    ended = await chat.client.turn(turn)
    assert (ended["state"], ended["credits"]) == ("cancelled", 5)
    said = [each["content"] for each in await chat.history(first["conversation_id"])]
    assert said.count("slow result") == 1
