"""Tickets: what opens one socket, once, within a minute, in place of a key. Knows no socket and no header."""

import base64
import hashlib
import hmac
import json
import re
from typing import NamedTuple

from dragoman.core.clock import now_us
from dragoman.core.errors import Forbidden, Unauthenticated
from dragoman.core.ids import new_id
from dragoman.core.tenants import Principal
from dragoman.core.visitors import admits
from dragoman.ports.store import Store

GOOD_FOR_SECONDS = 60
PREFIX = "tk_"

_TOKEN = re.compile(PREFIX + r"([A-Za-z0-9_-]{1,4000})\.([A-Za-z0-9_-]{43})")


class Ticket(NamedTuple):
    """Who may open which conversation, and as which user."""

    principal: Principal
    user_id: str
    conversation_id: str


class Tickets:
    """Issues tickets, signed with a key, and takes them back."""

    def __init__(self, store: Store, key: bytes) -> None:
        self._store = store
        self._key = key

    def issue(self, ticket: Ticket) -> str:
        """A ticket as its holder shows it. It says nothing that its holder does not know."""
        principal = ticket.principal
        until = now_us() + GOOD_FOR_SECONDS * 1_000_000
        named = (principal.tenant_id, principal.key_id, principal.visitor_id, ticket.user_id, ticket.conversation_id)
        said = _encoded(json.dumps([new_id(), until, *named], ensure_ascii=False).encode())
        return f"{PREFIX}{said}.{self._signature(said)}"

    async def redeem(self, token: str, origin: str | None) -> Ticket:
        """Use a ticket up. The key that asked for it must still be good.

        Raises:
            Unauthenticated: it was not issued here, is over or was used before, or its key is closed.
            Forbidden: it is of a publishable key that is not for this origin.
        """
        match = _TOKEN.fullmatch(token)
        if match is None or not hmac.compare_digest(match[2], self._signature(match[1])):
            raise Unauthenticated("Invalid ticket")
        ticket_id, until, tenant_id, key_id, visitor_id, user_id, conversation_id = json.loads(_decoded(match[1]))
        now = now_us()
        key = next((each for each in await self._store.keys.all(tenant_id) if each.id == key_id), None)
        if now >= until or key is None or not key.is_good(now):
            raise Unauthenticated("This ticket is no longer good")
        if key.type == "publishable" and not admits(key.origins, origin):
            raise Forbidden("This ticket does not permit requests from this origin")
        if not await self._store.conversations.spend_ticket(tenant_id, ticket_id, now):
            raise Unauthenticated("This ticket has been used")
        agents = key.agents if key.type == "publishable" else ()
        principal = Principal(tenant_id, key.id, key.type, visitor_id, agents, key.limits, relayed=True)
        return Ticket(principal, user_id, conversation_id)

    def _signature(self, said: str) -> str:
        return _encoded(hmac.digest(self._key, said.encode(), hashlib.sha256))


def _encoded(raw: bytes) -> str:
    return base64.urlsafe_b64encode(raw).decode().rstrip("=")


def _decoded(text: str) -> bytes:
    return base64.urlsafe_b64decode(text + "==")
