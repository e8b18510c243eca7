"""Last-Event-ID in every contract: a stream goes on after any cut, to the byte."""

import asyncio
from uuid import uuid4

import aiohttp
import pytest

from tests.dialects.scene import CONTRACTS, Contract, blocks, id_of
from tests.support.client import Client

COMMENT = b":\n\n"
each_contract = pytest.mark.parametrize("contract", CONTRACTS, ids=lambda contract: contract.name)


async def stream(client: Client, contract: Contract, message: str, key: str, after: str = "") -> list[bytes]:
    cursor = {"Last-Event-ID": after} if after else {}
    body = contract.body(message, stream=True)
    async with client.post(contract.path(), body, Idempotency_Key=key, **cursor) as response:
        assert response.status == 200, await response.read()
        return blocks(await response.read())


@pytest.mark.requirement("S2-8", "S1-9", "S4-10")
@each_contract
@pytest.mark.parametrize("message", ["greet me", "spaces", "say nothing", "break off", "refuse"])
async def test_a_closed_turn_goes_on_after_every_cut(client: Client, contract: Contract, message: str) -> None:
    key = str(uuid4())
    whole = await stream(client, contract, message, key)
    ids = [(at, event_id) for at, block in enumerate(whole) if (event_id := id_of(block))]
    if contract.name == "alonchat" and message == "greet me":
        sources = next(at for at, block in enumerate(whole) if b"event: sources" in block)
        assert sources in [at for at, _ in ids]
    for at, event_id in ids:
        assert await stream(client, contract, message, key, event_id) == [COMMENT, *whole[at + 1 :]]


@pytest.mark.requirement("S2-8", "S1-9")
@each_contract
async def test_a_running_turn_goes_on_after_every_cut(client: Client, contract: Contract) -> None:
    async def cut_and_resume(frames: int) -> list[bytes]:
        key, body = str(uuid4()), contract.body("slowly", stream=True)
        seen = b""
        async with aiohttp.ClientSession() as leaving:
            mortal = Client(leaving, client.url)
            async with mortal.post(contract.path(), body, Idempotency_Key=key) as response:
                while len(blocks(seen)) <= frames:
                    seen += await response.content.readany()
                response.close()
        before = blocks(seen)
        last = id_of(before[-1])
        assert last is not None
        rest = await stream(client, contract, "slowly", key, last)
        assert before + rest[1:] == await stream(client, contract, "slowly", key)
        return before

    cuts = await asyncio.gather(*(cut_and_resume(frames) for frames in range(1, 9)))
    assert len({len(before) for before in cuts}) > 4


@pytest.mark.requirement("S2-6", "S1-15")
@each_contract
async def test_a_key_that_began_nothing_has_nothing_to_resume(client: Client, contract: Contract) -> None:
    headers = {"Idempotency_Key": str(uuid4()), "Last_Event_ID": f"{uuid4()}.1.3"}
    for streamed in (False, True):
        async with client.post(contract.path(), contract.body("Hello", stream=streamed), **headers) as response:
            assert response.status == 409
            contract.check(await response.json(), "Conflict")


@pytest.mark.requirement("S2-6", "S1-15")
@each_contract
async def test_the_event_of_another_turn_is_refused(client: Client, contract: Contract) -> None:
    key, other = str(uuid4()), str(uuid4())
    await stream(client, contract, "greet me", key)
    foreign = id_of((await stream(client, contract, "greet me", other))[1])
    assert foreign is not None
    body = contract.body("greet me", stream=True)
    async with client.post(contract.path(), body, Idempotency_Key=key, Last_Event_ID=foreign) as response:
        assert response.status == 400
        contract.check(await response.json(), "Invalid")


@each_contract
async def test_without_a_key_the_header_has_no_meaning(client: Client, contract: Contract) -> None:
    body = contract.body("greet me", stream=True)
    async with client.post(contract.path(), body, Last_Event_ID=f"{uuid4()}.1.3") as response:
        assert response.status == 200
        assert b"Hello" in await response.read()
