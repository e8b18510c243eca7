"""The port to what agents know: documents on their way in, and passages found. Knows no SQL and no embedder.

Each method is one transaction. Vectors are packed as 32-bit floats, little-endian, of length 1.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Literal, Protocol

from dragoman.core.knowledge import Document, Passage, SourceType, Step
from dragoman.ports.audit import Place


@dataclass(frozen=True, slots=True)
class NewDocument:
    """Something that an agent is to know: `source` is JSON, `data` what a file says, `hash` tells versions apart."""

    id: str
    tenant_id: str
    agent_id: str
    type: SourceType
    title: str
    source: Mapping[str, Any]
    hash: str
    managed: Literal["manifest", "api"]
    data: bytes | None = None


@dataclass(frozen=True, slots=True)
class Work:
    """A document that this owner works on; what is written for it is refused once its revision is another."""

    document: Document
    source: Mapping[str, Any]
    data: bytes | None
    revision: int
    attempts: int


@dataclass(frozen=True, slots=True)
class NewChunk:
    """A piece of a document; `hash` is of what was embedded.

    `vectors` are one behind another: first that of the whole, then those of its windows, if it has any.
    """

    position: int
    title: str
    content: str
    hash: str
    vectors: bytes


class Superseded(Exception):
    """The document was changed or deleted while it was being worked on: what was to be written is refused."""


class DocumentStore(Protocol):
    """Documents on their way in, and their chunks."""

    async def put(self, document: NewDocument, now: int) -> str:
        """Keep a document and queue it, unless it is there with the same hash; `created`, `updated`, `unchanged`.

        Raises:
            AgentNotFound: the tenant has no such agent.
        """
        ...

    async def get(self, tenant_id: str, document_id: str) -> Document | None:
        """The tenant's document of this id."""
        ...

    async def page(self, tenant_id: str, agent_id: str, limit: int, before: Place | None) -> Sequence[Document]:
        """Documents of an agent before a place, newest first."""
        ...

    async def unfinished(self, tenant_id: str, agent_id: str) -> Sequence[Document]:
        """Documents of an agent that are queued or worked on, oldest first."""
        ...

    async def retry(self, tenant_id: str, document_id: str, now: int) -> Document | None:
        """Queue a document anew, whatever became of it."""
        ...

    async def delete(self, tenant_id: str, document_id: str) -> bool:
        """Delete a document with its chunks, vectors and words; whether it was there."""
        ...

    async def claim(self, now: int) -> Work | None:
        """Take the document that has been due for longest; its state is working then."""
        ...

    async def release_orphans(self, now: int) -> int:
        """Queue documents anew whose owner is dead; how many there were."""
        ...

    async def known_vectors(self, tenant_id: str, embedder: str, hashes: Sequence[str]) -> Mapping[str, bytes]:
        """The vectors that the tenant has already for chunks with these hashes."""
        ...

    async def advance(self, work: Work, step: Step, done: int, total: int, now: int) -> None:
        """Note how far a document is.

        Raises:
            Superseded
        """
        ...

    async def add_chunks(self, work: Work, embedder: str, chunks: Sequence[NewChunk], total: int, now: int) -> None:
        """Keep chunks, which nothing finds yet, and note the progress.

        Raises:
            Superseded
        """
        ...

    async def kept_chunks(self, work: Work, embedder: str) -> Mapping[int, str]:
        """The positions of this revision's chunks that are kept already, with their hashes."""
        ...

    async def publish(self, work: Work, embedder: str, total: int, now: int) -> None:
        """Have this revision's chunks found in place of those before: the document is ready.

        Raises:
            Superseded
        """
        ...

    async def fail(self, work: Work, error: str, now: int, retry_at: int | None = None) -> None:
        """Say why a document is not known; it is tried again at `retry_at`, where that is given.

        Raises:
            Superseded
        """
        ...


@dataclass(frozen=True, slots=True)
class Found:
    """Passages, best first by fused ranks, and how rare each word that they were looked for by is in what the agent
    knows: from 0, in every chunk, to 1, in none."""

    passages: Sequence[Passage]
    rarity: Mapping[str, float]


class PassageStore(Protocol):
    """What questions find in documents that are ready."""

    async def search(
        self, tenant_id: str, agent_id: str, words: Sequence[str], vectors: Sequence[bytes], embedder: str, count: int
    ) -> Found:
        """The passages of an agent that these words and any of these vectors find.

        A passage's similarities are to the vector that is nearest to it.
        """
        ...


@dataclass(frozen=True, slots=True)
class Attachment:
    """A file that stands with a message."""

    id: str
    tenant_id: str
    conversation_id: str
    message_id: str | None
    name: str
    media_type: str
    size: int
    sha256: str
    created_at: int


class AttachmentStore(Protocol):
    """Files that stand with messages."""

    async def of_conversation(self, tenant_id: str, conversation_id: str) -> Sequence[Attachment]:
        """A conversation's files, oldest first."""
        ...

    async def get(self, tenant_id: str, attachment_id: str) -> tuple[Attachment, bytes] | None:
        """A file with what it says."""
        ...
