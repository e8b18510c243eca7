"""Conversations of the tenant: found, read, exported, deleted; and stopping what runs in one."""

import re
from collections.abc import AsyncIterator, Mapping, Sequence
from typing import Annotated, Any

import msgspec
from msgspec import Meta
from starlette.requests import Request
from starlette.responses import Response, StreamingResponse

from dragoman.core.clock import iso
from dragoman.core.conversations import Conversation, Role
from dragoman.core.errors import AgentNotFound, ConversationNotFound, Invalid
from dragoman.core.ids import parse_id, prefixed
from dragoman.management.router import Acting, router
from dragoman.management.turns import TurnShown, shown
from dragoman.management.wire import CURSOR, PAGING, Page, Query, Time, cursor, when
from dragoman.ports.search import Recorded, Wanted
from dragoman.server.answers import json_answer
from dragoman.server.describe import operation, path, query
from dragoman.server.requests import conversation_id_of
from dragoman.server.services import Services, services_of
from dragoman.services.audit import actor_of
from dragoman.services.usage import moment_us

MOST_MESSAGES = 1_000
SHOWN_MESSAGES = 100
LONGEST_TEXT = 200
MOST_METADATA = 8

CONVERSATION = path("conversation_id", "The conversation: `conv_...` or its UUID.", example="conv_" + "5f0c1d2e" * 4)
MISSING = ConversationNotFound()
FILTERS = (
    query("agent", "Of this agent: `agent_...`, its UUID or its slug."),
    query("user", "Of this user, as the client names him."),
    query("from", "Begun on this UTC day or later; or at this time.", example="2026-01-01"),
    query("to", "Begun on this UTC day or earlier; or before this time.", example="2026-01-31"),
    query("metadata[plan]", "Whose metadata has this value under this key; as many keys as 8.", example="pro"),
    query("q", "With this text in the title or in a message, whatever its case.", example="refund"),
)
_NAMES = ("agent", "user", "from", "to", "q")
# What else stands in a key is read as a path by one database and not by the other.
_KEY = re.compile(r'[^\0.$"\\\[\]]{1,64}')


class ConversationShown(msgspec.Struct, kw_only=True):
    """A conversation; `client_id` is the client's own name for it."""

    id: str
    agent_id: str
    title: str
    user_id: str | None
    visitor_id: str | None
    client_id: str | None
    deployment_id: str | None
    metadata: Mapping[str, Any] | None
    context: Mapping[str, Any] | None
    created_at: Time
    updated_at: Time
    last_message_at: Time | None
    archived_at: Time | None


class Call(msgspec.Struct):
    """A call that the model wanted made; `arguments` is a JSON text."""

    id: str
    name: str
    arguments: str


class MessageShown(msgspec.Struct, kw_only=True):
    """A message of any role, and which version of the agent said it or was told it."""

    id: str
    number: Annotated[int, Meta(description="Its id where S4 shows it.")]
    role: Role
    content: str | None
    tool_calls: Sequence[Call]
    tool_call_id: str | None
    metadata: Mapping[str, Any] | None
    agent_version: int | None
    turn_id: str | None
    created_at: Time


class ConversationDetail(ConversationShown, kw_only=True):
    """A conversation with a page of its messages, oldest first."""

    messages: Sequence[MessageShown]
    next_cursor: str | None


class Stopped(msgspec.Struct):
    """What was stopped, if anything ran."""

    stopped: TurnShown | None


@router.get(
    "/conversations",
    openapi_extra=operation(
        parameters=[*FILTERS, *PAGING],
        answers={200: Page[ConversationShown]},
        errors=[AgentNotFound("support-agent")],
        about="Newest first. With `q` a page can be short and yet not the last: go on as long as there is a cursor.",
    ),
)
async def list_conversations(request: Request, principal: Acting) -> Response:
    """List the tenant's conversations, or search them."""
    asked = Query(request, "limit", "cursor", *_NAMES, family="metadata")
    limit, before = asked.limit(), asked.place()
    services = services_of(request)
    wanted = await _wanted(asked, services, principal.tenant_id)
    found = await services.search.conversations(principal.tenant_id, wanted, limit, before)
    data = [_conversation(each) for each in found.conversations]
    return json_answer(Page(data, cursor(found.next) if found.next else None))


@router.get(
    "/conversations/export",
    openapi_extra=operation(
        parameters=FILTERS,
        answers={200: None},
        errors=[AgentNotFound("support-agent")],
        about="JSON Lines, streamed: each line is a conversation with all of its messages under `messages`.",
    ),
)
async def export_conversations(request: Request, principal: Acting) -> Response:
    """Export the conversations that a list with these filters would show."""
    asked = Query(request, *_NAMES, family="metadata")
    services = services_of(request)
    wanted = await _wanted(asked, services, principal.tenant_id)
    headers = {"Content-Disposition": 'attachment; filename="conversations.jsonl"', "X-Accel-Buffering": "no"}
    lines = _lines(services, principal.tenant_id, wanted)
    return StreamingResponse(lines, headers=headers, media_type="application/jsonl")


@router.get(
    "/conversations/{conversation_id}",
    openapi_extra=operation(
        parameters=[
            CONVERSATION,
            query("limit", "So many messages at the most.", Annotated[int, Meta(ge=1, le=MOST_MESSAGES)], example=100),
            CURSOR,
        ],
        answers={200: ConversationDetail},
        errors=[MISSING],
    ),
)
async def show_conversation(conversation_id: str, request: Request, principal: Acting) -> Response:
    """Show a conversation and its messages, oldest first."""
    asked = Query(request, "limit", "cursor")
    limit, after = asked.limit(MOST_MESSAGES, SHOWN_MESSAGES), asked.place()
    found, messages = await services_of(request).search.read(
        principal.tenant_id, conversation_id_of(conversation_id), limit + 1, after[0] if after else 0
    )
    more = cursor((messages[limit - 1].message.number, "")) if len(messages) > limit else None
    told = msgspec.structs.asdict(_conversation(found))
    return json_answer(
        ConversationDetail(**told, messages=[_message(each) for each in messages[:limit]], next_cursor=more)
    )


@router.delete(
    "/conversations/{conversation_id}",
    openapi_extra=operation(
        parameters=[CONVERSATION],
        answers={204: None},
        errors=[MISSING],
        about="For good, with its messages. What its turns have used stays counted. A turn that runs is stopped first.",
    ),
)
async def delete_conversation(conversation_id: str, request: Request, principal: Acting) -> Response:
    """Delete a conversation."""
    Query(request)
    services, known = services_of(request), conversation_id_of(conversation_id)
    await services.conversations.delete(principal, known)
    subject = prefixed("conv", known)
    await services.audit.record(principal.tenant_id, actor_of(principal), "conversation.deleted", subject)
    return Response(status_code=204)


@router.post(
    "/conversations/{conversation_id}/stop",
    openapi_extra=operation(parameters=[CONVERSATION], answers={200: Stopped}, errors=[MISSING]),
)
async def stop_conversation(conversation_id: str, request: Request, principal: Acting) -> Response:
    """Stop whatever runs in a conversation."""
    services, known = services_of(request), conversation_id_of(conversation_id)
    if await services.store.conversations.get(principal.tenant_id, known) is None:
        raise ConversationNotFound
    stopped = await services.turns.stop_conversation(principal.tenant_id, known)
    if stopped is not None:
        subject = prefixed("turn", stopped.id)
        await services.audit.record(principal.tenant_id, actor_of(principal), "turn.stopped", subject)
    return json_answer(Stopped(shown(stopped) if stopped else None))


async def _wanted(asked: Query, services: Services, tenant_id: str) -> Wanted:
    """What is looked for.

    Raises:
        Invalid, AgentNotFound
    """
    agent, since, until, text = asked.text("agent"), asked.text("from"), asked.text("to"), asked.text("q")
    if text is not None and len(text) > LONGEST_TEXT:
        raise Invalid(f"q takes up to {LONGEST_TEXT} characters", field="q")
    if len(asked.family) > MOST_METADATA or not all(_KEY.fullmatch(key) for key, _ in asked.family):
        raise Invalid(
            f"metadata[key] takes up to {MOST_METADATA} keys, of 64 characters and none of . $ [ ] \\ and quotes",
            field="metadata",
        )
    # An id need not be of an agent that is still there: its conversations are.
    agent_id = parse_id("agent", agent) if agent is not None else None
    if agent is not None and agent_id is None:
        agent_id = (await services.agents.get(tenant_id, agent)).id
    return Wanted(
        agent_id=agent_id,
        user_id=asked.text("user"),
        since=moment_us(since) if since is not None else None,
        until=moment_us(until, last=True) if until is not None else None,
        metadata=asked.family,
        text=text,
    )


async def _lines(services: Services, tenant_id: str, wanted: Wanted) -> AsyncIterator[bytes]:
    """Each conversation as a line; of the longest, no more than a page is in memory."""
    async for conversation in services.search.every(tenant_id, wanted):
        yield msgspec.json.encode(_conversation(conversation))[:-1] + b',"messages":['
        between = b""
        async for message in services.search.said(tenant_id, conversation.id):
            yield between + msgspec.json.encode(_message(message))
            between = b","
        yield b"]}\n"


def _conversation(conversation: Conversation) -> ConversationShown:
    return ConversationShown(
        id=prefixed("conv", conversation.id),
        agent_id=prefixed("agent", conversation.agent_id),
        title=conversation.title,
        user_id=conversation.user_id,
        visitor_id=conversation.visitor_id,
        client_id=conversation.client_id,
        deployment_id=conversation.deployment_id,
        metadata=conversation.metadata,
        context=conversation.context,
        created_at=iso(conversation.created_at),
        updated_at=iso(conversation.updated_at),
        last_message_at=when(conversation.last_message_at),
        archived_at=when(conversation.archived_at),
    )


def _message(recorded: Recorded) -> MessageShown:
    message = recorded.message
    return MessageShown(
        id=prefixed("msg", message.id),
        number=message.number,
        role=message.role,
        content=message.content,
        tool_calls=[Call(call.id, call.name, call.arguments) for call in message.tool_calls],
        tool_call_id=message.tool_call_id,
        metadata=message.metadata,
        agent_version=recorded.agent_version,
        turn_id=prefixed("turn", recorded.turn_id) if recorded.turn_id else None,
        created_at=iso(message.created_at),
    )
