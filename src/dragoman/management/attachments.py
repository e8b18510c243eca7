"""Files that stand with messages: those of a conversation, and what one says."""

import msgspec
from starlette.requests import Request
from starlette.responses import Response

from dragoman.core.clock import iso
from dragoman.core.errors import ConversationNotFound, NotFound
from dragoman.core.ids import parse_id, prefixed
from dragoman.management.conversations import CONVERSATION
from dragoman.management.router import Acting, router
from dragoman.management.wire import PAGING, Page, Query, Time, listed
from dragoman.ports.knowledge import Attachment
from dragoman.server.answers import json_answer
from dragoman.server.describe import header, operation, path
from dragoman.server.requests import conversation_id_of
from dragoman.server.services import services_of

ATTACHMENT = path("attachment_id", "The file: `att_...` or its UUID.", example="att_" + "2c3d4e5f" * 4)
NO_ATTACHMENT = "Attachment not found"
# A browser plays these and runs none of them; all else that a client said of its file is not repeated.
SAFE_TYPES = frozenset(
    f"audio/{name}" for name in ("aac", "flac", "m4a", "mp3", "mp4", "mpeg", "ogg", "wav", "webm", "x-m4a", "x-wav")
)


class AttachmentShown(msgspec.Struct, kw_only=True):
    """A file that stands with a message; `size` is in bytes."""

    id: str
    conversation_id: str
    message_id: str | None
    name: str
    media_type: str
    size: int
    sha256: str
    created_at: Time


@router.get(
    "/conversations/{conversation_id}/attachments",
    openapi_extra=operation(
        parameters=[CONVERSATION, *PAGING], answers={200: Page[AttachmentShown]}, errors=[ConversationNotFound()]
    ),
)
async def list_attachments(conversation_id: str, request: Request, principal: Acting) -> Response:
    """List the files of a conversation."""
    asked = Query(request, "limit", "cursor")
    store, known = services_of(request).store, conversation_id_of(conversation_id)
    if await store.conversations.get(principal.tenant_id, known) is None:
        raise ConversationNotFound
    found = sorted(
        await store.attachments.of_conversation(principal.tenant_id, known),
        key=lambda each: (each.created_at, each.id),
        reverse=True,
    )
    places = [(each.created_at, each.id) for each in found]
    return json_answer(listed(asked, [_shown(each) for each in found], places))


@router.get(
    "/attachments/{attachment_id}",
    openapi_extra=operation(
        parameters=[ATTACHMENT],
        answers={200: None},
        headers=[header("Content-Disposition", "To be kept as a file, never shown.", example="attachment")],
        errors=[NotFound(NO_ATTACHMENT)],
        about="Its bytes, as they came. Where it is not known to be audio, the type is application/octet-stream.",
    ),
)
async def read_attachment(attachment_id: str, request: Request, principal: Acting) -> Response:
    """Fetch a file."""
    Query(request)
    known = parse_id("att", attachment_id)
    found = await services_of(request).store.attachments.get(principal.tenant_id, known) if known else None
    if found is None:
        raise NotFound(NO_ATTACHMENT)
    attachment, data = found
    headers = {"Content-Disposition": "attachment", "X-Content-Type-Options": "nosniff", "Cache-Control": "private"}
    said = attachment.media_type.partition(";")[0].strip().lower()
    return Response(data, headers=headers, media_type=said if said in SAFE_TYPES else "application/octet-stream")


def _shown(attachment: Attachment) -> AttachmentShown:
    return AttachmentShown(
        id=prefixed("att", attachment.id),
        conversation_id=prefixed("conv", attachment.conversation_id),
        message_id=prefixed("msg", attachment.message_id) if attachment.message_id else None,
        name=attachment.name,
        media_type=attachment.media_type,
        size=attachment.size,
        sha256=attachment.sha256,
        created_at=iso(attachment.created_at),
    )
