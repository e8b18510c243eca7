"""Turns: where their transactions begin, their logs, and what becomes of those whose owner died. Knows no wire."""

import asyncio
import functools
import json
import time
from collections.abc import Callable, Iterator, Sequence

from dragoman.adapters.store import beginnings, calls, endings, history, messages, segments, steps
from dragoman.adapters.store.agents import Definitions
from dragoman.adapters.store.beginnings import TURN_COLUMNS
from dragoman.adapters.store.driver import Database, Row, Transaction, across_tenants
from dragoman.adapters.store.history import calls_of
from dragoman.core.commands import Idempotency
from dragoman.core.conversations import Message, Turn
from dragoman.core.errors import Conflict, KeyReused
from dragoman.core.events import Group, Source
from dragoman.ports.turns import (
    Approval,
    Begun,
    Call,
    Decision,
    Existing,
    LogRow,
    Pending,
    ResultsRequest,
    Step,
    TurnEnd,
    TurnRequest,
    Waiting,
)

CLAIM = """INSERT INTO idempotency (tenant_id, scope, body_hash, turn_id, created_at)
    VALUES (:tenant_id, :scope, :body_hash, :turn_id, :now) ON CONFLICT DO NOTHING"""
CLAIMED = "SELECT body_hash, turn_id FROM idempotency WHERE tenant_id = :tenant_id AND scope = :scope"
ANSWERS = """SELECT id, number, role, content, created_at, conversation_id, tool_calls, sources, confidence, resolved
    FROM messages
    WHERE turn_id = :turn_id AND tenant_id = :tenant_id AND role = 'assistant' AND in_prompt = 1
        AND (tool_calls IS NULL OR resolved IS NOT NULL)
    ORDER BY number"""
KNOWN_CALL = """SELECT 1 FROM tool_calls
    WHERE conversation_id = :conversation_id AND tenant_id = :tenant_id AND call_id = :call_id"""
AFTER = f"""SELECT {TURN_COLUMNS} FROM turns
    WHERE conversation_id = :conversation_id AND tenant_id = :tenant_id AND answer_number > :number
    ORDER BY answer_number"""
OWNERS = "SELECT DISTINCT owner FROM turns WHERE state = 'running'"
OWNED = "SELECT id, tenant_id, epoch, credits FROM turns WHERE state = 'running' AND owner = :owner"
LONG_PAUSED = "SELECT tenant_id, conversation_id FROM turns WHERE state = 'paused' AND finished_at < :before"
FORGET_EVENTS = """DELETE FROM turn_events WHERE turn_id IN (
    SELECT DISTINCT turn_id FROM turn_events old WHERE created_at < :before AND NOT EXISTS (
        SELECT 1 FROM turns WHERE id = old.turn_id
            AND (finished_at IS NULL OR finished_at >= :before OR state = 'paused')) LIMIT :count)"""
CLOSED_TOGETHER = 64
FORGOTTEN_TOGETHER = 500
FORGET_KEYS = "DELETE FROM idempotency WHERE created_at < :before"
FORGET_TICKETS = "DELETE FROM spent_tickets WHERE created_at < :before"


class Turns:
    """The turns of every tenant."""

    def __init__(self, database: Database, definitions: Definitions) -> None:
        self._database = database
        self._definitions = definitions

    def begin(self, request: TurnRequest) -> Pending[Begun | Existing]:
        async def job(transaction: Transaction) -> Begun | Existing:
            if request.idempotency is not None:
                earlier = await _claim(transaction, request, request.idempotency)
                if earlier is not None:
                    return await self._earlier(transaction, request, earlier)
                if request.resuming:
                    raise Conflict(
                        "This Idempotency-Key has nothing to resume any more; send the request without Last-Event-ID"
                    )
            return await beginnings.begin(transaction, self._definitions, request)

        return self._database.begin(job)

    async def _earlier(self, transaction: Transaction, request: TurnRequest, earlier: Turn) -> Begun | Existing:
        """What a key leads to that has begun a turn: a failed one runs again, unless a pause was its answer."""
        if (
            request.resuming
            or earlier.state not in ("failed", "interrupted")
            or await transaction.one(calls.HAS_PAUSED, {"turn_id": earlier.id, "tenant_id": earlier.tenant_id})
        ):
            return Existing(earlier)
        return await beginnings.begin_again(
            transaction, self._definitions, request.principal, earlier, request.answer_id, request.owner, request.now
        )

    def begin_segment(self, request: ResultsRequest) -> Pending[Begun | Existing | Waiting]:
        async def job(transaction: Transaction) -> Begun | Existing | Waiting:
            return await segments.go_on(transaction, self._definitions, request)

        return self._database.begin(job)

    def decide(self, decision: Decision) -> Pending[Begun | Existing | None]:
        async def job(transaction: Transaction) -> Begun | Existing | None:
            return await segments.decide(transaction, self._definitions, decision)

        return self._database.begin(job)

    async def approvals(
        self, tenant_id: str, state: str | None, limit: int, before: tuple[int, str] | None
    ) -> Sequence[Approval]:
        at, below = before or (history.ABOVE_ALL, "")
        wanted = {"tenant_id": tenant_id, "state": state or "", "at": at, "below": below, "count": limit}

        async def job(transaction: Transaction) -> list[Approval]:
            return [segments.approval_of(row) for row in await transaction.all(segments.APPROVALS_BEFORE, wanted)]

        return await self._database.read(job)

    async def approval(self, tenant_id: str, approval_id: str) -> Approval | None:
        async def job(transaction: Transaction) -> Approval | None:
            return await segments.find_approval(transaction, tenant_id, approval_id)

        return await self._database.read(job)

    async def call(self, step: Step) -> int:
        async def job(transaction: Transaction) -> int:
            return await steps.store(transaction, step, self._database.owner)

        return await self._database.write(job)

    async def keep_results(self, turn: Turn, results: Sequence[tuple[Call, str]], now: int) -> None:
        async def job(transaction: Transaction) -> None:
            await steps.keep_results(transaction, turn, results, self._database.owner, now)

        await self._database.write(job)

    async def claimed(self, tenant_id: str, idempotency: Idempotency) -> Turn | None:
        async def job(transaction: Transaction) -> Turn | None:
            return await _claimed(transaction, tenant_id, idempotency)

        return await self._database.read(job)

    async def flush(self, rows: Sequence[LogRow]) -> None:
        async def job(transaction: Transaction) -> None:
            await endings.append(transaction, rows, now)

        now = time.time_ns() // 1000
        await self._database.write(job)

    async def finish(self, end: TurnEnd) -> None:
        async def job(transaction: Transaction) -> None:
            await endings.finish(transaction, end)

        await self._database.write(job)

    async def get(self, tenant_id: str, turn_id: str) -> Turn | None:
        async def job(transaction: Transaction) -> Turn | None:
            return await beginnings.find_turn(transaction, tenant_id, turn_id)

        return await self._database.read(job)

    async def answers(self, tenant_id: str, turn_id: str) -> Sequence[Message]:
        async def job(transaction: Transaction) -> list[Message]:
            rows = await transaction.all(ANSWERS, {"turn_id": turn_id, "tenant_id": tenant_id})
            return [await messages.outside(transaction, tenant_id, _answer(row)) for row in rows]

        return await self._database.read(job)

    async def turn_of_call(self, tenant_id: str, conversation_id: str, call_id: str) -> str | None:
        wanted = {"tenant_id": tenant_id, "conversation_id": conversation_id, "call_id": call_id}

        async def job(transaction: Transaction) -> str | None:
            row = await transaction.one(calls.CALL, wanted)
            return str(row[1]) if row else None

        return await self._database.read(job)

    async def known_calls(self, tenant_id: str, conversation_id: str, call_ids: Sequence[str]) -> Sequence[str]:
        async def job(transaction: Transaction) -> list[str]:
            ours = {"tenant_id": tenant_id, "conversation_id": conversation_id}
            return [each for each in call_ids if await transaction.one(KNOWN_CALL, {**ours, "call_id": each})]

        return await self._database.read(job)

    async def after(self, tenant_id: str, conversation_id: str, number: int) -> Sequence[Turn]:
        wanted = {"conversation_id": conversation_id, "tenant_id": tenant_id, "number": number}

        async def job(transaction: Transaction) -> list[Turn]:
            return [Turn(*row) for row in await transaction.all(AFTER, wanted)]

        return await self._database.read(job)

    async def events(self, tenant_id: str, turn_id: str) -> Sequence[Group]:
        async def job(transaction: Transaction) -> Sequence[Group]:
            return await beginnings.events_of(transaction, tenant_id, turn_id)

        return await self._database.read(job)

    @across_tenants("recovery closes the turns of a dead process, whoever they belong to")
    async def interrupt_orphans(self, runs_here: Callable[[str], bool], now: int) -> int:
        async def owners(transaction: Transaction) -> list[int]:
            return [int(row[0]) for row in await transaction.all(OWNERS, {})]

        async def running(transaction: Transaction, owner: int) -> Sequence[Row]:
            return await transaction.all(OWNED, {"owner": owner})

        async def close(transaction: Transaction, owner: int, turn: Row) -> int:
            if owner == self._database.owner and runs_here(str(turn[0])):
                return 0
            return await endings.interrupt(transaction, owner, turn, now)

        known = await self._database.read(owners)
        ours = [owner for owner in known if owner == self._database.owner]
        interrupted = 0
        for owner in (*await self._database.dead(known), *ours):
            orphans = await self._database.read(functools.partial(running, owner=owner))
            # A transaction each: one for all would hold the rows of many conversations, and wait for one of them.
            for together in batched(orphans, CLOSED_TOGETHER):
                closing = [self._database.write(functools.partial(close, owner=owner, turn=turn)) for turn in together]
                interrupted += sum(await asyncio.gather(*closing))
        return interrupted

    async def cancel_pauses(self, tenant_id: str, conversation_id: str, now: int) -> None:
        async def job(transaction: Transaction) -> None:
            await transaction.one(beginnings.CONVERSATION, {"id": conversation_id, "tenant_id": tenant_id, "now": now})
            await calls.cancel_paused(transaction, tenant_id, conversation_id, now)

        await self._database.write(job)

    @across_tenants("a pause ends after its time, whoever the turn belongs to")
    async def end_pauses(self, before: int, now: int) -> int:
        async def paused(transaction: Transaction) -> list[tuple[str, str]]:
            return [(str(row[0]), str(row[1])) for row in await transaction.all(LONG_PAUSED, {"before": before})]

        found = await self._database.read(paused)
        for tenant_id, conversation_id in found:
            await self.cancel_pauses(tenant_id, conversation_id, now)
        return len(found)

    @across_tenants("a call that nobody approves in time is given up, whoever it belongs to")
    async def end_approvals(self, now: int) -> int:
        async def overdue(transaction: Transaction) -> list[tuple[str, str]]:
            return [(str(row[0]), str(row[1])) for row in await transaction.all(segments.OVERDUE, {"now": now})]

        async def expire(transaction: Transaction, tenant_id: str, approval_id: str) -> int:
            return await segments.expire(transaction, tenant_id, approval_id, now)

        return sum(
            [
                await self._database.write(functools.partial(expire, tenant_id=tenant_id, approval_id=approval_id))
                for tenant_id, approval_id in await self._database.read(overdue)
            ]
        )

    @across_tenants("what is too old to be replayed is too old for every tenant")
    async def prune(self, events_before: int, keys_before: int) -> None:
        async def forget(transaction: Transaction) -> int:
            return await transaction.run(FORGET_EVENTS, {"before": events_before, "count": FORGOTTEN_TOGETHER})

        async def job(transaction: Transaction) -> None:
            await transaction.run(FORGET_KEYS, {"before": keys_before})
            await transaction.run(FORGET_TICKETS, {"before": keys_before})

        # So many turns at a time: one long transaction would hold up every writer.
        while await self._database.write(forget):
            pass
        await self._database.write(job)


async def _claim(transaction: Transaction, request: TurnRequest, idempotency: Idempotency) -> Turn | None:
    claim = {"scope": idempotency.scope, "tenant_id": request.tenant_id, "turn_id": request.turn_id}
    if await transaction.run(CLAIM, {**claim, "body_hash": idempotency.body_hash, "now": request.now}):
        return None
    return await _claimed(transaction, request.tenant_id, idempotency)


async def _claimed(transaction: Transaction, tenant_id: str, idempotency: Idempotency) -> Turn | None:
    row = await transaction.one(CLAIMED, {"tenant_id": tenant_id, "scope": idempotency.scope})
    if row is None:
        return None
    if row[0] != idempotency.body_hash:
        raise KeyReused
    return await beginnings.find_turn(transaction, tenant_id, str(row[1]))


def batched(rows: Sequence[Row], count: int) -> Iterator[Sequence[Row]]:
    """So many rows at a time."""
    for start in range(0, len(rows), count):
        yield rows[start : start + count]


def _answer(row: Row) -> Message:
    """A row of `ANSWERS`."""
    message_id, number, role, content, created_at, conversation_id, wanted, sources, confidence, resolved = row
    return Message(
        message_id,
        number,
        role,
        content,
        created_at,
        conversation_id=conversation_id,
        tool_calls=calls_of(wanted),
        sources=tuple(Source(*each) for each in json.loads(sources)) if sources else (),
        confidence=confidence,
        resolved=resolved != 0,
    )
