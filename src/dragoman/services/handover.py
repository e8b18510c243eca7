"""A turn where a person is asked for, or answers: when that is so, and the wait for what they say. Knows no wire."""

import asyncio
from collections.abc import Callable
from dataclasses import dataclass

import structlog

from dragoman.core.events import TextDelta
from dragoman.core.handover import HandoverRule, asks_for_person
from dragoman.core.knowledge import words
from dragoman.core.tenants import Principal
from dragoman.ports.store import Store
from dragoman.services.runs import Run

_log = structlog.get_logger(__name__)


@dataclass(eq=False, slots=True)
class _Waiting:
    """A message that waits for what a person says, and by what name."""

    run: Run
    visitor_id: str | None
    said: asyncio.Future[tuple[str, str]]


class Desk:
    """Where users' messages wait for a person of this process's callers to answer them."""

    def __init__(self, store: Store) -> None:
        self._store = store
        self._arriving: dict[tuple[str, str], list[Principal]] = {}
        self._waiting: dict[tuple[str, str], _Waiting] = {}

    def asked(self, run: Run) -> bool:
        """Whether the user asks for a person and the agent gives way; if so, that is the answer."""
        rule = run.begun.agent.definition.handover
        question = next((each.content for each in reversed(run.begun.prompt) if each.role == "user"), "")
        if rule is None or not rule.on_request or run.begun.goes_on or not asks_for_person(question):
            return False
        run.handover, run.resolved = "requested", False
        run.log.append([TextDelta(rule.message)])
        return True

    async def judge(self, run: Run) -> None:
        """Hand over where the agent has been unsure too often, this answer among them."""
        rule = run.begun.agent.definition.handover
        if run.handover == "called":
            run.resolved = False
        if rule is None or run.handover or run.resolved or not rule.below_confidence:
            return
        turn, earlier = run.begun.turn, rule.below_confidence - 1
        if await self._store.handovers.unresolved(turn.tenant_id, turn.conversation_id, earlier) < earlier:
            return
        run.handover = "unsure"
        apart = "\n\n" if words(run.text) else ""
        run.log.append([TextDelta(f"{apart}{rule.message}")])

    async def answered(self, run: Run) -> None:
        """Wait for a person to answer the user's message; where nobody does for a while, say that somebody will."""
        turn = run.begun.turn
        key = (turn.tenant_id, turn.conversation_id)
        conversation = await self._store.conversations.get(*key)
        visitor_id = conversation.visitor_id if conversation is not None else None
        said: asyncio.Future[tuple[str, str]] = asyncio.get_running_loop().create_future()
        self._waiting[key] = waiting = _Waiting(run, visitor_id, said)
        if any(principal.may_read(visitor_id) for principal in self._arriving.get(key, ())):
            self.move_on(*key)
        run.resolved = False
        rule = run.begun.agent.definition.handover or HandoverRule()
        try:
            async with asyncio.timeout(rule.wait):
                text, run.author = await said
        except TimeoutError:
            # The words may have come in the same moment: they were given to this run, and to no other.
            text, run.author = said.result() if said.done() and not said.cancelled() else ("", "")
        finally:
            if self._waiting.get(key) is waiting:
                del self._waiting[key]
        if not text:
            _log.info("nobody_answered_yet", turn_id=turn.id, tenant_id=turn.tenant_id)
        run.log.append([TextDelta(text or rule.message)])

    def say(self, tenant_id: str, conversation_id: str, text: str, by: str) -> Run | None:
        """Give a person's words to the message that waits for them, whose turn ends with that; None where none does."""
        waiting = self._waiting.pop((tenant_id, conversation_id), None)
        if waiting is None or waiting.said.done():
            return None
        waiting.said.set_result((text, by))
        return waiting.run

    def move_on(self, tenant_id: str, conversation_id: str) -> None:
        """The message that waits does so no longer."""
        self.say(tenant_id, conversation_id, "", "")

    def arrive(self, principal: Principal, conversation_id: str) -> Callable[[], None]:
        """Another message has come: those before it wait no longer, if who writes it may read the conversation.

        What this returns is to be called when it is the message's turn, or when that will never be.
        """
        key = (principal.tenant_id, conversation_id)
        arriving = self._arriving.setdefault(key, [])
        arriving.append(principal)
        waiting = self._waiting.get(key)
        if waiting is not None and principal.may_read(waiting.visitor_id):
            self.move_on(*key)
        left = False

        def leave() -> None:
            nonlocal left
            if not left:
                left = True
                arriving.remove(principal)
                if not arriving:
                    del self._arriving[key]

        return leave
