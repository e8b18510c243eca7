"""S3's REST routes: chats, their messages, and tickets for sockets. The socket itself is in socket.py."""

from typing import Annotated

from fastapi import Depends
from starlette.requests import Request
from starlette.responses import Response
from starlette.routing import WebSocketRoute

from dragoman.core.clock import iso, now_us
from dragoman.core.errors import Conflict, ConversationNotFound
from dragoman.core.limits import Bucket
from dragoman.core.tenants import Principal
from dragoman.dialects.sessions import description, errors, wire
from dragoman.dialects.sessions.socket import SocketApp
from dragoman.ports.conversations import Listed, Window
from dragoman.server.access import Acting, in_header
from dragoman.server.answers import json_answer
from dragoman.server.requests import conversation_id_of, decode_json, read_body
from dragoman.server.routing import BothSpellings
from dragoman.server.services import services_of
from dragoman.services.tickets import GOOD_FOR_SECONDS, Ticket

KEY = in_header("X-API-Key")
BUCKET = Bucket("chats", 100, "tenant")

router = BothSpellings(wire.PREFIX, errors.body)

Own = Annotated[Principal, Depends(Acting(KEY, visitors=True, bucket=BUCKET))]
All = Annotated[Principal, Depends(Acting(KEY, bucket=BUCKET))]


@router.post("/", openapi_extra=description.CREATE)
async def create_chat(request: Request, principal: Own) -> Response:
    """Create a chat."""
    asked = decode_json(await read_body(request), wire.new_chat)
    made = await services_of(request).conversations.create(
        principal, asked.agent_id or None, title=asked.named(), user_id=asked.user(), metadata=asked.metadata
    )
    return json_answer(wire.chat(made), 201)


@router.get("/user/{user_id}", openapi_extra=description.LIST)
async def list_chats(user_id: str, request: Request, principal: All) -> Response:
    """List a user's chats, newest first."""
    offset, limit = _page(request)
    listed = Listed(limit=limit, offset=offset, user_id=wire.user_id(user_id))
    found, total = await services_of(request).conversations.list(principal, listed)
    return json_answer(wire.page("chats", [wire.chat(each) for each in found], total, offset, limit))


@router.get("/{chat_id}", openapi_extra=description.READ)
async def read_chat(chat_id: str, request: Request, principal: Own) -> Response:
    """Read a chat."""
    return json_answer(wire.chat(await services_of(request).conversations.get(principal, conversation_id_of(chat_id))))


@router.get("/{chat_id}/messages", openapi_extra=description.MESSAGES)
async def list_messages(chat_id: str, request: Request, principal: Own) -> Response:
    """List a chat's messages."""
    offset, limit = _page(request)
    window = Window(limit=limit, offset=offset, order=wire.order(request.query_params.get("order")))
    _, said, total = await services_of(request).conversations.read(principal, conversation_id_of(chat_id), window)
    return json_answer(wire.page("messages", [wire.message(each) for each in said], total, offset, limit))


@router.delete("/{chat_id}", openapi_extra=description.DELETE)
async def delete_chat(chat_id: str, request: Request, principal: All) -> Response:
    """Delete a chat with its messages, for good."""
    services = services_of(request)
    chat = await services.conversations.get(principal, conversation_id_of(chat_id))
    if services.turns.followers.of(chat.tenant_id, chat.id):
        raise Conflict("Sockets are open on this chat")
    await services.conversations.delete(principal, chat.id)
    return json_answer({"success": True, "message": "Chat deleted", "deleted_at": iso(now_us())})


@router.post("/{chat_id}/tickets", openapi_extra=description.TICKET)
async def issue_ticket(chat_id: str, request: Request, principal: Own) -> Response:
    """Ask for a ticket, which opens one socket in place of a key."""
    asked = decode_json(await read_body(request) or b"{}", wire.new_ticket)
    services = services_of(request)
    chat = await services.conversations.get(principal, conversation_id_of(chat_id))
    user_id = wire.user_id(asked.user_id or chat.user_id)
    if chat.user_id not in (None, user_id):
        raise ConversationNotFound
    issued = services.tickets.issue(Ticket(principal, user_id, chat.id))
    return json_answer({"ticket": issued, "expires_in": GOOD_FOR_SECONDS}, 201)


for path in (wire.SOCKET_PATH, f"{wire.SOCKET_PATH}/"):
    router.routes.append(WebSocketRoute(path, SocketApp()))


def _page(request: Request) -> tuple[int, int]:
    asked = request.query_params
    return (
        wire.number("offset", asked.get("offset"), 0, 0, wire.FARTHEST),
        wire.number("limit", asked.get("limit"), wire.LIMIT, 1, wire.MOST_LISTED),
    )
