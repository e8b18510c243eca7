"""What persons do in conversations: say yes or no to calls, take a conversation over, answer in it, give it back.

Knows no wire and no SQL.
"""

from collections.abc import Sequence

from dragoman.core.clock import now_us
from dragoman.core.conversations import Conversation
from dragoman.core.errors import ApprovalNotFound, Conflict, ConversationNotFound, Unavailable
from dragoman.core.handover import Handover, HandoverRule
from dragoman.core.ids import new_id, prefixed
from dragoman.core.tenants import Principal
from dragoman.ports.audit import Place
from dragoman.ports.handovers import Said
from dragoman.ports.store import Store
from dragoman.ports.turns import Approval, Decision
from dragoman.services.audit import Audit, actor_of
from dragoman.services.handover import Desk
from dragoman.services.runs import Run
from dragoman.services.turn import TurnRunner

_SECOND = 1_000_000


GONE = "The agent has been deleted"


class People:
    """Persons at work for a tenant."""

    def __init__(self, store: Store, turns: TurnRunner, desk: Desk, audit: Audit) -> None:
        self._store = store
        self._turns = turns
        self._desk = desk
        self._audit = audit

    async def approvals(
        self, tenant_id: str, state: str | None, limit: int, before: Place | None
    ) -> Sequence[Approval]:
        """Approvals before a place, newest first."""
        return await self._store.turns.approvals(tenant_id, state, limit, before)

    async def approval(self, tenant_id: str, approval_id: str) -> Approval:
        """The approval of this id.

        Raises:
            ApprovalNotFound
        """
        found = await self._store.turns.approval(tenant_id, approval_id)
        if found is None:
            raise ApprovalNotFound
        return found

    async def decide(self, principal: Principal, approval_id: str, approved: bool, by: str) -> Approval:
        """Say yes or no to a call; what has become of the approval.

        Raises:
            ApprovalNotFound, Unavailable
            Conflict: it has been decided, or its turn has ended.
        """
        found = await self.approval(principal.tenant_id, approval_id)
        if approved and await self._store.agents.find(principal.tenant_id, found.agent_id) is None:
            raise Conflict(GONE)
        decision = Decision(principal, approval_id, approved, by, new_id(), self._store.owner, now_us())
        place = (principal.tenant_id, found.conversation_id, found.turn_id)
        await self._turns.open(*place, lambda: self._store.turns.decide(decision))
        action = "approval.approved" if approved else "approval.denied"
        subject = prefixed("appr", approval_id)
        told = (principal.tenant_id, actor_of(principal), action, subject)
        await self._audit.record(*told, by=by, tool=found.call.name)
        return await self.approval(principal.tenant_id, approval_id)

    async def inbox(self, tenant_id: str, limit: int, before: Place | None) -> Sequence[Handover]:
        """Conversations that persons are to answer in, newest first."""
        return await self._store.handovers.page(tenant_id, limit, before)

    async def take(self, principal: Principal, conversation_id: str, by: str) -> Handover:
        """Take a conversation over; what runs in it is stopped.

        Raises:
            ConversationNotFound
        """
        tenant_id = principal.tenant_id
        rule = await self._rule(tenant_id, conversation_id)
        timeout = int(rule.timeout * _SECOND)
        taken = await self._store.handovers.begin(tenant_id, conversation_id, "taken", timeout, now_us())
        run = self._turns.running_in(tenant_id, conversation_id)
        if run is not None and not run.begun.handed_over and not run.begun.said:
            await self._turns.stop(tenant_id, run.begun.turn.id)
            await self._store.turns.cancel_pauses(tenant_id, conversation_id, now_us())
        await self._record(principal, "handover.taken", conversation_id, by=by)
        return taken

    async def say(self, principal: Principal, conversation_id: str, text: str, by: str) -> None:
        """Answer in a conversation that is with a person: the user's message that waits, or in a turn of its own.

        Raises:
            ConversationNotFound, Unavailable
            Conflict: no person has it.
        """
        tenant_id = principal.tenant_id
        rule = await self._rule(tenant_id, conversation_id)
        if not await self._store.handovers.touch(tenant_id, conversation_id, now_us() + int(rule.timeout * _SECOND)):
            raise Conflict("The agent answers in this conversation; take it over first")
        await self._record(principal, "handover.answered", conversation_id, by=by)
        run = self._desk.say(tenant_id, conversation_id, text, by)
        if run is not None and await run.stored():
            return
        said = Said(principal, conversation_id, text, by, new_id(), new_id(), self._store.owner, now_us())
        begun = await self._turns.open(
            tenant_id, conversation_id, said.turn_id, lambda: self._store.handovers.say(said)
        )
        if not (isinstance(begun, Run) and await begun.stored()):
            raise Unavailable("This could not be stored now; send it again", retry_after=5)

    async def give_back(self, principal: Principal, conversation_id: str, by: str) -> Handover:
        """Let the agent answer again.

        Raises:
            ConversationNotFound
            Conflict: no person has it.
        """
        await self._conversation(principal.tenant_id, conversation_id)
        ended = await self._store.handovers.end(principal.tenant_id, conversation_id, by, now_us())
        if ended is None:
            raise Conflict("The agent answers in this conversation already")
        self._desk.move_on(principal.tenant_id, conversation_id)
        await self._record(principal, "handover.given_back", conversation_id, by=by)
        return ended

    async def _rule(self, tenant_id: str, conversation_id: str) -> HandoverRule:
        """How the agent of a conversation hands over.

        Raises:
            ConversationNotFound
            Conflict: its agent has been deleted.
        """
        conversation = await self._conversation(tenant_id, conversation_id)
        agent = await self._store.agents.find(tenant_id, conversation.agent_id)
        if agent is None:
            raise Conflict(GONE)
        return agent.definition.handover or HandoverRule()

    async def _conversation(self, tenant_id: str, conversation_id: str) -> Conversation:
        conversation = await self._store.conversations.get(tenant_id, conversation_id)
        if conversation is None:
            raise ConversationNotFound
        return conversation

    async def _record(self, principal: Principal, action: str, conversation_id: str, **detail: str) -> None:
        subject = prefixed("conv", conversation_id)
        await self._audit.record(principal.tenant_id, actor_of(principal), action, subject, **detail)
