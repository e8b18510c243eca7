"""S1: the streamed answer, frame by frame."""

import json
from typing import Any

import pytest

from tests.dialects.scene import GREETING, SPACES, agent_id, blocks
from tests.support.client import Client, frames_of

COMMENT = b":\n\n"
NO_SOURCES = b'event: sources\ndata: {"type":"sources","sources":[]}\n\n'
DONE_FIELDS = [
    "type",
    "response",
    "conversation_id",
    "message_id",
    "confidence",
    "model",
    "sources",
    "credits_used",
]
FAILED = (
    b'event: error\ndata: {"type":"error",'
    b'"error":{"code":"server_error","message":"The AI service could not answer"}}\n\n'
)


def text_frames(*tokens: str) -> list[bytes]:
    spelled = [json.dumps(token, ensure_ascii=False) for token in tokens]
    return [f'event: text\ndata: {{"type":"text","content":{token}}}\n\n'.encode() for token in spelled]


def done_of(block: bytes) -> dict[str, Any]:
    head, _, data = block.partition(b"\ndata: ")
    assert head == b"event: done"
    told: dict[str, Any] = json.loads(data)
    assert list(told) == DONE_FIELDS
    return told


@pytest.mark.requirement("S1-9", "X-7")
async def test_a_stream_is_text_then_sources_then_done_to_the_byte(client: Client) -> None:
    async with client.s1(agent_id(), "greet me", stream=True) as response:
        assert response.status == 200
        assert response.headers["Content-Type"] == "text/event-stream; charset=utf-8"
        assert response.headers["Cache-Control"] == "no-cache, no-transform"
        told = blocks(await response.read())
        conversation, message = response.headers["X-Conversation-Id"], response.headers["X-Message-Id"]
    assert told[:-1] == [COMMENT, *text_frames(*GREETING), NO_SOURCES]
    assert done_of(told[-1]) == {
        "type": "done",
        "response": "".join(GREETING),
        "conversation_id": conversation,
        "message_id": message,
        "confidence": None,
        "model": "scripted",
        "sources": [],
        "credits_used": 1,
    }


@pytest.mark.requirement("S1-9")
async def test_text_comes_when_the_model_has_said_it(client: Client) -> None:
    async with client.s1(agent_id(), "slowly", stream=True) as response:
        frames = [frame async for frame in frames_of(response)]
    assert [frame.event for frame in frames] == ["text"] * 8 + ["sources", "done"]
    assert frames[7].at - frames[0].at > 0.5


@pytest.mark.requirement("S1-9")
async def test_white_space_is_kept_exactly(client: Client) -> None:
    async with client.s1(agent_id(), "spaces", stream=True) as response:
        frames = [frame async for frame in frames_of(response)]
    assert [frame.json["content"] for frame in frames[:-2]] == SPACES
    assert frames[-1].json["response"] == "".join(SPACES)


@pytest.mark.requirement("S1-9")
async def test_an_empty_answer_is_sources_and_done(client: Client) -> None:
    async with client.s1(agent_id(), "say nothing", stream=True) as response:
        told = blocks(await response.read())
    assert told[:-1] == [COMMENT, NO_SOURCES]
    assert done_of(told[-1])["response"] == ""


@pytest.mark.requirement("S1-9")
@pytest.mark.parametrize(("message", "said"), [("break off", ["Half", " an"]), ("refuse", [])])
async def test_a_failure_is_one_error_event_and_the_end(client: Client, message: str, said: list[str]) -> None:
    async with client.s1(agent_id(), message, stream=True) as response:
        assert response.status == 200
        assert blocks(await response.read()) == [COMMENT, *text_frames(*said), FAILED]


@pytest.mark.requirement("S1-9", "S1-5")
@pytest.mark.parametrize(("message", "said", "cost"), [("hang on", "Well,", 1), ("think for ever", "", 0)])
async def test_a_stopped_stream_ends_as_a_completed_one_does(
    client: Client, message: str, said: str, cost: int
) -> None:
    async with client.s1(agent_id(), message, stream=True) as response:
        frames = frames_of(response)
        if said:
            assert (await anext(frames)).json["content"] == said
        conversation = response.headers["X-Conversation-Id"]
        async with client.post(f"/manage/v1/conversations/{conversation}/stop", None) as stopped:
            assert (await stopped.json())["stopped"]["state"] == "cancelled"
        rest = [frame async for frame in frames]
    assert [frame.event for frame in rest] == ["sources", "done"]
    assert (rest[-1].json["response"], rest[-1].json["credits_used"]) == (said, cost)
