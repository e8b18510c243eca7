"""What the store's tests do over and over: a tenant with an agent, turns that begin and end."""

from collections.abc import Sequence
from dataclasses import replace
from typing import Any

from dragoman.adapters.store import SqlStore
from dragoman.adapters.store.driver import Row, Transaction
from dragoman.core.agents import Agent
from dragoman.core.commands import Idempotency
from dragoman.core.conversations import Turn
from dragoman.core.events import TextDelta, TurnCompleted, TurnEvent, TurnStarted
from dragoman.core.ids import new_id
from dragoman.core.tenants import ApiKey, Principal, Tenant
from dragoman.ports.store import Store
from dragoman.ports.turns import Begun, Existing, LogRow, TurnEnd, TurnRequest

NOW = 1_800_000_000_000_000
SCRIPTED = {"model": {"provider": "scripted", "name": "scripted"}}


async def settled(store: Store, tenant: str = "acme", name: str = "Support Agent", **definition: Any) -> Agent:
    """A tenant's agent, made where it is not there."""
    await store.tenants.put(Tenant(tenant, tenant.title()), NOW)
    agent, _ = await store.agents.put(tenant, None, None, name, {**SCRIPTED, **definition}, NOW)
    return agent


def key(name: str = "backend", tenant: str = "acme", **more: Any) -> ApiKey:
    return ApiKey(new_id(), tenant, name, "secret", "sk_test_acme", **{"created_at": NOW, **more})


async def rows(store: SqlStore, sql: str, **params: Any) -> Sequence[Row]:
    """What a query finds, past the store's methods."""

    async def job(transaction: Transaction) -> Sequence[Row]:
        return await transaction.all(sql, params)

    return await store._database.read(job)


def asked(
    store: Store, agent: Agent, text: str = "Hello", *, scope: str | None = None, body: str = "body", **more: Any
) -> TurnRequest:
    request = TurnRequest(
        principal=Principal(agent.tenant_id, "key", "secret"),
        agent_reference=agent.slug,
        conversation_id=None,
        new_conversation_id=new_id(),
        turn_id=new_id(),
        message_id=new_id(),
        answer_id=new_id(),
        text=text,
        title=text,
        metadata=None,
        idempotency=Idempotency(scope, body) if scope else None,
        resuming=False,
        owner=store.owner,
        now=NOW,
    )
    return replace(request, **more)


async def begin(store: Store, request: TurnRequest) -> Begun | Existing:
    """What a request led to, when it is durable."""
    pending = store.turns.begin(request)
    result = await pending.applied
    await pending.durable
    return result


async def begun(store: Store, agent: Agent, text: str = "Hello", **more: Any) -> Begun:
    """A turn that has begun and is ours."""
    result = await begin(store, asked(store, agent, text, **more))
    assert isinstance(result, Begun)
    return result


def row(turn: Turn, first: int, *events: TurnEvent) -> LogRow:
    return LogRow(turn.tenant_id, turn.id, turn.epoch, first, events)


def started(turn: Turn) -> TurnStarted:
    return TurnStarted(turn.id, turn.conversation_id, turn.answer_id, turn.answer_number, NOW)


def deltas(*texts: str) -> Sequence[TurnEvent]:
    return [TextDelta(text) for text in texts]


def ending(store: Store, beginning: Begun, text: str = "Hi there", **more: Any) -> TurnEnd:
    """How a turn ends whose log was never flushed."""
    turn = beginning.turn
    last = row(
        turn,
        beginning.next_sequence,
        started(turn),
        *(deltas(text) if text else ()),
        TurnCompleted(turn.model, 7, 3, 5, NOW),
    )
    end = TurnEnd(
        tenant_id=turn.tenant_id,
        turn_id=turn.id,
        epoch=turn.epoch,
        owner=store.owner,
        answer_id=turn.answer_id,
        state="completed",
        text=text,
        prompt_tokens=7,
        completion_tokens=3,
        credits=5,
        error=None,
        reserved=beginning.reserved,
        charged=5,
        last_row=last,
        now=NOW + 1,
    )
    return replace(end, **more)


async def balance(store: Store, tenant: str = "acme") -> int | None:
    """A tenant's credits."""
    found = await store.tenants.get(tenant)
    assert found is not None
    return found.credits


async def answer(store: Store, turn: Turn) -> str:
    """The text of a turn's last answer that was not replaced."""
    answers = await store.turns.answers(turn.tenant_id, turn.id)
    return (answers[-1].content or "") if answers else ""


async def said(store: Store, agent: Agent, text: str, answer: str = "Hi there", **more: Any) -> Turn:
    """A whole exchange."""
    beginning = await begun(store, agent, text, **more)
    await store.turns.finish(ending(store, beginning, answer, state="completed" if answer else "failed"))
    return beginning.turn
