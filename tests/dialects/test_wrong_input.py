"""What no client should send: every contract refuses it in its own shape, and goes on to answer."""

import asyncio
import io
import json
import random
from collections.abc import AsyncIterator
from typing import Any

import pytest
from yarl import URL

from tests.dialects.scene import AGENTS, ALONCHAT, CONTRACTS, MANAGEMENT, SLUG, Contract, agent_id
from tests.support.client import Client, authorised
from tests.support.server import KEY

each_contract = pytest.mark.parametrize("contract", CONTRACTS, ids=lambda contract: contract.name)
FUZZED = 200
DEEP = 5_000


@pytest.fixture(autouse=True)
async def still_answering(client: Client) -> AsyncIterator[None]:
    """After each test the server answers as before."""
    yield
    assert (await client.say("Hello"))["response"] == "You said: Hello"


async def send(
    client: Client, path: str, body: bytes, *, method: str = "POST", **headers: str
) -> tuple[int, dict[str, Any]]:
    spelled = authorised(**{"Content-Type": "application/json"})
    spelled.update({name.replace("_", "-"): value for name, value in headers.items()})
    url = URL(client.url + path, encoded=True)
    async with client.session.request(method, url, data=io.BytesIO(body), headers=spelled) as response:
        told: dict[str, Any] = await response.json(content_type=None)
        return response.status, told


def nested(opening: bytes, closing: bytes, depth: int, core: bytes = b"1") -> bytes:
    return opening * depth + core + closing * depth


NO_BODY = {
    "empty": b"",
    "blank": b" \n",
    "words": b"Hello",
    "cut": b'{"message": "Hel',
    "trailing comma": b'{"message": "Hello",}',
    "single quotes": b"{'message': 'Hello'}",
    "two values": b'{"message": "Hello"}{"message": "Hello"}',
    "byte order mark": b'\xef\xbb\xbf{"message": "Hello"}',
    "UTF-16": '{"message": "Hello"}'.encode("utf-16"),
    "array": b'[{"message": "Hello"}]',
    "number": b"5",
    "string": b'"Hello"',
    "null": b"null",
    "true": b"true",
    "NaN": b'{"message": NaN}',
    "form": b"message=Hello",
    "bad UTF-8": b'{"message": "\xff\xfe"}',
    "overlong UTF-8": b'{"message": "\xc0\x80"}',
    "surrogate in UTF-8": b'{"message": "\xed\xa0\x80"}',
    "lone high surrogate": b'{"message": "\\ud83d"}',
    "lone low surrogate": b'{"message": "\\ude42"}',
    "half a pair": b'{"message": "\\ud83dx"}',
    "bad escape": b'{"message": "\\x41"}',
    "raw control character": b'{"message": "a\x01b"}',
    "raw U+0000": b'{"message": "a\x00b"}',
    "U+0000": b'{"message": "a\\u0000b"}',
    "U+0000 alone": b'{"message": "\\u0000"}',
    "message is a number": b'{"message": 5}',
    "message is a float": b'{"message": 1e3}',
    "message is a list": b'{"message": ["Hello"]}',
    "message is an object": b'{"message": {"text": "Hello"}}',
    "message is true": b'{"message": true}',
    "stream is a string": b'{"message": "Hello", "stream": "true"}',
    "stream is a number": b'{"message": "Hello", "stream": 1}',
    "stream is a list": b'{"message": "Hello", "stream": []}',
    "deep arrays": nested(b"[", b"]", DEEP),
    "deep objects": nested(b'{"message":', b"}", DEEP),
    "deep array in an unknown field": b'{"message": "Hello", "x": ' + nested(b"[", b"]", DEEP) + b"}",
    "deep object in an unknown field": b'{"message": "Hello", "x": ' + nested(b'{"x":', b"}", DEEP) + b"}",
    "unclosed arrays": b"[" * 100_000,
}


@pytest.mark.requirement("S2-6", "S1-15", "S4-14")
@each_contract
@pytest.mark.parametrize("body", NO_BODY.values(), ids=NO_BODY)
async def test_a_body_that_is_no_message_is_refused(client: Client, contract: Contract, body: bytes) -> None:
    status, told = await send(client, contract.path(), body)
    assert status == 400
    contract.check(told, "Invalid")


WRONG_FIELDS = {
    "conversationId": [b"5", b"true", b"[]", b"{}", b'"\\ud800"', b'"a\\u0000"'],
    "conversation_id": [b"5", b"true", b"[]", b"{}", b'"\\ud800"', b'"a\\u0000"'],
    "metadata": [
        b"5",
        b'"page"',
        b"[]",
        b"true",
        b'{"a": "\\u0000"}',
        b'{"\\u0000": 1}',
        b'{"a": [{"b": "\\u0000"}]}',
        b'{"a": "\\ud800"}',
        b'{"\\udc00": 1}',
        b'{"a": 1e999}',
        b'{"a": ' + b"9" * 5_000 + b"}",
        b'{"a": ' + nested(b"[", b"]", DEEP) + b"}",
        b'{"a": ' + nested(b'{"a":', b"}", DEEP) + b"}",
        b'{"a": ' + nested(b"[", b"]", 600, b'"\\u0000"') + b"}",
        b'{"a": ' + nested(b'{"a":', b"}", 900, b'"\\u0000"') + b"}",
    ],
}


@pytest.mark.requirement("S2-6", "S1-15", "S1-16", "S4-14")
@pytest.mark.parametrize(
    ("contract", "field"),
    [
        (SLUG, "conversationId"),
        (ALONCHAT, "conversation_id"),
        (ALONCHAT, "metadata"),
        (AGENTS, "conversation_id"),
        (AGENTS, "metadata"),
        (AGENTS, "context"),
    ],
)
async def test_a_field_of_a_wrong_type_or_with_text_that_cannot_be_kept_is_refused(
    client: Client, contract: Contract, field: str
) -> None:
    for value in WRONG_FIELDS["metadata" if field == "context" else field]:
        status, told = await send(client, contract.path(), b'{"message": "Hello", "%s": %s}' % (field.encode(), value))
        assert status == 400, value[:40]
        contract.check(told, "Invalid")


@pytest.mark.requirement("S2-6", "S1-15")
@each_contract
async def test_a_body_over_1_mib_is_too_large(client: Client, contract: Contract) -> None:
    for size in (1024 * 1024 + 1, 2 * 1024 * 1024):
        body = b'{"message": "%s"}' % (b"x" * (size - len(b'{"message": ""}')))
        status, told = await send(client, contract.path(), body)
        assert status == 413
        contract.check(told, "TooLarge")


@each_contract
async def test_a_body_that_is_too_large_and_comes_in_chunks_is_too_large(client: Client, contract: Contract) -> None:
    async def pieces() -> AsyncIterator[bytes]:
        for _ in range(32):
            yield b"x" * 65_536

    url = client.url + contract.path()
    async with client.session.post(url, data=pieces(), headers=authorised()) as response:
        assert response.status == 413
        contract.check(await response.json(), "TooLarge")


@pytest.mark.requirement("S2-1", "S1-1")
@each_contract
async def test_a_body_of_exactly_1_mib_is_not(client: Client, contract: Contract) -> None:
    body = b'{"message": "greet me", "x": "%s"}'
    status, told = await send(client, contract.path(), body % (b"x" * (1024 * 1024 - len(body) + 2)))
    assert status == 200
    assert contract.answer(told)[0] == "Hello there! How can I help?"


@each_contract
async def test_a_body_that_is_cut_begins_no_turn(client: Client, contract: Contract) -> None:
    url = URL(client.url)
    assert url.host is not None
    for body in (b"", b'{"message": "Hel'):
        reader, writer = await asyncio.open_connection(url.host, url.port)
        head = (
            f"POST {contract.path()} HTTP/1.1\r\nHost: here\r\nAuthorization: Bearer {KEY}\r\nContent-Length: 200\r\n"
        )
        writer.write(head.encode() + b"\r\n" + body)
        await writer.drain()
        writer.write_eof()
        assert b"HTTP/1.1 2" not in await reader.read()
        writer.close()
        await writer.wait_closed()


CREDENTIALS = {
    "none": None,
    "empty": "",
    "scheme alone": "Bearer",
    "no value": "Bearer ",
    "unknown": "Bearer sk_test_acme_backend_0000000000000001",
    "other scheme": f"Basic {KEY}",
    "no scheme": KEY,
    "two keys": f"Bearer {KEY} {KEY}",
    "prefix of a key": f"Bearer {KEY[:-1]}",
    "other case": f"Bearer {KEY.upper()}",
    "not ASCII": "Bearer schlüssel-ключ",
    "huge": "Bearer " + "k" * 60_000,
    "SQL": "Bearer ' OR 1=1 --",
}


@pytest.mark.requirement("S2-3", "S1-6", "S4-15")
@pytest.mark.parametrize("contract", [*CONTRACTS, MANAGEMENT], ids=lambda contract: contract.name)
@pytest.mark.parametrize("credential", CREDENTIALS.values(), ids=CREDENTIALS)
async def test_a_credential_that_opens_nothing_is_refused_before_anything_else(
    client: Client, contract: Contract, credential: str | None
) -> None:
    path = "/manage/v1/turns/turn_x/stop" if contract is MANAGEMENT else contract.path()
    headers = {} if credential is None else {"Authorization": credential}
    async with client.session.post(client.url + path, data=b"no json", headers=headers) as response:
        assert response.status == 401
        contract.check(await response.json(), "Unauthenticated")


@pytest.mark.requirement("S2-6", "S1-15")
@each_contract
@pytest.mark.parametrize(
    "headers",
    [
        {"Idempotency_Key": ""},
        {"Idempotency_Key": "k" * 256},
        {"Idempotency_Key": "k" * 60_000},
        {"Idempotency_Key": "schlüssel"},
        {"Idempotency_Key": "a\tb"},
        {"Idempotency_Key": "good", "Last_Event_ID": "5"},
        {"Idempotency_Key": "good", "Last_Event_ID": "turn.1"},
        {"Idempotency_Key": "good", "Last_Event_ID": "123e4567-e89b-12d3-a456-426614174000.1"},
        {"Idempotency_Key": "good", "Last_Event_ID": "123e4567-e89b-12d3-a456-426614174000.-1.2"},
        {"Idempotency_Key": "good", "Last_Event_ID": "123e4567-e89b-12d3-a456-426614174000.1.2.3.4"},
        {"Idempotency_Key": "good", "Last_Event_ID": "123e4567-e89b-12d3-a456-426614174000.1.999999999999999999"},
        {"Idempotency_Key": "good", "Last_Event_ID": "x" * 60_000},
        {"Idempotency_Key": "good", "Last_Event_ID": "é.1.2"},
    ],
    ids=lambda headers: "-".join(f"{name}={value[:24]}" for name, value in headers.items()),
)
async def test_a_wrong_header_is_refused(client: Client, contract: Contract, headers: dict[str, str]) -> None:
    status, told = await send(client, contract.path(), b'{"message": "Hello", "stream": true}', **headers)
    assert status == 400
    contract.check(told, "Invalid")


@each_contract
async def test_the_longest_idempotency_key_is_taken(client: Client, contract: Contract) -> None:
    status, _ = await send(client, contract.path(), b'{"message": "Hello"}', Idempotency_Key="k" * 255)
    assert status == 200


@pytest.mark.requirement("S2-5", "S1-15", "S4-14")
@pytest.mark.parametrize("name", ["%00", "a%00b", "%ff%fe", "%ed%a0%80", "a" * 10_000, "%2e%2e", "..", "'", "%0d%0ax"])
async def test_a_name_that_no_agent_can_have_is_not_found(client: Client, name: str) -> None:
    for contract, path in (
        (SLUG, f"/v1/api/chat/{name}"),
        (ALONCHAT, f"/v1/agents/{name}/chat"),
        (AGENTS, f"/api/agents/{name}/chat"),
    ):
        status, told = await send(client, path, b'{"message": "Hello"}')
        assert status == 404
        contract.check(told, "AgentNotFound")


@pytest.mark.requirement("S1-21")
@pytest.mark.parametrize("name", ["%00", "%ff", "conv_" + "g" * 32, "conv_%00", "c" * 10_000, "%2e%2e", "turn_x"])
async def test_a_name_that_no_conversation_can_have_is_not_found(client: Client, name: str) -> None:
    status, told = await send(client, f"/v1/conversations/{name}", b"", method="GET")
    assert status == 404
    ALONCHAT.check(told, "ConversationNotFound")
    status, told = await send(client, f"/manage/v1/conversations/{name}/stop", b"[broken")
    assert status == 404
    MANAGEMENT.check(told, "ConversationNotFound")
    status, told = await send(client, f"/manage/v1/turns/{name}", b"", method="GET")
    assert status == 404
    MANAGEMENT.check(told, "TurnNotFound")


@pytest.mark.requirement("X-6")
@pytest.mark.parametrize(
    ("contract", "path"),
    [
        (SLUG, "/v1/api/chat/../../../etc/passwd"),
        (SLUG, "/v1/api/chat/..%2f..%2f..%2fetc%2fpasswd"),
        (ALONCHAT, "/v1/../../etc/passwd"),
        (ALONCHAT, "/v1/agents/..%2f..%2fetc%2fpasswd/chat"),
        (ALONCHAT, "/v1/%2e%2e/%2e%2e/etc/passwd"),
        (AGENTS, "/api/agents/../../etc/passwd"),
        (AGENTS, "/api/agents/..%2f..%2fetc%2fpasswd/chat"),
        (MANAGEMENT, "/../etc/passwd"),
        (MANAGEMENT, "/manage/v1/turns/..%2f..%2fx"),
    ],
)
async def test_a_path_that_climbs_reaches_nothing(client: Client, contract: Contract, path: str) -> None:
    for method in ("GET", "POST"):
        status, told = await send(client, path, b'{"message": "Hello"}', method=method)
        assert status == 404
        contract.check(told, "RouteNotFound")


@each_contract
async def test_any_content_type_or_none_is_read_as_json(client: Client, contract: Contract) -> None:
    for content_type in ("text/plain", "application/x-www-form-urlencoded", "application/json; charset=latin-1", "x"):
        status, _ = await send(client, contract.path(), b'{"message": "Hello"}', Content_Type=content_type)
        assert status == 200
    async with client.session.post(
        client.url + contract.path(),
        data=b'{"message": "Hello"}',
        headers=authorised(),
        skip_auto_headers=["Content-Type"],
    ) as response:
        assert response.status == 200


def fuzzed(contract: Contract, seed: int) -> bytes:
    """A message, broken somewhere or made of the wrong things; the same for the same seed."""
    chance = random.Random(seed)
    strange: list[Any] = [
        None,
        True,
        -1,
        2**70,
        0.1,
        "",
        "\x00",
        "\ud800",
        "\u2028",
        [],
        {},
        [[]],
        {"": None},
        "conv_x",
    ]
    whole = contract.body("Hello", "conv_" + "0" * 32, metadata={"a": [1, {"b": "c"}]}, stream=False)
    for name in chance.sample(sorted(whole), chance.randint(0, 3)):
        if chance.random() < 0.3:
            del whole[name]
        else:
            whole[name] = chance.choice(strange)
    body = bytearray(json.dumps(whole).encode())
    for _ in range(chance.choice([0, 0, 1, 2, 8])):
        at = chance.randrange(len(body))
        match chance.randrange(4):
            case 0:
                body[at] = chance.randrange(256)
            case 1:
                del body[at : at + chance.randint(1, 6)]
            case 2:
                body[at:at] = chance.choice([b'"', b"{", b"]", b"\\", b",", b"\\u0000", b"\xff", b"1e9"])
            case _:
                body[at:at] = body[: chance.randrange(len(body))]
        body = body or bytearray(b"{")
    return bytes(body)


@pytest.mark.requirement("S2-6", "S1-15", "S4-14")
@each_contract
async def test_no_body_makes_the_server_fail(client: Client, contract: Contract) -> None:
    kinds = {400: "Invalid", 404: "ConversationNotFound"}
    seen: dict[int, int] = {}

    async def attempt(seed: int) -> None:
        body = fuzzed(contract, seed)
        status, told = await send(client, contract.path(), body)
        seen[status] = seen.get(status, 0) + 1
        assert status in (200, 400, 404), body
        if status != 200:
            contract.check(told, kinds[status])

    for first in range(0, FUZZED, 20):
        await asyncio.gather(*(attempt(seed) for seed in range(first, first + 20)))
    assert set(seen) == {200, 400, 404}


async def test_a_stop_ignores_its_body(client: Client) -> None:
    async with client.s1(agent_id(), "Hello") as response:
        turn = response.headers["X-Turn-Id"]
    for body in (b"", b"[", b'{"x": "\\u0000"}', nested(b"[", b"]", DEEP)):
        status, told = await send(client, f"/manage/v1/turns/{turn}/stop", body)
        assert (status, told["state"]) == (200, "completed")
