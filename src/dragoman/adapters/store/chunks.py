"""Chunks of documents, with their vectors and words, while they come and go. Knows no document's state."""

from collections.abc import Mapping, Sequence

from dragoman.adapters.store.driver import Kind, Transaction
from dragoman.ports.knowledge import NewChunk, Work

ADD = """INSERT INTO chunks
        (tenant_id, agent_id, document_id, revision, position, title, content, content_hash, embedder, live, vector)
    VALUES (:tenant_id, :agent_id, :document_id, :revision, :position, :title, :content, :hash, :embedder, 0, :vector)
    ON CONFLICT (document_id, revision, position) DO UPDATE
        SET title = excluded.title, content = excluded.content, content_hash = excluded.content_hash,
            embedder = excluded.embedder, vector = excluded.vector"""
KEPT = """SELECT position, content_hash FROM chunks WHERE tenant_id = :tenant_id AND document_id = :document_id
    AND revision = :revision AND embedder = :embedder"""
KNOWN = """SELECT vector FROM chunks WHERE tenant_id = :tenant_id AND content_hash = :hash AND embedder = :embedder
    LIMIT 1"""
COUNT = """SELECT agent_id, COUNT(*) FROM chunks
    WHERE tenant_id = :tenant_id AND document_id = :document_id AND live > 0 GROUP BY agent_id"""
COUNTED = """INSERT INTO knowledge (agent_id, tenant_id, chunks, removed)
    VALUES (:agent_id, :tenant_id, :more, :removed)
    ON CONFLICT (agent_id) DO UPDATE
        SET chunks = knowledge.chunks + excluded.chunks, removed = knowledge.removed + excluded.removed"""
EVER = "SELECT chunks + removed FROM knowledge WHERE agent_id = :agent_id AND tenant_id = :tenant_id"
# Chunks of an earlier revision, and those that a shorter text or another embedder has left behind.
FORGET_OTHERS = """DELETE FROM chunks WHERE tenant_id = :tenant_id AND document_id = :document_id
    AND (revision <> :revision OR position >= :total OR embedder <> :embedder)"""
FORGET = "DELETE FROM chunks WHERE tenant_id = :tenant_id AND document_id = :document_id"
GO_LIVE = "UPDATE chunks SET live = :stamp WHERE tenant_id = :tenant_id AND document_id = :document_id"
_OF_DOCUMENT = "(SELECT id FROM chunks WHERE tenant_id = :tenant_id AND document_id = :document_id AND live > 0)"
FORGET_WORDS = {
    "sqlite": f"DELETE FROM chunk_words WHERE rowid IN {_OF_DOCUMENT}",
    "postgres": f"DELETE FROM chunk_words WHERE tenant_id = :tenant_id AND chunk_id IN {_OF_DOCUMENT}",
}
# What FTS5 matches is narrowed to one agent within its index, by a word that stands for it.
INDEX_WORDS = {
    "sqlite": """INSERT INTO chunk_words (rowid, agent, content)
        SELECT c.id, 'a' || replace(c.agent_id, '-', ''), d.title || ' ' || c.content
        FROM chunks c JOIN documents d ON d.id = c.document_id AND d.tenant_id = c.tenant_id
        WHERE c.tenant_id = :tenant_id AND c.document_id = :document_id AND c.live > 0""",
    "postgres": """INSERT INTO chunk_words (chunk_id, tenant_id, agent_id, words)
        SELECT c.id, c.tenant_id, c.agent_id, to_tsvector('english', d.title || ' ' || c.content)
        FROM chunks c JOIN documents d ON d.id = c.document_id AND d.tenant_id = c.tenant_id
        WHERE c.tenant_id = :tenant_id AND c.document_id = :document_id AND c.live > 0""",
}


async def add(transaction: Transaction, work: Work, embedder: str, new: Sequence[NewChunk]) -> None:
    """Keep chunks of a document's revision; nothing finds them yet."""
    ours = {**_of(work), "agent_id": work.document.agent_id, "embedder": embedder}
    await transaction.many(
        ADD,
        [
            {
                **ours,
                "position": chunk.position,
                "title": chunk.title,
                "content": chunk.content,
                "hash": chunk.hash,
                "vector": chunk.vectors,
            }
            for chunk in new
        ],
    )


async def kept(transaction: Transaction, work: Work, embedder: str) -> Mapping[int, str]:
    """The positions of this revision's chunks, with their hashes."""
    rows = await transaction.all(KEPT, {**_of(work), "embedder": embedder})
    return {int(position): str(content_hash) for position, content_hash in rows}


async def known(transaction: Transaction, tenant_id: str, embedder: str, hashes: Sequence[str]) -> Mapping[str, bytes]:
    """The vectors that a tenant has for these hashes."""
    found: dict[str, bytes] = {}
    for content_hash in hashes:
        row = await transaction.one(KNOWN, {"tenant_id": tenant_id, "hash": content_hash, "embedder": embedder})
        if row is not None:
            found[content_hash] = bytes(row[0])
    return found


async def publish(transaction: Transaction, kind: Kind, work: Work, embedder: str, total: int) -> None:
    """Have this revision's chunks found in place of the document's others."""
    ours = _of(work)
    removed = await _live(transaction, work.document.tenant_id, work.document.id)
    await transaction.run(FORGET_WORDS[kind], ours)
    await transaction.run(FORGET_OTHERS, {**ours, "total": total, "embedder": embedder})
    counted = {"agent_id": work.document.agent_id, "more": total - removed, "removed": removed}
    # Written before it is read, so that who publishes for the same agent waits: stamps rise in the order of commits.
    await transaction.run(COUNTED, {**ours, **counted})
    known = await transaction.one(EVER, {**ours, **counted})
    await transaction.run(GO_LIVE, {**ours, "stamp": int(known[0]) if known else 1})
    await transaction.run(INDEX_WORDS[kind], ours)


async def forget(transaction: Transaction, kind: Kind, tenant_id: str, document_id: str) -> None:
    """Delete a document's chunks, vectors and words."""
    ours = {"tenant_id": tenant_id, "document_id": document_id}
    row = await transaction.one(COUNT, ours)
    await transaction.run(FORGET_WORDS[kind], ours)
    await transaction.run(FORGET, ours)
    if row is not None:
        await transaction.run(COUNTED, {**ours, "agent_id": row[0], "more": -int(row[1]), "removed": int(row[1])})


async def _live(transaction: Transaction, tenant_id: str, document_id: str) -> int:
    row = await transaction.one(COUNT, {"tenant_id": tenant_id, "document_id": document_id})
    return int(row[1]) if row else 0


def _of(work: Work) -> dict[str, object]:
    return {"tenant_id": work.document.tenant_id, "document_id": work.document.id, "revision": work.revision}
