"""S0: the streamed answer, frame by frame."""

import json
from typing import Any

import pytest

from tests.dialects.aloochat.scene import STREAM, Chat, agent_key, form_of
from tests.dialects.scene import GREETING, SPACES, blocks, id_of
from tests.support.client import frames_of

COMMENT = b":\n\n"


def spelled(conversation: str, kind: str, content: str = "", **more: Any) -> bytes:
    """A frame, to the byte."""
    told = {"type": kind, "content": content, "conversation_id": conversation, **more}
    return b"data: " + json.dumps(told, separators=(",", ":"), ensure_ascii=False).encode() + b"\n\n"


def failure(conversation: str) -> bytes:
    message = "The AI service could not answer"
    said = {"error": "InternalServerError", "message": message, "statusCode": 500}
    return spelled(conversation, "error", message, **said)


async def told(chat: Chat, query: str, **headers: str) -> tuple[str, list[bytes]]:
    """The conversation and the blocks of a stream, asked by a multipart form."""
    form = form_of({"agent_key": agent_key(), "query": query})
    async with chat.request("POST", STREAM, data=form, headers=headers) as response:
        assert response.status == 200
        return response.headers["X-Conversation-Id"], blocks(await response.read())


@pytest.mark.requirement("S0-13", "S0-14", "S0-15")
@pytest.mark.parametrize("accept", ["text/event-stream", "application/json", "*/*", "text/html", "nonsense", ""])
async def test_a_stream_is_start_chunks_and_end_to_the_byte_whatever_accept_says(chat: Chat, accept: str) -> None:
    form = form_of({"agent_key": agent_key(), "query": "greet me"})
    async with chat.request("POST", STREAM, data=form, headers={"Accept": accept}) as response:
        assert response.status == 200
        assert response.headers["Content-Type"] == "text/event-stream; charset=utf-8"
        assert response.headers["Cache-Control"] == "no-cache, no-transform"
        assert response.headers["X-Accel-Buffering"] == "no"
        named = response.headers["X-Conversation-Id"]
        stream = blocks(await response.read())
    chunks = [spelled(named, "agent_text_chunk", token) for token in GREETING]
    assert stream == [COMMENT, spelled(named, "start"), *chunks, spelled(named, "end")]


@pytest.mark.requirement("S0-15")
async def test_a_chunk_comes_when_the_model_has_said_it(chat: Chat) -> None:
    frames = await chat.stream("slowly")
    assert frames[-2].at - frames[1].at > 0.5


@pytest.mark.requirement("S0-14")
async def test_white_space_is_kept_exactly(chat: Chat) -> None:
    frames = await chat.stream("spaces")
    assert [frame.json["content"] for frame in frames[1:-1]] == SPACES


@pytest.mark.requirement("S0-15")
async def test_an_empty_answer_is_start_and_end(chat: Chat) -> None:
    named, stream = await told(chat, "say nothing")
    assert stream == [COMMENT, spelled(named, "start"), spelled(named, "end")]


@pytest.mark.requirement("S0-15", "S0-19")
async def test_a_failure_in_mid_stream_is_one_error_frame_and_the_last(chat: Chat) -> None:
    named, stream = await told(chat, "break off")
    said = [spelled(named, "agent_text_chunk", text) for text in ("Half", " an")]
    assert stream == [COMMENT, spelled(named, "start"), *said, failure(named)]
    assert await chat.history(named) == [("user", "break off"), ("assistant", "Half an")]


@pytest.mark.requirement("S0-15", "S0-19")
async def test_a_failure_before_the_first_token_is_told_in_the_stream(chat: Chat) -> None:
    named, stream = await told(chat, "refuse")
    assert stream == [COMMENT, spelled(named, "start"), failure(named)]


@pytest.mark.requirement("S0-14", "S0-15")
async def test_calls_that_wait_for_the_client_are_chunks_among_the_text(chat: Chat) -> None:
    named, stream = await told(chat, "weather?")
    calls = [
        {"id": "call_1", "name": "get_weather", "arguments": '{"location": "Tokyo"}', "status": "waiting"},
        {"id": "call_2", "name": "get_weather", "arguments": "{}", "status": "waiting"},
    ]
    assert stream == [
        COMMENT,
        spelled(named, "start"),
        *(spelled(named, "agent_text_chunk", text) for text in ("Let", " me", " see.")),
        *(spelled(named, "chunk", json.dumps({"tool_call": call}, separators=(",", ":"))) for call in calls),
        spelled(named, "end"),
    ]


@pytest.mark.requirement("S0-15")
async def test_a_stopped_stream_ends_as_a_completed_one_does(chat: Chat) -> None:
    body = {"agent_key": agent_key(), "query": "hang on"}
    async with chat.request("POST", STREAM, json=body) as response:
        frames = frames_of(response)
        first = [(await anext(frames)).json["type"], (await anext(frames)).json["content"]]
        async with chat.client.post(f"/manage/v1/turns/{response.headers['X-Turn-Id']}/stop", None) as stopped:
            assert (await stopped.json())["state"] == "cancelled"
        rest = [frame.json["type"] async for frame in frames]
    assert (first, rest) == (["start", "Well,"], ["end"])


@pytest.mark.requirement("S0-13", "S0-19")
async def test_what_goes_wrong_before_the_stream_is_an_error_with_its_status(chat: Chat) -> None:
    headers = {"Accept": "text/event-stream"}
    await chat.refused(400, "POST", STREAM, data={"agent_key": agent_key()}, headers=headers)
    form = {"agent_key": agent_key(), "query": "Hello", "conversation_id": "conv_" + "0" * 32}
    await chat.refused(404, "POST", STREAM, data=form, headers=headers)


@pytest.mark.requirement("S0-14")
async def test_a_stream_goes_on_after_the_event_that_the_client_has_seen(chat: Chat) -> None:
    named, whole = await told(chat, "greet me", **{"Idempotency-Key": "resumed"})
    frames = whole[1:]
    assert len({id_of(frame) for frame in frames}) == len(frames) == len(GREETING) + 2
    assert all(frame.split(b"\n")[0].startswith(b"id: ") for frame in frames)
    for seen in (0, 3, len(frames) - 1):
        last = id_of(frames[seen])
        assert last is not None
        again, rest = await told(chat, "greet me", **{"Idempotency-Key": "resumed", "Last-Event-ID": last})
        assert (again, rest[1:]) == (named, frames[seen + 1 :])
    assert len(await chat.history(named)) == 2
