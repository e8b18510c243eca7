"""What is spoken over the management API: heard, answered, kept as an attachment that only its tenant can fetch."""

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from tests.management.scene import Manager
from tests.support.embeddings import HEARD, Embeddings, embedding
from tests.support.forms import File
from tests.support.server import ServerProcess, manifest, scripted, serving

SPEECH = Path(__file__).parents[1] / "data" / "speech"
HOURS = (SPEECH / "hours.webm").read_bytes()
SPOKEN = File("question.webm", HOURS, "audio/webm;codecs=opus")
ANSWER = "From nine to six, Monday to Saturday."
KNOWN = {"type": "qa", "title": "Business hours", "question": "What are your business hours?", "answer": ANSWER}
ABSENT = "conv_" + "0" * 32


@pytest.fixture(scope="module")
def embeddings() -> Iterator[Embeddings]:
    with embedding() as served:
        yield served


@pytest.fixture(scope="module")
def server(tmp_path_factory: pytest.TempPathFactory, embeddings: Embeddings) -> Iterator[ServerProcess]:
    """A server whose agents hear by a transcriber that always hears the same."""
    hearing = {"embedder": embeddings.embedder, "transcriber": embeddings.transcriber}
    agents = [
        scripted("Support Agent", {"text": ANSWER}, **hearing, knowledge=[KNOWN]),
        scripted(
            "Unsure Agent", {"text": "Zebras?"}, **hearing, knowledge=[KNOWN], min_confidence=1, fallback="Ask us."
        ),
        scripted("Ignorant Agent", {"text": "Who knows."}, **hearing),
    ]
    yield from serving(tmp_path_factory.mktemp("server"), manifest(*agents))


@pytest.fixture
async def conversation(acme: Manager) -> str:
    """The path of a conversation in which something has been said, when its agent knows what it is given."""
    return await begun(acme, "support-agent")


async def begun(acme: Manager, slug: str) -> str:
    for each in await acme.pages(f"/agents/{slug}/documents"):
        async with acme.stream(f"/documents/{each['id']}/events") as response:
            assert b"event: ready" in await response.read()
    return f"/conversations/{(await acme.say(slug, 'Hello'))['conversationId']}"


async def messages(acme: Manager, conversation: str) -> list[tuple[str, Any]]:
    """Who has said what in a conversation, behind its first greeting."""
    return [(each["role"], each["content"]) for each in (await acme.get(conversation)).ok()["messages"]][2:]


async def test_what_is_spoken_is_heard_and_answered(acme: Manager, conversation: str) -> None:
    told = await acme.form(f"{conversation}/recordings", ("audio", SPOKEN))
    answer = told.ok()
    assert set(answer) == {"message_id", "transcript", "response", "confidence", "sources", "was_resolved"}
    assert (answer["transcript"], answer["response"], answer["was_resolved"]) == (HEARD, ANSWER, True)
    (source,) = answer["sources"]
    assert (source["type"], source["title"]) == ("qa", "Business hours")
    assert 0 < source["relevance"] <= 1
    assert 0.5 < answer["confidence"] <= 1
    assert told.headers["X-Message-Id"] == answer["message_id"]
    assert await messages(acme, conversation) == [("user", HEARD), ("assistant", ANSWER)]


@pytest.mark.parametrize("field", ["audio_file", "file"])
async def test_words_stand_before_what_is_heard(acme: Manager, conversation: str, field: str) -> None:
    (await acme.form(f"{conversation}/recordings", ("text", "From a lamp's owner:"), (field, SPOKEN))).ok()
    assert (await messages(acme, conversation))[0] == ("user", f"From a lamp's owner:\n\n{HEARD}")


async def test_an_agent_that_is_not_sure_enough_says_its_fallback(acme: Manager) -> None:
    unsure = await begun(acme, "unsure-agent")
    answer = (await acme.form(f"{unsure}/recordings", ("audio", SPOKEN))).ok()
    assert (answer["response"], answer["was_resolved"], answer["sources"]) == ("Ask us.", False, [])
    ignorant = await begun(acme, "ignorant-agent")
    answer = (await acme.form(f"{ignorant}/recordings", ("audio", SPOKEN))).ok()
    assert (answer["response"], answer["confidence"], answer["was_resolved"]) == ("Who knows.", None, True)


async def test_a_recording_is_kept_and_fetched_as_it_came(acme: Manager, conversation: str) -> None:
    (await acme.form(f"{conversation}/recordings", ("audio", SPOKEN))).ok()
    dressed = File("../page.html", HOURS, "text/html")
    (await acme.form(f"{conversation}/recordings", ("audio", dressed))).ok()
    newest, oldest = await acme.pages(f"{conversation}/attachments?limit=1")
    assert (oldest["name"], oldest["media_type"], oldest["size"]) == ("question.webm", "audio/webm", len(HOURS))
    assert newest["name"] == "page.html"
    spoken = (await acme.get(conversation)).ok()["messages"][2]
    assert (oldest["message_id"], oldest["conversation_id"]) == (spoken["id"], conversation.rpartition("/")[2])
    for each, kind in ((oldest, "audio/webm"), (newest, "application/octet-stream")):
        told = await acme.get(f"/attachments/{each['id']}")
        assert told.ok() == HOURS
        assert told.headers["Content-Type"] == kind
        assert told.headers["Content-Disposition"] == "attachment"
        assert told.headers["X-Content-Type-Options"] == "nosniff"


async def test_an_attachment_is_its_tenants_alone_and_goes_with_its_conversation(
    acme: Manager, conversation: str
) -> None:
    (await acme.form(f"{conversation}/recordings", ("audio", SPOKEN))).ok()
    ((attachment),) = await acme.pages(f"{conversation}/attachments")
    path = f"/attachments/{attachment['id']}"
    absent = (await acme.get(f"/attachments/att_{'0' * 32}")).problem(404)
    assert (await acme.other.get(path)).problem(404) == absent
    (await acme.other.get(f"{conversation}/attachments")).problem(404, "Conversation")
    (await acme.with_key(None).get(path)).problem(401)
    (await acme.delete(conversation)).ok(204)
    (await acme.get(path)).problem(404)
    (await acme.get("/attachments/nothing")).problem(404)


async def test_a_recording_that_is_sent_again_is_heard_once(acme: Manager, conversation: str) -> None:
    path, key = f"{conversation}/recordings", {"Idempotency_Key": f"once in {conversation}"}
    first = await acme.form(path, ("audio", SPOKEN), **key)
    again = await acme.form(path, ("audio", SPOKEN._replace(name="again.webm")), **key)
    assert again.ok() == first.ok()
    assert "Idempotent-Replayed" not in first.headers
    assert again.headers["Idempotent-Replayed"] == "true"
    assert len(await messages(acme, conversation)) == 2
    (await acme.form(path, ("text", "Hm."), ("audio", SPOKEN), **key)).problem(422)
    other = File("lamp.wav", (SPEECH / "returns.wav").read_bytes(), "audio/wav")
    (await acme.form(path, ("audio", other), **key)).problem(422)


async def test_what_cannot_be_heard_is_refused_and_not_kept(acme: Manager, conversation: str) -> None:
    path = f"{conversation}/recordings"
    (await acme.form(path, ("text", "Hello"))).problem(400, "Audio field is required")
    (await acme.form(path, ("audio", SPOKEN), ("file", SPOKEN))).problem(400, "one file")
    (await acme.form(path, ("colour", "red"), ("audio", SPOKEN))).problem(400, "colour")
    (await acme.post(path, {"text": "Hello"})).problem(415)
    (await acme.form(path, ("audio", File("speech.wav", b"These are words and no sound.")))).problem(415)
    (await acme.form(path, ("audio", File("empty.wav", b"")))).problem(400)
    (await acme.form(path, ("audio", File("long.wav", b"\0" * (25 * 1024 * 1024 + 1))))).problem(413)
    (await acme.form(f"/conversations/{ABSENT}/recordings", ("audio", SPOKEN))).problem(404, "Conversation")
    (await acme.other.form(path, ("audio", SPOKEN))).problem(404, "Conversation")
    assert await messages(acme, conversation) == []
    assert await acme.pages(f"{conversation}/attachments") == []
