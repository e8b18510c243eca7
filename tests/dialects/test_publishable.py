"""Publishable keys: whose conversations a visitor reads, which pages may ask, and what is refused."""

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import aiohttp
import pytest

from tests.dialects.scene import (
    ALONCHAT,
    ANYWHERE_KEY,
    CONTRACTS,
    IDS,
    MANAGEMENT,
    MINUTE,
    NO_BROWSER_KEY,
    ORIGIN,
    PAGE_KEY,
    PUBLISHABLE_KEY,
    SLUG,
    Contract,
    room_in,
)
from tests.support.client import Client, frames_of
from tests.support.server import ServerProcess, manifest, scripted

each_contract = pytest.mark.parametrize("contract", CONTRACTS, ids=lambda contract: contract.name)
TOKEN = "X-Visitor-Token"


class Page:
    """A page of an origin in somebody's browser, behind a publishable key."""

    def __init__(self, client: Client, key: str = PAGE_KEY, origin: str | None = ORIGIN) -> None:
        self._client = client
        self.headers = {"Authorization": f"Bearer {key}", **({"Origin": origin} if origin is not None else {})}

    @asynccontextmanager
    async def request(self, method: str, path: str, body: Any = None, **headers: str) -> AsyncIterator[Any]:
        """A request with the visitor's token, once there is one."""
        url = self._client.url + path
        sent = {**self.headers, **headers}
        async with self._client.session.request(method, url, json=body, headers=sent) as response:
            if TOKEN in response.headers:
                assert TOKEN not in sent
                self.headers[TOKEN] = response.headers[TOKEN]
            yield response

    async def say(self, contract: Contract, message: str, conversation: str | None = None, **headers: str) -> Any:
        """The status of a message, and its answer."""
        body = contract.body(message, conversation)
        async with self.request("POST", contract.path(), body, **headers) as response:
            return response.status, await response.json()

    async def read(self, conversation: str) -> Any:
        """The status of a conversation, and what it holds."""
        async with self.request("GET", f"/v1/conversations/{conversation}") as response:
            return response.status, await response.json()


@pytest.fixture
def page(client: Client) -> Page:
    return Page(client)


@pytest.mark.requirement("S1-7")
@each_contract
async def test_a_visitor_gets_a_token_once_and_is_known_by_it(page: Page, contract: Contract) -> None:
    status, told = await page.say(contract, "Hello")
    assert status == 200
    token = page.headers[TOKEN]
    assert token.startswith("vt_")
    text, conversation = contract.answer(told)
    assert text == "You said: Hello"
    status, told = await page.say(contract, "Again", conversation)
    assert (status, contract.answer(told)) == (200, ("You said: Again", conversation))
    assert page.headers[TOKEN] == token
    status, told = await page.read(conversation)
    assert (status, len(told["messages"])) == (200, 4)


@pytest.mark.requirement("S1-7")
@each_contract
async def test_a_stream_hands_out_the_token_too(page: Page, contract: Contract) -> None:
    body = contract.body("greet me", stream=True)
    async with page.request("POST", contract.path(), body) as response:
        assert response.status == 200
        assert [frame async for frame in frames_of(response)]
    assert page.headers[TOKEN].startswith("vt_")


@pytest.mark.requirement("S1-7")
async def test_a_browser_may_send_the_token_and_read_it(page: Page) -> None:
    asking = {
        "Access-Control-Request-Method": "POST",
        "Access-Control-Request-Headers": "authorization,x-visitor-token",
    }
    async with page.request("OPTIONS", ALONCHAT.path(), **asking) as response:
        assert response.status == 200
        assert "x-visitor-token" in response.headers["Access-Control-Allow-Headers"].lower()
    async with page.request("POST", ALONCHAT.path(), ALONCHAT.body("Hello")) as response:
        assert response.headers["Access-Control-Allow-Origin"] == "*"
        exposed = response.headers["Access-Control-Expose-Headers"]
    readable = {name.strip() for name in exposed.split(",")}
    assert readable >= {TOKEN, "X-RateLimit-Limit", "X-RateLimit-Remaining", "X-RateLimit-Reset", "Retry-After"}


@pytest.mark.requirement("S1-7", "S1-21")
@each_contract
async def test_a_conversation_of_another_visitor_is_told_as_one_that_nobody_has(
    client: Client, contract: Contract
) -> None:
    mine, theirs, nobody = Page(client), Page(client, ANYWHERE_KEY), Page(client)
    absent = "conv_" + "0" * 32
    _, told = await mine.say(contract, "My secret")
    conversations = [contract.answer(told)[1], (await client.say("Of the backend"))["conversationId"]]
    await theirs.say(contract, "Hello")
    for conversation in conversations:
        for page in (theirs, nobody):
            unread, unsaid = await page.read(conversation), await page.say(contract, "Me too", conversation)
            assert (unread[0], unsaid[0]) == (404, 404)
            assert unread == await page.read(absent)
            assert unsaid == await page.say(contract, "Me too", absent)
        assert len(await client.history(conversation)) == 2


@pytest.mark.requirement("S1-7")
@each_contract
async def test_a_secret_key_goes_on_with_a_visitors_conversation(
    client: Client, page: Page, contract: Contract
) -> None:
    conversation = contract.answer((await page.say(contract, "Help me"))[1])[1]
    async with client.post(contract.path(), contract.body("How?", conversation)) as response:
        assert response.status == 200
    assert len((await page.read(conversation))[1]["messages"]) == 4


@pytest.mark.requirement("S1-7")
@each_contract
async def test_an_agent_that_a_key_does_not_name_is_told_as_one_that_nobody_has(page: Page, contract: Contract) -> None:
    for slug, status in (("support-agent", 200), ("prompted-agent", 200), ("second-agent", 404)):
        async with page.request("POST", contract.path(slug), contract.body("Hello")) as response:
            assert response.status == status
            told = await response.json()
    contract.check(told, "AgentNotFound")


@pytest.mark.requirement("S1-7")
@each_contract
@pytest.mark.parametrize(
    ("key", "origin", "may"),
    [
        (PAGE_KEY, ORIGIN, True),
        (PAGE_KEY, ORIGIN.upper(), True),
        (PAGE_KEY, None, False),
        (PAGE_KEY, "null", False),
        (PAGE_KEY, "https://shop.example:8443", False),
        (PAGE_KEY, "http://shop.example", False),
        (PAGE_KEY, "https://shop.example.evil", False),
        (ANYWHERE_KEY, None, True),
        (ANYWHERE_KEY, "https://evil.example", True),
        (NO_BROWSER_KEY, None, True),
        (NO_BROWSER_KEY, ORIGIN, False),
    ],
)
async def test_a_key_is_for_its_origins(
    client: Client, contract: Contract, key: str, origin: str | None, may: bool
) -> None:
    page = Page(client, key, origin)
    status, told = await page.say(contract, "Hello")
    assert (status, TOKEN in page.headers) == ((200, True) if may else (403, False))
    if not may:
        assert "origin" in contract.check(told, "Forbidden")


@each_contract
@pytest.mark.parametrize(
    ("key", "origin"), [(PAGE_KEY, "https://evil.example"), (NO_BROWSER_KEY, ORIGIN), (PUBLISHABLE_KEY, None)]
)
async def test_who_is_refused_for_the_origin_or_for_want_of_agents_is_counted(
    client: Client, contract: Contract, key: str, origin: str | None
) -> None:
    await room_in(MINUTE)
    left = []
    for _ in range(3):
        body = contract.body("Hello")
        async with Page(client, key, origin).request("POST", contract.path(), body) as response:
            assert response.status == 403
            left.append(int(response.headers["RateLimit"].split('"sends";r=')[1].split(";")[0]))
            assert int(response.headers["X-RateLimit-Remaining"]) < int(response.headers["X-RateLimit-Limit"])
    assert left == [left[0], left[0] - 1, left[0] - 2]


@pytest.mark.requirement("S1-7", "S2-6")
@each_contract
async def test_a_key_that_names_no_agent_says_what_to_do(client: Client, contract: Contract) -> None:
    status, told = await Page(client, PUBLISHABLE_KEY, None).say(contract, "Hello")
    assert status == 403
    assert "names no agent" in contract.check(told, "Forbidden")


@pytest.mark.requirement("S1-7")
@pytest.mark.parametrize("path", ["turns/turn_{0}", "turns/turn_{0}/stop", "conversations/conv_{0}/stop"])
async def test_the_management_api_is_not_for_publishable_keys(page: Page, path: str) -> None:
    method = "POST" if path.endswith("stop") else "GET"
    async with page.request(method, f"/manage/v1/{path.format('0' * 32)}") as response:
        assert response.status == 403
        MANAGEMENT.check(await response.json(), "Forbidden")
    assert TOKEN not in page.headers


@pytest.mark.requirement("S1-7")
@each_contract
async def test_a_token_that_was_not_signed_for_this_tenant_opens_nothing(
    server: ServerProcess, client: Client, page: Page, contract: Contract
) -> None:
    other = {"name": "page", "type": "publishable", "value": "pk_test_other_page_00000000000000000"}
    tenants = manifest()["tenants"][1:]
    tenants[0]["keys"] += [{**other, "agents": ["other-agent"], "origins": ["*"]}]
    server.apply({"tenants": tenants})
    theirs = Page(client, str(other["value"]))
    async with theirs.request("POST", SLUG.path("other-agent"), SLUG.body("Hello")) as response:
        assert response.status == 200
    await page.say(contract, "Hello")
    token = page.headers[TOKEN]
    changed = token[:20] + ("A" if token[20] != "A" else "B") + token[21:]
    for wrong in (theirs.headers[TOKEN], changed, "vt_nonsense", "", "é"):
        page.headers[TOKEN] = wrong
        status, told = await page.say(contract, "Hello")
        assert status == 401
        contract.check(told, "Unauthenticated")


@pytest.mark.requirement("S1-7", "S1-8")
async def test_a_revoked_or_expired_key_opens_nothing(server: ServerProcess, client: Client) -> None:
    def create(name: str) -> str:
        common = ("--tenant", "acme", "--type", "publishable", "--agent", "support-agent", "--origin", ORIGIN)
        return server.run("keys", "create", "--name", name, *common).stdout.strip()

    expired, revoked = "pk_test_acme_old_page_0000000000000000", create("leaked-page")
    old = {"name": "old-page", "type": "publishable", "value": expired, "expires_at": "2026-01-01T00:00:00Z"}
    server.apply({"tenants": [{"id": "acme", "keys": [{**old, "agents": ["support-agent"], "origins": [ORIGIN]}]}]})
    assert (await Page(client, revoked).say(ALONCHAT, "Hello"))[0] == 200
    server.run("keys", "revoke", "--tenant", "acme", "leaked-page")
    for key in (expired, revoked):
        status, told = await Page(client, key).say(ALONCHAT, "Hello")
        assert status == 401
        ALONCHAT.check(told, "Unauthenticated")


@pytest.mark.requirement("S1-7")
@each_contract
async def test_an_idempotency_key_is_each_visitors_own(client: Client, contract: Contract) -> None:
    mine, theirs = Page(client), Page(client)
    answers = []
    for page in (mine, theirs):
        await page.say(contract, "First")
        _, told = await page.say(contract, "Same words", **{"Idempotency-Key": f"one-{contract.name}"})
        answers.append(contract.answer(told)[1])
        _, told = await page.say(contract, "Same words", **{"Idempotency-Key": f"one-{contract.name}"})
        assert contract.answer(told)[1] == answers[-1]
    assert answers[0] != answers[1]


@pytest.mark.requirement("S1-7")
async def test_a_key_has_limits_of_its_own_for_each_address_that_a_trusted_proxy_names(tmp_path: Path) -> None:
    shop = scripted(slug="shop")
    key = {"name": "page", "type": "publishable", "value": PAGE_KEY, "agents": ["shop"], "origins": ["*"]}
    process = ServerProcess(tmp_path, DRAGOMAN_TRUSTED_PROXIES="127.0.0.1")
    process.apply(manifest(shop, keys=[{**key, "limits": {"chat_per_minute": 2}}]))
    with process:
        async with aiohttp.ClientSession() as session:
            page = Page(Client(session, process.url))
            for address in ("203.0.113.1", "203.0.113.2", "2001:db8::1"):
                await room_in(MINUTE)
                statuses = []
                for _ in range(3):
                    forwarded = {"X-Forwarded-For": address}
                    async with page.request("POST", SLUG.path("shop"), SLUG.body("Hello"), **forwarded) as response:
                        statuses.append(response.status)
                assert statuses == [200, 200, 429]
                assert '"sends";q=2;w=60' in response.headers["RateLimit-Policy"]
                async with page.request("GET", f"/v1/conversations/{IDS['support-agent']}", **forwarded) as response:
                    assert response.status == 404
                    assert '"reads";q=100;w=60' in response.headers["RateLimit-Policy"]


@pytest.mark.requirement("S1-7")
async def test_an_address_that_nobody_trusted_names_is_passed_over(server: ServerProcess, client: Client) -> None:
    await room_in(MINUTE)
    page = Page(client)
    left = []
    for number in range(4):
        forwarded = {"X-Forwarded-For": f"203.0.113.{number}"}
        async with page.request("POST", SLUG.path(), SLUG.body("Hello"), **forwarded) as response:
            left.append(response.headers["RateLimit"])
    sends = [int(each.split('"sends";r=')[1].split(";")[0]) for each in left]
    assert sends == list(range(sends[0], sends[0] - 4, -1))
