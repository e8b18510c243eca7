"""Conversations as a principal may see and change them. Knows no rendering of an id or a time, and no turn."""

import asyncio
from collections.abc import Awaitable, Callable, Mapping, Sequence
from dataclasses import replace
from typing import Any

from dragoman.core.agents import Agent
from dragoman.core.clock import now_us
from dragoman.core.conversations import Conversation, Message
from dragoman.core.errors import AgentNotFound, Conflict, ConversationNotFound, Forbidden, Invalid, NotFound
from dragoman.core.ids import new_id
from dragoman.core.tenants import Principal
from dragoman.ports.conversations import ALL, Changes, Cleared, Listed, Window
from dragoman.ports.store import Store

STOPS = 5
PAUSE = 0.05

Stop = Callable[[str, str], Awaitable[object]]


class Conversations:
    """The conversations of every tenant. `stop` ends a turn of a tenant and returns when it has ended.

    A secret key sees its whole tenant's; a visitor sees its own ones with agents that it may use, and no lists. What a
    principal may not see is told like what does not exist.
    """

    def __init__(self, store: Store, stop: Stop) -> None:
        self._store = store
        self._stop = stop

    async def get(self, principal: Principal, conversation_id: str) -> Conversation:
        """A conversation.

        Raises:
            ConversationNotFound
        """
        found = await self._store.conversations.get(principal.tenant_id, conversation_id)
        if found is None or not principal.may_read(found.visitor_id):
            raise ConversationNotFound
        if principal.type != "secret":
            agent = await self._store.agents.find(principal.tenant_id, found.agent_id)
            if agent is None or not principal.may_use(agent):
                raise ConversationNotFound
        return found

    async def read(
        self, principal: Principal, conversation_id: str, window: Window = ALL, *, before: str | None = None
    ) -> tuple[Conversation, Sequence[Message], int]:
        """A conversation, messages of it, and how many it has in all; `before` bounds the window by a message's id.

        Raises:
            ConversationNotFound
            Invalid: `before` is no message of it.
        """
        conversation = await self.get(principal, conversation_id)
        if before is not None:
            number = await self._store.conversations.number_of(principal.tenant_id, conversation_id, before)
            if number is None:
                raise Invalid("before is no message of this conversation", field="before")
            window = replace(window, before=number)
        messages, total = await self._store.conversations.messages(principal.tenant_id, conversation_id, window)
        return conversation, messages, total

    async def history(
        self, principal: Principal, agent_reference: str, conversation_id: str | None, window: Window
    ) -> tuple[Sequence[Message], int, Mapping[str, str]]:
        """Messages of an agent's conversation, or of all of them, how many there are, and clients' names for theirs.

        A conversation that is not there has none.

        Raises:
            AgentNotFound
            Forbidden: a visitor asks for all of them.
        """
        agent = await self._agent(principal, agent_reference)
        if conversation_id is None:
            _check_secret(principal)
            return await self._store.conversations.messages_of_agent(principal.tenant_id, agent.id, window)
        try:
            conversation = await self.get(principal, conversation_id)
        except ConversationNotFound:
            return (), 0, {}
        if conversation.agent_id != agent.id:
            return (), 0, {}
        window = replace(window, inside=principal.type == "secret")
        messages, total = await self._store.conversations.messages(principal.tenant_id, conversation_id, window)
        return messages, total, {conversation_id: conversation.client_id} if conversation.client_id else {}

    async def list(self, principal: Principal, listed: Listed) -> tuple[Sequence[Conversation], int]:
        """Conversations, newest first, and how many there are on all pages.

        Raises:
            Forbidden: a visitor asks.
        """
        _check_secret(principal)
        return await self._store.conversations.list(principal.tenant_id, listed)

    async def create(
        self,
        principal: Principal,
        agent_reference: str | None,
        *,
        title: str | None = None,
        user_id: str | None = None,
        metadata: dict[str, Any] | None = None,
        deployment_id: str | None = None,
    ) -> Conversation:
        """Begin a conversation without a message; with the tenant's default agent where none is named.

        It is the visitor's who begins it. Without a title it gets one from its first message.

        Raises:
            AgentNotFound
            NotFound: the agent has no such deployment.
        """
        if agent_reference is None:
            tenant = await self._store.tenants.get(principal.tenant_id)
            agent_reference = (tenant.default_agent_id if tenant else None) or ""
        agent = await self._agent(principal, agent_reference)
        if deployment_id is not None:
            deployments = await self._store.agents.deployments(principal.tenant_id, agent.id)
            if deployment_id not in [known for known, _, _ in deployments]:
                raise NotFound("Deployment not found")
        now = now_us()
        conversation = Conversation(
            id=new_id(),
            tenant_id=principal.tenant_id,
            agent_id=agent.id,
            title=_title(title),
            created_at=now,
            updated_at=now,
            user_id=user_id,
            visitor_id=principal.visitor_id,
            deployment_id=deployment_id,
            metadata=metadata,
        )
        await self._store.conversations.create(conversation)
        return conversation

    async def change(self, principal: Principal, conversation_id: str, changes: Changes) -> Conversation:
        """Change a conversation; what it is then.

        Raises:
            ConversationNotFound
            Forbidden: a visitor asks.
        """
        _check_secret(principal)
        changes = changes.copy()
        if "title" in changes:
            changes["title"] = _title(changes["title"])
        changed = await self._store.conversations.change(principal.tenant_id, conversation_id, changes, now_us())
        if changed is None:
            raise ConversationNotFound
        return changed

    async def delete(self, principal: Principal, conversation_id: str) -> None:
        """Forget a conversation for good; what runs there is stopped first.

        Raises:
            ConversationNotFound
            Conflict: turns begin there faster than they can be stopped.
            Forbidden: a visitor asks.
        """
        _check_secret(principal)
        tenant_id, conversations = principal.tenant_id, self._store.conversations
        agent_id = (await self.get(principal, conversation_id)).agent_id
        await self._until_quiet(tenant_id, lambda: conversations.clear(tenant_id, agent_id, conversation_id))
        await self._until_quiet(tenant_id, lambda: conversations.delete(tenant_id, conversation_id))

    async def clear(self, principal: Principal, agent_reference: str, conversation_id: str | None) -> int:
        """Forget the messages of an agent's conversation, or of all; how many there were. What runs is stopped first.

        Raises:
            AgentNotFound
            Conflict: turns begin there faster than they can be stopped.
            Forbidden: a visitor asks.
        """
        _check_secret(principal)
        tenant_id, conversations = principal.tenant_id, self._store.conversations
        agent = await self._agent(principal, agent_reference)
        return await self._until_quiet(tenant_id, lambda: conversations.clear(tenant_id, agent.id, conversation_id))

    async def _until_quiet(self, tenant_id: str, forget: Callable[[], Awaitable[Cleared]]) -> int:
        """Forget all there is, and stop turns that are in the way; how many messages there were."""
        messages, stops = 0, 0
        while True:
            cleared = await forget()
            messages += cleared.messages
            if cleared.busy:
                if stops == STOPS:
                    raise Conflict("Messages are being answered here; ask again when that has ended")
                await asyncio.sleep(PAUSE * stops)
                stops += 1
                await asyncio.gather(*(self._stop(tenant_id, turn_id) for turn_id in cleared.busy))
            elif not cleared.more:
                return messages

    async def _agent(self, principal: Principal, reference: str) -> Agent:
        agent = await self._store.agents.find(principal.tenant_id, reference)
        if agent is None or not principal.may_use(agent):
            raise AgentNotFound(reference)
        return agent


def _check_secret(principal: Principal) -> None:
    if principal.type != "secret":
        raise Forbidden


def _title(given: str | None) -> str:
    """A title that is none where nothing can be read of it."""
    return given if given and given.strip() else ""
