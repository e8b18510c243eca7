"""The plug is pulled in the middle of an ingestion: it goes on where it was, and nothing is done or kept twice."""

import asyncio
import random
import time
from collections import Counter
from collections.abc import Iterator
from dataclasses import dataclass
from hashlib import sha256
from pathlib import Path
from typing import Any

import aiohttp
import pytest

from dragoman.adapters.embedders.openai import BATCH
from dragoman.services.ingestion import WORKERS
from faults.checker import query
from tests.faults.conftest import count
from tests.management.scene import Manager
from tests.support.embeddings import SLOW, Embeddings, embedding
from tests.support.server import ServerProcess, manifest, scripted

ROUNDS = 3
AGENTS = 7
# More than the embedder is given at once: such a document is broken off between its batches.
PARTS = BATCH + 36
PATIENCE = 240.0
# The slow embedder takes half a second, and counts a request whose asker is dead too.
COUNTED_AFTER = 0.7

STATES = "SELECT state, COUNT(*) FROM documents GROUP BY state"
CHUNKS = """SELECT d.title, d.state, d.done, d.total, c.position, c.content_hash, c.live > 0
    FROM documents d LEFT JOIN chunks c ON c.document_id = d.id"""
INDEXED = "SELECT COUNT(*) FROM chunk_words"
COUNTED = "SELECT SUM(chunks) FROM knowledge"
HASHES = "SELECT content_hash FROM chunks"
BETWEEN_BATCHES = "SELECT 1 FROM documents WHERE state = 'working' AND done BETWEEN 1 AND total - 1"


@dataclass(frozen=True)
class Told:
    """A document as a manifest names it; of each of its chunks what is embedded, the whole first; what finds it."""

    entry: dict[str, Any]
    chunks: list[list[str]]
    question: str

    @property
    def title(self) -> str:
        """Its title, which no other has."""
        return str(self.entry["title"])


def document(number: int) -> Told:
    """A question with its answer, a short text, or now and then one that takes several batches."""
    title = f"Document {number}"
    if number % 2:
        question, answer = f"What is the price of lamp{number}x?", f"It is {number} euros."
        entry = {"type": "qa", "title": title, "question": question, "answer": answer, "verbatim": True}
        return Told(entry, [[f"{title}\n{question}\n{answer}", question, answer]], question)
    said = [f"Shelf {part}\nHere stands shelf{part}x of room{number}x." for part in range(3 if number % 4 else PARTS)]
    text = "\n\n".join(f"# {each.replace(chr(10), chr(10) * 2)}" for each in said)
    chunks = [[f"{title}\n{each}"] for each in said]
    return Told({"type": "text", "title": title, "text": text}, chunks, f"Which shelves has room{number}x?")


def agents(embeddings: Embeddings, told: list[Told]) -> list[dict[str, Any]]:
    """Agents that know these documents; the embedder of every other takes its time: a kill finds work in its hands."""
    return [
        scripted(
            f"Agent {number}",
            {"text": "Who knows."},
            embedder={**embeddings.embedder, **({"name": SLOW} if number % 2 else {})},
            knowledge=[each.entry for each in told[number::AGENTS]],
        )
        for number in range(AGENTS)
    ]


@pytest.fixture
def embeddings() -> Iterator[Embeddings]:
    with embedding() as served:
        yield served


def taken_up(embeddings: Embeddings) -> int:
    """Of how many documents something has been embedded."""
    return len({text.partition("\n")[0] for text in list(embeddings.texts) if text.startswith("Document ")})


async def until_all_are_ready(database: Path | str, number: int) -> None:
    """Wait until nothing is queued or worked on."""
    async with asyncio.timeout(PATIENCE):
        while (states := dict(await query(database, STATES))) != {"ready": number}:
            assert "failed" not in states, states
            await asyncio.sleep(0.2)


async def in_hand(database: Path | str, embeddings: Embeddings) -> set[str]:
    """What was embedded and is not kept, by its hash, when a server has been killed; nothing but two batches may be."""
    await asyncio.sleep(COUNTED_AFTER)
    kept = {each for (each,) in await query(database, HASHES)}
    lost = {hash_of(text) for text in embeddings.texts if text.startswith("Document ")} - kept
    assert len(lost) <= WORKERS * BATCH
    states = dict(await query(database, STATES))
    assert states.get("working", 0) <= WORKERS
    assert states.get("queued", 0), "the kill came when all was done"
    return lost


def hash_of(text: str) -> str:
    return sha256(text.encode()).hexdigest()


async def check_chunks(database: Path | str, told: list[Told]) -> None:
    """Every document has each of its chunks once, in order, and all of them can be found."""
    rows = await query(database, CHUNKS)
    for each in told:
        ours = sorted(row[1:] for row in rows if row[0] == each.title)
        total = len(each.chunks)
        wanted = [("ready", total, total, at, hash_of(texts[0]), True) for at, texts in enumerate(each.chunks)]
        assert ours == wanted, each.title
    total = sum(len(each.chunks) for each in told)
    assert len(rows) == total
    assert [int(number) for sql in (INDEXED, COUNTED) for (number,) in await query(database, sql)] == [total, total]


def check_embedded(embeddings: Embeddings, told: list[Told], hands: list[set[str]]) -> None:
    """Everything was embedded once, and once more for each kill that it was in hand at."""
    allowed = {
        text: 1 + sum(hash_of(texts[0]) in hand for hand in hands)
        for each in told
        for texts in each.chunks
        for text in texts
    }
    embedded = Counter(embeddings.texts)
    assert set(embedded) == set(allowed)
    assert {text: times for text, times in embedded.items() if times > allowed[text]} == {}


@pytest.mark.parametrize("seed", [31])
async def test_after_kill_9_an_ingestion_goes_on_and_nothing_is_done_twice(
    server: ServerProcess, session: aiohttp.ClientSession, embeddings: Embeddings, seed: int
) -> None:
    chance = random.Random(seed)
    told = [document(number) for number in range(count(28, 500))]
    server.apply(manifest(*agents(embeddings, told)))
    database = server.environment.get("DRAGOMAN_DATABASE_URL") or server.data_dir / "dragoman.db"
    hands: list[set[str]] = []
    for number in range(ROUNDS):
        server.start()
        # Each kill comes at a moment of its own, the last one between two batches of a document.
        share = (number + chance.uniform(0.2, 0.8)) / (ROUNDS + 1)
        begun = time.monotonic()
        while taken_up(embeddings) < share * len(told):
            assert time.monotonic() - begun < PATIENCE
            await asyncio.sleep(0.01)
        await asyncio.sleep(chance.uniform(0, 0.3))
        while number == ROUNDS - 1 and not await query(database, BETWEEN_BATCHES):
            assert time.monotonic() - begun < PATIENCE
            await asyncio.sleep(0.02)
        server.kill9()
        hands.append(await in_hand(database, embeddings))
    assert any(hands), "no kill found anything in hand"
    assert await query(database, BETWEEN_BATCHES), "the last kill came too late"
    server.start()
    await until_all_are_ready(database, len(told))
    await check_chunks(database, told)
    check_embedded(embeddings, told, hands)
    acme = Manager(session, server.url)
    for at, each in enumerate(told):
        answer = await acme.asked(f"agent-{at % AGENTS}", each.question)
        assert each.title in [source["title"] for source in answer["sources"]]
        assert each.entry["type"] == "text" or answer["response"] == each.entry["answer"]
    assert server.stop() == 0
    server.check_log()
