"""The life of one turn, read top to bottom: begin, run, end; and those who watch it. Knows no wire and no SQL."""

import asyncio
import contextlib
from collections.abc import Awaitable, Callable
from dataclasses import replace

import structlog

from dragoman.core.agents import VendorChoice
from dragoman.core.clock import now_us
from dragoman.core.commands import AnswerCalls, Cursor, Recording, StartTurn
from dragoman.core.conversations import Turn, title_from
from dragoman.core.errors import AgentNotFound, Invalid, KeyReused, TurnNotFound, Unavailable
from dragoman.core.events import TextDelta, Transcribed, TurnInterrupted, TurnStarted
from dragoman.core.ids import new_id
from dragoman.ports.models import ModelError
from dragoman.ports.store import Store
from dragoman.ports.turns import Begun, Existing, Fenced, Pending, ResultsRequest, TurnRequest, Waiting
from dragoman.services.attempts import Attempts
from dragoman.services.closings import Closing, closing_of, end_of
from dragoman.services.followers import Followers
from dragoman.services.grounding import Grounding
from dragoman.services.handover import Desk
from dragoman.services.live import Live, TurnLog, settle_flush
from dragoman.services.order import Order
from dragoman.services.replays import as_answered, replay
from dragoman.services.runs import Run, Watch
from dragoman.services.toolbox import Toolbox

# What a segment that was to begin has led to.
Opened = Run | Existing | Waiting | None
# What a recording says, by the transcriber that is chosen.
Hear = Callable[[VendorChoice, Recording], Awaitable[str]]

FINISH_PAUSES = (0.2, 0.5, 1.0, 2.0, 4.0, 8.0)
LAST_WORDS = 4.0

_log = structlog.get_logger(__name__)


class TurnRunner:
    """Starts, runs and stops turns. `turn_timeout` is in seconds and counts the wait for the conversation."""

    def __init__(
        self,
        store: Store,
        live: Live,
        attempts: Attempts,
        grounding: Grounding,
        toolbox: Toolbox,
        desk: Desk,
        hear: Hear,
        turn_timeout: float,
    ) -> None:
        self._store = store
        self._live = live
        self._attempts = attempts
        self._grounding = grounding
        self._toolbox = toolbox
        self._desk = desk
        self._hear = hear
        self._turn_timeout = turn_timeout
        self._order = Order()
        self.followers = Followers()
        self._runs: dict[str, Run] = {}
        self._claims: dict[tuple[str, str], tuple[str, asyncio.Future[Run | Existing]]] = {}
        self.draining = False

    async def start(self, command: StartTurn) -> Watch:
        """Begin the turn that a client asks for, or find the one that its Idempotency-Key has begun.

        Returns when the user's message is durable.

        Raises:
            AgentNotFound, ConversationNotFound, Conflict, KeyReused, Invalid, Unavailable
        """
        self._check_draining()
        if command.idempotency is None:
            return await self._watch(await self._begin(command, None), command.resume_after, joined=False)
        claim = (command.principal.tenant_id, command.idempotency.scope)
        if claim in self._claims:
            body_hash, begun = self._claims[claim]
            if body_hash != command.idempotency.body_hash:
                raise KeyReused
            return await self._watch(await asyncio.shield(begun), command.resume_after, joined=True)
        begun = asyncio.get_running_loop().create_future()
        self._claims[claim] = (command.idempotency.body_hash, begun)
        try:
            earlier = await self._store.turns.claimed(command.principal.tenant_id, command.idempotency)
            again = earlier is not None and earlier.state in ("failed", "interrupted") and not command.resume_after
            found = Existing(earlier) if earlier and not again else await self._begin(command, earlier)
            begun.set_result(found)
        except BaseException as error:
            begun.set_exception(error if isinstance(error, Exception) else Unavailable())
            begun.exception()
            raise
        finally:
            del self._claims[claim]
        return await self._watch(found, command.resume_after, joined=isinstance(found, Existing))

    async def answer_calls(self, command: AnswerCalls) -> Watch | Waiting:
        """Store results of a paused turn's calls; when all have theirs, the turn runs on and can be watched.

        Raises:
            AgentNotFound, ConversationNotFound, Conflict, Invalid, Unavailable
        """
        self._check_draining()
        principal = command.principal
        request = ResultsRequest(
            principal=principal,
            agent_reference=command.agent_reference,
            conversation_id=command.conversation_id,
            results=command.results,
            message_ids=[new_id() for _ in command.results],
            answer_id=new_id(),
            owner=self._store.owner,
            now=now_us(),
        )
        turn_id = await self._store.turns.turn_of_call(
            principal.tenant_id, command.conversation_id, command.results[-1][0]
        )
        if command.resume_after is not None and command.resume_after.turn_id != turn_id:
            raise Invalid("Last-Event-ID is of another turn than these results", field="Last-Event-ID")
        found: Opened
        if turn_id in self._runs:
            # It goes on already: to wait for the conversation would be to wait for its end.
            told = await self._store.turns.begin_segment(replace(request, joining=True)).applied
            if isinstance(told, Begun):
                raise TypeError("a turn that runs cannot begin")
            found = told
        else:
            place = (principal.tenant_id, command.conversation_id, turn_id or new_id())
            found = await self.open(*place, lambda: self._store.turns.begin_segment(request))
        if isinstance(found, Waiting):
            return found
        return await self._watch(found, command.resume_after, joined=isinstance(found, Existing))

    async def _begin(self, command: StartTurn, earlier: Turn | None) -> "Run | Existing":
        """Store the user's message and the running turn, when the conversation is free."""
        text, heard = command.text, None
        if command.recording is not None:
            # Before anything is stored, so that what cannot be understood is refused and not kept: ADR 0008.
            heard = await self._heard(command, command.recording)
            text = f"{text}\n\n{heard}" if text else heard
        conversation_id = earlier.conversation_id if earlier else command.conversation_id
        request = TurnRequest(
            principal=command.principal,
            agent_reference=command.agent_reference,
            conversation_id=command.conversation_id,
            new_conversation_id=new_id(),
            turn_id=earlier.id if earlier else new_id(),
            message_id=new_id(),
            answer_id=new_id(),
            text=text,
            title=title_from(text),
            metadata=command.metadata,
            idempotency=command.idempotency,
            resuming=command.resume_after is not None,
            owner=self._store.owner,
            now=now_us(),
            client_id=command.client_id,
            deployment=command.deployment,
            context=command.context,
            overrides=command.overrides,
            recording=command.recording,
        )

        place = (request.tenant_id, conversation_id or request.new_conversation_id, request.turn_id)
        leave = self._desk.arrive(request.principal, place[1])

        def begin() -> Pending[Begun | Existing]:
            leave()
            return self._store.turns.begin(request)

        try:
            found = await self.open(*place, begin, heard)
        finally:
            leave()
        if not isinstance(found, Run | Existing):
            raise TypeError("a message waits for nothing")
        return found

    async def open(
        self,
        tenant_id: str,
        conversation_id: str,
        turn_id: str,
        begin: Callable[[], Pending[Begun | Existing | Waiting | None]],
        heard: str | None = None,
    ) -> Opened:
        """Wait for the conversation, then do a segment's first transaction; the model is asked meanwhile."""
        deadline = asyncio.get_running_loop().time() + self._turn_timeout
        held = f"{tenant_id}/{conversation_id}"
        await self._order.enter(held, self._turn_timeout)
        if self.draining:
            self._order.leave(held)
            self._check_draining()
        # Recovery closes what runs in the store but not here: so it is here first.
        log = TurnLog(tenant_id, turn_id)
        self._live.open(log)
        run = None
        try:
            pending = begin()
            begun = await asyncio.shield(pending.applied)
            if not isinstance(begun, Begun):
                await pending.durable
                return begun
            run = Run(begun, log, deadline, transcript=heard)
            run.durable = pending.durable
            log.number_from(begun.turn.epoch, begun.next_sequence)
            self._runs[begun.turn.id] = run
            run.task = asyncio.create_task(self._live_through(run, pending.durable, held))
            try:
                await asyncio.shield(pending.durable)
            except Exception:
                run.end("interrupted")
                raise
            self.followers.tell(run)
            return run
        finally:
            if run is None:
                self._live.close(log)
                self._order.leave(held)

    def _check_draining(self) -> None:
        if self.draining:
            raise Unavailable("The server is shutting down", retry_after=5)

    async def _live_through(self, run: Run, durable: asyncio.Future[None], held: str) -> None:
        """Run a turn to its end, whatever that is; nothing of it outlives this."""
        turn = run.begun.turn
        try:
            closing = await self._answer(run)
            await durable
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

    async def _answer(self, run: Run) -> Closing:
        """Ask the model and log its answer; what closes the turn."""
        turn = run.begun.turn
        started = (turn.id, turn.conversation_id, turn.answer_id, turn.answer_number, now_us(), run.begun.first)
        heard = [Transcribed(run.transcript)] if run.transcript is not None else []
        run.log.append([TurnStarted(*started), *heard])
        failure = ""
        run.asking = True
        try:
            async with asyncio.timeout_at(run.deadline):
                if run.begun.said:
                    run.log.append([TextDelta(run.begun.said)])
                elif run.begun.handed_over:
                    await self._desk.answered(run)
                elif not self._desk.asked(run):
                    await self._ask(run)
                    await self._desk.judge(run)
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
        return closing_of(run, failure)

    async def _ask(self, run: Run) -> None:
        """Ask the model, and again with what the calls have brought that it wanted, until it is done or has to wait."""
        choice = run.begun.agent.definition.model
        offered = await self._toolbox.offered(run.begun)
        prompt = await self._grounding.prepare(run)
        if prompt is not None and run.begun.approved:
            prompt = await self._toolbox.make_approved(run, offered, prompt)
        while prompt is not None:
            run.consulted = True
            prompt = self._toolbox.noted(prompt, offered)
            await self._attempts.ask(choice, prompt, run.take, offered.tools)
            self._toolbox.sift(run, offered)
            self._grounding.judge(run)
            prompt = await self._toolbox.step(run, offered, prompt) if run.called else None

    async def _heard(self, command: StartTurn, recording: Recording) -> str:
        """What a recording says, for the agent that it is for."""
        agent = await self._store.agents.find(command.principal.tenant_id, command.agent_reference)
        if agent is None or not command.principal.may_use(agent):
            raise AgentNotFound(command.agent_reference)
        return await self._hear(agent.definition.transcriber, recording)

    async def _finish(self, run: Run, closing: Closing) -> None:
        """Store how the segment closed, then say so. A database that is away is waited for; then recovery does it."""
        turn = run.begun.turn
        await settle_flush(run.log)
        end = end_of(run, closing, self._store.owner)
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

    async def _watch(self, found: Opened, cursor: Cursor | None, *, joined: bool) -> Watch:
        """What a client sees of the segment that its request led to."""
        if not isinstance(found, Run | Existing):
            raise TypeError("there is no segment to watch")
        turn = found.begun.turn if isinstance(found, Run) else found.turn
        if cursor is not None and cursor.turn_id != turn.id:
            raise Invalid("Last-Event-ID is of another turn than this request's", field="Last-Event-ID")
        if isinstance(found, Run):
            return Watch(turn, cursor, False, found)
        run = self._runs.get(turn.id)
        if run is not None and (
            found.answer_id == run.begun.turn.answer_id or (found.answer_id is None and not run.begun.goes_on)
        ):
            return Watch(run.begun.turn, cursor, False, run)
        if turn.state == "running" and run is None:
            # Between our look and now it has ended, or it is another node's.
            turn = await self.get(turn.tenant_id, turn.id)
            if turn.state == "running":
                raise Unavailable("This turn is being recovered", retry_after=5)
        replayed = await replay(self._store, turn, found.answer_id, whole_log=cursor is not None)
        return Watch(as_answered(turn, replayed), cursor, joined, None, replayed)

    def running_in(self, tenant_id: str, conversation_id: str) -> Run | None:
        """The segment that runs in a conversation."""
        for run in self._runs.values():
            if (run.begun.turn.tenant_id, run.begun.turn.conversation_id) == (tenant_id, conversation_id):
                return run
        return None

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
        turn = await self.get(tenant_id, turn_id)
        if turn.state == "paused":
            await self._store.turns.cancel_pauses(tenant_id, turn.conversation_id, now_us())
            turn = await self.get(tenant_id, turn_id)
        return turn

    async def stop_conversation(self, tenant_id: str, conversation_id: str) -> Turn | None:
        """Stop whatever runs in a conversation; None where nothing does."""
        run = self.running_in(tenant_id, conversation_id)
        return await self.stop(tenant_id, run.begun.turn.id) if run is not None else None

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
