"""S3 behind publishable keys: from which pages, and whose chats."""

import pytest

from tests.dialects.sessions.scene import ORIGIN, page_key
from tests.dialects.sessions.test_socket import types
from tests.support.chats import USER, Chats


@pytest.mark.requirement("S3-12")
@pytest.mark.parametrize(
    ("key", "origin", "refused"),
    [
        ("shop", ORIGIN, False),
        ("shop", f"{ORIGIN}:443", False),
        ("shop", "https://evil.example", True),
        ("shop", "null", True),
        ("shop", None, True),
        ("any", "https://evil.example", False),
        ("any", None, False),
        ("none", ORIGIN, True),
        ("none", None, False),
    ],
)
async def test_a_publishable_key_opens_sockets_from_its_origins_alone(
    chats: Chats, tenant: str, key: str, origin: str | None, refused: bool
) -> None:
    headers = {"Origin": origin} if origin is not None else {}
    right = {"shop": {"Origin": ORIGIN}, "any": {}, "none": {}}[key]
    page = Chats(chats.session, chats.url, page_key(tenant, key), **right)
    chat = await page.create()
    query = {"user_id": USER, "chat_id": chat, "visitor_token": page.headers["X-Visitor-Token"]}
    if refused:
        assert await page.refused(headers, api_key=str(page.key), **query) == ("FORBIDDEN", 4403)
    else:
        line = await page.dial(headers, api_key=str(page.key), **query)
        assert (await line.next())["event_type"] == "connection_established"


@pytest.mark.requirement("S3-8", "S3-12")
async def test_a_visitor_has_his_own_chats_and_no_others(chats: Chats, page: Chats, tenant: str) -> None:
    chat = await page.create()
    token = page.headers["X-Visitor-Token"]
    line = await page.open(chat, visitor_token=token)
    assert (await line.exchange("greet"))[-1]["content"] == "Hello there! How can I help?"
    assert len(await page.messages(chat)) == 2
    other = Chats(page.session, page.url, page.key)
    await other.create()
    theirs = other.headers["X-Visitor-Token"]
    assert theirs != token
    key = str(page.key)
    assert await page.refused(api_key=key, user_id=USER, chat_id=chat, visitor_token=theirs) == ("CHAT_NOT_FOUND", 4404)
    assert await page.refused(api_key=key, user_id=USER, chat_id=chat) == ("CHAT_NOT_FOUND", 4404)
    wrong = token[:-1] + ("A" if token[-1] != "A" else "B")
    refused = await page.refused(api_key=key, user_id=USER, chat_id=chat, visitor_token=wrong)
    assert refused == ("INVALID_API_KEY", 4401)
    backend = await chats.create()
    assert await page.refused(api_key=key, user_id=USER, chat_id=backend, visitor_token=token) == (
        "CHAT_NOT_FOUND",
        4404,
    )
    for method, path in (("GET", f"/user/{USER}"), ("DELETE", f"/{chat}")):
        assert (await page.told(method, path, status=403))["code"] == "FORBIDDEN"
    assert (await other.told("GET", f"/{chat}", status=404))["code"] == "CHAT_NOT_FOUND"
    assert (await page.told("POST", "/", {"user_id": USER, "agent_id": "fickle-agent"}, 404))[
        "code"
    ] == "AGENT_NOT_FOUND"
    assert (await chats.open(chat)).texts


@pytest.mark.requirement("S3-8", "S3-10")
async def test_a_visitors_user_is_his_own_and_tells_nothing_of_the_tenants(chats: Chats, page: Chats) -> None:
    """Whether somebody is known to the tenant is not told to a visitor, nor does he become known by a visitor."""
    await (await chats.open(await chats.create("known"), "known")).until("user_created")
    for user in ("known", "unknown"):
        chat = await page.create(user)
        line = await page.open(chat, user, visitor_token=page.headers["X-Visitor-Token"])
        assert (await line.next())["event_type"] == "user_created"
        again = await page.open(chat, user, visitor_token=page.headers["X-Visitor-Token"])
        assert types(await again.exchange("greet"))[0] == "message_received"
    line = await chats.open(await chats.create("unknown"), "unknown")
    assert (await line.next())["event_type"] == "user_created"
