"""Something spoken as the next message of a conversation, and the answer."""

from collections.abc import Sequence
from typing import Annotated

import msgspec
from fastapi import Depends
from msgspec import Meta
from starlette.requests import Request
from starlette.responses import Response

from dragoman.core.answers import Answer
from dragoman.core.commands import Recording, StartTurn
from dragoman.core.errors import AgentNotFound, ConversationNotFound, UnsupportedMedia
from dragoman.core.ids import prefixed
from dragoman.core.knowledge import SourceType
from dragoman.core.tenants import Principal
from dragoman.management.conversations import CONVERSATION
from dragoman.management.parts import parts_of
from dragoman.management.router import router
from dragoman.management.wire import Query
from dragoman.server import access
from dragoman.server.describe import MULTIPART, Body, operation
from dragoman.server.requests import conversation_id_of, cursor_of, idempotency_of
from dragoman.server.services import services_of
from dragoman.server.streaming import whole_reply

NAMES = ("audio", "audio_file", "file")

Sending = Annotated[Principal, Depends(access.Acting(sends=True))]


class NewRecording(msgspec.Struct):
    """What stands beside a recording."""

    text: str = ""


class SourceShown(msgspec.Struct):
    """Something that the answer rests on."""

    type: SourceType
    title: str
    relevance: Annotated[float, Meta(ge=0, le=1)]


class Heard(msgspec.Struct, kw_only=True):
    """What was heard and what the agent says to it; `message_id` is the answer's."""

    message_id: str
    transcript: str
    response: str
    confidence: Annotated[
        float | None,
        Meta(description="How likely the answer is right, from 0 to 1; null for an agent that knows nothing."),
    ]
    sources: Sequence[SourceShown]
    was_resolved: Annotated[bool, Meta(description="False where the agent's fallback stands in place of an answer.")]


_new_recording = msgspec.json.Decoder(NewRecording)


@router.post(
    "/conversations/{conversation_id}/recordings",
    openapi_extra=operation(
        parameters=[CONVERSATION],
        bodies=[
            Body(
                NewRecording,
                {"text": "About my last order:"},
                media=[MULTIPART],
                fields={"text": {"description": "What the message begins with, before what the recording says."}},
                files={"audio": "WAV, MP3, M4A, WebM, Ogg or FLAC, up to 25 MiB and 10 minutes."},
            )
        ],
        answers={200: Heard},
        errors=[ConversationNotFound(), AgentNotFound("support-agent"), UnsupportedMedia()],
        about="The recording is kept as an attachment of the user's message. The file may be called `audio_file` or "
        "`file` too.",
        turn=True,
    ),
)
async def create_recording(conversation_id: str, request: Request, principal: Sending) -> Response:
    """Send a message that is spoken."""
    Query(request)
    services, known = services_of(request), conversation_id_of(conversation_id)
    conversation = await services.store.conversations.get(principal.tenant_id, known)
    if conversation is None:
        raise ConversationNotFound
    said, file, whole = await parts_of(request, _new_recording, *NAMES)
    command = StartTurn(
        principal=principal,
        agent_reference=conversation.agent_id,
        text=said.text.strip(),
        conversation_id=known,
        recording=Recording(file.filename, file.media_type, file.data),
        idempotency=idempotency_of(request, principal, whole),
        resume_after=cursor_of(request),
    )
    return await whole_reply(request, await services.turns.start(command), _heard)


def _heard(answer: Answer) -> Heard:
    return Heard(
        message_id=prefixed("msg", answer.message_id),
        transcript=answer.transcript,
        response=answer.text,
        confidence=answer.confidence,
        sources=[SourceShown(*each) for each in answer.sources],
        was_resolved=answer.resolved,
    )
