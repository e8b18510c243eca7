"""What questions find: by words in the database's own index, by meaning among an agent's vectors, which are kept here.

Vectors are compared exactly, one matrix an agent: docs/decisions/0009. Knows no embedder.
"""

import asyncio
import json
import math
import os
from collections import OrderedDict
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

from dragoman.adapters.store.driver import Database, Params, Row, Transaction
from dragoman.core.knowledge import Passage, fuse
from dragoman.ports.knowledge import Found

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray

# NumPy's own threads take longer to agree on one product than it takes, and as much of the processors again.
os.environ.setdefault("OPENBLAS_NUM_THREADS", "1")

STATE = "SELECT chunks, removed FROM knowledge WHERE agent_id = :agent_id AND tenant_id = :tenant_id"
VECTORS = """SELECT id, vector FROM chunks WHERE tenant_id = :tenant_id AND agent_id = :agent_id AND live > :after
    AND embedder = :embedder ORDER BY id"""
BY_WORDS = {
    "sqlite": """SELECT chunks.id FROM
            (SELECT rowid AS found, bm25(chunk_words, 0.0, 1.0) AS score FROM chunk_words
                WHERE chunk_words MATCH :wanted ORDER BY score LIMIT :count) AS matched
        JOIN chunks ON chunks.id = matched.found
        WHERE chunks.tenant_id = :tenant_id AND chunks.agent_id = :agent_id ORDER BY matched.score""",
    "postgres": """SELECT chunk_id FROM chunk_words, to_tsquery('english', :wanted) AS asked
        WHERE tenant_id = :tenant_id AND agent_id = :agent_id AND words @@ asked
        ORDER BY ts_rank_cd(words, asked, 1) DESC, chunk_id LIMIT :count""",
}
HOLDING = {
    "sqlite": """SELECT COUNT(*) FROM (SELECT rowid FROM chunk_words
        WHERE chunk_words MATCH :wanted AND :tenant_id <> '' AND :agent_id <> '' LIMIT :most) AS matched""",
    "postgres": """SELECT COUNT(*) FROM (SELECT chunk_id FROM chunk_words WHERE tenant_id = :tenant_id
        AND agent_id = :agent_id AND words @@ to_tsquery('english', :wanted) LIMIT :most) AS matched""",
}
PASSAGES = """SELECT c.id, c.document_id, d.type, d.title, c.title, c.content, d.source, c.vector FROM chunks c
    JOIN documents d ON d.id = c.document_id AND d.tenant_id = c.tenant_id
    WHERE c.tenant_id = :tenant_id AND c.agent_id = :agent_id AND c.live > 0"""

CANDIDATES = 50
# A word in so many chunks is as common as it can be: counting on would cost more than it tells.
MOST_COUNTED = 400
VECTOR_BYTES = 4
REMEMBERED_BYTES = 256 * 1024 * 1024


@dataclass(slots=True)
class _Vectors:
    """The vectors of an agent's live chunks, as they were when it had so many and had lost so many.

    `wholes` has a row for each chunk, `parts` one for each of its windows, from row `starts` on; a chunk without
    windows is its own.
    """

    chunks: int
    removed: int
    ids: list[int]
    wholes: "NDArray[np.float32]"
    parts: "NDArray[np.float32]"
    starts: "NDArray[np.intp]"

    def near(self, asked: "NDArray[np.float32]") -> "NDArray[np.float32]":
        """How near each chunk is to a vector: as a whole, and by its nearest part."""
        import numpy as np

        near: NDArray[np.float32] = self.wholes @ asked + np.maximum.reduceat(self.parts @ asked, self.starts)
        return near

    @property
    def nbytes(self) -> int:
        """How much memory this takes."""
        return self.wholes.nbytes + self.parts.nbytes


class Passages:
    """Passages of every tenant's agents."""

    def __init__(self, database: Database) -> None:
        self._database = database
        self._remembered: OrderedDict[tuple[str, str, str], _Vectors] = OrderedDict()

    async def search(
        self, tenant_id: str, agent_id: str, words: Sequence[str], vectors: Sequence[bytes], embedder: str, count: int
    ) -> Found:
        ours: Params = {"tenant_id": tenant_id, "agent_id": agent_id}
        known = self._remembered.get((tenant_id, agent_id, embedder))

        async def look(transaction: Transaction) -> tuple[dict[str, float], list[int], tuple[int, int], Sequence[Row]]:
            row = await transaction.one(STATE, ours)
            state = (int(row[0]), int(row[1])) if row else (0, 0)
            holding = {word: await self._holding(transaction, ours, word) for word in words}
            rare = {word: _rarity(held, state[0]) for word, held in holding.items()}
            by_words: list[int] = []
            if words:
                wanted = {**ours, "wanted": self._any_of(agent_id, _telling(holding)), "count": CANDIDATES}
                rows = await transaction.all(BY_WORDS[self._database.kind], wanted)
                by_words = [int(row[0]) for row in rows]
            if not vectors or (known is not None and state == (known.chunks, known.removed)):
                return rare, by_words, state, ()
            # What is published later has a higher number than all that there was before.
            after = known.chunks + known.removed if known is not None and known.removed == state[1] else 0
            fresh = {**ours, "embedder": embedder, "after": after}
            return rare, by_words, state, await transaction.all(VECTORS, fresh)

        rare, by_words, state, fresh = await self._database.read(look)
        nearest: list[list[int]] = []
        if vectors:
            whose = (tenant_id, agent_id, embedder)
            nearest = await asyncio.to_thread(self._nearest, whose, known, state, fresh, vectors)
        chosen = {f"id{at}": chunk_id for at, chunk_id in enumerate(fuse([by_words, *nearest])[:count])}
        if not chosen:
            return Found((), rare)

        async def read(transaction: Transaction) -> Sequence[Row]:
            those = ", ".join(f":{name}" for name in chosen)
            return await transaction.all(f"{PASSAGES} AND c.id IN ({those})", {**ours, **chosen})

        rows = {int(row[0]): row for row in await self._database.read(read)}
        return Found([_passage(rows[each], vectors) for each in chosen.values() if each in rows], rare)

    async def _holding(self, transaction: Transaction, ours: Params, word: str) -> int:
        """How many chunks hold a word, as far as is counted."""
        wanted = self._any_of(str(ours["agent_id"]), [word])
        row = await transaction.one(HOLDING[self._database.kind], {**ours, "wanted": wanted, "most": MOST_COUNTED})
        return int(row[0]) if row else 0

    def _any_of(self, agent_id: str, words: Sequence[str]) -> str:
        """Any of some words, in the database's language of queries; words hold letters and digits alone."""
        if self._database.kind == "postgres":
            return " | ".join(f"'{word}'" for word in words)
        quoted = " OR ".join(f'"{word}"' for word in words)
        return f'agent : "a{agent_id.replace("-", "")}" AND content : ({quoted})'

    def _nearest(
        self,
        whose: tuple[str, str, str],
        known: _Vectors | None,
        state: tuple[int, int],
        fresh: Sequence[Row],
        vectors: Sequence[bytes],
    ) -> list[list[int]]:
        """The chunks that are nearest to each vector. What is new is remembered."""
        import numpy as np

        current = known
        if current is None or state != (current.chunks, current.removed):
            before = known if known is not None and known.removed == state[1] else None
            current = _joined(before, state, fresh, len(vectors[0]))
            self._remember(whose, current)
        found: list[list[int]] = []
        if not current.ids:
            return found
        for vector in vectors:
            asked = np.frombuffer(vector, dtype="<f4")
            if asked.shape[0] != current.wholes.shape[1]:
                continue
            near = current.near(asked)
            some = min(CANDIDATES, len(near))
            best = np.argpartition(-near, some - 1)[:some]
            found.append([current.ids[at] for at in best[np.argsort(-near[best])]])
        return found

    def _remember(self, whose: tuple[str, str, str], vectors: _Vectors) -> None:
        self._remembered[whose] = vectors
        self._remembered.move_to_end(whose)
        size = sum(each.nbytes for each in self._remembered.values())
        while size > REMEMBERED_BYTES and len(self._remembered) > 1:
            size -= self._remembered.popitem(last=False)[1].nbytes


def _telling(holding: Mapping[str, int]) -> Sequence[str]:
    """The words that tell chunks apart: not those that very many hold, unless there are no others.

    To rank all that hold a common word is most of the time that a search takes, and changes next to nothing.
    """
    return [word for word, held in holding.items() if held < MOST_COUNTED] or list(holding)


def _rarity(holding: int, total: int) -> float:
    return math.log((total + 1) / (holding + 1)) / math.log(total + 1) if total else 1.0


def _joined(known: _Vectors | None, state: tuple[int, int], fresh: Sequence[Row], width: int) -> _Vectors:
    """What is known and what came after it, together; a vector has `width` bytes."""
    import numpy as np

    rows = [row for row in fresh if len(row[1]) % width == 0]
    if not rows:
        empty = np.empty((0, 0), dtype="<f4")
        known = known or _Vectors(0, 0, [], empty, empty, np.empty(0, dtype=np.intp))
        return _Vectors(*state, known.ids, known.wholes, known.parts, known.starts)
    each = width // VECTOR_BYTES
    wholes = np.frombuffer(b"".join(bytes(row[1][:width]) for row in rows), dtype="<f4").reshape(-1, each)
    told = [bytes(row[1][width:] or row[1]) for row in rows]
    parts = np.frombuffer(b"".join(told), dtype="<f4").reshape(-1, each)
    counts = np.array([len(part) // width for part in told], dtype=np.intp)
    starts = np.cumsum(counts) - counts
    ids = [int(row[0]) for row in rows]
    if known is None or not known.ids:
        return _Vectors(*state, ids, wholes, parts, starts)
    return _Vectors(
        *state,
        [*known.ids, *ids],
        np.concatenate([known.wholes, wholes]),
        np.concatenate([known.parts, parts]),
        np.concatenate([known.starts, starts + len(known.parts)]),
    )


def _passage(row: Row, vectors: Sequence[bytes]) -> Passage:
    chunk_id, document_id, kind, title, heading, content, source, told = row
    near = max((_similarities(bytes(told), each) for each in vectors), key=sum, default=(0.0, 0.0))
    given = json.loads(source) if kind == "qa" else {}
    verbatim = given.get("answer") if given.get("verbatim") else None
    return Passage(int(chunk_id), document_id, kind, title, heading, content, *near, given.get("question"), verbatim)


def _similarities(told: bytes, asked: bytes) -> tuple[float, float]:
    """How near a chunk is to a vector: as a whole, and by its nearest part."""
    import numpy as np

    if len(told) % len(asked):
        return 0.0, 0.0
    vectors = np.frombuffer(told, dtype="<f4").reshape(-1, len(asked) // VECTOR_BYTES)
    near = vectors @ np.frombuffer(asked, dtype="<f4")
    return float(near[0]), float(near[1:].max() if len(near) > 1 else near[0])
