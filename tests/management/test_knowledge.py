"""Documents over the management API: given, worked on, watched, tried again, taken back; and what agents know then."""

import asyncio
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import aiohttp
import pytest
from aiohttp import web

from tests.management.scene import Manager
from tests.support.client import Frame, frames_of
from tests.support.embeddings import BROKEN, SLOW, Embeddings, embedding
from tests.support.forms import File
from tests.support.server import ServerProcess, manifest, scripted, serving

GIVEN = {"type": "qa", "title": "Parking", "question": "Where can I park?", "answer": "Behind the house."}
PATIENCE = 20.0
ABSENT = "doc_" + "0" * 32
PAGE = "<!doctype html><title>Help</title><main><h1>Warranty</h1><p>Lamps have a warranty of five years.</p></main>"
# The slow embedder takes half a second for a batch of its pieces: that is seen.
LONG = "\n\n".join(f"# Part {at}\n\n{f'Words of part {at}. ' * 50}" for at in range(150)).encode()
NO_PDF = File("broken.pdf", b"%PDF-1.7\n" + b"nothing of a document " * 20)


@pytest.fixture(scope="module")
def embeddings() -> Iterator[Embeddings]:
    with embedding() as served:
        yield served


@pytest.fixture(scope="module")
def server(tmp_path_factory: pytest.TempPathFactory, embeddings: Embeddings) -> Iterator[ServerProcess]:
    """A server with an agent for each embedder, which lets its tenant reach the machine itself."""
    agents = [
        scripted("Support Agent", {"text": "Let me see."}, embedder=embeddings.embedder, knowledge=[GIVEN]),
        scripted("Slow Agent", embedder={**embeddings.embedder, "name": SLOW}),
        scripted("Broken Agent", embedder={**embeddings.embedder, "name": BROKEN}),
        scripted("Embedded Agent", {"text": "Send it back by post."}),
    ]
    tenants = manifest(*agents, egress={"allow_private": True})
    yield from serving(tmp_path_factory.mktemp("server"), tenants)


async def ended(acme: Manager, document: dict[str, Any]) -> dict[str, Any]:
    """A document when it is ready or has failed."""
    async with asyncio.timeout(PATIENCE):
        while True:
            found: dict[str, Any] = (await acme.get(f"/documents/{document['id']}")).ok()
            if found["state"] in ("ready", "failed"):
                return found
            await asyncio.sleep(0.05)


async def given(acme: Manager, agent: str, **document: Any) -> dict[str, Any]:
    """A new document, as soon as it is queued."""
    made: dict[str, Any] = (await acme.post(f"/agents/{agent}/documents", document)).ok(202)
    return made


async def uploaded(acme: Manager, agent: str, type: str, file: File) -> dict[str, Any]:
    """A new document of a file, as soon as it is queued."""
    parts = (("type", type), ("title", file.name), ("file", file))
    made: dict[str, Any] = (await acme.form(f"/agents/{agent}/documents", *parts)).ok(202)
    return made


async def followed(acme: Manager, document: dict[str, Any]) -> list[Frame]:
    """The events of a document, to the end of their stream."""
    async with asyncio.timeout(PATIENCE), acme.stream(f"/documents/{document['id']}/events") as response:
        assert response.status == 200
        assert response.headers["Content-Type"].startswith("text/event-stream")
        return [frame async for frame in frames_of(response)]


async def test_what_is_told_is_known_when_it_is_ready_and_names_itself_as_the_source(
    acme: Manager, embeddings: Embeddings
) -> None:
    hours = {"question": "When do you open?", "answer": "At nine, from Monday to Saturday.", "verbatim": True}
    made = await given(acme, "support-agent", type="qa", title="Opening hours", **hours)
    assert made["id"].startswith("doc_")
    assert made["agent_id"] == (await acme.get("/agents/support-agent")).ok()["id"]
    assert (made["type"], made["title"], made["error"], made["managed"]) == ("qa", "Opening hours", None, "api")
    ready = await ended(acme, made)
    assert (ready["state"], ready["step"], ready["done"], ready["total"]) == ("ready", "done", 1, 1)
    assert any("When do you open?" in text and "At nine" in text for text in embeddings.texts)
    answer = await acme.asked("support-agent", "When do you open?")
    assert answer["response"] == "At nine, from Monday to Saturday."
    assert (answer["sources"][0]["type"], answer["sources"][0]["title"]) == ("qa", "Opening hours")
    assert 0 <= answer["confidence"] <= 1


async def test_the_embedder_that_comes_along_finds_what_is_meant(acme: Manager) -> None:
    made = [
        await given(acme, "embedded-agent", type="text", title="Returns", text="Goods may be sent back for 30 days."),
        await given(acme, "embedded-agent", type="text", title="Parking", text="Cars stand behind the house."),
    ]
    assert [(await ended(acme, each))["state"] for each in made] == ["ready", "ready"]
    answer = await acme.asked("embedded-agent", "How do I return a lamp?")
    assert answer["sources"][0]["title"] == "Returns"


async def test_files_and_tables_are_read(acme: Manager, embeddings: Embeddings) -> None:
    manual = File("manual.md", b"# Cleaning\n\nWipe the lamp with a dry cloth.\n")
    prices = File("C:\\shop\\prices.csv", b"item,price\nlamp,40 EUR\nchair,90 EUR\n")
    made = [
        await uploaded(acme, "support-agent", "file", manual),
        await uploaded(acme, "support-agent", "table", prices),
    ]
    assert [each["type"] for each in made] == ["file", "table"]
    assert [(await ended(acme, each))["state"] for each in made] == ["ready", "ready"]
    assert any("dry cloth" in text for text in embeddings.texts)
    assert any("price: 40 EUR" in text for text in embeddings.texts)


async def test_a_website_is_fetched_and_read(acme: Manager, embeddings: Embeddings) -> None:
    async def page(_: web.Request) -> web.Response:
        return web.Response(text=PAGE, content_type="text/html")

    app = web.Application()
    app.router.add_get("/help", page)
    runner = web.AppRunner(app)
    await runner.setup()
    await web.TCPSite(runner, "127.0.0.1", 0).start()
    try:
        url = f"http://127.0.0.1:{runner.addresses[0][1]}/help"
        made = await given(acme, "support-agent", type="website", title="Help", url=url)
        assert (await ended(acme, made))["state"] == "ready"
    finally:
        await runner.cleanup()
    assert any("five years" in text for text in embeddings.texts)


@pytest.mark.parametrize(
    ("url", "why"),
    [
        ("http://169.254.169.254/latest/meta-data/", "may not be reached"),
        ("http://user:secret@example.com/", "no password"),
        ("http://:80/", "no address of a page"),
    ],
)
async def test_an_address_that_may_not_be_reached_or_is_none_fails_at_once(acme: Manager, url: str, why: str) -> None:
    document = await ended(acme, await given(acme, "support-agent", type="website", title=why, url=url))
    assert document["state"] == "failed"
    assert why in document["error"]


async def test_what_is_known_already_is_not_embedded_again(acme: Manager, embeddings: Embeddings) -> None:
    told = {"type": "text", "title": "Twice", "text": "The same words are said twice."}
    first = await ended(acme, await given(acme, "support-agent", **told))
    embedded = len(embeddings.texts)
    second = await ended(acme, await given(acme, "support-agent", **told))
    assert first["id"] != second["id"]
    assert second["state"] == "ready"
    assert embeddings.texts[embedded:] == []


async def test_documents_are_listed_newest_first_page_by_page(acme: Manager) -> None:
    made = [await given(acme, "slow-agent", type="text", title=f"Number {at}", text="Text") for at in range(5)]
    listed = await acme.pages("/agents/slow-agent/documents?limit=2")
    assert [each["id"] for each in listed][: len(made)] == [each["id"] for each in reversed(made)]
    assert (await acme.get("/agents/slow-agent/documents?limit=2")).ok()["next_cursor"] is not None


async def test_a_document_is_followed_step_by_step_until_it_is_ready(acme: Manager) -> None:
    made = await uploaded(acme, "slow-agent", "file", File("long.md", LONG))
    frames = await followed(acme, made)
    assert {frame.event for frame in frames[:-1]} == {"progress"}
    last = frames[-1].json
    assert (frames[-1].event, last["state"], last["id"]) == ("ready", "ready", made["id"])
    done = [frame.json["done"] for frame in frames if frame.json["step"] == "embedding"]
    assert done == sorted(done)
    assert any(0 < each < last["total"] for each in done)
    assert [(frame.event, frame.json) for frame in await followed(acme, made)] == [("ready", last)]


async def test_what_is_deleted_is_found_no_more_and_not_followed_any_longer(acme: Manager) -> None:
    told = {"question": "Do you sell zebras?", "answer": "Yes, striped ones.", "verbatim": True}
    made = await ended(acme, await given(acme, "support-agent", type="qa", title="Zebras", **told))
    assert (await acme.asked("support-agent", "Do you sell zebras?"))["response"] == "Yes, striped ones."
    path = f"/documents/{made['id']}"
    assert (await acme.delete(path)).ok(204) == b""
    answer = await acme.asked("support-agent", "Do you sell zebras?")
    assert answer["response"] == "Let me see."
    assert "Zebras" not in [source["title"] for source in answer["sources"]]
    for missing in (await acme.get(path), await acme.delete(path), await acme.post(f"{path}/retry")):
        missing.problem(404, "Document not found")
    slow = await uploaded(acme, "slow-agent", "file", File("going.md", LONG.replace(b"part", b"piece")))
    following = asyncio.create_task(followed(acme, slow))
    await asyncio.sleep(0.3)
    (await acme.delete(f"/documents/{slow['id']}")).ok(204)
    assert {frame.event for frame in await following} <= {"progress"}


async def test_one_that_failed_says_why_and_can_be_tried_again(acme: Manager, embeddings: Embeddings) -> None:
    broken = await uploaded(acme, "support-agent", "file", NO_PDF)
    failed = (await followed(acme, broken))[-1]
    assert (failed.event, failed.json["state"]) == ("failed", "failed")
    assert failed.json["error"]
    made = await given(acme, "broken-agent", type="text", title="Later", text="Known in the end.")
    assert (await ended(acme, made))["error"] == "The embedder could not be used"
    embeddings.mended = True
    again = (await acme.post(f"/documents/{made['id']}/retry")).ok(202)
    assert (again["id"], again["error"]) == (made["id"], None)
    assert (await ended(acme, made))["state"] == "ready"


async def test_what_a_manifest_gives_is_read_here_and_changed_there(acme: Manager) -> None:
    (parking,) = (each for each in await acme.pages("/agents/support-agent/documents") if each["title"] == "Parking")
    assert parking["managed"] == "manifest"
    (await acme.delete(f"/documents/{parking['id']}")).problem(409, "manifest")
    (await acme.post(f"/documents/{parking['id']}/retry")).ok(202)
    assert (await ended(acme, parking))["state"] == "ready"


async def test_what_is_done_to_documents_is_in_the_audit_log(acme: Manager) -> None:
    made = await given(acme, "support-agent", type="text", title="Noted", text="Text")
    (await acme.post(f"/documents/{made['id']}/retry")).ok(202)
    (await acme.delete(f"/documents/{made['id']}")).ok(204)
    entries = [each for each in await acme.pages("/audit") if each["subject"] == made["id"]]
    assert [each["action"] for each in entries] == ["document.deleted", "document.retried", "document.created"]
    assert entries[-1]["detail"] == {"agent": made["agent_id"], "type": "text", "title": "Noted"}
    assert entries[-1]["actor_name"] == "backend"


@pytest.mark.parametrize(
    ("document", "words"),
    [
        ({"type": "text", "title": "T"}, ["text"]),
        ({"type": "text", "title": "T", "text": " "}, ["text"]),
        ({"type": "qa", "title": "T", "question": "Q"}, ["answer"]),
        ({"type": "website", "title": "T", "url": "ftp://example.com"}, ["url"]),
        ({"type": "text", "title": "T", "text": "x", "url": "http://example.com"}, ["takes no url"]),
        ({"type": "text", "title": "", "text": "x"}, ["title"]),
        ({"type": "text", "title": "T" * 201, "text": "x"}, ["title"]),
        ({"type": "file", "title": "T"}, ["type"]),
        ({"type": "text", "title": "T", "text": "x", "colour": "red"}, ["colour"]),
        ({"type": "text", "title": "T", "text": "a\0b"}, ["U+0000"]),
    ],
)
async def test_what_is_told_wrong_is_refused(acme: Manager, document: dict[str, Any], words: list[str]) -> None:
    (await acme.post("/agents/support-agent/documents", document)).problem(400, *words)


async def test_files_that_are_none_are_refused(acme: Manager) -> None:
    path, good = "/agents/support-agent/documents", File("a.md", b"text")
    typed = (("type", "file"), ("title", "T"))
    (await acme.form(path, *typed)).problem(400, "File field is required")
    (await acme.form(path, *typed, ("file", good), ("file", good))).problem(400, "one file")
    (await acme.form(path, *typed, ("picture", good))).problem(400, "one file, as file")
    (await acme.form(path, *typed, ("colour", "red"), ("file", good))).problem(400, "colour")
    (await acme.form(path, *typed, ("title", "T"), ("file", good))).problem(400, "title is there twice")
    (await acme.form(path, ("title", "T"), ("file", good))).problem(400, "type")
    (await acme.form(path, ("type", "qa"), ("title", "T"), ("file", good))).problem(400, "type")
    (await acme.form(path, *typed, ("file", File("a.png", b"\x89PNG\r\n\x1a\n\0\0")))).problem(415, "PDF")
    (await acme.form(path, ("type", "table"), ("title", "T"), ("file", good))).problem(415, "CSV")
    (await acme.ask("POST", path, b"<a/>", Content_Type="text/xml")).problem(400, "JSON")
    (await acme.form(path, *typed, ("file", File("a.txt", b"x" * (25 * 1024 * 1024 + 1))))).problem(413)


async def test_what_is_not_there_or_another_tenants_answers_alike(acme: Manager) -> None:
    made = await given(acme, "support-agent", type="text", title="Ours", text="Text")
    for path in ("", "/events"):
        theirs = await acme.other.get(f"/documents/{made['id']}{path}")
        assert theirs.problem(404) == (await acme.get(f"/documents/{ABSENT}{path}")).problem(404)
    (await acme.other.delete(f"/documents/{made['id']}")).problem(404)
    (await acme.other.post(f"/documents/{made['id']}/retry")).problem(404)
    (await acme.get("/documents/nothing")).problem(404)
    (await acme.get("/agents/nobody/documents")).problem(404)
    (await acme.post("/agents/nobody/documents", GIVEN)).problem(404)
    (await acme.get(f"/documents/{made['id']}?colour=red")).problem(400)


async def test_a_server_that_stops_ends_what_follows_a_document(
    tmp_path: Path, embeddings: Embeddings, session: aiohttp.ClientSession
) -> None:
    server = ServerProcess(tmp_path)
    server.apply(manifest(scripted("Slow Agent", embedder={**embeddings.embedder, "name": SLOW})))
    with server:
        acme = Manager(session, server.url)
        made = await uploaded(acme, "slow-agent", "file", File("long.md", LONG))
        async with acme.stream(f"/documents/{made['id']}/events") as response:
            frames = frames_of(response)
            assert (await anext(frames)).event == "progress"
            assert await asyncio.to_thread(server.stop) == 0
            assert {frame.event async for frame in frames} <= {"progress"}
    server.check_log()
