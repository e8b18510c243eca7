"""What every contract takes and says at the edges: how deep a body goes, a null, the headers of a failure."""

import pytest

from tests.dialects.scene import Contract
from tests.dialects.test_wrong_input import each_contract, nested, send
from tests.support.client import Client

DEEPEST = 64


@each_contract
@pytest.mark.parametrize("field", ["metadata", "unknown"])
async def test_a_body_is_taken_to_64_levels_and_no_deeper(client: Client, contract: Contract, field: str) -> None:
    for opening, closing in ((b"[", b"]"), (b'{"a":', b"}"), (b'{"]": "\\"]}", "a":', b"}")):
        for depth in (1, 62, 63, 64, 500, 964, 3_000):
            # Two levels stand around it.
            inner = nested(opening, closing, depth)
            body = b'{"message": "Hello", "%s": {"a": %s}}' % (field.encode(), inner)
            status, told = await send(client, contract.path(), body)
            assert status == (200 if depth + 2 <= DEEPEST else 400), depth
            if status == 400:
                assert contract.check(told, "Invalid") == "The request body is nested deeper than 64 levels"


@each_contract
async def test_brackets_that_do_not_nest_are_no_depth(client: Client, contract: Contract) -> None:
    for message, more in (("{[" * 500, "1"), ('\\"{' * 500, "1"), ("Hello", "[" + "[{}]," * 500 + "[]]")):
        body = f'{{"message": "{message}", "x": {more}}}'.encode()
        assert (await send(client, contract.path(), body))[0] == 200
    status, told = await send(client, contract.path(), b'{"message": "Hello", "x": [' + b"[]," * 100)
    assert (status, contract.check(told, "Invalid")) == (400, "The request body is not valid JSON")


@each_contract
async def test_a_stream_that_is_null_is_none(client: Client, contract: Contract) -> None:
    status, told = await send(client, contract.path(), b'{"message": "greet me", "stream": null}')
    assert (status, contract.answer(told)[0]) == (200, "Hello there! How can I help?")


@each_contract
async def test_an_answer_that_failed_names_its_turn_and_each_name_stands_once(
    client: Client, contract: Contract
) -> None:
    for message, status in (("refuse", 500), ("greet me", 200)):
        async with client.post(contract.path(), contract.body(message)) as response:
            assert response.status == status
            for name in ("X-Conversation-Id", "X-Message-Id", "X-Turn-Id"):
                assert len(response.headers.getall(name)) == 1, name
            conversation = response.headers["X-Conversation-Id"]
        assert (await client.history(conversation))[0]["content"] == message
