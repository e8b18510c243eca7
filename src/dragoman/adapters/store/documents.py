"""Documents on their way into an agent's knowledge. Who works on one holds it by its owner and revision.

Knows no format and no embedder.
"""

import json
from collections.abc import Mapping, Sequence

from dragoman.adapters.store import blobs, chunks
from dragoman.adapters.store.agents import Definitions
from dragoman.adapters.store.audit import NEWEST
from dragoman.adapters.store.driver import Database, Row, Transaction, across_tenants
from dragoman.adapters.store.outbox import tell
from dragoman.core.clock import iso
from dragoman.core.errors import AgentNotFound
from dragoman.core.ids import prefixed
from dragoman.core.knowledge import Document, Step
from dragoman.ports.audit import Place
from dragoman.ports.knowledge import NewChunk, NewDocument, Superseded, Work

COLUMNS = """id, tenant_id, agent_id, type, title, state, step, error, done, total, managed, created_at, updated_at"""

AGENT = "SELECT 1 FROM agents WHERE id = :agent_id AND tenant_id = :tenant_id AND deleted_at IS NULL"
DOCUMENT = f"SELECT {COLUMNS} FROM documents WHERE id = :id AND tenant_id = :tenant_id"
HASH = "SELECT content_hash, title, source FROM documents WHERE id = :id AND tenant_id = :tenant_id"
NEW = """INSERT INTO documents (id, tenant_id, agent_id, type, title, source, content_hash, state, step, revision, done,
        total, attempts, next_attempt_at, managed, created_at, updated_at)
    VALUES (:id, :tenant_id, :agent_id, :type, :title, :source, :hash, 'queued', 'waiting', 1, 0, 0, 0, :now, :managed,
        :now, :now)"""
QUEUE = """UPDATE documents SET state = 'queued', step = 'waiting', error = NULL, revision = revision + 1, done = 0,
        total = 0, attempts = 0, next_attempt_at = :now, owner = NULL, updated_at = :now"""
CHANGE = f"{QUEUE}, title = :title, source = :source, content_hash = :hash WHERE id = :id AND tenant_id = :tenant_id"
RETRY = f"{QUEUE} WHERE id = :id AND tenant_id = :tenant_id"
PAGE = f"""SELECT {COLUMNS} FROM documents WHERE tenant_id = :tenant_id AND agent_id = :agent_id
    AND (created_at, id) < (:at, :id) ORDER BY created_at DESC, id DESC LIMIT :limit"""
UNFINISHED = f"""SELECT {COLUMNS} FROM documents WHERE tenant_id = :tenant_id AND agent_id = :agent_id
    AND state IN ('queued', 'working') ORDER BY created_at, id"""
DELETE = "DELETE FROM documents WHERE id = :id AND tenant_id = :tenant_id RETURNING content_hash"
DUE = """SELECT id, tenant_id FROM documents WHERE state = 'queued' AND next_attempt_at <= :now
    ORDER BY next_attempt_at, id LIMIT 1"""
CLAIM = """UPDATE documents SET state = 'working', owner = :owner, attempts = attempts + 1, updated_at = :now
    WHERE id = :id AND tenant_id = :tenant_id AND state = 'queued' RETURNING source, content_hash, revision, attempts"""
OWNERS = "SELECT DISTINCT owner FROM documents WHERE state = 'working'"
RELEASE = """UPDATE documents SET state = 'queued', step = 'waiting', owner = NULL, next_attempt_at = :now,
        attempts = attempts - 1
    WHERE state = 'working' AND owner = :owner"""
HELD = "WHERE id = :id AND tenant_id = :tenant_id AND state = 'working' AND owner = :owner AND revision = :revision"
ADVANCE = f"UPDATE documents SET step = :step, done = :done, total = :total, updated_at = :now {HELD}"
READY = f"""UPDATE documents SET state = 'ready', step = 'done', error = NULL, done = :total, total = :total,
        owner = NULL, updated_at = :now {HELD}"""
FAIL = f"""UPDATE documents SET state = :state, step = 'waiting', error = :error, owner = NULL,
        next_attempt_at = :next_attempt_at, updated_at = :now {HELD}"""


class Documents:
    """The documents of every tenant."""

    def __init__(self, database: Database, definitions: Definitions) -> None:
        self._database = database
        self._definitions = definitions

    async def put(self, document: NewDocument, now: int) -> str:
        row = {
            "id": document.id,
            "tenant_id": document.tenant_id,
            "agent_id": document.agent_id,
            "type": document.type,
            "title": document.title,
            "source": json.dumps(document.source, ensure_ascii=False, sort_keys=True),
            "hash": document.hash,
            "managed": document.managed,
            "now": now,
        }

        async def job(transaction: Transaction) -> str:
            if await transaction.one(AGENT, row) is None:
                raise AgentNotFound(document.agent_id)
            if document.data is not None:
                await blobs.keep(transaction, document.tenant_id, document.data, now)
            before = await transaction.one(HASH, row)
            if before is None:
                await transaction.run(NEW, row)
                return "created"
            if tuple(before) == (document.hash, document.title, row["source"]):
                return "unchanged"
            await transaction.run(CHANGE, row)
            if before[0] != document.hash:
                await blobs.sweep(transaction, document.tenant_id, str(before[0]))
            return "updated"

        return await self._database.write(job)

    async def get(self, tenant_id: str, document_id: str) -> Document | None:
        async def job(transaction: Transaction) -> Document | None:
            return await _document(transaction, tenant_id, document_id)

        return await self._database.read(job)

    async def page(self, tenant_id: str, agent_id: str, limit: int, before: Place | None) -> Sequence[Document]:
        at, last = before or NEWEST
        wanted = {"tenant_id": tenant_id, "agent_id": agent_id, "at": at, "id": last, "limit": limit}

        async def job(transaction: Transaction) -> list[Document]:
            return [Document(*row) for row in await transaction.all(PAGE, wanted)]

        return await self._database.read(job)

    async def unfinished(self, tenant_id: str, agent_id: str) -> Sequence[Document]:
        async def job(transaction: Transaction) -> list[Document]:
            rows = await transaction.all(UNFINISHED, {"tenant_id": tenant_id, "agent_id": agent_id})
            return [Document(*row) for row in rows]

        return await self._database.read(job)

    async def retry(self, tenant_id: str, document_id: str, now: int) -> Document | None:
        async def job(transaction: Transaction) -> Document | None:
            await transaction.run(RETRY, {"id": document_id, "tenant_id": tenant_id, "now": now})
            return await _document(transaction, tenant_id, document_id)

        return await self._database.write(job)

    async def delete(self, tenant_id: str, document_id: str) -> bool:
        ours = {"id": document_id, "tenant_id": tenant_id}

        async def job(transaction: Transaction) -> bool:
            row = await transaction.one(DELETE, ours)
            if row is None:
                return False
            await chunks.forget(transaction, self._database.kind, tenant_id, document_id)
            await blobs.sweep(transaction, tenant_id, str(row[0]))
            return True

        deleted = await self._database.write(job)
        self._definitions.forget()
        return deleted

    @across_tenants("whoever's document has been due for longest is next")
    async def claim(self, now: int) -> Work | None:
        async def job(transaction: Transaction) -> Work | None:
            due = await transaction.one(DUE, {"now": now})
            if due is None:
                return None
            ours = {"id": due[0], "tenant_id": due[1], "owner": self._database.owner, "now": now}
            row = await transaction.one(CLAIM, ours)
            document = await _document(transaction, due[1], due[0])
            if row is None or document is None:
                return None
            source, content_hash, revision, attempts = row
            data = await blobs.data(transaction, document.tenant_id, str(content_hash))
            return Work(document, json.loads(source), data, int(revision), int(attempts))

        return await self._database.write(job)

    @across_tenants("a dead process may have worked for any of them")
    async def release_orphans(self, now: int) -> int:
        async def owners(transaction: Transaction) -> list[int]:
            return [int(row[0]) for row in await transaction.all(OWNERS, {})]

        dead = await self._database.dead(await self._database.read(owners))

        async def job(transaction: Transaction) -> int:
            return sum([await transaction.run(RELEASE, {"owner": owner, "now": now}) for owner in dead])

        return await self._database.write(job) if dead else 0

    async def known_vectors(self, tenant_id: str, embedder: str, hashes: Sequence[str]) -> Mapping[str, bytes]:
        async def job(transaction: Transaction) -> Mapping[str, bytes]:
            return await chunks.known(transaction, tenant_id, embedder, hashes)

        return await self._database.read(job)

    async def advance(self, work: Work, step: Step, done: int, total: int, now: int) -> None:
        async def job(transaction: Transaction) -> None:
            await self._hold(transaction, ADVANCE, work, step=step, done=done, total=total, now=now)

        await self._database.write(job)

    async def add_chunks(self, work: Work, embedder: str, new: Sequence[NewChunk], total: int, now: int) -> None:
        async def job(transaction: Transaction) -> None:
            await chunks.add(transaction, work, embedder, new)
            done = len(await chunks.kept(transaction, work, embedder))
            await self._hold(transaction, ADVANCE, work, step="embedding", done=done, total=total, now=now)

        await self._database.write(job)

    async def kept_chunks(self, work: Work, embedder: str) -> Mapping[int, str]:
        async def job(transaction: Transaction) -> Mapping[int, str]:
            return await chunks.kept(transaction, work, embedder)

        return await self._database.read(job)

    async def publish(self, work: Work, embedder: str, total: int, now: int) -> None:
        async def job(transaction: Transaction) -> None:
            await self._hold(transaction, READY, work, total=total, now=now)
            await chunks.publish(transaction, self._database.kind, work, embedder, total)
            await _tell(transaction, work.document, "document.ready", now, chunks=total)

        await self._database.write(job)
        self._definitions.forget()

    async def fail(self, work: Work, error: str, now: int, retry_at: int | None = None) -> None:
        state, due = ("failed", 0) if retry_at is None else ("queued", retry_at)

        async def job(transaction: Transaction) -> None:
            await self._hold(transaction, FAIL, work, state=state, error=error, next_attempt_at=due, now=now)
            if retry_at is None:
                await _tell(transaction, work.document, "document.failed", now, error=error)

        await self._database.write(job)

    async def _hold(self, transaction: Transaction, statement: str, work: Work, **values: object) -> None:
        """Change a document that is still ours to work on."""
        ours = {
            "id": work.document.id,
            "tenant_id": work.document.tenant_id,
            "owner": self._database.owner,
            "revision": work.revision,
        }
        if not await transaction.run(statement, {**ours, **values}):
            raise Superseded(f"document {work.document.id} is another now")


async def _tell(transaction: Transaction, document: Document, event: str, now: int, **more: object) -> None:
    told = {
        "document_id": prefixed("doc", document.id),
        "agent_id": prefixed("agent", document.agent_id),
        "type": document.type,
        "title": document.title,
        **more,
        "created_at": iso(now),
    }
    await tell(transaction, document.tenant_id, event, told, now)


async def _document(transaction: Transaction, tenant_id: str, document_id: str) -> Document | None:
    row: Row | None = await transaction.one(DOCUMENT, {"id": document_id, "tenant_id": tenant_id})
    return Document(*row) if row else None
