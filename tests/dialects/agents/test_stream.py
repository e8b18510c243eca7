"""S4: a stream is start, deltas and done; every data line is JSON, and failures are frames too."""

import json
from uuid import uuid4

import pytest

from tests.dialects.agents.scene import Chat
from tests.dialects.scene import GREETING, SPACES
from tests.support.client import Client

COMMENT = b":\n\n"


@pytest.fixture
def chat(client: Client) -> Chat:
    return Chat(client)


@pytest.mark.requirement("S4-10", "X-7")
async def test_a_stream_is_start_deltas_and_done_to_the_byte(chat: Chat) -> None:
    async with chat.request("POST", {"message": "greet me", "stream": True}) as response:
        assert response.headers["Content-Type"].partition(";")[0] == "text/event-stream"
        conversation = response.headers["X-Conversation-Id"]
        told = await response.read()
    answer = (await chat.history(conversation))[1]
    whole = {name: answer[name] for name in ("id", "role", "content", "tool_calls", "conversation_id", "created_at")}
    assert whole["content"] == "".join(GREETING)
    assert told == b"".join(
        [
            COMMENT,
            b'data: {"type": "start", "id": %d}\n\n' % answer["id"],
            *(b'data: {"type": "delta", "content": "%s"}\n\n' % token.encode() for token in GREETING),
            b'data: {"type": "done", "message": %s}\n\n' % json.dumps(whole, separators=(",", ":")).encode(),
        ]
    )


@pytest.mark.requirement("S4-10")
async def test_every_data_line_is_json_as_the_documented_client_reads_it(chat: Chat) -> None:
    for message in ("greet me", "spaces", "say nothing", "refuse", "break off"):
        async with chat.request("POST", {"message": message, "stream": True}) as response:
            lines = (await response.text()).split("\n")
        frames = [json.loads(line[6:]) for line in lines if line.startswith("data: ")]
        assert frames[0]["type"] == "start"
        assert frames[-1]["type"] == ("error" if message in ("refuse", "break off") else "done")
        assert {frame["type"] for frame in frames[1:-1]} <= {"delta"}
        assert [line for line in lines if not line.startswith("data: ")] == [":"] + [""] * (len(frames) + 2)


@pytest.mark.requirement("S4-10")
async def test_white_space_is_kept_and_an_empty_answer_has_no_deltas(chat: Chat) -> None:
    _, *deltas, done = await chat.stream({"message": "spaces"})
    assert [delta["content"] for delta in deltas] == SPACES
    assert done["message"]["content"] == "".join(SPACES)
    start, done = await chat.stream({"message": "say nothing"})
    assert (start["id"], done["message"]["content"]) == (done["message"]["id"], "")


@pytest.mark.requirement("S4-10", "S4-14")
@pytest.mark.parametrize(("message", "said"), [("refuse", []), ("break off", ["Half", " an"])])
async def test_a_failure_is_the_last_frame_in_the_shape_of_errors(chat: Chat, message: str, said: list[str]) -> None:
    start, *deltas, failure = await chat.stream({"message": message})
    assert start["type"] == "start"
    assert [delta["content"] for delta in deltas] == said
    error = {"code": "AI_SERVICE_ERROR", "message": "The AI service could not answer", "details": {}}
    assert failure == {"type": "error", "error": error}


@pytest.mark.requirement("S4-10")
async def test_a_stopped_stream_ends_as_a_completed_one(chat: Chat) -> None:
    async with chat.request("POST", {"message": "hang on", "stream": True}) as response:
        seen = await response.content.readuntil(b'"Well,"}\n\n')
        async with chat.client.post(f"/manage/v1/turns/{response.headers['X-Turn-Id']}/stop", None):
            seen += await response.read()
    done = json.loads(seen.split(b"\n\n")[-2].removeprefix(b"data: "))
    assert (done["type"], done["message"]["content"], done["message"]["tool_calls"]) == ("done", "Well,", None)


@pytest.mark.requirement("S4-10")
async def test_what_goes_wrong_before_the_stream_has_a_status(chat: Chat) -> None:
    await chat.refused(400, "VALIDATION_ERROR", {"message": " ", "stream": True})
    unknown = {"message": "Hello", "stream": True, "conversation_id": "conv_" + "0" * 32}
    await chat.refused(404, "CONVERSATION_NOT_FOUND", unknown)


@pytest.mark.requirement("S4-10")
async def test_a_stream_and_a_whole_reply_of_one_key_are_the_same_answer(chat: Chat) -> None:
    headers = {"Idempotency_Key": str(uuid4())}
    frames = await chat.stream({"message": "greet me"}, **headers)
    again = await chat.stream({"message": "greet me"}, **headers)
    assert frames == again
    assert frames[-1]["message"]["id"] == frames[0]["id"]
