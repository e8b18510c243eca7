"""last_event_id: a socket that comes back is told what it missed, to the byte, or that something is gone."""

import asyncio
import json
from typing import Any
from uuid import UUID

import pytest

from tests.support.chats import USER, Chats, Line
from tests.support.client import authorised


def event_id(text: str) -> str | None:
    found: str | None = json.loads(text).get("event_id")
    return found


async def uncut(chats: Chats, *contents: str) -> tuple[str, list[str]]:
    """A chat, and the frames of its log as one socket has them that never left."""
    chat = await chats.create()
    line = await chats.open(chat)
    for content in contents:
        await line.say(content)
        await line.until("error" if content in ("fail", "break off") else "message_stream_ended")
    await line.leave()
    own = ("connection_established", "user_created")
    return chat, [text for text in line.texts if json.loads(text)["event_type"] not in own]


async def rest(chats: Chats, chat: str, last_event_id: str, count: int) -> list[str]:
    """What a socket is told that comes back, which is so many frames."""
    line = await chats.open(chat, last_event_id=last_event_id)
    for _ in range(count):
        await line.next()
    await line.leave()
    return line.texts[1:]


@pytest.mark.requirement("S3-17")
async def test_closed_turns_go_on_after_every_cut(chats: Chats) -> None:
    chat, whole = await uncut(chats, "greet", "break off", "weather", "say nothing", "fail", "Hello")
    cuts = [(at, cut) for at, text in enumerate(whole, start=1) if (cut := event_id(text))]
    assert len(cuts) == len(whole) - 2, "all but the errors have an id"
    for at, cut in cuts:
        assert await rest(chats, chat, cut, len(whole) - at) == whole[at:]
    line = await chats.open(chat, last_event_id=cuts[-1][1])
    assert await line.quiet()


@pytest.mark.requirement("S3-17")
async def test_a_turn_that_runs_goes_on_after_every_cut(chats: Chats) -> None:
    chat = await chats.create()
    watcher = await chats.open(chat)
    await watcher.until("user_created")
    await watcher.say("slowly")
    lines = []
    for _ in range(12):
        await watcher.until("message_stream_token")
        cut = event_id(watcher.texts[-1])
        assert cut is not None
        lines.append((len(watcher.texts), await chats.open(chat, last_event_id=cut)))
    await watcher.say("greet")
    await watcher.until("message_stream_ended", 2)
    for at, line in lines:
        await line.until("message_stream_ended", 2)
        assert line.texts[1:] == watcher.texts[at:]


@pytest.mark.requirement("S3-17")
async def test_messages_of_other_contracts_and_later_segments_are_not_missed(chats: Chats) -> None:
    chat = await chats.create()
    watcher, leaving = await chats.open(chat), await chats.open(chat)
    await watcher.until("user_created")
    await watcher.say("weather")
    await watcher.until("message_stream_ended")
    cut = (await leaving.until("message_stream_started"))[-1]["event_id"]
    await leaving.leave()
    assert chats.key is not None
    async with chats.session.get(
        f"{chats.url}/api/agents/support-agent/chat?conversation_id={chat}", headers=authorised(chats.key)
    ) as response:
        told = await response.json()
    calls = [call["id"] for message in told["messages"] for call in message["tool_calls"] or ()]
    result = {"role": "tool", "tool_call_id": calls[0], "content": "sunny", "conversation_id": chat}
    url = f"{chats.url}/api/agents/support-agent/chat"
    async with chats.session.post(url, json=result, headers=authorised(chats.key)) as response:
        assert response.status == 200, await response.text()
    going_on = await watcher.until("message_stream_ended")
    assert going_on[0]["event_type"] == "message_stream_started", "no message was received"
    assert going_on[-1]["content"] == "The tools said: sunny"
    at = next(number for number, text in enumerate(watcher.texts, start=1) if event_id(text) == cut)
    missed = watcher.texts[at:]
    assert await rest(chats, chat, cut, len(missed)) == missed


@pytest.mark.requirement("S3-17")
async def test_the_place_may_be_named_in_a_header(chats: Chats) -> None:
    chat, whole = await uncut(chats, "greet")
    assert chats.key is not None
    cut = event_id(whole[3])
    assert cut is not None
    line = await chats.dial({"X-Last-Event-ID": cut}, api_key=chats.key, user_id=USER, chat_id=chat)
    await line.until("message_stream_ended")
    assert line.texts[1:] == whole[4:]


@pytest.mark.requirement("S3-17")
@pytest.mark.parametrize(
    "last_event_id",
    [
        "5",
        "nothing",
        "x" * 5000,
        "turn_aa7ce6bca6694b2489b369a424ff62f9.1.3",
        "8c2ea8db-c426-4000-b6c3-92c218685d87.1.3",
        "turn_aa7ce6bca6694b2489b369a424ff62f9.1.99999999999999999999",
        "turn_x.1.1",
        "é",
        "a\0b",
    ],
)
async def test_an_id_that_is_unknown_is_a_gap_and_the_socket_goes_on_live(chats: Chats, last_event_id: str) -> None:
    chat, _ = await uncut(chats, "greet")
    line = await chats.open(chat, last_event_id=last_event_id)
    gap = await line.next()
    assert (gap["event_type"], gap["error_code"]) == ("error", "RESUME_GAP")
    assert gap["details"]["suggestion"]
    assert (await line.exchange("Hello"))[0]["event_type"] == "message_received"


@pytest.mark.requirement("S3-17", "S3-1")
async def test_the_event_of_another_chat_or_tenant_is_a_gap(chats: Chats, stranger: Chats) -> None:
    _, whole = await uncut(chats, "greet")
    other = await chats.create()
    foreign = await stranger.create(agent_id="support-agent")
    cut = event_id(whole[2])
    assert cut is not None
    for client, named in ((chats, other), (stranger, foreign)):
        line = await client.open(named, last_event_id=cut)
        frames = [frame async for frame in _some(line)]
        assert "RESUME_GAP" in [frame.get("error_code") for frame in frames]
        assert not any("event_id" in frame for frame in frames)


async def _some(line: Line) -> Any:
    while True:
        try:
            yield json.loads((await line.socket.receive(timeout=0.3)).data)
        except TimeoutError:
            return


@pytest.mark.requirement("S3-17")
async def test_a_place_that_no_event_has_is_a_gap(chats: Chats) -> None:
    chat, whole = await uncut(chats, "greet")
    cut = event_id(whole[-1])
    assert cut is not None
    turn, epoch, sequence = cut.split(".")
    for beyond in (f"{turn}.{epoch}.{int(sequence) + 1}", f"{turn}.{int(epoch) + 1}.{sequence}"):
        line = await chats.open(chat, last_event_id=beyond)
        assert (await line.next())["error_code"] == "RESUME_GAP"
    spelled = str(UUID(turn.removeprefix("turn_")))
    assert await rest(chats, chat, f"{spelled}.{epoch}.2", len(whole) - 3) == whole[3:]


@pytest.mark.requirement("S3-17", "S3-19")
async def test_many_that_leave_and_come_back_under_answers_miss_nothing(chats: Chats) -> None:
    chat = await chats.create()
    watcher = await chats.open(chat)
    await watcher.until("user_created")

    async def come_and_go(number: int) -> list[str]:
        line = await chats.open(chat)
        seen: list[str] = []
        while True:
            for _ in range(1 + number % 5):
                text = (await line.socket.receive(timeout=10)).data
                seen.append(text)
                if len([each for each in seen if "message_stream_ended" in each]) == 4:
                    await line.leave()
                    return seen
            cut = next((found for each in reversed(seen) if (found := event_id(each))), None)
            if cut is None:
                continue
            line.vanish() if number % 2 else await line.leave()
            line = await chats.open(chat, last_event_id=cut)

    going = [asyncio.create_task(come_and_go(number)) for number in range(10)]
    await asyncio.sleep(0.1)
    for content in ("slowly", "greet", "slowly again", "Hello"):
        await watcher.say(content)
    await watcher.until("message_stream_ended", 4)
    for seen in await asyncio.gather(*going):
        assert seen == watcher.texts[2:]
