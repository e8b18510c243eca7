"""Documents into knowledge: fetched, parsed, embedded and published, each step kept, so that a restart goes on.

Knows no format, no vendor and no SQL.
"""

import asyncio
import contextlib
import hashlib
import itertools
from collections.abc import Sequence

import structlog

from dragoman.core.agents import VendorChoice
from dragoman.core.clock import now_us
from dragoman.core.errors import DragomanError, Unavailable
from dragoman.core.knowledge import SourceType, Step, windows
from dragoman.ports.egress import Unfetchable
from dragoman.ports.embedders import EmbedderError, Embedders
from dragoman.ports.knowledge import NewChunk, Superseded, Work
from dragoman.ports.pages import Page, Pages
from dragoman.ports.parsers import Kind, Parsers, Piece, Unreadable, kind_of
from dragoman.ports.store import Store

WORKERS = 2
LOOK_INTERVAL = 2.0
ORPHANS_INTERVAL = 15.0
TRIES = 5
FIRST_PAUSE_US = 5 * 1_000_000
# What is no longer than this is one piece as it stands.
SHORT = 900

_log = structlog.get_logger(__name__)


class _Later(Exception):
    """It did not work now and may later; the text is for the document's owner."""


class Ingestion:
    """Works on queued documents."""

    def __init__(self, store: Store, parsers: Parsers, pages: Pages, embedders: Embedders) -> None:
        self._store = store
        self._parsers = parsers
        self._pages = pages
        self._embedders = embedders
        self._news = asyncio.Event()

    def wake(self) -> None:
        """Something has been queued."""
        self._news.set()

    async def run_for_ever(self) -> None:
        """Work on what is due until cancelled, several documents side by side."""
        await asyncio.gather(self._release_for_ever(), *(self._work_for_ever() for _ in range(WORKERS)))

    async def work_off(self) -> None:
        """Work on everything that is due now."""
        await self._store.documents.release_orphans(now_us())
        while await self.work_once():
            pass

    async def work_once(self) -> bool:
        """Work on the document that is due, if one is; whether one was."""
        work = await self._store.documents.claim(now_us())
        if work is None:
            return False
        # Superseded is what was changed or deleted meanwhile: it is queued again where there is something to do.
        with contextlib.suppress(Superseded):
            await self._ingest(work)
        return True

    async def _work_for_ever(self) -> None:
        while True:
            try:
                self._news.clear()
                if await self.work_once():
                    continue
            except Unavailable as error:
                _log.warning("ingestion_waits", error=error.message)
            except Exception:
                _log.exception("ingestion_failed")
            with contextlib.suppress(TimeoutError):
                await asyncio.wait_for(self._news.wait(), LOOK_INTERVAL)

    async def _release_for_ever(self) -> None:
        while True:
            try:
                if released := await self._store.documents.release_orphans(now_us()):
                    _log.info("documents_released", documents=released)
                    self.wake()
            except Unavailable as error:
                _log.warning("ingestion_waits", error=error.message)
            await asyncio.sleep(ORPHANS_INTERVAL)

    async def _ingest(self, work: Work) -> None:
        document = work.document
        told = {"document_id": document.id, "tenant_id": document.tenant_id}
        try:
            agent = await self._store.agents.find(document.tenant_id, document.agent_id)
            if agent is None:
                raise Unreadable("Its agent is gone")
            choice = agent.definition.embedder
            pieces = await self._pieces(work)
            await self._embed(work, choice, pieces)
            await self._store.documents.publish(work, self._embedders.name(choice), len(pieces), now_us())
            _log.info("document_ready", chunks=len(pieces), **told)
        except (Unreadable, Unfetchable, DragomanError) as error:
            if isinstance(error, Unavailable):
                raise
            await self._fail(work, str(error), again=_may_pass(error))
        except (_Later, EmbedderError) as error:
            retriable = not isinstance(error, EmbedderError) or error.retriable
            said = str(error) if isinstance(error, _Later) else "The embedder could not be used"
            _log.warning("document_not_embedded", error=str(error), **told)
            await self._fail(work, said, again=retriable)

    async def _fail(self, work: Work, said: str, *, again: bool) -> None:
        """Note why it did not work, and when it is tried again, if it is."""
        now = now_us()
        retry_at = now + FIRST_PAUSE_US * 4 ** (work.attempts - 1) if again and work.attempts < TRIES else None
        await self._store.documents.fail(work, said, now, retry_at)
        _log.info(
            "document_failed", document_id=work.document.id, tenant_id=work.document.tenant_id, again=bool(retry_at)
        )

    async def _pieces(self, work: Work) -> Sequence[Piece]:
        """What a document says, in pieces.

        Raises:
            Unreadable, Unfetchable, _Later
        """
        document, source = work.document, work.source
        match document.type:
            case "qa":
                return await self._answered(work, str(source["question"]), str(source["answer"]))
            case "text":
                return await self._parse(work, "md", str(source["text"]).encode())
            case "website":
                return await self._website(work, str(source["url"]))
        data = work.data or b""
        return await self._parse(work, kind_of(str(source.get("name", "")), data), data)

    async def _answered(self, work: Work, question: str, answer: str) -> Sequence[Piece]:
        if len(question) + len(answer) <= SHORT:
            return [Piece("", f"{question}\n{answer}")]
        pieces = await self._parse(work, "md", answer.encode())
        return [Piece(piece.title, f"{question}\n{piece.text}") for piece in pieces]

    async def _website(self, work: Work, url: str) -> Sequence[Piece]:
        tenant = await self._store.tenants.get(work.document.tenant_id)
        private = tenant is not None and tenant.allow_private
        await self._note(work, "fetching")
        addresses = await self._pages.pages_of(url, allow_private=private)
        pieces: list[Piece] = []
        problem: Exception = Unreadable("None of its pages holds text")
        for done, address in enumerate(addresses):
            await self._note(work, "fetching", done, len(addresses))
            try:
                page = await self._pages.fetch(address, allow_private=private)
                pieces += await self._parse(work, _kind_of(page), page.body, noted=False)
            except (Unfetchable, Unreadable) as error:
                # Of several, one that may pass is told: with it another try may find something.
                if not _may_pass(problem):
                    problem = error
                _log.warning("page_left_out", document_id=work.document.id, url=address, error=str(error))
        if not pieces:
            raise problem
        return pieces

    async def _parse(self, work: Work, kind: Kind, data: bytes, *, noted: bool = True) -> Sequence[Piece]:
        if noted:
            await self._note(work, "parsing")
        try:
            return await self._parsers.parse(kind, data)
        except OSError as error:
            raise _Later("The parser could not be started") from error

    async def _note(self, work: Work, step: Step, done: int = 0, total: int = 0) -> None:
        await self._store.documents.advance(work, step, done, total, now_us())

    async def _embed(self, work: Work, choice: VendorChoice, pieces: Sequence[Piece]) -> None:
        """Keep every piece with its vector: what is kept already, or known to the tenant, is not embedded again."""
        name, title = self._embedders.name(choice), work.document.title
        texts = [f"{title}\n{piece.text}" for piece in pieces]
        hashes = [hashlib.sha256(text.encode()).hexdigest() for text in texts]
        kept = await self._store.documents.kept_chunks(work, name)
        missing = [at for at, digest in enumerate(hashes) if kept.get(at) != digest]
        size = self._embedders.batch(choice)
        for together in (missing[start : start + size] for start in range(0, len(missing), size)):
            known = dict(
                await self._store.documents.known_vectors(
                    work.document.tenant_id, name, [hashes[at] for at in together]
                )
            )
            told = {
                hashes[at]: [texts[at], *_windows(work.document.type, pieces[at].text)]
                for at in together
                if hashes[at] not in known
            }
            if told:
                vectors = iter(await self._embedders.embed(choice, [text for each in told.values() for text in each]))
                known |= {digest: b"".join(itertools.islice(vectors, len(each))) for digest, each in told.items()}
            chunks = [NewChunk(at, pieces[at].title, pieces[at].text, hashes[at], known[hashes[at]]) for at in together]
            await self._store.documents.add_chunks(work, name, chunks, len(pieces), now_us())


def _may_pass(error: Exception) -> bool:
    """Whether fetching once more may go better."""
    return isinstance(error, Unfetchable) and error.retriable


def _windows(kind: SourceType, text: str) -> list[str]:
    """The parts of a piece that are embedded beside the whole, if there are several; a question is one by itself."""
    question, _, answer = text.partition("\n") if kind == "qa" else ("", "", text)
    found = [*([question] if question else []), *windows(answer)]
    return found if len(found) > 1 else []


def _kind_of(page: Page) -> Kind:
    """How a page is to be read."""
    by_type: dict[str, Kind] = {
        "text/html": "html",
        "application/xhtml+xml": "html",
        "text/plain": "txt",
        "text/markdown": "md",
        "text/csv": "csv",
        "application/pdf": "pdf",
    }
    return by_type.get(page.media_type) or kind_of(
        page.url.partition("?")[0].rpartition("/")[2] or "page.html", page.body
    )
