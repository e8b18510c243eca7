"""Questions to an agent that knows 20,000 chunks, in a store that holds as many of another tenant's. Knows no server.

Texts are drawn from the embedder's own words, the common ones more often, and vectors are random: both by a seed.
"""

import gzip
import json
import time
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field
from importlib import resources
from pathlib import Path
from typing import TYPE_CHECKING

import uvloop

from bench.processes import BenchFailed
from dragoman import settings
from dragoman.adapters.embedders.embedded import NAME, EmbeddedEmbedder
from dragoman.adapters.store import SqlStore, open_store
from dragoman.core.agents import Agent
from dragoman.core.ids import new_id
from dragoman.core.tenants import Tenant
from dragoman.ports.embedders import EmbedderError
from dragoman.ports.knowledge import Found, NewChunk, NewDocument, PassageStore
from dragoman.services.retrieval import Retrieval

if TYPE_CHECKING:
    # As in Dragoman, numpy is loaded by the function that needs it, when all that sets it up has run.
    import numpy as np

SEED = 4
TENANTS = ("bench", "neighbour")
DOCUMENTS, CHUNKS = 20, 1_000
WORDS_A_CHUNK = 70
# Of a vector, and how many a chunk has: that of the whole and those of two windows.
WIDTH, VECTORS = 384, 3
QUESTIONS, WORDS_A_QUESTION, WARMING = 200, 8, 20
# Zipf's law with Mandelbrot's shift: how much less often the next common word is said.
SHIFT = 2.7


@dataclass(slots=True)
class Asked:
    """Milliseconds that each question of a round took, as a whole and in the store."""

    find_ms: list[float] = field(default_factory=list)
    store_ms: list[float] = field(default_factory=list)


def ask(folder: Path, rounds: int, step: Callable[[], None]) -> Sequence[Asked]:
    """Ask 200 questions a round, once the store in `folder` is filled and its vectors are in memory.

    Raises:
        BenchFailed: there is no embedder, or nothing is found.
    """
    return uvloop.run(_ask(folder, rounds, step))


async def _ask(folder: Path, rounds: int, step: Callable[[], None]) -> Sequence[Asked]:
    import numpy as np

    chance, words = np.random.default_rng(SEED), _words()
    embedder = EmbeddedEmbedder(settings.load().models_dir)
    store = await open_store(f"sqlite:///{folder / 'retrieval.db'}")
    try:
        (agent, said), _neighbour = [await _fill(store, tenant, words, chance) for tenant in TENANTS]
        watched = _Watched(store.passages)
        retrieval = Retrieval(watched, embedder)
        questions = [_question(text, chance) for text in chance.choice(said, WARMING + QUESTIONS)]
        for question in questions[:WARMING]:
            await retrieval.find(agent, question)
        watched.milliseconds()
        found = []
        for _ in range(rounds):
            asked = Asked()
            for question in questions[WARMING:]:
                begun = time.perf_counter()
                grounds = await retrieval.find(agent, question)
                asked.find_ms.append((time.perf_counter() - begun) * 1e3)
                asked.store_ms.append(watched.milliseconds())
                if not grounds.passages:
                    raise BenchFailed(f"nothing was found for {question!r}")
            found.append(asked)
            step()
        return found
    except EmbedderError as error:
        raise BenchFailed(str(error)) from error
    finally:
        await store.close()
        await embedder.close()


class _Watched:
    """A store of passages, and from when to when it was busy with a question."""

    def __init__(self, passages: PassageStore) -> None:
        self._passages = passages
        self._moments: list[float] = []

    def milliseconds(self) -> float:
        """How long it was busy since it was last asked this."""
        moments, self._moments = self._moments, []
        return (max(moments) - min(moments)) * 1e3

    async def search(
        self, tenant_id: str, agent_id: str, words: Sequence[str], vectors: Sequence[bytes], embedder: str, count: int
    ) -> Found:
        self._moments.append(time.perf_counter())
        found = await self._passages.search(tenant_id, agent_id, words, vectors, embedder, count)
        self._moments.append(time.perf_counter())
        return found


def _words() -> list[str]:
    """English words, the most common first: each is one token of the embedder's."""
    packed = resources.files("dragoman.adapters.embedders").joinpath("minilm-tokenizer.json.gz").read_bytes()
    vocabulary = json.loads(gzip.decompress(packed))["model"]["vocab"]
    return [word for word in vocabulary if word.isascii() and word.isalpha() and len(word) > 1]


async def _fill(
    store: SqlStore, tenant: str, words: Sequence[str], chance: "np.random.Generator"
) -> tuple[Agent, list[str]]:
    """An agent of a tenant that knows 20,000 chunks, and what they say."""
    await store.tenants.put(Tenant(tenant, tenant), 1)
    definition = {"model": {"provider": "scripted", "name": "silent"}}
    agent, _ = await store.agents.put(tenant, None, "reader", "Reader", definition, 1)
    said = []
    for number in range(DOCUMENTS):
        chunks = list(_chunks(words, chance))
        document = NewDocument(new_id(), tenant, agent.id, "text", f"Chapter {number}", {}, f"{number}", "api")
        await store.documents.put(document, 1)
        work = await store.documents.claim(1)
        if work is None:
            raise BenchFailed("a document that was queued is not due")
        await store.documents.add_chunks(work, NAME, chunks, CHUNKS, 1)
        await store.documents.publish(work, NAME, CHUNKS, 1)
        said += [chunk.content for chunk in chunks]
    return agent, said


def _chunks(words: Sequence[str], chance: "np.random.Generator") -> Iterator[NewChunk]:
    import numpy as np

    frequency = 1 / (np.arange(len(words)) + SHIFT)
    texts = chance.choice(np.array(words), (CHUNKS, WORDS_A_CHUNK), p=frequency / frequency.sum())
    vectors = chance.standard_normal((CHUNKS, VECTORS, WIDTH), dtype="<f4")
    vectors /= np.linalg.norm(vectors, axis=2, keepdims=True)
    for position in range(CHUNKS):
        yield NewChunk(position, "", " ".join(texts[position]), new_id(), vectors[position].tobytes())


def _question(text: str, chance: "np.random.Generator") -> str:
    """Some words of a chunk, as they stand in it."""
    words = text.split()
    begin = int(chance.integers(len(words) - WORDS_A_QUESTION))
    return " ".join(words[begin : begin + WORDS_A_QUESTION])
