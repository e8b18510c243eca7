"""What agents know: documents that are given, watched on their way in, tried again and taken back."""

import asyncio
from collections.abc import AsyncIterator
from typing import Annotated, Literal

import msgspec
from msgspec import Meta
from starlette.requests import Request
from starlette.responses import Response, StreamingResponse

from dragoman.core.clock import iso
from dragoman.core.errors import Conflict, Invalid, NotFound, Unavailable, UnsupportedMedia
from dragoman.core.ids import parse_id, prefixed
from dragoman.core.knowledge import Document, DocumentState, SourceType, Step
from dragoman.management.agents import AGENT, MISSING, agent_of
from dragoman.management.parts import parts_of
from dragoman.management.router import Acting, router
from dragoman.management.wire import PAGING, Page, Query, Time, body_of, cut
from dragoman.server.answers import json_answer
from dragoman.server.describe import MULTIPART, Body, Stream, operation, path
from dragoman.server.forms import media_type
from dragoman.server.services import Services, services_of
from dragoman.server.streaming import COMMENT, KEEP_ALIVE_SECONDS
from dragoman.services.audit import actor_of
from dragoman.services.knowledge import TEXT_CAP, Given

LOOK_SECONDS = 0.25
LONGEST_SECONDS = 3600.0

DOCUMENT = path("document_id", "The document: `doc_...` or its UUID.", example="doc_" + "1b2c3d4e" * 4)
NO_DOCUMENT = "Document not found"
MANAGED = "A manifest gave this document"

Title = Annotated[str, Meta(min_length=1, max_length=200)]
Text = Annotated[str, Meta(max_length=TEXT_CAP)]

_TAKES = {"qa": {"question", "answer", "verbatim"}, "text": {"text"}, "website": {"url"}}


class NewDocument(msgspec.Struct, kw_only=True, forbid_unknown_fields=True, omit_defaults=True):
    """A document that is told: `qa` with question and answer, `text` with text, `website` with url."""

    type: Literal["qa", "text", "website"]
    title: Title
    question: Text | None = None
    answer: Text | None = None
    verbatim: Annotated[bool, Meta(description="Whether the answer may be given as it stands.")] = False
    text: Annotated[Text, Meta(description="Plain or Markdown.")] | None = None
    url: Annotated[str, Meta(max_length=2048, description="A page, or a sitemap.")] | None = None


class NewFile(msgspec.Struct, kw_only=True):
    """A document that stands in a file."""

    type: Literal["file", "table"]
    title: Title


class DocumentShown(msgspec.Struct, kw_only=True):
    """Something that an agent was given to know, and how far it is."""

    id: str
    agent_id: str
    type: SourceType
    title: str
    state: DocumentState
    step: Step
    error: Annotated[str | None, Meta(description="Why it failed; of one that is queued, why it is tried again.")]
    done: Annotated[int, Meta(description="Pages while it is fetched, chunks from then on.")]
    total: int
    managed: Literal["manifest", "api"]
    created_at: Time
    updated_at: Time


_new_document = msgspec.json.Decoder(NewDocument)
_new_file = msgspec.json.Decoder(NewFile)
_QA = {
    "type": "qa",
    "title": "Business hours",
    "question": "What are your business hours?",
    "answer": "Monday to Saturday, 9 AM to 6 PM.",
    "verbatim": True,
}


@router.get(
    "/agents/{agent_id}/documents",
    openapi_extra=operation(parameters=[AGENT, *PAGING], answers={200: Page[DocumentShown]}, errors=[MISSING]),
)
async def list_documents(agent_id: str, request: Request, principal: Acting) -> Response:
    """List what an agent was given to know."""
    asked = Query(request, "limit", "cursor")
    limit, before = asked.limit(), asked.place()
    agent = await agent_of(agent_id, request, principal)
    found = await services_of(request).knowledge.page(agent.tenant_id, agent.id, limit + 1, before)
    return json_answer(cut([_shown(each) for each in found], limit, [(each.created_at, each.id) for each in found]))


@router.post(
    "/agents/{agent_id}/documents",
    openapi_extra=operation(
        parameters=[AGENT],
        bodies=[
            Body(NewDocument, _QA),
            Body(
                NewFile,
                {"type": "file", "title": "Returns policy"},
                media=[MULTIPART],
                files={"file": "PDF, Word (.docx), Markdown, HTML, text or CSV; a table is CSV or TSV."},
            ),
        ],
        answers={202: DocumentShown},
        errors=[MISSING, UnsupportedMedia()],
        about="It is known when its state is `ready`. Agents of a manifest take documents too.",
    ),
)
async def create_document(agent_id: str, request: Request, principal: Acting) -> Response:
    """Give an agent something to know."""
    Query(request)
    agent, services = await agent_of(agent_id, request, principal), services_of(request)
    given = await _given(request)
    made, _ = await services.knowledge.add(agent.tenant_id, agent.id, given)
    found = await services.knowledge.get(agent.tenant_id, made)
    await _note(request, principal, "document.created", found)
    return json_answer(_shown(found), 202)


@router.get(
    "/documents/{document_id}",
    openapi_extra=operation(parameters=[DOCUMENT], answers={200: DocumentShown}, errors=[NotFound(NO_DOCUMENT)]),
)
async def show_document(document_id: str, request: Request, principal: Acting) -> Response:
    """Show a document and how far it is."""
    Query(request)
    return json_answer(_shown(await _document(document_id, request, principal)))


@router.post(
    "/documents/{document_id}/retry",
    openapi_extra=operation(
        parameters=[DOCUMENT],
        answers={202: DocumentShown},
        errors=[NotFound(NO_DOCUMENT)],
        about="It is read anew, whatever became of it. What it was before is found until it is ready again.",
    ),
)
async def retry_document(document_id: str, request: Request, principal: Acting) -> Response:
    """Work on a document once more."""
    Query(request)
    services, found = services_of(request), await _document(document_id, request, principal)
    again = await services.knowledge.retry(found.tenant_id, found.id)
    await _note(request, principal, "document.retried", found)
    return json_answer(_shown(again), 202)


@router.delete(
    "/documents/{document_id}",
    openapi_extra=operation(
        parameters=[DOCUMENT],
        answers={204: None},
        errors=[NotFound(NO_DOCUMENT), Conflict(MANAGED)],
        about="With all that was made of it: nothing of it is found any more.",
    ),
)
async def delete_document(document_id: str, request: Request, principal: Acting) -> Response:
    """Take a document back."""
    Query(request)
    services, found = services_of(request), await _document(document_id, request, principal)
    if found.managed == "manifest":
        raise Conflict(MANAGED)
    await services.knowledge.delete(found.tenant_id, found.id)
    await _note(request, principal, "document.deleted", found)
    return Response(status_code=204)


@router.get(
    "/documents/{document_id}/events",
    openapi_extra=operation(
        parameters=[DOCUMENT],
        stream=Stream(
            [DocumentShown],
            "`progress` whenever its state, its step or what is done of it has changed, then `ready` or `failed`. "
            "The stream ends without one of these when the document is deleted, and after an hour. "
            "Lines that begin with `:` are comments.",
            'event: progress\ndata: {"id":"doc_...","state":"working","step":"embedding","done":32,"total":80,...}\n\n'
            'event: ready\ndata: {"id":"doc_...","state":"ready","step":"done","done":80,"total":80,...}\n\n',
        ),
        errors=[NotFound(NO_DOCUMENT)],
    ),
)
async def follow_document(document_id: str, request: Request, principal: Acting) -> Response:
    """Follow a document until it is ready or has failed."""
    Query(request)
    found = await _document(document_id, request, principal)
    headers = {"Cache-Control": "no-cache, no-transform", "X-Accel-Buffering": "no"}
    events = _progress(services_of(request), found)
    return StreamingResponse(events, headers=headers, media_type="text/event-stream")


async def _progress(services: Services, document: Document) -> AsyncIterator[bytes]:
    """The events of a document; it is looked at again and again, for another node may work on it."""
    now = asyncio.get_running_loop().time
    ends, written_at, seen = now() + LONGEST_SECONDS, 0.0, None
    while now() < ends and not services.turns.draining:
        stands = (document.state, document.step, document.done, document.total, document.error)
        if stands != seen or now() - written_at >= KEEP_ALIVE_SECONDS:
            yield _event(document) if stands != seen else COMMENT
            written_at, seen = now(), stands
        if document.state in ("ready", "failed"):
            return
        await asyncio.sleep(LOOK_SECONDS)
        try:
            document = await services.knowledge.get(document.tenant_id, document.id)
        except NotFound:
            return
        except Unavailable:
            continue


def _event(document: Document) -> bytes:
    name = document.state if document.state in ("ready", "failed") else "progress"
    return b"event: %b\ndata: %b\n\n" % (name.encode(), msgspec.json.encode(_shown(document)))


async def _given(request: Request) -> Given:
    """What a request gives to know.

    Raises:
        Invalid, TooLarge, UnsupportedMedia
    """
    # Whatever else the request says that its body is, as everywhere under this prefix it is read as JSON.
    if media_type(request) != MULTIPART:
        told = await body_of(request, _new_document)
        said = msgspec.to_builtins(told)
        for stray in said.keys() - _TAKES[told.type] - {"type", "title"}:
            raise Invalid(f"A document of type {told.type} takes no {stray}", field=stray)
        return Given(**said)
    wanted, file, _ = await parts_of(request, _new_file, "file")
    return Given(type=wanted.type, title=wanted.title, name=file.filename, data=file.data)


async def _document(document_id: str, request: Request, principal: Acting) -> Document:
    known = parse_id("doc", document_id)
    if known is None:
        raise NotFound(NO_DOCUMENT)
    return await services_of(request).knowledge.get(principal.tenant_id, known)


async def _note(request: Request, principal: Acting, action: str, document: Document) -> None:
    """Write into the audit log what was done to a document."""
    detail = {"agent": prefixed("agent", document.agent_id), "type": document.type, "title": document.title}
    subject = prefixed("doc", document.id)
    await services_of(request).audit.record(document.tenant_id, actor_of(principal), action, subject, **detail)


def _shown(document: Document) -> DocumentShown:
    return DocumentShown(
        id=prefixed("doc", document.id),
        agent_id=prefixed("agent", document.agent_id),
        type=document.type,
        title=document.title,
        state=document.state,
        step=document.step,
        error=document.error,
        done=document.done,
        total=document.total,
        managed=document.managed,
        created_at=iso(document.created_at),
        updated_at=iso(document.updated_at),
    )
