"""Turns: the two transactions of each, their logs, and what becomes of those whose owner died. Knows no wire."""

import functools
import json
import time
from collections.abc import Callable, Sequence
from dataclasses import replace

from dragoman.adapters.store import history, log
from dragoman.adapters.store.agents import Definitions
from dragoman.adapters.store.driver import Database, Row, Transaction, across_tenants
from dragoman.core.agents import Agent
from dragoman.core.commands import Idempotency
from dragoman.core.conversations import Turn
from dragoman.core.errors import AgentNotFound, Conflict, ConversationNotFound, KeyReused
from dragoman.core.events import Group, TurnInterrupted
from dragoman.core.prompt import history_budget
from dragoman.ports.store import Begun, Existing, Fenced, LogRow, Pending, TurnEnd, TurnRequest

_TURN = """id, tenant_id, conversation_id, agent_id, state, epoch, message_id, answer_id, answer_number, model,
    created_at, prompt_tokens, completion_tokens, credits, error, finished_at"""

CLAIM = """INSERT INTO idempotency (tenant_id, scope, body_hash, turn_id, created_at)
    VALUES (:tenant_id, :scope, :body_hash, :turn_id, :now) ON CONFLICT DO NOTHING"""
CLAIMED = "SELECT body_hash, turn_id FROM idempotency WHERE tenant_id = :tenant_id AND scope = :scope"
TURN = f"SELECT {_TURN} FROM turns WHERE id = :turn_id AND tenant_id = :tenant_id"
CONVERSATION = "SELECT 1 FROM conversations WHERE id = :id AND tenant_id = :tenant_id AND agent_id = :agent_id"
NEW_CONVERSATION = """INSERT INTO conversations
    (id, tenant_id, agent_id, title, status, created_at, updated_at, last_message_at)
    VALUES (:id, :tenant_id, :agent_id, :title, 'open', :now, :now, :now)"""
NEW_TURN = """INSERT INTO turns (id, tenant_id, conversation_id, agent_id, agent_version, key_id, state, epoch, owner,
        message_id, answer_id, answer_number, model, prompt_tokens, completion_tokens, credits, created_at)
    VALUES (:id, :tenant_id, :conversation_id, :agent_id, :agent_version, :key_id, 'running', 1, :owner,
        :message_id, :answer_id, :answer_number, :model, 0, 0, 0, :now) ON CONFLICT DO NOTHING"""
NEW_MESSAGE = """INSERT INTO messages
    (id, tenant_id, conversation_id, agent_id, turn_id, number, role, content, metadata, agent_version, in_prompt,
        created_at)
    VALUES (:id, :tenant_id, :conversation_id, :agent_id, :turn_id, :number, :role, :content, :metadata,
        :agent_version, :in_prompt, :now)"""
NEXT_NUMBERS = """UPDATE agent_counters SET last_number = last_number + :count
    WHERE agent_id = :agent_id AND tenant_id = :tenant_id RETURNING last_number"""
RUN_AGAIN = """UPDATE turns SET state = 'running', epoch = epoch + 1, owner = :owner, answer_id = :answer_id,
        answer_number = :answer_number, agent_version = :agent_version, model = :model, error = NULL, finished_at = NULL
    WHERE id = :turn_id AND tenant_id = :tenant_id AND epoch = :epoch AND NOT EXISTS (
        SELECT 1 FROM turns beside WHERE beside.conversation_id = turns.conversation_id
            AND beside.tenant_id = :tenant_id AND beside.state = 'running')"""
PUT_ASIDE = """UPDATE messages SET in_prompt = CASE role WHEN 'user' THEN 1 ELSE 0 END
    WHERE id IN (:message_id, :answer_id) AND tenant_id = :tenant_id"""
QUESTION = "SELECT number, content FROM messages WHERE id = :message_id AND tenant_id = :tenant_id"
FINISH = """UPDATE turns SET state = :state, prompt_tokens = :prompt_tokens, completion_tokens = :completion_tokens,
        credits = :credits, error = :error, finished_at = :now
    WHERE id = :turn_id AND tenant_id = :tenant_id AND state = 'running' AND epoch = :epoch AND owner = :owner
    RETURNING conversation_id, agent_id, agent_version, message_id, answer_id, answer_number"""
FINISHED = """SELECT 1 FROM turns
    WHERE id = :turn_id AND tenant_id = :tenant_id AND state = :state AND epoch = :epoch AND owner = :owner"""
LEAVE_OUT = "UPDATE messages SET in_prompt = 0 WHERE id = :message_id AND tenant_id = :tenant_id"
MESSAGE_AT = """UPDATE conversations SET last_message_at = :now, updated_at = :now
    WHERE id = :conversation_id AND tenant_id = :tenant_id"""
# Nothing follows in the log of a turn that somebody else has taken over. A beginning that is not committed yet cannot
# be seen here, so only a later epoch says so.
APPEND = """INSERT INTO turn_events (turn_id, first_sequence, epoch, tenant_id, events, created_at)
    SELECT CAST(:turn_id AS TEXT), CAST(:first_sequence AS BIGINT), CAST(:epoch AS BIGINT), CAST(:tenant_id AS TEXT),
        CAST(:events AS TEXT), CAST(:now AS BIGINT)
    WHERE NOT EXISTS (SELECT 1 FROM turns WHERE id = :turn_id AND tenant_id = :tenant_id AND epoch > :epoch)
    ON CONFLICT (turn_id, first_sequence) DO UPDATE SET events = excluded.events, epoch = excluded.epoch"""
EVENTS = """SELECT first_sequence, epoch, events FROM turn_events
    WHERE turn_id = :turn_id AND tenant_id = :tenant_id ORDER BY first_sequence"""
ANSWER = "SELECT content FROM messages WHERE id = :answer_id AND tenant_id = :tenant_id"
OWNERS = "SELECT DISTINCT owner FROM turns WHERE state = 'running'"
OWNED = "SELECT id, tenant_id, epoch FROM turns WHERE state = 'running' AND owner = :owner"
INTERRUPT = """UPDATE turns SET epoch = epoch + 1, state = 'interrupted', finished_at = :now
    WHERE id = :turn_id AND tenant_id = :tenant_id AND state = 'running' AND owner = :owner
    RETURNING conversation_id, agent_id, agent_version, message_id, answer_id, answer_number"""
ANSWERING = "Another message is being answered in this conversation; send this one when its answer has come"
FORGET_EVENTS = """DELETE FROM turn_events WHERE created_at < :before AND NOT EXISTS (
    SELECT 1 FROM turns WHERE id = turn_events.turn_id AND (finished_at IS NULL OR finished_at >= :before))"""
FORGET_KEYS = "DELETE FROM idempotency WHERE created_at < :before"


def _turn(row: Row) -> Turn:
    return Turn(*row)


class Turns:
    """The turns of every tenant."""

    def __init__(self, database: Database, definitions: Definitions) -> None:
        self._database = database
        self._definitions = definitions

    def begin(self, request: TurnRequest) -> Pending[Begun | Existing]:
        async def job(transaction: Transaction) -> Begun | Existing:
            if request.idempotency is not None:
                earlier = await self._claim(transaction, request, request.idempotency)
                if earlier is not None:
                    if request.resuming or earlier.state not in ("failed", "interrupted"):
                        return Existing(earlier)
                    return await self._run_again(transaction, request, earlier)
                if request.resuming:
                    raise Conflict(
                        "This Idempotency-Key has nothing to resume any more; send the request without Last-Event-ID"
                    )
            return await self._begin(transaction, request)

        return self._database.begin(job)

    async def _claim(self, transaction: Transaction, request: TurnRequest, idempotency: Idempotency) -> Turn | None:
        claim = {"scope": idempotency.scope, "tenant_id": request.tenant_id, "turn_id": request.turn_id}
        if await transaction.run(CLAIM, {**claim, "body_hash": idempotency.body_hash, "now": request.now}):
            return None
        return await _claimed(transaction, request.tenant_id, idempotency)

    async def _begin(self, transaction: Transaction, request: TurnRequest) -> Begun:
        published = await self._definitions.published(transaction, request.tenant_id, request.agent_reference)
        if published is None:
            raise AgentNotFound(request.agent_reference)
        agent, price = published
        ours = {"tenant_id": request.tenant_id, "agent_id": agent.id, "now": request.now}
        conversation_id = request.conversation_id or request.new_conversation_id
        choice = agent.definition.model
        budget = history_budget(choice.context_tokens, choice.max_tokens, agent.definition.instructions, request.text)
        past = []
        if request.conversation_id is None:
            await transaction.run(NEW_CONVERSATION, {**ours, "id": conversation_id, "title": request.title})
        elif await transaction.one(CONVERSATION, {**ours, "id": conversation_id}) is None:
            raise ConversationNotFound
        else:
            past = await history.newest(transaction, request.tenant_id, conversation_id, budget)
        turn = await _store_beginning(transaction, request, agent, conversation_id)
        return Begun(turn, agent, tuple(past), request.text, price, 1)

    async def _run_again(self, transaction: Transaction, request: TurnRequest, earlier: Turn) -> Begun | Existing:
        """Answer the same user message once more; what the failed attempt said is left out of later prompts."""
        published = await self._definitions.published(transaction, earlier.tenant_id, earlier.agent_id)
        ours = {"tenant_id": earlier.tenant_id, "turn_id": earlier.id, "agent_id": earlier.agent_id}
        question = await transaction.one(QUESTION, {**ours, "message_id": earlier.message_id})
        if published is None or question is None:
            raise AgentNotFound(request.agent_reference)
        agent, price = published
        number, text = int(question[0]), str(question[1])
        choice = agent.definition.model
        numbers = await transaction.one(NEXT_NUMBERS, {**ours, "count": 1})
        turn = replace(
            earlier,
            state="running",
            epoch=earlier.epoch + 1,
            answer_id=request.answer_id,
            answer_number=int(numbers[0]) if numbers else number + 1,
            model=choice.name,
            error=None,
            finished_at=None,
        )
        again = {"owner": request.owner, "answer_id": turn.answer_id, "answer_number": turn.answer_number}
        again |= {"epoch": earlier.epoch, "agent_version": agent.version, "model": choice.name}
        if not await transaction.run(RUN_AGAIN, {**ours, **again}):
            now = await transaction.one(TURN, ours)
            if now is None or _turn(now).epoch == earlier.epoch:
                raise Conflict(ANSWERING)
            return Existing(_turn(now))  # another node was faster
        await transaction.run(PUT_ASIDE, {**ours, "message_id": earlier.message_id, "answer_id": earlier.answer_id})
        budget = history_budget(choice.context_tokens, choice.max_tokens, agent.definition.instructions, text)
        past = await history.newest(transaction, earlier.tenant_id, earlier.conversation_id, budget, below=number)
        logged = await _events(transaction, earlier.tenant_id, earlier.id)
        return Begun(turn, agent, tuple(past), text, price, _following(logged))

    async def claimed(self, tenant_id: str, idempotency: Idempotency) -> Turn | None:
        async def job(transaction: Transaction) -> Turn | None:
            return await _claimed(transaction, tenant_id, idempotency)

        return await self._database.read(job)

    async def flush(self, rows: Sequence[LogRow]) -> None:
        async def job(transaction: Transaction) -> None:
            await _append(transaction, rows, now)

        now = time.time_ns() // 1000
        await self._database.write(job)

    async def finish(self, end: TurnEnd) -> None:
        async def job(transaction: Transaction) -> None:
            known = {
                "turn_id": end.turn_id,
                "tenant_id": end.tenant_id,
                "epoch": end.epoch,
                "owner": end.owner,
                "state": end.state,
            }
            used = {
                "prompt_tokens": end.prompt_tokens,
                "completion_tokens": end.completion_tokens,
                "credits": end.credits,
                "error": end.error,
                "now": end.now,
            }
            row = await transaction.one(FINISH, {**known, **used})
            if row is None:
                if await transaction.one(FINISHED, known):
                    return  # by an attempt whose acknowledgement was lost
                raise Fenced(f"turn {end.turn_id} is no longer this owner's")
            await _store_answer(transaction, end.tenant_id, end.turn_id, row, end.text, end.now)
            await _append(transaction, [end.last_row], end.now)

        await self._database.write(job)

    async def get(self, tenant_id: str, turn_id: str) -> Turn | None:
        async def job(transaction: Transaction) -> Turn | None:
            row = await transaction.one(TURN, {"turn_id": turn_id, "tenant_id": tenant_id})
            return _turn(row) if row else None

        return await self._database.read(job)

    async def answer(self, tenant_id: str, turn: Turn) -> str:
        async def job(transaction: Transaction) -> str:
            row = await transaction.one(ANSWER, {"answer_id": turn.answer_id, "tenant_id": tenant_id})
            return str(row[0]) if row and row[0] else ""

        return await self._database.read(job)

    async def events(self, tenant_id: str, turn_id: str) -> Sequence[Group]:
        async def job(transaction: Transaction) -> Sequence[Group]:
            return await _events(transaction, tenant_id, turn_id)

        return await self._database.read(job)

    @across_tenants("recovery closes the turns of a dead process, whoever they belong to")
    async def interrupt_orphans(self, runs_here: Callable[[str], bool], now: int) -> int:
        async def owners(transaction: Transaction) -> list[int]:
            return [int(row[0]) for row in await transaction.all(OWNERS, {})]

        async def close(transaction: Transaction, owner: int) -> int:
            running = await transaction.all(OWNED, {"owner": owner})
            orphans = [row for row in running if owner != self._database.owner or not runs_here(str(row[0]))]
            return sum([await _interrupt(transaction, owner, row, now) for row in orphans])

        known = await self._database.read(owners)
        ours = [owner for owner in known if owner == self._database.owner]
        interrupted = 0
        for owner in (*await self._database.dead(known), *ours):
            interrupted += await self._database.write(functools.partial(close, owner=owner))
        return interrupted

    @across_tenants("what is too old to be replayed is too old for every tenant")
    async def prune(self, events_before: int, keys_before: int) -> None:
        async def job(transaction: Transaction) -> None:
            await transaction.run(FORGET_EVENTS, {"before": events_before})
            await transaction.run(FORGET_KEYS, {"before": keys_before})

        await self._database.write(job)


async def _store_beginning(transaction: Transaction, request: TurnRequest, agent: Agent, conversation_id: str) -> Turn:
    """Store the running turn and the user's message."""
    # The counter is taken as late as can be, so that the order of numbers is the order of commits.
    numbers = await transaction.one(NEXT_NUMBERS, {"agent_id": agent.id, "tenant_id": request.tenant_id, "count": 2})
    if numbers is None:
        raise AgentNotFound(request.agent_reference)
    turn = Turn(
        id=request.turn_id,
        tenant_id=request.tenant_id,
        conversation_id=conversation_id,
        agent_id=agent.id,
        state="running",
        epoch=1,
        message_id=request.message_id,
        answer_id=request.answer_id,
        answer_number=int(numbers[0]),
        model=agent.definition.model.name,
        created_at=request.now,
    )
    row = {
        "id": turn.id,
        "tenant_id": turn.tenant_id,
        "conversation_id": conversation_id,
        "agent_id": agent.id,
        "agent_version": agent.version,
        "key_id": request.key_id,
        "owner": request.owner,
        "message_id": turn.message_id,
        "answer_id": turn.answer_id,
        "answer_number": turn.answer_number,
        "model": turn.model,
        "now": request.now,
    }
    if not await transaction.run(NEW_TURN, row):
        raise Conflict(ANSWERING)
    message = {
        **row,
        "id": turn.message_id,
        "turn_id": turn.id,
        "number": turn.answer_number - 1,
        "role": "user",
        "content": request.text,
        "metadata": json.dumps(request.metadata) if request.metadata is not None else None,
        "in_prompt": 1,
    }
    await transaction.run(NEW_MESSAGE, message)
    return turn


async def _claimed(transaction: Transaction, tenant_id: str, idempotency: Idempotency) -> Turn | None:
    row = await transaction.one(CLAIMED, {"tenant_id": tenant_id, "scope": idempotency.scope})
    if row is None:
        return None
    if row[0] != idempotency.body_hash:
        raise KeyReused
    turn = await transaction.one(TURN, {"turn_id": row[1], "tenant_id": tenant_id})
    return _turn(turn) if turn else None


async def _append(transaction: Transaction, rows: Sequence[LogRow], now: int) -> None:
    await transaction.many(
        APPEND,
        [
            {
                "turn_id": row.turn_id,
                "first_sequence": row.first_sequence,
                "epoch": row.epoch,
                "tenant_id": row.tenant_id,
                "events": log.encode(row.events),
                "now": now,
            }
            for row in rows
        ],
    )


async def _events(transaction: Transaction, tenant_id: str, turn_id: str) -> list[Group]:
    rows = await transaction.all(EVENTS, {"turn_id": turn_id, "tenant_id": tenant_id})
    return [Group(int(epoch), int(first), log.decode(events)) for first, epoch, events in rows]


def _following(logged: Sequence[Group]) -> int:
    """The number that comes after these events."""
    return logged[-1].first_sequence + len(logged[-1].events) if logged else 1


async def _store_answer(
    transaction: Transaction, tenant_id: str, turn_id: str, closed: Row, text: str, now: int
) -> None:
    """Keep what was answered; a question that got nothing is left out of later prompts."""
    conversation_id, agent_id, agent_version, message_id, answer_id, answer_number = closed
    ours = {"tenant_id": tenant_id, "conversation_id": conversation_id, "now": now}
    if text:
        await transaction.run(
            NEW_MESSAGE,
            {
                **ours,
                "id": answer_id,
                "agent_id": agent_id,
                "turn_id": turn_id,
                "number": answer_number,
                "role": "assistant",
                "content": text.replace("\0", "\ufffd"),  # PostgreSQL's text cannot hold it
                "metadata": None,
                "agent_version": agent_version,
                "in_prompt": 1,
            },
        )
    else:
        await transaction.run(LEAVE_OUT, {"message_id": message_id, "tenant_id": tenant_id})
    await transaction.run(MESSAGE_AT, ours)


async def _interrupt(transaction: Transaction, owner: int, running: Row, now: int) -> int:
    turn_id, tenant_id, epoch = str(running[0]), str(running[1]), int(running[2])
    row = await transaction.one(INTERRUPT, {"turn_id": turn_id, "tenant_id": tenant_id, "owner": owner, "now": now})
    if row is None:
        return 0
    logged = await _events(transaction, tenant_id, turn_id)
    # What an earlier attempt said belongs to its own answer.
    text = log.text_of([event for group in logged if group.epoch == epoch for event in group.events])
    await _store_answer(transaction, tenant_id, turn_id, row, text, now)
    last = LogRow(tenant_id, turn_id, epoch + 1, _following(logged), [TurnInterrupted(now)])
    await _append(transaction, [last], now)
    return 1
