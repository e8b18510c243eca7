"""S0: the three buckets of each token, what a key may have in their place, and what a 429 says."""

import asyncio
import re
from collections.abc import Callable, Iterator
from typing import Any

import aiohttp
import pytest

from tests.dialects.aloochat.scene import CHAT, CONVERSATIONS, IDS, STREAM, Chat, agent_key, checked
from tests.dialects.scene import MINUTE, room_in
from tests.support.client import Client
from tests.support.server import ServerProcess, manifest, scripted

FORM = {"agent_key": agent_key(), "query": "Hello"}
OWN = {"manage_per_minute": 3, "chat_per_minute": 2, "stream_per_minute": 1}
# A key for each test, so that no test uses up another's requests.
KEYS: dict[str, dict[str, Any]] = {
    "first": {},
    "second": {},
    "own": {"limits": OWN},
    "partly": {"limits": {"chat_per_minute": 2}},
    "refused": {"limits": {"manage_per_minute": 1}},
    "burst": {},
    "unread": {"limits": {"chat_per_minute": 1}},
}


def value_of(name: str) -> str:
    return f"sk_test_acme_{name}".ljust(36, "0")


@pytest.fixture(scope="module")
def server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[ServerProcess]:
    """A server on which each key has its limits."""
    process = ServerProcess(tmp_path_factory.mktemp("server"))
    keys = [{"name": name, "type": "secret", "value": value_of(name), **more} for name, more in KEYS.items()]
    process.apply(manifest(scripted(id=IDS["support-agent"]), keys=keys))
    with process:
        yield process


@pytest.fixture
def of(server: ServerProcess, session: aiohttp.ClientSession) -> Callable[[str], Chat]:
    """A caller with a key."""
    return lambda name: Chat(Client(session, server.url), value_of(name))


async def asked(chat: Chat, method: str, path: str, **more: Any) -> tuple[int, str, dict[str, int]]:
    """The status, the limits as they are told, and what is left in each window."""
    async with chat.request(method, path, **more) as response:
        await response.read()
        told = response.headers["RateLimit"]
        left = {name: int(rest) for name, rest in re.findall(r'"([a-z]+)";r=(\d+);t=\d+', told)}
        return response.status, response.headers["RateLimit-Policy"], left


async def manage(chat: Chat) -> tuple[int, str, dict[str, int]]:
    return await asked(chat, "GET", CONVERSATIONS)


async def talk(chat: Chat) -> tuple[int, str, dict[str, int]]:
    return await asked(chat, "POST", CHAT, data=FORM)


async def listen(chat: Chat) -> tuple[int, str, dict[str, int]]:
    return await asked(chat, "POST", STREAM, data=FORM)


@pytest.mark.requirement("S0-18")
async def test_each_token_has_three_buckets_of_its_own(of: Callable[[str], Chat]) -> None:
    await room_in(MINUTE)
    for name in ("first", "second"):
        for ask, bucket, limit in ((manage, "manage", 100), (talk, "chat", 60), (listen, "stream", 30)):
            for used in (1, 2):
                status, policy, left = await ask(of(name))
                assert status == 200
                assert f'"{bucket}";q={limit};w=60' in policy
                assert set(left) == {"minute", bucket}
                assert left[bucket] == limit - used


@pytest.mark.requirement("S0-18")
async def test_every_management_route_counts_in_one_bucket(of: Callable[[str], Chat]) -> None:
    await room_in(MINUTE)
    chat, absent = of("partly"), f"{CONVERSATIONS}/conv_{'0' * 32}"
    left = []
    for method, path in (
        ("POST", CONVERSATIONS),
        ("GET", CONVERSATIONS),
        ("GET", absent),
        ("PATCH", absent),
        ("DELETE", absent),
        ("GET", f"{absent}/messages"),
    ):
        left.append((await asked(chat, method, path))[2]["manage"])
    assert left == [99, 98, 97, 96, 95, 94]
    assert [(await talk(chat))[0] for _ in range(3)] == [200, 200, 429]


@pytest.mark.requirement("S0-18")
async def test_a_keys_own_limits_stand_in_place_of_the_buckets(of: Callable[[str], Chat]) -> None:
    await room_in(MINUTE)
    chat = of("own")
    assert [(await manage(chat))[0] for _ in range(4)] == [200, 200, 200, 429]
    assert [(await talk(chat))[0] for _ in range(3)] == [200, 200, 429]
    assert [(await listen(chat))[0] for _ in range(2)] == [200, 429]


@pytest.mark.requirement("S0-18", "S0-19")
async def test_a_429_is_in_this_contracts_shape_and_says_when_to_come_back(of: Callable[[str], Chat]) -> None:
    await room_in(MINUTE)
    chat = of("refused")
    assert (await manage(chat))[0] == 200
    async with chat.request("GET", CONVERSATIONS) as response:
        assert response.status == 429
        seconds = int(response.headers["Retry-After"])
        assert 1 <= seconds <= 60
        assert (response.headers["X-RateLimit-Limit"], response.headers["X-RateLimit-Remaining"]) == ("1", "0")
        assert int(response.headers["X-RateLimit-Reset"]) % 60 == 0
        told = checked(await response.json(), 429)
    assert told == f"Too many requests. Retry after {seconds} seconds."


@pytest.mark.requirement("S0-18")
async def test_of_80_streams_at_one_time_exactly_30_are_admitted(of: Callable[[str], Chat]) -> None:
    await room_in(MINUTE)
    told = await asyncio.gather(*(listen(of("burst")) for _ in range(80)))
    assert sorted(left["stream"] for status, _, left in told if status == 200) == list(range(30))
    assert [status for status, _, _ in told if status != 200] == [429] * 50


@pytest.mark.requirement("S0-18")
async def test_a_request_counts_before_its_body_is_read(of: Callable[[str], Chat]) -> None:
    await room_in(MINUTE)
    chat = of("unread")
    headers = {"Content-Type": "multipart/form-data; boundary=b"}
    assert [(await asked(chat, "POST", CHAT, data=b"x", headers=headers))[0] for _ in range(2)] == [400, 429]
