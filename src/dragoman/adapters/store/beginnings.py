"""How a turn begins, begins again or goes on: what its first transaction does. Knows no wire and no model."""

import json
from collections.abc import Mapping, Sequence
from dataclasses import asdict, replace
from typing import Any

import msgspec

from dragoman.adapters.store import calls, history, ledger, log
from dragoman.adapters.store.agents import Definitions, Published
from dragoman.adapters.store.attachments import attach
from dragoman.adapters.store.driver import Row, Transaction
from dragoman.adapters.store.outbox import tell
from dragoman.core.agents import Agent
from dragoman.core.conversations import Message, Turn
from dragoman.core.errors import AgentNotFound, Conflict, ConversationNotFound, Forbidden
from dragoman.core.events import Group
from dragoman.core.prompt import (
    NO_OVERRIDES,
    Overrides,
    PromptMessage,
    check_fits,
    passages_budget,
)
from dragoman.core.tenants import Principal
from dragoman.core.webhooks import conversation_told, message_told
from dragoman.ports.turns import Begun, Existing, ResultsRequest, TurnRequest

TURN_COLUMNS = """id, tenant_id, conversation_id, agent_id, state, epoch, message_id, answer_id, answer_number, model,
    created_at, prompt_tokens, completion_tokens, credits, error, finished_at,
    (SELECT client_id FROM conversations named WHERE named.id = turns.conversation_id
        AND named.tenant_id = turns.tenant_id) AS client_id"""

TURN = f"SELECT {TURN_COLUMNS} FROM turns WHERE id = :turn_id AND tenant_id = :tenant_id"
OVERRIDES = "SELECT overrides FROM turns WHERE id = :turn_id AND tenant_id = :tenant_id"
# The row is written, not only read, so that it is held: a deletion waits for what begins in it, or comes before.
CONVERSATION = """UPDATE conversations SET updated_at = :now WHERE id = :id AND tenant_id = :tenant_id
    RETURNING agent_id, visitor_id, client_id, title, context, status"""
NEW_CONVERSATION = """INSERT INTO conversations (id, tenant_id, agent_id, deployment_id, client_id, visitor_id, title,
        context, status, created_at, updated_at, last_message_at)
    VALUES (:id, :tenant_id, :agent_id, :deployment_id, :client_id, :visitor_id, :title,
        :context, 'open', :now, :now, :now) ON CONFLICT DO NOTHING"""
NAME = "UPDATE conversations SET title = :title WHERE id = :id AND tenant_id = :tenant_id"
SET_CONTEXT = "UPDATE conversations SET context = :context WHERE id = :id AND tenant_id = :tenant_id"
DEPLOYMENT = """SELECT id FROM deployments
    WHERE tenant_id = :tenant_id AND agent_id = :agent_id AND channel = :channel AND region = :region"""
NEW_TURN = """INSERT INTO turns (id, tenant_id, conversation_id, agent_id, agent_version, key_id, state, epoch, owner,
        message_id, answer_id, answer_number, model, prompt_tokens, completion_tokens, credits, overrides, vouched,
        created_at)
    VALUES (:id, :tenant_id, :conversation_id, :agent_id, :agent_version, :key_id, 'running', 1, :owner,
        :message_id, :answer_id, :answer_number, :model, 0, 0, 0, :overrides, :vouched, :now) ON CONFLICT DO NOTHING"""
NEW_MESSAGE = """INSERT INTO messages
    (id, tenant_id, conversation_id, agent_id, turn_id, number, role, content, metadata, agent_version, in_prompt,
        created_at)
    VALUES (:id, :tenant_id, :conversation_id, :agent_id, :turn_id, :number, 'user', :content, :metadata,
        :agent_version, 1, :now)"""
RUN_AGAIN = """UPDATE turns SET state = 'running', epoch = epoch + 1, owner = :owner, answer_id = :answer_id,
        answer_number = :answer_number, agent_version = :agent_version, model = :model, error = NULL, finished_at = NULL
    WHERE id = :turn_id AND tenant_id = :tenant_id"""
HOLD_FAILED = """UPDATE turns SET owner = :owner
    WHERE id = :turn_id AND tenant_id = :tenant_id AND epoch = :epoch AND state IN ('failed', 'interrupted')
        AND NOT EXISTS (SELECT 1 FROM turns beside WHERE beside.conversation_id = turns.conversation_id
            AND beside.tenant_id = :tenant_id AND beside.state = 'running')"""
PUT_ASIDE = """UPDATE messages SET in_prompt = CASE role WHEN 'user' THEN 1 ELSE 0 END
    WHERE id IN (:message_id, :answer_id) AND tenant_id = :tenant_id AND (role = 'user' OR tool_calls IS NULL)"""
# What tools are told of the user is the word of the tenant's own server, never of a browser.
METADATA = """SELECT messages.metadata FROM messages JOIN turns ON turns.id = messages.turn_id AND turns.vouched = 1
    WHERE messages.id = :message_id AND messages.tenant_id = :tenant_id"""
RESULT = """SELECT id, number, role, content, created_at, conversation_id, tool_call_id FROM messages
    WHERE id = :result_id AND tenant_id = :tenant_id"""
EVENTS = """SELECT first_sequence, epoch, events FROM turn_events
    WHERE turn_id = :turn_id AND tenant_id = :tenant_id ORDER BY first_sequence"""
ANSWERING = "Another message is being answered in this conversation; send this one when its answer has come"


async def begin(transaction: Transaction, definitions: Definitions, request: TurnRequest) -> Begun:
    """Store a message and the running turn, in a conversation that is there or is begun with it."""
    published = await published_for(transaction, definitions, request.principal, request.agent_reference)
    agent = published.agent
    overrides = request.overrides
    if overrides.system_prompt is not None and not (
        agent.definition.allow_system_prompt and request.principal.type == "secret"
    ):
        raise Forbidden("This agent's instructions cannot be overridden with this credential")
    deployment_id = await _deployment(transaction, request, agent)
    # Rows that others wait for are taken in one order everywhere: conversation, tenant, turn, counter.
    found = None
    if request.conversation_id is not None:
        found = await conversation_of(transaction, request, agent, request.conversation_id)
    handed_over = found is not None and found[5] == "handover"
    price = 0 if handed_over else published.price
    reserved = await ledger.reserve(transaction, request.tenant_id, request.turn_id, price, request.now)
    context = request.context
    ours = {"tenant_id": request.tenant_id, "now": request.now}
    if found is None:
        conversation_id, client_id = await _new_conversation(transaction, request, agent, deployment_id)
    else:
        conversation_id, client_id = str(request.conversation_id), found[2]
        await calls.cancel_paused(transaction, request.tenant_id, conversation_id, request.now)
        if not found[3]:
            await transaction.run(NAME, {**ours, "id": conversation_id, "title": request.title})
        if context is not None:
            await transaction.run(SET_CONTEXT, {**ours, "id": conversation_id, "context": json.dumps(context)})
        elif found[4]:
            context = json.loads(found[4])
    prompt = await history.prompt_of(
        transaction,
        agent,
        conversation_id,
        (PromptMessage("user", request.text),),
        overrides=overrides,
        context=context,
        below=history.ABOVE_ALL if found else 0,
    )
    if not handed_over:
        model = agent.definition.model
        check_fits(model, prompt, passages_budget(model) if agent.knows else 0)
    turn = replace(await _store(transaction, request, agent, conversation_id), client_id=client_id)
    metadata = request.metadata if request.principal.vouches else None
    return Begun(turn, agent, prompt, price, reserved, 1, metadata=metadata, handed_over=handed_over)


async def begin_again(
    transaction: Transaction,
    definitions: Definitions,
    principal: Principal,
    earlier: Turn,
    answer_id: str,
    owner: int,
    now: int,
) -> Begun | Existing:
    """Run a failed turn's last segment once more; what the failed attempt said is left out of later prompts."""
    published = await published_for(transaction, definitions, principal, earlier.agent_id)
    ours = {"tenant_id": earlier.tenant_id, "turn_id": earlier.id, "id": earlier.conversation_id, "now": now}
    found = await transaction.one(CONVERSATION, ours)
    if found is None:
        raise ConversationNotFound
    handed_over = found[5] == "handover"
    price = 0 if earlier.credits or handed_over else published.price
    reserved = await ledger.reserve(transaction, earlier.tenant_id, earlier.id, price, now)
    if not await transaction.run(HOLD_FAILED, {**ours, "owner": owner, "epoch": earlier.epoch}):
        there = await find_turn(transaction, earlier.tenant_id, earlier.id)
        if there is None or there.epoch == earlier.epoch:
            raise Conflict(ANSWERING)
        await ledger.settle(transaction, earlier.tenant_id, earlier.id, reserved, 0, now)
        return Existing(there)  # another node was faster
    await calls.cancel_paused(transaction, earlier.tenant_id, earlier.conversation_id, now)
    number = await calls.numbers(transaction, earlier.tenant_id, earlier.agent_id, 1)
    again = segment_of(published.agent, owner, answer_id, number)
    await transaction.run(RUN_AGAIN, {**ours, **again})
    await transaction.run(PUT_ASIDE, {**ours, "message_id": earlier.message_id, "answer_id": earlier.answer_id})
    turn = replace(earlier, epoch=earlier.epoch + 1)
    if not earlier.credits:
        turn = replace(turn, prompt_tokens=0, completion_tokens=0)
    begun = await going_on(transaction, published.agent, turn, again, found[4], price, reserved)
    return replace(begun, handed_over=handed_over)


async def going_on(
    transaction: Transaction,
    agent: Agent,
    turn: Turn,
    segment: Mapping[str, Any],
    context: str | None,
    price: int,
    reserved: int,
) -> Begun:
    """The turn as it runs in a later segment, or again, with the prompt for that; `context` is the row's JSON."""
    number, current = await history.round_of(transaction, turn.tenant_id, turn.conversation_id, turn.id)
    kept = await transaction.one(OVERRIDES, {"tenant_id": turn.tenant_id, "turn_id": turn.id})
    prompt = await history.prompt_of(
        transaction,
        agent,
        turn.conversation_id,
        current,
        overrides=_overrides.decode(kept[0]) if kept and kept[0] else NO_OVERRIDES,
        context=json.loads(context) if context else None,
        below=number,
    )
    running = replace(
        turn,
        state="running",
        answer_id=segment["answer_id"],
        answer_number=segment["answer_number"],
        model=segment["model"],
        error=None,
        finished_at=None,
    )
    logged = await events_of(transaction, turn.tenant_id, turn.id)
    goes_on = await transaction.one(calls.HAS_PAUSED, {"tenant_id": turn.tenant_id, "turn_id": turn.id}) is not None
    told = await transaction.one(METADATA, {"tenant_id": turn.tenant_id, "message_id": turn.message_id})
    metadata = json.loads(told[0]) if told and told[0] else None
    return Begun(
        running, agent, prompt, price, reserved, following(logged), first=False, goes_on=goes_on, metadata=metadata
    )


def segment_of(agent: Agent, owner: int, answer_id: str, number: int) -> dict[str, Any]:
    """What a turn's row says of the segment that runs."""
    return {
        "owner": owner,
        "answer_id": answer_id,
        "answer_number": number,
        "agent_version": agent.version,
        "model": agent.definition.model.name,
    }


async def published_for(
    transaction: Transaction, definitions: Definitions, principal: Principal, reference: str
) -> Published:
    """An agent as it is published.

    Raises:
        AgentNotFound: there is none, or it may not be used.
    """
    published = await definitions.published(transaction, principal.tenant_id, reference)
    if published is None or not principal.may_use(published.agent):
        raise AgentNotFound(reference)
    return published


async def conversation_of(
    transaction: Transaction, request: TurnRequest | ResultsRequest, agent: Agent, conversation_id: str
) -> Row | None:
    """A conversation's row, None where there is none.

    Raises:
        ConversationNotFound: it is another agent's or visitor's.
    """
    wanted = {"id": conversation_id, "tenant_id": request.tenant_id, "now": request.now}
    row = await transaction.one(CONVERSATION, wanted)
    if row is not None and (row[0] != agent.id or not request.principal.may_read(row[1])):
        raise ConversationNotFound
    return row


async def _new_conversation(
    transaction: Transaction, request: TurnRequest, agent: Agent, deployment_id: str | None
) -> tuple[str, str | None]:
    """Begin a conversation; its id and the client's own name for it.

    Raises:
        ConversationNotFound: it was named, and the agent lets no client choose names.
    """
    if request.conversation_id is not None and (
        request.client_id is None or not agent.definition.allow_client_conversation_ids
    ):
        raise ConversationNotFound
    conversation_id = request.conversation_id or request.new_conversation_id
    row = {
        "id": conversation_id,
        "tenant_id": request.tenant_id,
        "agent_id": agent.id,
        "deployment_id": deployment_id,
        "client_id": request.client_id,
        "visitor_id": request.principal.visitor_id,
        "title": request.title,
        "context": json.dumps(request.context) if request.context is not None else None,
        "now": request.now,
    }
    if not await transaction.run(NEW_CONVERSATION, row):
        raise Conflict(ANSWERING)  # another node has just begun it under the client's name
    told = conversation_told(conversation_id, agent.id, request.now)
    await tell(transaction, request.tenant_id, "conversation.created", told, request.now, conversation_id)
    return conversation_id, request.client_id


async def _deployment(transaction: Transaction, request: TurnRequest, agent: Agent) -> str | None:
    """The deployment that a request names; None, the agent's default, where there is no such one.

    Raises:
        AgentNotFound: there is none and the agent is strict about it.
    """
    if request.deployment is None:
        return None
    channel, region = request.deployment
    wanted = {"tenant_id": request.tenant_id, "agent_id": agent.id, "channel": channel, "region": region}
    row = await transaction.one(DEPLOYMENT, wanted)
    if row is None and agent.definition.strict_deployments:
        raise AgentNotFound(request.agent_reference)
    return str(row[0]) if row else None


async def _store(transaction: Transaction, request: TurnRequest, agent: Agent, conversation_id: str) -> Turn:
    """Store the running turn and the user's message."""
    number = await calls.numbers(transaction, request.tenant_id, agent.id, 2)
    turn = Turn(
        id=request.turn_id,
        tenant_id=request.tenant_id,
        conversation_id=conversation_id,
        agent_id=agent.id,
        state="running",
        epoch=1,
        message_id=request.message_id,
        answer_id=request.answer_id,
        answer_number=number + 1,
        model=agent.definition.model.name,
        created_at=request.now,
    )
    overridden = request.overrides is not NO_OVERRIDES
    row = {
        **segment_of(agent, request.owner, request.answer_id, number + 1),
        "id": turn.id,
        "tenant_id": turn.tenant_id,
        "conversation_id": conversation_id,
        "agent_id": agent.id,
        "key_id": request.principal.key_id,
        "message_id": turn.message_id,
        "overrides": json.dumps(asdict(request.overrides)) if overridden else None,
        "vouched": int(request.principal.vouches),
        "now": request.now,
    }
    if not await transaction.run(NEW_TURN, row):
        raise Conflict(ANSWERING)
    message = {
        **row,
        "id": turn.message_id,
        "turn_id": turn.id,
        "number": number,
        "content": request.text,
        "metadata": json.dumps(request.metadata) if request.metadata is not None else None,
    }
    await transaction.run(NEW_MESSAGE, message)
    if request.recording is not None:
        await attach(transaction, message, request.recording)
    told = message_told(conversation_id, turn.message_id, agent.id, "user", request.text, request.metadata, request.now)
    await tell(transaction, request.tenant_id, "message.received", told, request.now, conversation_id)
    return turn


async def find_turn(transaction: Transaction, tenant_id: str, turn_id: str) -> Turn | None:
    """The tenant's turn of this id."""
    row = await transaction.one(TURN, {"turn_id": turn_id, "tenant_id": tenant_id})
    return Turn(*row) if row else None


async def events_of(transaction: Transaction, tenant_id: str, turn_id: str) -> list[Group]:
    """What is kept of a turn's log."""
    rows = await transaction.all(EVENTS, {"turn_id": turn_id, "tenant_id": tenant_id})
    return [Group(int(epoch), int(first), log.decode(events)) for first, epoch, events in rows]


def following(logged: Sequence[Group]) -> int:
    """The number that comes after these events."""
    return logged[-1].first_sequence + len(logged[-1].events) if logged else 1


async def turn_of(transaction: Transaction, tenant_id: str, turn_id: str) -> Turn:
    """The tenant's turn of this id, which there must be."""
    turn = await find_turn(transaction, tenant_id, turn_id)
    if turn is None:
        raise ConversationNotFound
    return turn


async def result_of(transaction: Transaction, tenant_id: str, result_id: str) -> Message:
    """A result as a message, which there must be."""
    row = await transaction.one(RESULT, {"result_id": result_id, "tenant_id": tenant_id})
    if row is None:
        raise ConversationNotFound
    message_id, number, role, content, created_at, conversation_id, call_id = row
    return Message(message_id, number, role, content, created_at, None, conversation_id, (), call_id)


_overrides = msgspec.json.Decoder(Overrides)
