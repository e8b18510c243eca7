"""What agents are given to know: documents checked, kept and queued. Knows no parser and no HTTP."""

import hashlib
from collections.abc import Callable, Sequence
from typing import Literal

import msgspec

from dragoman.core.clock import now_us
from dragoman.core.errors import Invalid, NotFound, TooLarge, UnsupportedMedia
from dragoman.core.ids import new_id
from dragoman.core.knowledge import Document, SourceType
from dragoman.ports.audit import Place
from dragoman.ports.knowledge import NewDocument
from dragoman.ports.parsers import Unreadable, kind_of
from dragoman.ports.store import Store

FILE_CAP = 25 * 1024 * 1024
TEXT_CAP = 1_000_000


class Given(msgspec.Struct, frozen=True, kw_only=True):
    """Something to know, as its owner gives it: what its type needs is there, `data` is what a file says."""

    type: SourceType
    title: str
    question: str | None = None
    answer: str | None = None
    verbatim: bool = False
    text: str | None = None
    url: str | None = None
    name: str | None = None
    data: bytes | None = None

    def check(self) -> None:
        """Whether it can be known.

        Raises:
            Invalid: something is missing, empty or too long.
            UnsupportedMedia, TooLarge: the file is none that is read, or too large.
        """
        wanted = {
            "qa": (("question", self.question), ("answer", self.answer)),
            "text": (("text", self.text),),
            "website": (("url", self.url),),
            "file": (("file", self.name),),
            "table": (("file", self.name),),
        }[self.type]
        for field, value in (("title", self.title), *wanted):
            if value is None or not value.strip():
                raise Invalid(f"A document of type {self.type} needs {field}", field=field)
            if len(value) > (200 if field == "title" else TEXT_CAP):
                raise TooLarge(f"{field} is too long")
        if self.url is not None and not self.url.startswith(("http://", "https://")):
            raise Invalid("url begins with http:// or https://", field="url")
        if self.type in ("file", "table"):
            self._check_file()

    def _check_file(self) -> None:
        if self.data is None or len(self.data) > FILE_CAP:
            raise TooLarge(f"A file has at most {FILE_CAP} bytes")
        try:
            kind = kind_of(self.name or "", self.data)
        except Unreadable as error:
            raise UnsupportedMedia(str(error)) from error
        if self.type == "table" and kind != "csv":
            raise UnsupportedMedia("A table is a CSV or TSV file")

    @property
    def source(self) -> dict[str, object]:
        """What is kept of it beside its title and its bytes."""
        kept = {name: getattr(self, name) for name in ("question", "answer", "text", "url", "name")}
        found: dict[str, object] = {name: value for name, value in kept.items() if value is not None}
        return {**found, "verbatim": True} if self.verbatim else found


class Knowledge:
    """The documents of every agent. `wake` is called when there is something to work on."""

    def __init__(self, store: Store, wake: Callable[[], None]) -> None:
        self._store = store
        self._wake = wake

    async def add(
        self,
        tenant_id: str,
        agent_id: str,
        given: Given,
        *,
        document_id: str | None = None,
        managed: Literal["manifest", "api"] = "api",
    ) -> tuple[str, str]:
        """Keep something to know and queue it; its id, and `created`, `updated` or `unchanged`.

        Raises:
            AgentNotFound, and what `Given.check` raises.
        """
        given.check()
        told = given.data if given.data is not None else msgspec.json.encode(given.source)
        document = NewDocument(
            id=document_id or new_id(),
            tenant_id=tenant_id,
            agent_id=agent_id,
            type=given.type,
            title=given.title,
            source=given.source,
            hash=hashlib.sha256(told).hexdigest(),
            managed=managed,
            data=given.data,
        )
        outcome = await self._store.documents.put(document, now_us())
        self._wake()
        return document.id, outcome

    async def get(self, tenant_id: str, document_id: str) -> Document:
        """A document.

        Raises:
            NotFound
        """
        found = await self._store.documents.get(tenant_id, document_id)
        if found is None:
            raise NotFound("Document not found")
        return found

    async def page(self, tenant_id: str, agent_id: str, limit: int, before: Place | None) -> Sequence[Document]:
        """Documents of an agent before a place, newest first."""
        return await self._store.documents.page(tenant_id, agent_id, limit, before)

    async def unfinished(self, tenant_id: str, agent_id: str) -> Sequence[Document]:
        """Documents of an agent that are queued or worked on."""
        return await self._store.documents.unfinished(tenant_id, agent_id)

    async def retry(self, tenant_id: str, document_id: str) -> Document:
        """Work on a document anew, whatever became of it.

        Raises:
            NotFound
        """
        found = await self._store.documents.retry(tenant_id, document_id, now_us())
        if found is None:
            raise NotFound("Document not found")
        self._wake()
        return found

    async def delete(self, tenant_id: str, document_id: str) -> None:
        """Forget a document and all that was made of it.

        Raises:
            NotFound
        """
        if not await self._store.documents.delete(tenant_id, document_id):
            raise NotFound("Document not found")
