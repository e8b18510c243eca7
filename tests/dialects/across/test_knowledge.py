"""An agent that knows something, over every contract, with the embedder that comes along and a scripted model."""

import asyncio
import json
from collections.abc import Iterator
from typing import Any

import aiohttp
import pytest

from tests.dialects.scene import agent_id
from tests.support.client import Client, authorised, frames_of
from tests.support.server import KEY, ServerProcess, manifest, scripted, serving

ANSWER = "Monday to Saturday, 9AM to 6PM."
FALLBACK = "A colleague will follow up."
KNOWN = [
    {"type": "qa", "title": "Business Hours", "question": "What are your business hours?", "answer": ANSWER},
    {"type": "text", "title": "Returns", "text": "Goods can be sent back within thirty days, unused and boxed."},
    {"type": "qa", "title": "Parking", "question": "Where can I park?", "answer": "Behind the shop.", "verbatim": True},
]
SOURCE_FIELDS = ["type", "title", "relevance"]


@pytest.fixture(scope="module")
def server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[ServerProcess]:
    """A sure agent and one that never is sure enough, both with the same knowledge."""
    script = {"when": "hours", "tokens": ["Monday to Saturday,", " 9AM to 6PM."]}
    made = [
        scripted("Support Agent", script, slug="support-agent", knowledge=KNOWN),
        scripted("Careful Agent", script, slug="careful-agent", knowledge=KNOWN, fallback=FALLBACK, min_confidence=1.0),
    ]
    ids = ("123e4567-e89b-12d3-a456-426614174000", "123e4567-e89b-12d3-a456-426614174001")
    agents = [{**agent, "id": uuid} for agent, uuid in zip(made, ids, strict=True)]
    yield from serving(tmp_path_factory.mktemp("knowing"), manifest(*agents))


@pytest.fixture
async def client(server: ServerProcess, session: aiohttp.ClientSession) -> Client:
    """A client, when the agents know what they were given."""
    client = Client(session, server.url)
    for slug in ("support-agent", "second-agent"):
        async with asyncio.timeout(30):
            while (await ask(client, slug))["confidence"] is None:
                await asyncio.sleep(0.2)
    return client


async def ask(client: Client, slug: str = "support-agent", question: str = "When are your hours?") -> dict[str, Any]:
    """The whole answer in S1."""
    async with client.s1(agent_id(slug), question) as response:
        assert response.status == 200
        told: dict[str, Any] = await response.json()
    return told


def is_ordered(sources: list[dict[str, Any]]) -> bool:
    """Whether sources are as every contract shows them: three fields, the most relevant first."""
    relevances = [source["relevance"] for source in sources]
    return (
        all(list(source) == SOURCE_FIELDS and 0 <= source["relevance"] <= 1 for source in sources)
        and relevances == sorted(relevances, reverse=True)
        and {source["type"] for source in sources} <= {"qa", "text", "file", "website", "table"}
    )


@pytest.mark.requirement("S1-2", "S1-3", "S1-4")
async def test_an_answer_names_its_sources_and_how_sure_it_is(client: Client) -> None:
    told = await ask(client)
    assert told["sources"][0]["title"] == "Business Hours"
    assert told["sources"][0]["type"] == "qa"
    assert is_ordered(told["sources"])
    assert 0 < told["confidence"] < 1
    assert told["response"] == ANSWER


@pytest.mark.requirement("S1-3", "S1-9")
async def test_a_stream_names_the_same_sources_once_and_again_at_its_end(client: Client) -> None:
    async with client.s1(agent_id(), "When are your hours?", stream=True) as response:
        frames = [frame async for frame in frames_of(response)]
    kinds = [frame.json["type"] for frame in frames]
    assert kinds == ["text", "text", "sources", "done"]
    assert is_ordered(frames[-2].json["sources"])
    assert frames[-1].json["sources"] == frames[-2].json["sources"] != []
    assert 0 < frames[-1].json["confidence"] < 1


@pytest.mark.requirement("S1-4")
async def test_what_is_not_known_is_less_sure_than_what_is(client: Client) -> None:
    known = await ask(client, question="What are your business hours?")
    unknown = await ask(client, question="Does the moon orbit Jupiter faster than trains do?")
    assert unknown["confidence"] < known["confidence"]


@pytest.mark.requirement("S0-12", "S1-3")
async def test_where_an_agent_is_too_unsure_its_fallback_is_the_answer_without_sources(client: Client) -> None:
    told = await ask(client, "second-agent")
    assert (told["response"], told["sources"]) == (FALLBACK, [])
    assert told["confidence"] < 1
    whole = await s0(client, "chat", "second-agent")
    assert (whole["agent_response_text"], whole["was_resolved"]) == (FALLBACK, False)


@pytest.mark.requirement("S0-12")
async def test_an_answer_that_is_given_is_a_resolution(client: Client) -> None:
    whole = await s0(client, "chat")
    assert (whole["agent_response_text"], whole["was_resolved"]) == (ANSWER, True)


@pytest.mark.requirement("S0-15")
async def test_s0_tells_the_sources_in_a_chunk_beside_the_answer(client: Client) -> None:
    frames = await s0(client, "stream")
    kinds = [frame["type"] for frame in frames]
    assert kinds == ["start", "chunk", "agent_text_chunk", "agent_text_chunk", "end"]
    assert is_ordered(json.loads(frames[1]["content"])["sources"])
    held = await s0(client, "stream", "second-agent")
    assert [frame["type"] for frame in held] == ["start", "agent_text_chunk", "end"]


@pytest.mark.requirement("X-7")
async def test_the_other_contracts_show_no_field_that_they_do_not_have(client: Client) -> None:
    async with client.s2("When are your hours?") as response:
        told = await response.json()
    assert list(told["data"]) == ["response", "conversationId", "metadata"]
    assert list(told["data"]["metadata"]) == ["model", "tokens"]
    async with client.post(
        f"/api/agents/{agent_id()}/chat", {"message": "When are your hours?"}, **authorised()
    ) as answer:
        assert set(await answer.json()) == {"id", "role", "content", "tool_calls", "conversation_id", "created_at"}


@pytest.mark.requirement("S2-2")
async def test_an_answer_that_no_model_gave_has_no_tokens(client: Client) -> None:
    for slug, question, response in (
        ("support-agent", "where can i park", "Behind the shop."),
        ("careful-agent", "When are your hours?", FALLBACK),
    ):
        client.slug = slug
        told = await client.say(question)
        assert (told["response"], told["metadata"]["tokens"]) == (response, 0)
    client.slug = "support-agent"
    assert (await client.say("When are your hours?"))["metadata"]["tokens"] > 0


async def test_an_answer_that_may_be_given_as_it_stands_is_given_word_for_word(client: Client) -> None:
    told = await ask(client, question="where can i park")
    assert told["response"] == "Behind the shop."
    assert [source["title"] for source in told["sources"]] == ["Parking"]


async def s0(client: Client, path: str, slug: str = "support-agent") -> Any:
    """A question in S0: the whole answer, or the frames of a stream."""
    uuid = agent_id(slug).removeprefix("agent_")
    dashed = f"{uuid[:8]}-{uuid[8:12]}-{uuid[12:16]}-{uuid[16:20]}-{uuid[20:]}"
    body = {"agent_key": f"agent:{dashed}:voice:us-east-1", "query": "When are your hours?"}
    async with client.session.post(
        f"{client.url}/api/v1/chat/agent/{path}", json=body, headers={"x-api-token": KEY}
    ) as response:
        assert response.status == 200
        if path == "chat":
            return await response.json()
        return [frame.json async for frame in frames_of(response)]
