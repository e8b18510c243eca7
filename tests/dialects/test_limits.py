"""Limits as clients meet them: what is admitted, what headers tell, what a 429 says, and what a restart keeps."""

import asyncio
import io
import json
import math
import re
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import aiohttp
import pytest

from tests.dialects.scene import ALONCHAT, CONTRACTS, DAY, IDS, MANAGEMENT, MINUTE, SLUG, Contract, room_in
from tests.support.client import Client
from tests.support.server import ServerProcess, scripted

each_contract = pytest.mark.parametrize("contract", CONTRACTS, ids=lambda contract: contract.name)
ABSENT = "/v1/conversations/conv_" + "0" * 32

# A tenant for each test, so that no test uses up another's requests.
TENANTS: dict[str, dict[str, Any]] = {
    "free": {"plan": "free"},
    "starter": {"plan": "starter"},
    "pro": {"plan": "pro"},
    "enterprise": {"plan": "enterprise"},
    "own": {"plan": "pro", "limits": {"per_minute": 7, "per_day": 50_000}},
    "burst": {"plan": "starter"},
    "documented": {"plan": "enterprise", "limits": {"per_minute": 1}},
    "slug": {"plan": "enterprise", "limits": {"per_minute": 1}},
    "alonchat": {"plan": "enterprise", "limits": {"per_minute": 1}},
    "agents": {"plan": "enterprise", "limits": {"per_minute": 1}},
    "management": {"plan": "enterprise", "limits": {"per_minute": 1}},
    "refused": {"plan": "free", "limits": {"per_minute": 3, "per_day": 8}},
    "shared": {"plan": "starter"},
    "all-slug": {"plan": "starter"},
    "all-alonchat": {"plan": "starter"},
    "all-agents": {"plan": "starter"},
    "unread": {"plan": "enterprise", "limits": {"per_minute": 2}},
    "browser": {"plan": "enterprise", "limits": {"per_minute": 1}},
    "following": {"plan": "pro"},
}


def key_of(tenant: str, name: str = "backend") -> str:
    return f"sk_test_{tenant}_{name}".ljust(36, "0")


def spelled(tenant: str, **more: Any) -> dict[str, Any]:
    keys = [{"name": name, "type": "secret", "value": key_of(tenant, name)} for name in ("backend", "second")]
    agent = scripted("Support Agent", {"when": "refuse", "error": "no"}, slug="support-agent")
    return {"id": tenant, "keys": keys, "agents": [agent], **more}


@pytest.fixture(scope="module")
def server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[ServerProcess]:
    """A server with a tenant of each kind; the support agent of the tenant `documented` has the scene's id."""
    process = ServerProcess(tmp_path_factory.mktemp("server"))
    tenants = {name: spelled(name, **more) for name, more in TENANTS.items()}
    tenants["documented"]["agents"][0]["id"] = IDS["support-agent"]
    process.apply({"tenants": list(tenants.values())})
    with process:
        yield process


@pytest.fixture
def of(server: ServerProcess, session: aiohttp.ClientSession) -> Callable[..., Client]:
    """A client of a tenant."""

    def client(tenant: str, name: str = "backend") -> Client:
        return Client(session, server.url, key=key_of(tenant, name))

    return client


def limit(response: aiohttp.ClientResponse) -> tuple[int, int, int]:
    """Limit, remainder and reset, as the contracts tell them."""
    first, second, third = (int(response.headers[f"X-RateLimit-{name}"]) for name in ("Limit", "Remaining", "Reset"))
    return first, second, third


def left(response: aiohttp.ClientResponse) -> dict[str, int]:
    """What is left in each window."""
    return {name: int(rest) for name, rest in re.findall(r'"([a-z]+)";r=(\d+);t=\d+', response.headers["RateLimit"])}


def as_promised(response: aiohttp.ClientResponse, before: float) -> int:
    """The Retry-After of a 429, which is the time to the end of the window, rounded up."""
    told, reset = int(response.headers["Retry-After"]), limit(response)[2]
    assert math.ceil(reset - time.time()) <= told <= math.ceil(reset - before)
    assert told >= 1
    return told


@pytest.mark.requirement("S1-12")
@pytest.mark.parametrize(
    ("tenant", "policy"),
    [
        ("free", '"minute";q=10;w=60, "day";q=100;w=86400'),
        ("starter", '"minute";q=60;w=60, "day";q=1000;w=86400'),
        ("pro", '"minute";q=300;w=60, "day";q=10000;w=86400'),
        ("enterprise", '"minute";q=6000;w=60'),
        ("own", '"minute";q=7;w=60, "day";q=50000;w=86400'),
    ],
)
async def test_each_plan_has_its_windows(of: Callable[..., Client], tenant: str, policy: str) -> None:
    await room_in(MINUTE)
    async with of(tenant).get(ABSENT) as response:
        assert response.headers["RateLimit-Policy"] == policy
        per_minute = int(policy.split(";")[1].removeprefix("q="))
        assert limit(response)[:2] == (per_minute, per_minute - 1)


@pytest.mark.requirement("S1-12", "S1-13")
async def test_of_200_requests_at_one_time_exactly_60_are_admitted(of: Callable[..., Client]) -> None:
    await room_in(MINUTE)
    client = of("burst")

    async def ask() -> tuple[int, tuple[int, int, int]]:
        async with client.s2("Hello") as response:
            await response.read()
            return response.status, limit(response)

    told = await asyncio.gather(*(ask() for _ in range(200)))
    assert {reset for _, (_, _, reset) in told} == {math.ceil(time.time() / MINUTE) * MINUTE}
    assert sorted(remaining for status, (_, remaining, _) in told if status == 200) == list(range(60))
    assert [(status, rest[:2]) for status, rest in told if status != 200] == [(429, (60, 0))] * 140


@pytest.mark.requirement("S1-14")
async def test_s1_a_429_is_as_documented_and_its_number_is_true(of: Callable[..., Client]) -> None:
    await room_in(MINUTE)
    client = of("documented")
    async with client.post(ALONCHAT.path(), ALONCHAT.body("Hello")) as response:
        assert response.status == 200
    before = time.time()
    async with client.post(ALONCHAT.path(), ALONCHAT.body("Hello")) as response:
        assert response.status == 429
        seconds = as_promised(response, before)
        assert await response.json() == {
            "error": {
                "code": "rate_limit_exceeded",
                "message": f"Too many requests. Retry after {seconds} seconds.",
                "retry_after": seconds,
            }
        }
        assert limit(response)[:2] == (1, 0)


@pytest.mark.requirement("S1-14", "S2-6")
@pytest.mark.parametrize("contract", [*CONTRACTS, MANAGEMENT], ids=lambda contract: contract.name)
async def test_a_429_is_spelled_by_the_contract_that_owns_the_path(
    of: Callable[..., Client], contract: Contract
) -> None:
    await room_in(MINUTE)
    client = of(contract.name)
    path = "/manage/v1/turns/x/stop" if contract is MANAGEMENT else contract.path()
    async with client.post(path, {}) as response:
        assert response.status in (400, 404)
    before = time.time()
    async with client.post(path, {}) as response:
        assert response.status == 429
        told = await response.json()
        seconds = as_promised(response, before)
    if contract is ALONCHAT:
        assert told["error"].pop("retry_after") == seconds
    assert contract.check(told, "RateLimited") == f"Too many requests. Retry after {seconds} seconds."


@pytest.mark.requirement("S1-14")
async def test_a_429_consumes_nothing(of: Callable[..., Client]) -> None:
    await room_in(MINUTE)
    client = of("refused")
    rest = []
    for _ in range(10):
        async with client.get(ABSENT) as response:
            rest.append((response.status, left(response)))
    assert rest[:3] == [(404, {"minute": 2 - used, "day": 7 - used}) for used in range(3)]
    assert rest[3:] == [(429, {"minute": 0, "day": 5})] * 7


@pytest.mark.requirement("S1-12", "X-3")
async def test_a_tenants_keys_and_contracts_count_together(of: Callable[..., Client]) -> None:
    await room_in(MINUTE)
    first, second = of("shared"), of("shared", "second")
    requests = [
        lambda: first.s2("Hello"),
        lambda: second.get(ABSENT),
        lambda: first.get("/manage/v1/turns/turn_" + "0" * 32),
        lambda: second.s2("Hello", stream=True),
    ]
    rest = []
    for request in requests:
        async with request() as response:
            await response.read()
            rest.append(limit(response)[1])
    assert rest == [59, 58, 57, 56]


@pytest.mark.requirement("S1-13")
@each_contract
async def test_every_answer_to_a_good_credential_tells_the_limit(
    of: Callable[..., Client], server: ServerProcess, contract: Contract
) -> None:
    await room_in(MINUTE)
    client = of(f"all-{contract.name}")
    agent = await agent_path(server, contract, client)
    prefix = {"slug": "/v1/api", "alonchat": "/v1", "agents": "/api/agents"}[contract.name]
    asked: list[tuple[str, str, Any, int]] = [
        ("POST", agent, contract.body("Hello"), 200),
        ("POST", agent, contract.body("Hello", stream=True), 200),
        ("POST", agent, {}, 400),
        ("POST", agent, b"x" * (1024 * 1024 + 1), 413),
        ("POST", agent, contract.body("refuse"), 500),
        ("POST", contract.path() if contract is ALONCHAT else contract.path("nobody"), contract.body("Hello"), 404),
        ("GET", f"{prefix}/nothing/here", None, 404),
        ("PUT", agent, None, 405),
    ]
    rest = []
    for method, path, body, status in asked:
        headers = {"Authorization": f"Bearer {client.key}"}
        sent = io.BytesIO(body if isinstance(body, bytes) else json.dumps(body).encode())
        async with client.session.request(method, client.url + path, data=sent, headers=headers) as response:
            assert (response.status, path) == (status, path)
            await response.read()
            assert limit(response)[0] == 60
            rest.append(limit(response)[1])
    assert rest == list(range(rest[0], rest[0] - len(asked), -1))


async def agent_path(server: ServerProcess, contract: Contract, client: Client) -> str:
    """Where messages to the support agent of this client's tenant go."""
    if contract is not ALONCHAT:
        return contract.path()
    async with client.s2("Hello") as response:
        conversation = response.headers["X-Conversation-Id"]
    async with client.get(f"/v1/conversations/{conversation}") as response:
        return f"/v1/agents/{(await response.json())['agent_id']}/chat"


@pytest.mark.requirement("S1-13")
@pytest.mark.parametrize("path", ["/v1/agents/x/chat", "/v1/nothing", "/v1/api/chat/x", "/v1/api/nothing"])
@pytest.mark.parametrize("headers", [{}, {"Authorization": "Bearer wrong"}])
async def test_who_is_not_known_has_no_limit_to_be_told(
    server: ServerProcess, session: aiohttp.ClientSession, path: str, headers: dict[str, str]
) -> None:
    async with session.post(server.url + path, json={}, headers=headers) as response:
        assert response.status == (404 if "nothing" in path else 401)
        assert not [name for name in response.headers if "ratelimit" in name.lower()]


@pytest.mark.requirement("S1-12")
async def test_a_request_counts_before_its_body_is_read(of: Callable[..., Client]) -> None:
    await room_in(MINUTE)
    client = of("unread")
    statuses = []
    for _ in range(3):
        headers = {"Authorization": f"Bearer {client.key}"}
        async with client.session.post(client.url + SLUG.path(), data=b"no json", headers=headers) as response:
            statuses.append(response.status)
    assert statuses == [400, 400, 429]


@pytest.mark.requirement("S1-13")
async def test_a_browser_may_read_the_limit_even_of_a_429(of: Callable[..., Client]) -> None:
    await room_in(MINUTE)
    client = of("browser")
    for status in (404, 429):
        headers = {"Authorization": f"Bearer {client.key}", "Origin": "https://anywhere.example"}
        async with client.session.get(client.url + ABSENT, headers=headers) as response:
            assert response.status == status
            assert response.headers["Access-Control-Allow-Origin"] == "*"
            exposed = {name.strip().lower() for name in response.headers["Access-Control-Expose-Headers"].split(",")}
            told = {name.lower() for name in response.headers if "ratelimit" in name.lower()}
            assert len(told) == 5
            assert told <= exposed


@pytest.mark.requirement("S1-12")
async def test_a_changed_plan_holds_without_a_restart(server: ServerProcess, of: Callable[..., Client]) -> None:
    client = of("following")
    async with client.get(ABSENT) as response:
        assert limit(response)[0] == 300
    server.apply({"tenants": [spelled("following", plan="pro", limits={"per_minute": 250})]})
    deadline = time.monotonic() + 3
    told = 300
    while told != 250:
        async with client.get(ABSENT) as response:
            told = limit(response)[0]
        assert told == 250 or time.monotonic() < deadline
        await asyncio.sleep(0.05)


@pytest.mark.requirement("S1-12")
async def test_what_a_day_has_used_survives_every_end_of_the_server(tmp_path: Path) -> None:
    await room_in(DAY, 60)
    process = ServerProcess(tmp_path)
    process.apply({"tenants": [spelled("lasting", plan="free", limits={"per_minute": 50, "per_day": 8})]})
    ends: list[Callable[[], Any]] = [process.stop, process.kill9, process.kill9]
    rest = []
    async with aiohttp.ClientSession() as session:
        for end in ends:
            process.start()
            client = Client(session, process.url, key=key_of("lasting"))
            for _ in range(3):
                before = time.time()
                async with client.s2("Hello") as response:
                    await response.read()
                    rest.append((response.status, left(response)["day"]))
            end()
    assert rest == [(200, 7 - used) for used in range(8)] + [(429, 0)]
    assert limit(response)[:2] == (8, 0)
    assert as_promised(response, before) <= DAY
