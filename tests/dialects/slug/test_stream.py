"""S2: the streamed answer, frame by frame."""

import pytest

from tests.dialects.scene import GREETING, SPACES, blocks
from tests.support.client import Client, frames_of

COMMENT = b":\n\n"
FAILED = b'data: {"error": {"name":"InternalServerError","message":"The AI service could not answer","details":{}}}\n\n'
DONE = b"data: [DONE]\n\n"


@pytest.mark.requirement("S2-8", "X-7")
async def test_a_stream_is_chunks_and_then_done_to_the_byte(client: Client) -> None:
    async with client.s2("greet me", stream=True) as response:
        assert response.status == 200
        assert response.headers["Content-Type"] == "text/event-stream; charset=utf-8"
        assert response.headers["Cache-Control"] == "no-cache, no-transform"
        assert response.headers["X-Accel-Buffering"] == "no"
        told = blocks(await response.read())
    chunks = [f'data: {{"chunk": "{token}"}}\n\n'.encode() for token in GREETING]
    assert told == [COMMENT, *chunks, DONE]


@pytest.mark.requirement("S2-8")
async def test_a_chunk_comes_when_the_model_has_said_it(client: Client) -> None:
    async with client.s2("slowly", stream=True) as response:
        frames = [frame async for frame in frames_of(response)]
    assert frames[-1].data == "[DONE]"
    assert frames[-2].at - frames[0].at > 0.5


@pytest.mark.requirement("S2-14")
async def test_white_space_is_kept_exactly(client: Client) -> None:
    async with client.s2("spaces", stream=True) as response:
        frames = [frame async for frame in frames_of(response)]
    assert [frame.json["chunk"] for frame in frames[:-1]] == SPACES
    assert (await client.say("spaces"))["response"] == "".join(SPACES)


@pytest.mark.requirement("S2-8")
async def test_an_empty_answer_is_done_alone(client: Client) -> None:
    async with client.s2("say nothing", stream=True) as response:
        assert blocks(await response.read()) == [COMMENT, DONE]
    assert (await client.say("say nothing"))["response"] == ""


@pytest.mark.requirement("S2-10")
async def test_a_failure_in_mid_stream_is_one_error_frame_and_then_done(client: Client) -> None:
    async with client.s2("break off", stream=True) as response:
        assert response.status == 200
        told = blocks(await response.read())
    assert told == [COMMENT, b'data: {"chunk": "Half"}\n\n', b'data: {"chunk": " an"}\n\n', FAILED, DONE]


@pytest.mark.requirement("S2-10")
async def test_a_failure_before_the_first_token_of_a_stream_is_told_in_the_stream(client: Client) -> None:
    async with client.s2("refuse", stream=True) as response:
        assert response.status == 200
        assert blocks(await response.read()) == [COMMENT, FAILED, DONE]


@pytest.mark.requirement("S2-8")
async def test_a_stopped_stream_ends_as_a_completed_one_does(client: Client) -> None:
    async with client.s2("hang on", stream=True) as response:
        frames = frames_of(response)
        first = await anext(frames)
        path = f"/manage/v1/turns/{response.headers['X-Turn-Id']}/stop"
        async with client.post(path, None) as stopped:
            assert (await stopped.json())["state"] == "cancelled"
        rest = [frame.data async for frame in frames]
        conversation = response.headers["X-Conversation-Id"]
    assert first.json == {"chunk": "Well,"}
    assert rest == ["[DONE]"]
    assert [said["content"] for said in await client.history(conversation)] == ["hang on", "Well,"]


@pytest.mark.requirement("S2-12")
async def test_the_partial_answer_of_a_failed_turn_is_kept(client: Client) -> None:
    async with client.s2("break off", stream=True) as response:
        await response.read()
        conversation = response.headers["X-Conversation-Id"]
    assert [said["content"] for said in await client.history(conversation)] == ["break off", "Half an"]
