"""The life of one turn, read top to bottom: begin, run, end; and those who watch it. Knows no wire and no SQL."""

import asyncio
import contextlib

import structlog

from dragoman.core.clock import now_us
from dragoman.core.commands import Cursor, StartTurn
from dragoman.core.conversations import Turn, TurnState, title_from
from dragoman.core.errors import Conflict, Invalid, KeyReused, TurnNotFound, Unavailable
from dragoman.core.events import (
    Group,
    TextDelta,
    TurnCompleted,
    TurnEvent,
    TurnFailed,
    TurnInterrupted,
    TurnStarted,
    TurnStopped,
)
from dragoman.core.ids import new_id
from dragoman.core.prompt import compose, estimate_tokens, history_budget
from dragoman.ports.models import ModelError
from dragoman.ports.store import Begun, Existing, Fenced, Pending, Store, TurnEnd, TurnRequest
from dragoman.services.attempts import Attempts
from dragoman.services.live import Live, TurnLog, settle_flush
from dragoman.services.order import Order
from dragoman.services.runs import Run, Watch

FINISH_PAUSES = (0.2, 0.5, 1.0, 2.0, 4.0, 8.0)
LAST_WORDS = 4.0

_log = structlog.get_logger(__name__)


class TurnRunner:
    """Starts, runs and stops turns. `turn_timeout` is in seconds and counts the wait for the conversation."""

    def __init__(self, store: Store, live: Live, attempts: Attempts, turn_timeout: float) -> None:
        self._store = store
        self._live = live
        self._attempts = attempts
        self._turn_timeout = turn_timeout
        self._order = Order()
        self._runs: dict[str, Run] = {}
        self._claims: dict[tuple[str, str], tuple[str, asyncio.Future[Run | Turn]]] = {}
        self.draining = False

    async def start(self, command: StartTurn) -> Watch:
        """Begin the turn that a client asks for, or find the one that its Idempotency-Key has begun.

        Returns when the user's message is durable.

        Raises:
            AgentNotFound, ConversationNotFound, Conflict, KeyReused, Invalid, Unavailable
        """
        if self.draining:
            raise Unavailable("The server is shutting down", retry_after=5)
        if command.idempotency is None:
            return await self._watch(await self._begin(command, None), command, joined=False)
        claim = (command.principal.tenant_id, command.idempotency.scope)
        if claim in self._claims:
            body_hash, begun = self._claims[claim]
            if body_hash != command.idempotency.body_hash:
                raise KeyReused
            return await self._watch(await asyncio.shield(begun), command, joined=True)
        begun = asyncio.get_running_loop().create_future()
        self._claims[claim] = (command.idempotency.body_hash, begun)
        try:
            earlier = await self._store.turns.claimed(command.principal.tenant_id, command.idempotency)
            again = earlier is not None and earlier.state in ("failed", "interrupted") and not command.resume_after
            found = earlier if earlier is not None and not again else await self._begin(command, earlier)
            begun.set_result(found)
        except BaseException as error:
            begun.set_exception(error if isinstance(error, Exception) else Unavailable())
            begun.exception()
            raise
        finally:
            del self._claims[claim]
        return await self._watch(found, command, joined=isinstance(found, Turn))

    async def _begin(self, command: StartTurn, earlier: Turn | None) -> "Run | Turn":
        """Wait for the conversation, then store the message and the running turn; the model is asked meanwhile."""
        deadline = asyncio.get_running_loop().time() + self._turn_timeout
        conversation_id = earlier.conversation_id if earlier else command.conversation_id
        request = TurnRequest(
            tenant_id=command.principal.tenant_id,
            key_id=command.principal.key_id,
            agent_reference=command.agent_reference,
            conversation_id=command.conversation_id,
            new_conversation_id=new_id(),
            turn_id=earlier.id if earlier else new_id(),
            message_id=new_id(),
            answer_id=new_id(),
            text=command.text,
            title=title_from(command.text),
            metadata=command.metadata,
            idempotency=command.idempotency,
            resuming=command.resume_after is not None,
            owner=self._store.owner,
            now=now_us(),
        )
        held = f"{request.tenant_id}/{conversation_id or request.new_conversation_id}"
        await self._order.enter(held, self._turn_timeout)
        if self.draining:
            self._order.leave(held)
            raise Unavailable("The server is shutting down", retry_after=5)
        # Recovery closes what runs in the store but not here: so it is here first.
        log = TurnLog(request.tenant_id, request.turn_id)
        self._live.open(log)
        run = None
        try:
            pending = self._store.turns.begin(request)
            begun = await asyncio.shield(pending.applied)
            if isinstance(begun, Existing):
                await pending.durable
                return begun.turn
            run = Run(begun, log, deadline)
            log.number_from(begun.turn.epoch, begun.next_sequence)
            self._runs[begun.turn.id] = run
            run.task = asyncio.create_task(self._live_through(run, pending, held))
            try:
                await asyncio.shield(pending.durable)
            except Exception:
                run.end("interrupted")
                raise
            return run
        finally:
            if run is None:
                self._live.close(log)
                self._order.leave(held)

    async def _live_through(self, run: Run, pending: Pending[Begun | Existing], held: str) -> None:
        """Run a turn to its end, whatever that is; nothing of it outlives this."""
        turn = run.begun.turn
        try:
            closing = await self._answer(run)
            await pending.durable
            await self._finish(run, closing)
        except Exception as error:
            # Whether its beginning was stored is not known: whoever asked has been told, and recovery looks.
            _log.warning("turn_not_begun", turn_id=turn.id, tenant_id=turn.tenant_id, error=str(error))
        finally:
            if not run.log.closed:
                run.log.append([TurnInterrupted(now_us())])
            del self._runs[turn.id]
            self._live.close(run.log)
            self._order.leave(held)

    async def _answer(self, run: Run) -> TurnEvent:
        """Ask the model and log its answer; what closes the turn."""
        turn, agent = run.begun.turn, run.begun.agent
        choice, instructions = agent.definition.model, agent.definition.instructions
        budget = history_budget(choice.context_tokens, choice.max_tokens, instructions, run.begun.text)
        prompt = compose(instructions, run.begun.history, run.begun.text, budget)
        run.log.append([TurnStarted(turn.id, turn.conversation_id, turn.answer_id, turn.answer_number, now_us())])
        failure = ""
        run.asking = True
        try:
            async with asyncio.timeout_at(run.deadline):
                await self._attempts.ask(choice, prompt, run.take)
        except TimeoutError:
            failure = "The AI service took too long"
        except ModelError as error:
            failure = "The AI service could not answer"
            _log.warning("model_failed", turn_id=turn.id, tenant_id=turn.tenant_id, error=str(error))
        except asyncio.CancelledError:
            if not run.ending:
                raise
            run.task.uncancel()
        except Exception:
            failure = "The AI service could not answer"
            _log.exception("turn_failed", turn_id=turn.id, tenant_id=turn.tenant_id)
        run.asking = False
        run.ending = run.ending or "done"
        if failure:
            return TurnFailed(failure, now_us())
        if run.ending == "interrupted":
            return TurnInterrupted(now_us())
        if not run.completion_tokens:
            text = run.text
            run.prompt_tokens = run.prompt_tokens or sum(estimate_tokens(message.content) for message in prompt)
            run.completion_tokens = estimate_tokens(text) if text else 0
        kind = TurnStopped if run.ending == "stopped" else TurnCompleted
        price = run.begun.price if run.ending == "done" or run.text else 0
        return kind(turn.model, run.prompt_tokens, run.completion_tokens, price, now_us())

    async def _finish(self, run: Run, closing: TurnEvent) -> None:
        """Store how the turn closed, then say so. A database that is away is waited for; then recovery does it."""
        turn = run.begun.turn
        await settle_flush(run.log)
        end = TurnEnd(
            tenant_id=turn.tenant_id,
            turn_id=turn.id,
            epoch=turn.epoch,
            owner=self._store.owner,
            state=_state_after(closing),
            text=run.text,
            prompt_tokens=run.prompt_tokens,
            completion_tokens=run.completion_tokens,
            credits=closing.credits if isinstance(closing, TurnCompleted | TurnStopped) else 0,
            error=closing.message if isinstance(closing, TurnFailed) else None,
            last_row=run.log.last_row(closing),
            now=now_us(),
        )
        for pause in (*FINISH_PAUSES, None):
            try:
                await self._store.turns.finish(end)
                break
            except Unavailable as error:
                if pause is None or self.draining:
                    closing = TurnInterrupted(now_us())
                    _log.error("turn_not_stored", turn_id=turn.id, tenant_id=turn.tenant_id, error=error.message)
                    break
                await asyncio.sleep(pause)
            except Fenced:
                closing = TurnInterrupted(now_us())
                _log.warning("turn_fenced", turn_id=turn.id, tenant_id=turn.tenant_id)
                break
            except Exception:
                # Recovery closes it in the store; whoever watches must not wait for that.
                closing = TurnInterrupted(now_us())
                _log.exception("turn_not_stored", turn_id=turn.id, tenant_id=turn.tenant_id)
                break
        run.log.append([closing])

    async def _watch(self, found: "Run | Turn", command: StartTurn, *, joined: bool) -> Watch:
        """What a client sees of the turn that its request led to."""
        cursor = command.resume_after
        turn = found.begun.turn if isinstance(found, Run) else found
        if cursor is not None and cursor.turn_id != turn.id:
            raise Invalid("Last-Event-ID is of another turn than this Idempotency-Key's", field="Last-Event-ID")
        if isinstance(found, Run):
            return Watch(turn, cursor, False, found)
        if run := self._runs.get(turn.id):
            return Watch(turn, cursor, False, run)
        if turn.state == "running":
            # Between our look and now it has ended, or it is another node's.
            turn = await self.get(turn.tenant_id, turn.id)
            if turn.state == "running":
                raise Unavailable("This turn is being recovered", retry_after=5)
        return Watch(turn, cursor, joined, None, await self._replay(turn, cursor))

    async def _replay(self, turn: Turn, cursor: Cursor | None) -> list[Group]:
        """A closed turn's last segment from its log, or, when that is gone, its answer in one piece."""
        logged = list(await self._store.turns.events(turn.tenant_id, turn.id))
        starts = [index for index, group in enumerate(logged) if isinstance(group.events[0], TurnStarted)]
        if starts:
            return logged[starts[-1] :]
        if cursor is not None:
            raise Conflict("The events of this turn are no longer kept; send the request without Last-Event-ID")
        text = await self._store.turns.answer(turn.tenant_id, turn)
        at = turn.finished_at or turn.created_at
        outcome = (turn.model, turn.prompt_tokens, turn.completion_tokens, turn.credits, at)
        events: list[TurnEvent] = [
            TurnStarted(turn.id, turn.conversation_id, turn.answer_id, turn.answer_number, turn.created_at),
            *([TextDelta(text)] if text else []),
            TurnStopped(*outcome) if turn.state == "cancelled" else TurnCompleted(*outcome),
        ]
        return [Group(turn.epoch, 1, events)]

    async def get(self, tenant_id: str, turn_id: str) -> Turn:
        """The tenant's turn.

        Raises:
            TurnNotFound
        """
        turn = await self._store.turns.get(tenant_id, turn_id)
        if turn is None:
            raise TurnNotFound
        return turn

    async def stop(self, tenant_id: str, turn_id: str) -> Turn:
        """Stop a turn that runs, and say what it has become; one that has closed stays as it is.

        Raises:
            TurnNotFound
        """
        run = self._runs.get(turn_id)
        if run is not None and run.begun.turn.tenant_id == tenant_id:
            run.end("stopped")
            await asyncio.wait([run.task])
        return await self.get(tenant_id, turn_id)

    async def stop_conversation(self, tenant_id: str, conversation_id: str) -> Turn | None:
        """Stop whatever runs in a conversation; None where nothing does."""
        for run in list(self._runs.values()):
            if (run.begun.turn.tenant_id, run.begun.turn.conversation_id) == (tenant_id, conversation_id):
                return await self.stop(tenant_id, run.begun.turn.id)
        return None

    async def drain(self, grace: float) -> None:
        """Begin no more turns, let those that run end within `grace` seconds, then interrupt what is left."""
        self.draining = True
        for reason, seconds in (("", grace), ("interrupted", LAST_WORDS)):
            with contextlib.suppress(TimeoutError):
                async with asyncio.timeout(seconds):
                    while self._runs:
                        if reason:
                            for run in self._runs.values():
                                run.end("interrupted")
                        await asyncio.wait([run.task for run in self._runs.values()])


def _state_after(closing: TurnEvent) -> TurnState:
    match closing:
        case TurnCompleted():
            return "completed"
        case TurnStopped():
            return "cancelled"
        case TurnFailed():
            return "failed"
    return "interrupted"
