"""S3's socket: who is let in, what is said and told, in which order."""

import asyncio
import json
import random
import re
from typing import Any

import msgspec
import pytest

from dragoman.dialects.sessions.asyncapi import FRAMES
from tests.dialects.sessions.scene import SECRET_WORDS, secret_key
from tests.dialects.sessions.test_rest import ABSENT, TIME
from tests.support.chats import USER, Chats, Line, all_of
from tests.support.client import authorised
from tests.support.server import ServerProcess

KINDS = {kind.__annotations__["event_type"].__args__[0]: kind for kind in FRAMES}


def types(frames: list[dict[str, Any]]) -> list[str]:
    return [frame["event_type"] for frame in frames]


async def error(line: Line) -> tuple[str, dict[str, Any]]:
    """The code and details of an error frame, which must be next."""
    frame = await line.next()
    assert frame["event_type"] == "error", frame
    assert SECRET_WORDS not in json.dumps(frame)
    return frame["error_code"], frame["details"]


@pytest.mark.requirement("S3-7", "S3-10", "S3-11", "S3-9")
async def test_the_first_exchange_is_told_in_order(chats: Chats, tenant: str) -> None:
    chat = await chats.create("somebody new")
    line = await chats.open(chat, "somebody new")
    await line.exchange("greet me")
    frames = line.frames
    assert types(frames) == [
        "connection_established",
        "user_created",
        "message_received",
        "message_stream_started",
        *["message_stream_token"] * 7,
        "message_stream_ended",
    ]
    established, created, received, started, *tokens, ended = frames
    when = {"timestamp": established["timestamp"]}
    about = {"user_id": "somebody new", "chat_id": chat, "tenant_id": tenant}
    assert established == {"event_type": "connection_established", **when, **about}
    assert created == {"event_type": "user_created", "timestamp": created["timestamp"], "user_id": "somebody new"}
    assert list(received) == ["event_type", "timestamp", "message_id", "chat_id", "event_id"]
    assert received["chat_id"] == chat
    assert list(started) == ["event_type", "timestamp", "message_id", "event_id"]
    assert list(tokens[0]) == ["event_type", "timestamp", "message_id", "token", "index", "event_id"]
    assert [token["index"] for token in tokens] == list(range(7))
    assert "".join(token["token"] for token in tokens) == "Hello there! How can I help?"
    assert list(ended) == ["event_type", "timestamp", "message_id", "content", "metadata", "event_id"]
    assert ended["content"] == "Hello there! How can I help?"
    assert ended["metadata"] == {}
    assert {frame["message_id"] for frame in (started, *tokens, ended)} == {started["message_id"]}
    assert [message["id"] for message in await chats.messages(chat)] == [received["message_id"], started["message_id"]]
    assert all(TIME.fullmatch(frame["timestamp"]) for frame in frames)
    ids = [frame["event_id"] for frame in frames[2:]]
    assert len(set(ids)) == len(ids)


@pytest.mark.requirement("S3-11")
async def test_a_user_is_new_once_and_each_answer_counts_its_tokens_from_0(chats: Chats) -> None:
    chat = await chats.create("regular")
    first = await chats.open(chat, "regular")
    assert types(await first.exchange("greet"))[0] == "user_created"
    second = await chats.open(chat, "regular")
    assert types(await second.exchange("greet"))[:2] == ["message_received", "message_stream_started"]
    indexes = [frame["index"] for frame in first.frames + await first.until("message_stream_ended") if "index" in frame]
    assert indexes == [*range(7), *range(7)]


@pytest.mark.requirement("S3-7")
async def test_headers_name_what_the_address_does_not(chats: Chats) -> None:
    chat = await chats.create()
    assert chats.key is not None
    named = {"X-API-Key": chats.key, "X-User-ID": USER, "X-Chat-ID": chat}
    line = await chats.dial(named)
    assert (await line.next())["event_type"] == "connection_established"
    line = await chats.dial({"X-API-Key": chats.key}, user_id=USER, chat_id=f"conv_{chat.replace('-', '')}")
    assert (await line.next())["chat_id"] == chat


@pytest.mark.requirement("S3-7", "S3-12")
@pytest.mark.parametrize(
    ("changed", "code", "close"),
    [
        ({"api_key": None}, "MISSING_PARAMETER", 4400),
        ({"api_key": ""}, "MISSING_PARAMETER", 4400),
        ({"user_id": None}, "MISSING_PARAMETER", 4400),
        ({"user_id": " "}, "MISSING_PARAMETER", 4400),
        ({"chat_id": None}, "MISSING_PARAMETER", 4400),
        ({"user_id": "a\0b"}, "INVALID_REQUEST", 4400),
        ({"user_id": "u" * 256}, "INVALID_REQUEST", 4400),
        ({"api_key": "wrong"}, "INVALID_API_KEY", 4401),
        ({"api_key": "wrong", "chat_id": None}, "INVALID_API_KEY", 4401),
        ({"chat_id": "wrong"}, "CHAT_NOT_FOUND", 4404),
        ({"chat_id": ABSENT}, "CHAT_NOT_FOUND", 4404),
        ({"user_id": "somebody else"}, "CHAT_NOT_FOUND", 4404),
        ({"ticket": "wrong"}, "INVALID_API_KEY", 4401),
    ],
)
async def test_who_is_not_let_in_is_told_why_and_closed(
    chats: Chats, changed: dict[str, str | None], code: str, close: int
) -> None:
    given = {"api_key": chats.key, "user_id": USER, "chat_id": await chats.create(), **changed}
    assert await chats.refused(**{name: value for name, value in given.items() if value is not None}) == (code, close)


@pytest.mark.requirement("S3-8", "S3-1")
async def test_only_its_user_opens_a_chat_unless_it_has_none(chats: Chats, stranger: Chats, server: Any) -> None:
    chat = await chats.create("owner")
    assert chats.key is not None
    assert stranger.key is not None
    await chats.open(chat, "owner")
    assert await chats.refused(api_key=chats.key, user_id="thief", chat_id=chat) == ("CHAT_NOT_FOUND", 4404)
    assert await stranger.refused(api_key=stranger.key, user_id="owner", chat_id=chat) == ("CHAT_NOT_FOUND", 4404)
    begun = chats.session.post(
        f"{chats.url}/v1/api/chat/support-agent", json={"message": "Hello"}, headers=authorised(chats.key)
    )
    async with begun as response:
        elsewhere = (await response.json())["data"]["conversationId"]
    for user in ("one", "two"):
        line = await chats.open(elsewhere, user)
        assert (await line.exchange("Again"))[-1]["content"] == "You said: Again"


BAD = {
    "words": "Hello",
    "cut": '{"content": "Hel',
    "array": '["Hello"]',
    "string": '"Hello"',
    "number": "5",
    "null": "null",
    "empty": "",
    "no content": "{}",
    "content is null": '{"content": null}',
    "content is empty": '{"content": ""}',
    "content is blank": '{"content": " \\n"}',
    "content is a number": '{"content": 5}',
    "content is a list": '{"content": ["Hello"]}',
    "U+0000": '{"content": "a\\u0000b"}',
    "U+0000 in metadata": '{"content": "a", "metadata": {"b": "\\u0000"}}',
    "half a pair": '{"content": "\\ud83d"}',
    "metadata is a list": '{"content": "a", "metadata": []}',
    "deep": '{"content": "a", "metadata": ' + '{"a":' * 5000 + "1" + "}" * 5001,
    "deeper than can be listed": '{"content": "a", "metadata": ' + '{"a":' * 964 + "1" + "}" * 965,
}


@pytest.mark.requirement("S3-9", "S3-12")
async def test_what_is_no_message_is_an_error_and_the_socket_stays(chats: Chats) -> None:
    chat = await chats.create()
    line = await chats.open(chat)
    await line.exchange("Hello")
    for number, (name, text) in enumerate(BAD.items()):
        if number % 8 == 7:
            await asyncio.sleep(1)
        if number % 2:
            await line.socket.send_bytes(text.encode())
        else:
            await line.socket.send_str(text)
        code, details = await error(line)
        assert code == "INVALID_MESSAGE", name
        assert details["suggestion"]
    await asyncio.sleep(0.2)
    assert (await line.exchange("Still there?"))[-1]["content"] == "You said: Still there?"
    assert len(await chats.messages(chat)) == 4


def broken(chance: random.Random) -> bytes:
    """A message that is broken somewhere."""
    frame = bytearray(b'{"content": "say nothing", "metadata": {"a": [1, {"b": null}]}}')
    for _ in range(chance.randint(1, 4)):
        at = chance.randrange(len(frame))
        match chance.randrange(3):
            case 0:
                frame[at] = chance.randrange(256)
            case 1:
                del frame[at : at + chance.randint(1, 6)]
            case _:
                frame[at:at] = chance.choice([b'"', b"{", b"]", b"\\", b",", b"\\u0000", b"\xff", b"1e9", b"\\ud800"])
    return bytes(frame)


@pytest.mark.requirement("S3-9")
async def test_nothing_that_is_sent_makes_the_server_fail(chats: Chats) -> None:
    chance = random.Random(3)
    for _ in range(12):
        line = await chats.open(await chats.create())
        sent = [broken(chance) for _ in range(9)]
        for frame in sent:
            await line.socket.send_bytes(frame)
        seen = 0
        while seen < len(sent):
            told = await line.next()
            assert told.get("error_code", "INVALID_MESSAGE") == "INVALID_MESSAGE", (told, sent)
            seen += told["event_type"] in ("error", "message_stream_ended")
        assert (await line.exchange("Hello"))[-1]["content"] == "You said: Hello"
        await line.leave()


@pytest.mark.requirement("S3-10", "S3-12")
async def test_a_turn_that_fails_is_told_to_all_and_the_sockets_stay(chats: Chats) -> None:
    chat = await chats.create()
    sender, watcher = await chats.open(chat), await chats.open(chat)
    await sender.until("user_created")
    for content, tokens in (("fail", 0), ("break off", 2)):
        await sender.say(content)
        told = [[await line.next() for _ in range(3 + tokens)] for line in (sender, watcher)]
        assert told[0] == told[1]
        assert types(told[0]) == [
            "message_received",
            "message_stream_started",
            *["message_stream_token"] * tokens,
            "error",
        ]
        failure = told[0][-1]
        assert failure["error_code"] == "INTERNAL_ERROR"
        assert failure["details"]["message_id"] == told[0][1]["message_id"]
        assert SECRET_WORDS not in json.dumps(failure)
        assert "event_id" not in failure
    assert (await watcher.exchange("greet"))[-1]["content"] == "Hello there! How can I help?"


@pytest.mark.requirement("S3-19", "S3-10")
async def test_all_sockets_of_a_chat_see_all_of_it_to_the_byte(chats: Chats) -> None:
    chat = await chats.create()
    lines = [await chats.open(chat) for _ in range(50)]
    await lines[0].until("user_created")
    skipped = [len(line.texts) for line in lines]
    await lines[7].say("greet")
    await lines[8].say("second")
    await all_of(*lines, times=2)
    told = [line.texts[skip:] for line, skip in zip(lines, skipped, strict=True)]
    assert len(told[0]) == 10 + 6
    assert all(each == told[0] for each in told)


@pytest.mark.requirement("S3-19", "S3-10")
async def test_a_message_of_another_contract_is_told_too(chats: Chats) -> None:
    chat = await chats.create()
    line = await chats.open(chat)
    await line.until("user_created")
    assert chats.key is not None
    body = {"message": "from elsewhere", "conversationId": chat, "stream": True}
    url = f"{chats.url}/v1/api/chat/support-agent"
    async with chats.session.post(url, json=body, headers=authorised(chats.key)) as response:
        message_id = response.headers["X-Message-Id"]
    told = await line.until("message_stream_ended")
    assert types(told)[:2] == ["message_received", "message_stream_started"]
    assert told[1]["message_id"] == message_id
    assert told[-1]["content"] == "You said: from elsewhere"


@pytest.mark.requirement("S3-19")
async def test_who_comes_in_the_middle_of_an_answer_sees_it_from_its_start(chats: Chats) -> None:
    chat = await chats.create()
    first = await chats.open(chat)
    await first.until("user_created")
    await first.say("slowly")
    await first.until("message_stream_token", 4)
    late = await chats.open(chat)
    await all_of(first, late)
    assert late.texts[1:] == first.texts[2:]


@pytest.mark.requirement("S3-11", "S3-9")
async def test_messages_are_answered_one_after_the_other_and_acknowledged_when_their_turn_begins(chats: Chats) -> None:
    chat = await chats.create()
    line = await chats.open(chat)
    await line.until("user_created")
    for number in range(5):
        await line.say(f"message {number}")
    told = await line.until("message_stream_ended", 5)
    order = [frame["event_type"] for frame in told if frame["event_type"] != "message_stream_token"]
    assert order == ["message_received", "message_stream_started", "message_stream_ended"] * 5
    ended = [frame["content"] for frame in told if "content" in frame]
    assert ended == [f"You said: message {number}" for number in range(5)]


@pytest.mark.requirement("S3-10")
async def test_an_answer_that_wants_calls_made_ends_with_its_text(chats: Chats) -> None:
    chat = await chats.create()
    line = await chats.open(chat)
    told = await line.exchange("weather")
    assert told[-1]["content"] == "One moment."
    assert [message["content"] for message in await chats.messages(chat)] == ["weather", "One moment."]
    assert (await line.exchange("Never mind"))[-1]["content"] == "You said: Never mind"


@pytest.mark.requirement("S3-10")
async def test_an_empty_answer_has_no_token(chats: Chats) -> None:
    line = await chats.open(await chats.create())
    told = await line.exchange("say nothing")
    assert types(told)[1:] == ["message_received", "message_stream_started", "message_stream_ended"]
    assert told[-1]["content"] == ""


@pytest.mark.requirement("S3-10", "S3-12")
async def test_every_frame_is_as_the_asyncapi_document_says(chats: Chats) -> None:
    line = await chats.open(await chats.create("described"), "described")
    await line.exchange("greet")
    await line.say("fail")
    await line.until("error")
    seen = set()
    for text in line.texts:
        kind = KINDS[json.loads(text)["event_type"]]
        fields = [(field.name, field.type) for field in msgspec.structs.fields(kind)]
        strict = msgspec.defstruct(kind.__name__, fields, forbid_unknown_fields=True)
        msgspec.json.decode(text, type=strict)
        seen.add(kind)
    assert seen == set(FRAMES)


@pytest.mark.requirement("S3-9")
async def test_a_turn_goes_on_when_its_socket_leaves(chats: Chats) -> None:
    chat = await chats.create()
    line = await chats.open(chat)
    await line.say("slowly")
    await line.until("message_stream_token", 2)
    line.vanish()
    await asyncio.sleep(0.8)
    assert (await chats.messages(chat))[1]["content"] == "".join(f"{number} " for number in range(12))


async def test_with_the_cancel_policy_a_turn_ends_with_its_last_watcher(chats: Chats) -> None:
    chat = await chats.create(agent_id="fickle-agent")
    sender, watcher = await chats.open(chat), await chats.open(chat)
    await sender.say("slowly")
    await sender.until("message_stream_token", 2)
    await sender.leave()
    await watcher.until("message_stream_token", 4)
    await watcher.leave()
    await asyncio.sleep(0.3)
    content = (await chats.messages(chat))[1]["content"]
    assert content.startswith("0 1 2 3")
    assert "11" not in content


@pytest.mark.requirement("S3-12", "S3-8")
async def test_a_chat_that_is_deleted_under_a_socket_is_not_found(chats: Chats) -> None:
    chat = await chats.create()
    line = await chats.open(chat)
    await line.until("user_created")
    assert chats.key is not None
    url = f"{chats.url}/api/v1/chat/conversations/{chat}"
    async with chats.session.delete(url, headers={"x-api-token": chats.key}) as response:
        assert response.status == 204
    await line.say("Hello?")
    assert (await error(line))[0] == "CHAT_NOT_FOUND"
    assert await line.closed() == 4404


@pytest.mark.requirement("S3-12")
async def test_without_credits_a_message_is_refused_and_the_socket_stays(server: ServerProcess, chats: Chats) -> None:
    poor = Chats(chats.session, server.url, secret_key("poor"))
    line = await poor.open(await poor.create())
    for _ in range(2):
        await line.exchange("greet")
    await line.say("greet")
    assert (await error(line))[0] == "INSUFFICIENT_CREDITS"
    assert await line.quiet()


async def test_no_frame_holds_an_id_of_another_form(chats: Chats) -> None:
    line = await chats.open(await chats.create())
    for frame in await line.exchange("greet"):
        if "message_id" in frame:
            assert re.fullmatch(r"msg_[0-9a-f]{32}", frame["message_id"])
