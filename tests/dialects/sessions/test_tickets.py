"""Tickets: they open one socket, once, within a minute, and from where their key may."""

import asyncio
import json
from dataclasses import replace
from typing import Any

import pytest

from dragoman.core.clock import now_us
from dragoman.core.errors import Unauthenticated
from dragoman.core.tenants import ApiKey, Principal
from dragoman.services import tickets
from dragoman.services.tickets import Ticket, Tickets
from tests.dialects.sessions.scene import ORIGIN, page_key
from tests.support.chats import USER, Chats
from tests.support.server import ServerProcess


async def ticket(chats: Chats, chat: str, body: Any = None, status: int = 201) -> Any:
    return await chats.told("POST", f"/{chat}/tickets", body, status)


@pytest.mark.requirement("S3-20", "S3-7")
@pytest.mark.parametrize("body", [None, {}, {"user_id": USER}, {"user_id": None}, {"other": 1}])
async def test_a_ticket_names_user_and_chat_and_opens_one_socket(chats: Chats, tenant: str, body: Any) -> None:
    chat = await chats.create()
    told = await ticket(chats, chat, body)
    assert list(told) == ["ticket", "expires_in"]
    assert told["expires_in"] == 60
    line = await chats.dial(ticket=told["ticket"])
    established = await line.next()
    assert (established["user_id"], established["chat_id"], established["tenant_id"]) == (USER, chat, tenant)
    assert (await line.exchange("greet"))[-1]["content"] == "Hello there! How can I help?"
    assert await chats.refused(ticket=told["ticket"]) == ("INVALID_API_KEY", 4401)
    assert chats.key not in json.dumps(told)


async def test_a_ticket_takes_the_longest_name_of_a_user(chats: Chats) -> None:
    user = "\U0001f642" * 255
    line = await chats.dial(ticket=(await ticket(chats, await chats.create(user)))["ticket"])
    assert (await line.next())["user_id"] == user


@pytest.mark.requirement("S3-20")
async def test_of_many_that_show_one_ticket_one_is_let_in(chats: Chats) -> None:
    told = await ticket(chats, await chats.create())
    lines = await asyncio.gather(*(chats.dial(ticket=told["ticket"]) for _ in range(8)))
    first = [(await line.next())["event_type"] for line in lines]
    assert sorted(first) == ["connection_established", *["error"] * 7]


@pytest.mark.requirement("S3-20")
async def test_a_ticket_that_was_changed_is_none(chats: Chats) -> None:
    text = (await ticket(chats, await chats.create()))["ticket"]
    said, _, signature = text.partition(".")
    for wrong in (
        said,
        signature,
        f"{said}.",
        f"{said[:-2]}.{signature}",
        f"{said}.{signature[::-1]}",
        text[:-1],
        "tk_.",
    ):
        assert await chats.refused(ticket=wrong) == ("INVALID_API_KEY", 4401)
    line = await chats.dial(ticket=text)
    assert (await line.next())["event_type"] == "connection_established"


@pytest.mark.requirement("S3-20", "S3-8")
async def test_a_ticket_is_for_the_chats_own_user(chats: Chats) -> None:
    chat = await chats.create("owner")
    assert (await ticket(chats, chat, {"user_id": "thief"}, 404))["code"] == "CHAT_NOT_FOUND"
    assert (await ticket(chats, chat, {"user_id": 5}, 400))["code"] == "INVALID_REQUEST"


@pytest.mark.requirement("S3-20", "S3-8")
async def test_a_chat_of_nobody_wants_a_user_for_its_ticket(chats: Chats) -> None:
    url, said = f"{chats.url}/v1/api/chat/support-agent", {"message": "Hello"}
    async with chats.session.post(url, json=said, headers={"Authorization": f"Bearer {chats.key}"}) as response:
        chat = (await response.json())["data"]["conversationId"]
    refused = await ticket(chats, chat, {}, 400)
    assert refused["code"] == "MISSING_PARAMETER"
    assert refused["details"]["parameter"] == "user_id"
    line = await chats.dial(ticket=(await ticket(chats, chat, {"user_id": "somebody"}))["ticket"])
    assert (await line.next())["user_id"] == "somebody"


@pytest.mark.requirement("S3-20", "S3-12")
async def test_a_visitors_ticket_is_for_his_chat_and_his_pages(chats: Chats, tenant: str) -> None:
    page = Chats(chats.session, chats.url, page_key(tenant, "shop"), Origin=ORIGIN)
    chat = await page.create()
    text = (await ticket(page, chat))["ticket"]
    for origin in ({}, {"Origin": "https://evil.example"}):
        assert await page.refused(origin, ticket=text) == ("FORBIDDEN", 4403)
    line = await page.dial({"Origin": ORIGIN}, ticket=text)
    assert (await line.next())["event_type"] == "connection_established"
    other = Chats(chats.session, chats.url, page_key(tenant, "shop"), Origin=ORIGIN)
    assert (await ticket(other, chat, {}, 404))["code"] == "CHAT_NOT_FOUND"
    backend = (await ticket(chats, await chats.create()))["ticket"]
    line = await chats.dial({"Origin": "https://anywhere.example"}, ticket=backend)
    assert (await line.next())["event_type"] == "connection_established"


class Kept:
    """As much of a store as tickets need."""

    def __init__(self, key: ApiKey) -> None:
        self.keys = self.conversations = self
        self.key = key
        self.spent: set[str] = set()

    async def all(self, tenant_id: str) -> list[ApiKey]:
        return [self.key] if self.key.tenant_id == tenant_id else []

    async def spend_ticket(self, tenant_id: str, ticket_id: str, now: int) -> bool:
        return ticket_id not in self.spent and not self.spent.add(ticket_id)


KEY = ApiKey("key", "acme", "backend", "secret", "sk_", 0)


def issuer(key: ApiKey, signing: bytes = b"k") -> Tickets:
    store: Any = Kept(key)
    return Tickets(store, signing)


OPENED = Ticket(Principal("acme", "key", "secret"), USER, "chat")


@pytest.mark.requirement("S3-20")
async def test_a_ticket_is_over_after_a_minute(monkeypatch: pytest.MonkeyPatch) -> None:
    issuing = issuer(KEY)
    text = issuing.issue(OPENED)
    now = now_us()
    monkeypatch.setattr(tickets, "now_us", lambda: now + 61_000_000)
    with pytest.raises(Unauthenticated):
        await issuing.redeem(text, None)
    monkeypatch.setattr(tickets, "now_us", lambda: now + 59_000_000)
    assert await issuing.redeem(text, None) == OPENED._replace(principal=replace(OPENED.principal, relayed=True))


@pytest.mark.requirement("S3-20")
@pytest.mark.parametrize("closed", [{"revoked_at": 1}, {"expires_at": 1}, {"tenant_id": "other"}, {"id": "another"}])
async def test_a_ticket_is_no_better_than_its_key(closed: dict[str, Any]) -> None:
    issuing = issuer(replace(KEY, **closed))
    with pytest.raises(Unauthenticated):
        await issuing.redeem(issuing.issue(OPENED), None)


@pytest.mark.requirement("S3-20")
async def test_a_ticket_of_another_server_is_none() -> None:
    theirs, ours = issuer(KEY, b"theirs"), issuer(KEY, b"ours")
    with pytest.raises(Unauthenticated):
        await ours.redeem(theirs.issue(OPENED), None)


async def test_tickets_outlive_a_restart_but_are_still_spent(server: ServerProcess, chats: Chats) -> None:
    chat = await chats.create()
    spent, good = (await ticket(chats, chat))["ticket"], (await ticket(chats, chat))["ticket"]
    await chats.dial(ticket=spent)
    await asyncio.sleep(0.1)
    server.kill9()
    server.start()
    chats.url = server.url
    assert await chats.refused(ticket=spent) == ("INVALID_API_KEY", 4401)
    assert (await (await chats.dial(ticket=good)).next())["event_type"] == "connection_established"
