"""Documents and recordings made to do harm (RELIABILITY row 31): refused with a reason, or read without any.

The server lives and answers meanwhile, as if there were nothing.
"""

import asyncio
import time
from collections.abc import AsyncIterator, Iterator
from contextlib import asynccontextmanager
from typing import Any

import pytest

from tests.adapters.parsing.documents import WORD, archive, pdf_of_streams, stream, word_body
from tests.adapters.transcribers.sounds import TEN_HOURS, flac, wav
from tests.management.scene import Manager
from tests.support.embeddings import Embeddings, embedding
from tests.support.forms import File
from tests.support.server import ServerProcess, manifest, scripted, serving

ANSWER = "Here I am."
ALIVE_WITHIN = 1.0
PATIENCE = 60.0

DEEP = b"[" * 1_000_000
ENTITIES = (
    b'<!DOCTYPE w:document [<!ENTITY a "ha">'
    + b"".join(b'<!ENTITY %c "%s">' % (letter, b"&%c;" % (letter - 1) * 60) for letter in b"bcdefghi")
    + f"]><w:document {WORD}><w:body><w:p><w:r><w:t>&i;</w:t></w:r></w:p></w:body></w:document>".encode()
)
# What is refused, and a word of the reason.
REFUSED = {
    "a zip bomb": (File("bomb.docx", word_body(b" " * (200 << 20))), "unpacks to more"),
    "entities": (File("laughs.docx", archive({"word/document.xml": ENTITIES})), "document type"),
    "a pdf bomb": (File("bomb.pdf", pdf_of_streams([stream(bytes(200 << 20))])), "broken"),
    "a million columns": (File("wide.csv", b"a," * 999_999 + b"a\n" + b"1," * 999_999 + b"1\n"), "1,000 columns"),
    "a quotation mark that never ends": (File("open.csv", b'a,b\n"' + b"1,2\n" * 60_000), "counterpart"),
}
# What is text, however odd, and harmless: letters without an end, and what makes careless patterns go back and forth.
READ = {
    "deep JSON": File("deep.txt", DEEP),
    "a long word": File("a.txt", b"a" * 500_000 + b"!"),
    "dots and white space": File("dots.md", b"." * 200_000 + b" " * 200_000 + b"x"),
    "marks that never close": File("marks.md", b"*a **b " * 20_000 + b"[a](" * 20_000 + b"<!--" * 20_000),
    "lines of hyphens": File("hyphens.txt", b"a-" * 200_000 + b"\n" * 100_000),
}
TOO_LONG = {
    "ten hours that say so": flac(TEN_HOURS, told=True),
    "ten hours that do not": flac(TEN_HOURS, told=False),
    "ten hours, slowly": wav(b"\x10\x20" * 500_000, rate=14),
}


@pytest.fixture(scope="module")
def embeddings() -> Iterator[Embeddings]:
    with embedding() as served:
        yield served


@pytest.fixture(scope="module")
def server(tmp_path_factory: pytest.TempPathFactory, embeddings: Embeddings) -> Iterator[ServerProcess]:
    """A server with an agent that reads and hears, and one that is asked meanwhile."""
    learning = {"embedder": embeddings.embedder, "transcriber": embeddings.transcriber}
    agents = [scripted("Learning Agent", **learning), scripted("Other Agent", {"text": ANSWER})]
    yield from serving(tmp_path_factory.mktemp("server"), manifest(*agents))


@asynccontextmanager
async def unnoticed(acme: Manager) -> AsyncIterator[None]:
    """While the block runs the server says within a second that it lives, and turns go through."""
    longest, turns, is_over = 0.0, 0, asyncio.Event()

    async def live() -> None:
        nonlocal longest
        while not is_over.is_set():
            begun = time.monotonic()
            async with acme._session.get(f"{acme.url}/livez") as response:
                assert response.status == 200
            longest = max(longest, time.monotonic() - begun)
            await asyncio.sleep(0.02)

    async def talk() -> None:
        nonlocal turns
        while not is_over.is_set() or not turns:
            assert (await acme.say("other-agent"))["response"] == ANSWER
            turns += 1
            await asyncio.sleep(0.1)

    async with asyncio.TaskGroup() as tasks:
        tasks.create_task(live())
        tasks.create_task(talk())
        try:
            yield
        finally:
            is_over.set()
    assert turns
    assert longest < ALIVE_WITHIN


async def read(acme: Manager, file: File) -> dict[str, Any]:
    """What becomes of a file that the agent is given to know."""
    kind = "table" if file.name.endswith(".csv") else "file"
    path = "/agents/learning-agent/documents"
    made = (await acme.form(path, ("type", kind), ("title", file.name), ("file", file))).ok(202)
    async with asyncio.timeout(PATIENCE):
        while (found := (await acme.get(f"/documents/{made['id']}")).ok())["state"] not in ("ready", "failed"):
            await asyncio.sleep(0.05)
    document: dict[str, Any] = found
    return document


@pytest.mark.parametrize("what", REFUSED)
async def test_a_document_that_would_do_harm_fails_and_says_why(acme: Manager, what: str) -> None:
    file, why = REFUSED[what]
    async with unnoticed(acme):
        document = await read(acme, file)
    assert document["state"] == "failed"
    assert why in document["error"]


@pytest.mark.parametrize("what", READ)
async def test_a_text_that_is_only_odd_is_read(acme: Manager, what: str) -> None:
    async with unnoticed(acme):
        document = await read(acme, READ[what])
    assert (document["state"], document["error"]) == ("ready", None)
    assert 0 < document["done"] == document["total"]


async def test_all_of_them_at_once_are_no_worse(acme: Manager) -> None:
    files = [*(file for file, _ in REFUSED.values()), *READ.values()]
    async with unnoticed(acme):
        documents = await asyncio.gather(*(read(acme, file) for file in files))
    assert [each["state"] for each in documents] == ["failed"] * len(REFUSED) + ["ready"] * len(READ)


async def test_deep_json_as_a_request_is_refused(acme: Manager) -> None:
    async with unnoticed(acme):
        for body in (DEEP, b'{"type":"text","title":"T","text":"x","more":' + DEEP):
            path = "/agents/learning-agent/documents"
            (await acme.ask("POST", path, body[: 1 << 20], Content_Type="application/json")).problem(400)


@pytest.mark.parametrize("what", TOO_LONG)
async def test_ten_hours_of_sound_in_a_mebibyte_are_refused(acme: Manager, what: str) -> None:
    conversation = (await acme.say("other-agent"))["conversationId"]
    assert len(TOO_LONG[what]) < 1 << 20
    async with unnoticed(acme):
        told = await acme.form(f"/conversations/{conversation}/recordings", ("audio", File("a.wav", TOO_LONG[what])))
    told.problem(413, "longer than 600 s")
    assert await acme.pages(f"/conversations/{conversation}/attachments") == []
