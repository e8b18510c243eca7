"""Idempotency-Key in every contract: join, replay, run again, refuse."""

import asyncio
from uuid import uuid4

import aiohttp
import pytest

from tests.dialects.scene import CONTRACTS, Contract, blocks, id_of
from tests.support.client import Client

each_contract = pytest.mark.parametrize("contract", CONTRACTS, ids=lambda contract: contract.name)
whole_or_streamed = pytest.mark.parametrize("stream", [False, True])


@pytest.fixture
async def model_server(upstream: str, session: aiohttp.ClientSession) -> str:
    """The model server's own address; it counts from the first request again."""
    address = upstream.removesuffix("/v1")
    async with session.post(f"{address}/reset"):
        return address


def fresh() -> str:
    return f"attempt {uuid4()}"


@pytest.mark.requirement("S2-12", "S1-9")
@each_contract
@whole_or_streamed
async def test_a_repeated_request_is_answered_from_what_was_kept(
    client: Client, contract: Contract, stream: bool
) -> None:
    key = fresh()
    told, replayed = [], []
    for path in (contract.path(), contract.path(), contract.path() + "/"):
        async with client.post(path, contract.body("greet me", stream=stream), Idempotency_Key=key) as response:
            assert response.status == 200
            told.append(await response.read())
            replayed.append(response.headers.get("Idempotent-Replayed"))
            conversation = response.headers["X-Conversation-Id"]
    assert replayed == [None, "true", "true"]
    assert told[0] == told[1] == told[2]
    assert len(await client.history(conversation)) == 2


@pytest.mark.requirement("S2-12")
@each_contract
async def test_requests_at_one_time_with_one_key_are_one_turn(client: Client, contract: Contract) -> None:
    key = fresh()

    async def ask() -> tuple[int, bytes]:
        async with client.post(contract.path(), contract.body("slowly"), Idempotency_Key=key) as response:
            return response.status, await response.read()

    told = await asyncio.gather(*(ask() for _ in range(8)))
    assert {status for status, _ in told} == {200}
    assert len({body for _, body in told}) == 1


@pytest.mark.requirement("S2-6", "S1-15")
@each_contract
async def test_a_key_with_another_body_is_refused(client: Client, contract: Contract) -> None:
    key = fresh()
    for message, status in (("One", 200), ("Two", 422), ("One", 200)):
        async with client.post(contract.path(), contract.body(message), Idempotency_Key=key) as response:
            assert response.status == status
            if status == 422:
                contract.check(await response.json(), "KeyReused")


@each_contract
async def test_a_key_belongs_to_one_path(client: Client, contract: Contract) -> None:
    key = fresh()
    conversations = set()
    for slug in ("support-agent", "second-agent"):
        async with client.post(contract.path(slug), contract.body("Hello"), Idempotency_Key=key) as response:
            assert response.status == 200
            conversations.add(response.headers["X-Conversation-Id"])
    assert len(conversations) == 2


@pytest.mark.requirement("S2-12")
@pytest.mark.usefixtures("model_server")
@each_contract
@whole_or_streamed
async def test_a_retry_of_a_failed_turn_runs_it_again_and_stores_no_second_message(
    client: Client, contract: Contract, stream: bool
) -> None:
    key, path, body = fresh(), contract.path("recovering-agent"), contract.body("Hello", stream=stream)
    async with client.post(path, body, Idempotency_Key=key) as response:
        assert response.status == (200 if stream else 500)
        assert b"The AI service could not answer" in await response.read()
    async with client.post(path, body, Idempotency_Key=key) as response:
        assert response.status == 200
        assert "Idempotent-Replayed" not in response.headers
        told = await response.read()
        conversation = response.headers["X-Conversation-Id"]
    assert b"Hello" in told
    assert b"could not answer" not in told
    assert [said["content"] for said in await client.history(conversation)] == ["Hello", "Hello"]
    async with client.post(path, body, Idempotency_Key=key) as response:
        assert response.headers["Idempotent-Replayed"] == "true"
        assert await response.read() == told


@pytest.mark.requirement("S2-12")
@each_contract
async def test_a_failed_turn_keeps_its_message_out_of_later_prompts(
    client: Client, contract: Contract, model_server: str
) -> None:
    path = contract.path("recovering-agent")
    async with client.post(path, contract.body("Lost", stream=True)) as response:
        assert b"could not answer" in await response.read()
        conversation = response.headers["X-Conversation-Id"]
    async with client.post(path, contract.body("Again", conversation)) as response:
        assert response.status == 200
    assert [said["content"] for said in await client.history(conversation)] == ["Lost", "Again", "Again"]
    async with client.session.get(f"{model_server}/stats") as response:
        asked = (await response.json())["bodies"][-1]["messages"]
    assert [message["content"] for message in asked] == ["Again"]


@each_contract
async def test_a_stopped_turn_is_replayed(client: Client, contract: Contract) -> None:
    key, body = fresh(), contract.body("hang on", stream=True)
    async with client.post(contract.path(), body, Idempotency_Key=key) as response:
        first = await response.content.readuntil(b"Well,")
        async with client.post(f"/manage/v1/turns/{response.headers['X-Turn-Id']}/stop", None):
            told = first + await response.read()
    async with client.post(contract.path(), body, Idempotency_Key=key) as response:
        assert response.headers["Idempotent-Replayed"] == "true"
        assert await response.read() == told


@pytest.mark.requirement("S2-8", "S1-9")
@each_contract
async def test_id_lines_stand_only_where_the_request_had_a_key_and_never_on_done(
    client: Client, contract: Contract
) -> None:
    body = contract.body("greet me", stream=True)
    async with client.post(contract.path(), body) as response:
        plain = blocks(await response.read())
    assert [id_of(block) for block in plain] == [None] * len(plain)
    async with client.post(contract.path(), body, Idempotency_Key=fresh()) as response:
        numbered = blocks(await response.read())
    ids = [id_of(block) for block in numbered]
    unnumbered = [block for block, event_id in zip(numbered, ids, strict=True) if event_id is None]
    assert unnumbered == [b":\n\n", *([b"data: [DONE]\n\n"] if contract.name == "slug" else [])]
    assert len(set(ids)) == len([each for each in ids if each]) + 1
    bare = [block.partition(b"\n")[2] if block.startswith(b"id: ") else block for block in numbered]
    # Frames that hold an id of their own are each stream's: the first in S4, the last in all but S2.
    same = {"slug": slice(None), "alonchat": slice(-1), "agents": slice(2, -1)}[contract.name]
    assert bare[same] == plain[same]
