"""S3 over REST: chats and their messages, and what is refused."""

import io
import re
from typing import Any
from urllib.parse import quote
from uuid import UUID

import pytest

from tests.dialects.sessions.scene import secret_key
from tests.dialects.test_wrong_input import NO_BODY
from tests.support.chats import USER, Chats
from tests.support.server import ServerProcess

ABSENT = "01a1fd0e-2988-7fdc-a3fb-ca29c1d71881"
TIME = re.compile(r"\d{4}-\d\d-\d\dT\d\d:\d\d:\d\dZ")
FIELDS = ["id", "user_id", "tenant_id", "title", "config", "created_at", "updated_at", "last_message_at"]


def check_error(told: dict[str, Any], code: str) -> dict[str, Any]:
    """Assert that a body is an error of this code and nothing else; its details."""
    assert list(told) == ["code", "message", "details"]
    assert told["code"] == code
    assert told["message"]
    details: dict[str, Any] = told["details"]
    assert details["suggestion"]
    return details


@pytest.mark.requirement("S3-2")
@pytest.mark.parametrize("path", ["", "/"])
async def test_a_chat_is_made_with_or_without_the_slash_and_has_every_field(
    chats: Chats, tenant: str, path: str
) -> None:
    made = await chats.told("POST", path, {"user_id": USER, "title": "My order", "metadata": {"page": 1}}, 201)
    assert list(made) == FIELDS
    assert str(UUID(made["id"])) == made["id"]
    assert (made["user_id"], made["tenant_id"], made["title"]) == (USER, tenant, "My order")
    assert made["config"] == {"metadata": {"page": 1}}
    assert TIME.fullmatch(made["created_at"])
    assert made["updated_at"] == made["created_at"]
    assert made["last_message_at"] is None


@pytest.mark.requirement("S3-2")
async def test_a_chat_without_a_title_is_named_by_its_first_message(chats: Chats) -> None:
    chat = await chats.create()
    assert (await chats.told("GET", f"/{chat}"))["title"] is None
    line = await chats.open(chat)
    await line.exchange("Where is   my order?")
    told = await chats.told("GET", f"/{chat}")
    assert told["title"] == "Where is my order?"
    assert TIME.fullmatch(told["last_message_at"])


@pytest.mark.requirement("S3-2")
async def test_a_chat_is_with_the_agent_that_is_named_or_the_tenants_own(chats: Chats, stranger: Chats) -> None:
    for named in ("support-agent", "fickle-agent", None, ""):
        chat = await chats.create(agent_id=named)
        assert (await (await chats.open(chat)).exchange("greet"))[-1]["content"] == "Hello there! How can I help?"
    check_error(await chats.told("POST", "/", {"user_id": USER, "agent_id": "nobody"}, 404), "AGENT_NOT_FOUND")
    undecided = await stranger.told("POST", "/", {"user_id": USER}, 404)
    check_error(undecided, "AGENT_NOT_FOUND")
    assert "no default agent" in undecided["message"]


@pytest.mark.requirement("S3-2", "S3-13")
@pytest.mark.parametrize(
    ("body", "code", "parameter"),
    [
        ({}, "MISSING_PARAMETER", "user_id"),
        ({"user_id": ""}, "MISSING_PARAMETER", "user_id"),
        ({"user_id": " \n"}, "MISSING_PARAMETER", "user_id"),
        ({"user_id": None}, "MISSING_PARAMETER", "user_id"),
        ({"user_id": 5}, "INVALID_REQUEST", None),
        ({"user_id": "a\0b"}, "INVALID_REQUEST", None),
        ({"user_id": "u" * 256}, "INVALID_REQUEST", "user_id"),
        ({"user_id": USER, "title": "t" * 1001}, "INVALID_REQUEST", "title"),
        ({"user_id": USER, "metadata": []}, "INVALID_REQUEST", None),
        ({"user_id": USER, "metadata": {"a": "\0"}}, "INVALID_REQUEST", None),
        ([], "INVALID_REQUEST", None),
        ("x", "INVALID_REQUEST", None),
    ],
)
async def test_a_body_that_makes_no_chat_is_refused(chats: Chats, body: Any, code: str, parameter: str | None) -> None:
    assert check_error(await chats.told("POST", "/", body, 400), code).get("parameter") == parameter


async def test_metadata_is_kept_to_a_depth_at_which_it_can_be_listed(chats: Chats) -> None:
    for depth, status in ((62, 201), (63, 400), (963, 400), (965, 400), (967, 400)):
        body = '{"user_id": "deep", "metadata": {"a": ' + "[" * depth + "]" * depth + "}}"
        async with chats.session.post(f"{chats.url}/api/v1/chats", data=body, headers=chats.headers) as response:
            assert response.status == status, depth
            if status == 400:
                check_error(await response.json(), "INVALID_REQUEST")
    assert (await chats.told("GET", "/user/deep"))["total"] == 1


async def test_a_user_whom_no_path_could_name_is_refused(chats: Chats) -> None:
    for user in ("org/7", "/", "a/", ".", ".."):
        told = await chats.told("POST", "/", {"user_id": user}, 400)
        assert check_error(told, "INVALID_REQUEST")["parameter"] == "user_id"
        assert "neither / nor" in told["message"]
    for user in ("...", ".a", "a\\b", "50%2F50", "?x=1#y", "a\n", "messages", "a;b"):
        chat = await chats.create(user)
        (listed,) = (await chats.told("GET", f"/user/{quote(user, safe='')}"))["chats"]
        assert (listed["id"], listed["user_id"]) == (chat, user)


@pytest.mark.requirement("S3-13")
async def test_a_body_that_is_no_json_of_ours_is_refused(chats: Chats) -> None:
    for body in NO_BODY.values():
        async with chats.session.post(
            f"{chats.url}/api/v1/chats", data=io.BytesIO(body), headers=chats.headers
        ) as response:
            assert response.status == 400, body[:60]
            told = await response.json()
        check_error(told, "MISSING_PARAMETER" if told["details"].get("parameter") == "user_id" else "INVALID_REQUEST")


@pytest.mark.requirement("S3-3")
async def test_a_users_chats_are_listed_newest_first_and_paged(chats: Chats) -> None:
    made = [await chats.create("one") for _ in range(5)][::-1]
    await chats.create("other")
    seen = []
    for offset, more in ((0, True), (2, True), (4, False)):
        told = await chats.told("GET", f"/user/one?offset={offset}&limit=2")
        assert list(told) == ["chats", "total", "offset", "limit", "has_more"]
        assert (told["total"], told["offset"], told["limit"], told["has_more"]) == (5, offset, 2, more)
        seen += [chat["id"] for chat in told["chats"]]
        assert all(list(chat) == FIELDS for chat in told["chats"])
    assert seen == made
    assert (await chats.told("GET", "/user/one/"))["limit"] == 50
    nobody = await chats.told("GET", "/user/nobody")
    assert nobody == {"chats": [], "total": 0, "offset": 0, "limit": 50, "has_more": False}
    spaced = await chats.create("über user@example.com")
    assert (await chats.told("GET", "/user/über user@example.com"))["chats"][0]["id"] == spaced


@pytest.mark.requirement("S3-4", "S3-1")
async def test_a_chat_that_is_unknown_or_anothers_is_not_found(chats: Chats, stranger: Chats) -> None:
    chat = await chats.create()
    assert (await chats.told("GET", f"/{chat}"))["id"] == chat
    assert (await chats.told("GET", f"/conv_{chat.replace('-', '')}/"))["id"] == chat
    told = []
    for client, named in ((chats, ABSENT), (stranger, ABSENT), (stranger, chat), (chats, "nothing")):
        for method, path in (("GET", ""), ("GET", "/messages"), ("DELETE", ""), ("POST", "/tickets")):
            told.append(await client.told(method, f"/{named}{path}", status=404))
            check_error(told[-1], "CHAT_NOT_FOUND")
    assert all(each == told[0] for each in told)
    assert (await stranger.told("GET", f"/user/{USER}"))["total"] == 0
    assert (await chats.told("GET", f"/user/{USER}"))["total"] == 1


@pytest.mark.requirement("S3-5")
async def test_messages_are_paged_from_either_end(chats: Chats) -> None:
    chat = await chats.create()
    line = await chats.open(chat)
    for number in range(3):
        await line.say(f"message {number}", metadata={"number": number})
        await line.until("message_stream_ended")
    await line.leave()
    told = await chats.told("GET", f"/{chat}/messages")
    assert list(told) == ["messages", "total", "offset", "limit", "has_more"]
    assert (told["total"], told["offset"], told["limit"], told["has_more"]) == (6, 0, 50, False)
    said = told["messages"]
    assert all(list(message) == ["id", "content", "sender_role", "created_at", "metadata"] for message in said)
    assert [message["sender_role"] for message in said] == ["user", "assistant"] * 3
    assert [message["content"] for message in said[:2]] == ["message 0", "You said: message 0"]
    assert [message["metadata"] for message in said[::2]] == [{"number": number} for number in range(3)]
    assert all(re.fullmatch(r"msg_[0-9a-f]{32}", message["id"]) for message in said)
    assert all(TIME.fullmatch(message["created_at"]) for message in said)
    assert await chats.messages(chat, order="asc") == said
    assert await chats.messages(chat, order="desc") == said[::-1]
    assert await chats.messages(chat, offset=1, limit=2) == said[1:3]
    assert await chats.messages(chat, offset=1, limit=2, order="desc") == said[::-1][1:3]
    assert await chats.messages(chat, offset=6) == []
    part = await chats.told("GET", f"/{chat}/messages?limit=5")
    assert part["has_more"] is True


@pytest.mark.requirement("S3-5", "S3-13")
@pytest.mark.parametrize(
    ("query", "parameter"),
    [
        ("order=up", "order"),
        ("order=", "order"),
        ("order=ASC", "order"),
        ("limit=0", "limit"),
        ("limit=101", "limit"),
        ("limit=-1", "limit"),
        ("limit=x", "limit"),
        ("limit=", "limit"),
        ("limit=%D9%A3", "limit"),
        ("offset=-1", "offset"),
        ("offset=1.5", "offset"),
        ("offset=99999999999999999999", "offset"),
    ],
)
async def test_a_wrong_page_is_refused(chats: Chats, query: str, parameter: str) -> None:
    chat = await chats.create()
    details = check_error(await chats.told("GET", f"/{chat}/messages?{query}", status=400), "INVALID_REQUEST")
    assert details["parameter"] == parameter
    if parameter != "order":
        check_error(await chats.told("GET", f"/user/{USER}?{query}", status=400), "INVALID_REQUEST")


@pytest.mark.requirement("S3-6")
async def test_a_chat_is_deleted_once_nobody_is_connected_to_it(chats: Chats) -> None:
    chat = await chats.create()
    first, second = await chats.open(chat), await chats.open(chat)
    await first.exchange("greet")
    for line in (first, second):
        check_error(await chats.told("DELETE", f"/{chat}", status=409), "CONFLICT")
        await line.leave()
    told = await chats.told("DELETE", f"/{chat}")
    assert list(told) == ["success", "message", "deleted_at"]
    assert told["success"] is True
    assert TIME.fullmatch(told["deleted_at"])
    for method, path in (("GET", ""), ("GET", "/messages"), ("DELETE", "")):
        check_error(await chats.told(method, f"/{chat}{path}", status=404), "CHAT_NOT_FOUND")
    assert (await chats.told("GET", f"/user/{USER}"))["total"] == 0
    assert chats.key is not None
    assert await chats.refused(api_key=chats.key, user_id=USER, chat_id=chat) == ("CHAT_NOT_FOUND", 4404)


@pytest.mark.requirement("S3-1", "S3-13")
@pytest.mark.parametrize("key", [None, "", "unknown", secret_key("nobody"), f"Bearer {secret_key('tenant-0')}"])
async def test_a_key_that_opens_nothing_is_refused_before_anything_else(chats: Chats, key: str | None) -> None:
    guest = Chats(chats.session, chats.url, key)
    for method, path in (("POST", "/"), ("GET", f"/user/{USER}"), ("GET", f"/{ABSENT}"), ("DELETE", f"/{ABSENT}")):
        check_error(await guest.told(method, path, "no body", 401), "INVALID_API_KEY")


@pytest.mark.requirement("S3-13")
async def test_what_no_route_takes_is_refused_in_this_shape(chats: Chats) -> None:
    check_error(await chats.told("GET", f"/{ABSENT}/other", status=404), "NOT_FOUND")
    check_error(await chats.told("PUT", f"/{ABSENT}", {}, 405), "METHOD_NOT_ALLOWED")
    large = io.BytesIO(b'{"user_id": "%s"}' % (b"x" * 1_100_000))
    async with chats.session.post(f"{chats.url}/api/v1/chats", data=large, headers=chats.headers) as response:
        assert response.status == 413
        check_error(await response.json(), "REQUEST_TOO_LARGE")
    async with chats.session.get(f"{chats.url}/ws/chat", headers=chats.headers) as response:
        assert response.status == 404
        check_error(await response.json(), "NOT_FOUND")


@pytest.mark.requirement("S3-14")
async def test_a_tenant_has_100_requests_a_minute_and_is_told_how_many_are_left(
    chats: Chats, server: ServerProcess
) -> None:
    statuses, left = [], []
    for number in range(102):
        path = f"/user/{USER}" if number % 2 else f"/{ABSENT}"
        async with chats.request("GET", path) as response:
            statuses.append(response.status)
            assert response.headers["X-RateLimit-Limit"] == "100"
            left.append(int(response.headers["X-RateLimit-Remaining"]))
            reset = int(response.headers["X-RateLimit-Reset"])
            told = await response.json()
    assert reset % 60 == 0
    if left == sorted(left, reverse=True):  # no minute began meanwhile
        assert statuses[:100] == [404, 200] * 50
        assert statuses[100:] == [429, 429]
        assert left == [*range(99, -1, -1), 0, 0]
        details = check_error(told, "RATE_LIMIT_EXCEEDED")
        assert 0 < details["retry_after"] <= 60
        assert response.headers["Retry-After"] == str(details["retry_after"])
    else:
        assert statuses.count(429) <= 2
