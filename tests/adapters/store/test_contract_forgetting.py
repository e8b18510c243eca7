"""What every store does when conversations are deleted or cleared, and what it leaves alone."""

import asyncio
from typing import Any

import pytest

from dragoman.adapters.store import SqlStore, messages, open_store
from dragoman.adapters.store.driver import Transaction
from dragoman.core.agents import Agent
from dragoman.core.conversations import Conversation
from dragoman.core.errors import ConversationNotFound
from dragoman.core.ids import new_id
from dragoman.ports.conversations import Cleared
from tests.adapters.store.scene import NOW, begun, rows, said, settled
from tests.adapters.store.talks import contents, insert, opened, texts, wrote

# Everything that hangs on a conversation, by the column that says so or by that of its turn.
OF_CONVERSATION = ("messages", "tool_calls", "attachments", "outbox", "turns")
OF_TURN = ("turn_events", "idempotency")
WHOLE = {**dict.fromkeys(("conversations", *OF_CONVERSATION, *OF_TURN), 1), "messages": 2}
TURN_ALONE = {**dict.fromkeys(WHOLE, 0), "turns": 1}
EMPTIED = {**TURN_ALONE, "conversations": 1, "attachments": 1, "outbox": 1}


async def furnished(store: SqlStore, agent: Agent, state: str = "completed", **more: Any) -> tuple[Conversation, str]:
    """A conversation with one turn and everything that can hang on it, and the turn's id."""
    conversation = await opened(store, agent, **more)
    turn, event = new_id(), new_id()
    ours = {"tenant_id": agent.tenant_id, "created_at": NOW}
    here = {**ours, "conversation_id": conversation.id}
    _, answer = await wrote(store, conversation, *texts("Hello", "Hi"), turn_id=turn)
    await insert(
        store,
        "turns",
        {
            **here,
            "id": turn,
            "agent_id": agent.id,
            "agent_version": 1,
            "state": state,
            "epoch": 1,
            "owner": 1,
            "message_id": new_id(),
            "answer_id": new_id(),
            "answer_number": answer,
            "model": "m",
            "prompt_tokens": 7,
            "completion_tokens": 3,
            "credits": 5,
            "finished_at": NOW + 1,
        },
    )
    await insert(store, "turn_events", {**ours, "turn_id": turn, "first_sequence": 1, "epoch": 1, "events": "[]"})
    call = {"id": new_id(), "turn_id": turn, "message_id": new_id(), "call_id": "c1", "name": "n", "arguments": "{}"}
    await insert(store, "tool_calls", {**here, **call, "state": "open"})
    await insert(store, "idempotency", {**ours, "scope": turn, "body_hash": "b", "turn_id": turn})
    file = {"id": new_id(), "name": "a.wav", "media_type": "audio/wav", "size": 1, "sha256": "s"}
    await insert(store, "attachments", {**here, **file})
    await insert(store, "outbox", {**here, "id": event, "event": "message.sent", "data": "{}"})
    await insert(
        store,
        "deliveries",
        {**ours, "id": new_id(), "endpoint_id": new_id(), "event_id": event, "state": "waiting", "attempts": 0},
    )
    return conversation, turn


async def kept(store: SqlStore, conversation: Conversation, turn: str) -> dict[str, int]:
    """How many rows of each table belong to a furnished conversation, deliveries by all that there are."""
    found = {"conversations": await rows(store, "SELECT 1 FROM conversations WHERE id = :id", id=conversation.id)}
    for table in OF_CONVERSATION:
        found[table] = await rows(store, f"SELECT 1 FROM {table} WHERE conversation_id = :id", id=conversation.id)
    for table in OF_TURN:
        found[table] = await rows(store, f"SELECT 1 FROM {table} WHERE turn_id = :id", id=turn)
    return {table: len(each) for table, each in found.items()}


async def state_of(store: SqlStore, turn: str) -> str:
    (found,) = await rows(store, "SELECT state FROM turns WHERE id = :id", id=turn)
    return str(found[0])


async def test_a_deleted_conversation_leaves_its_turns_alone_and_nobody_else_loses_anything(store: SqlStore) -> None:
    agent, foreign = await settled(store), await settled(store, "other")
    gone, beside, theirs = await furnished(store, agent), await furnished(store, agent), await furnished(store, foreign)
    assert await store.conversations.delete("acme", gone[0].id) == Cleared(2)
    assert await kept(store, *gone) == TURN_ALONE
    assert await state_of(store, gone[1]) == "completed"
    for other in (beside, theirs):
        assert await kept(store, *other) == WHOLE
    assert len(await rows(store, "SELECT 1 FROM deliveries")) == 2
    assert await store.conversations.get("acme", gone[0].id) is None
    assert await store.conversations.delete("acme", gone[0].id) == Cleared()


async def test_a_conversation_of_another_tenant_is_neither_deleted_nor_cleared(store: SqlStore) -> None:
    agent = await settled(store)
    await settled(store, "other")
    mine = await furnished(store, agent)
    assert await store.conversations.delete("other", mine[0].id) == Cleared()
    assert await store.conversations.clear("other", agent.id, mine[0].id) == Cleared()
    assert await store.conversations.clear("other", agent.id, None) == Cleared()
    assert await kept(store, *mine) == WHOLE


async def test_a_deletion_cancels_what_is_paused(store: SqlStore) -> None:
    agent = await settled(store)
    (conversation, turn), (_, elsewhere) = (
        await furnished(store, agent, "paused"),
        await furnished(store, agent, "paused"),
    )
    assert await store.conversations.delete("acme", conversation.id) == Cleared(2)
    assert (await state_of(store, turn), await state_of(store, elsewhere)) == ("cancelled", "paused")


async def test_a_running_turn_keeps_its_conversation_whole(store: SqlStore) -> None:
    agent = await settled(store)
    conversation, running = await furnished(store, agent, "running")
    beside, paused = await furnished(store, agent, "paused")
    busy = Cleared(busy=(running,))
    assert await store.conversations.delete("acme", conversation.id) == busy
    assert await store.conversations.clear("acme", agent.id, conversation.id) == busy
    assert await store.conversations.clear("acme", agent.id, None) == busy
    assert await kept(store, conversation, running) == await kept(store, beside, paused) == WHOLE
    assert await state_of(store, paused) == "paused"
    assert await store.conversations.clear("acme", agent.id, beside.id) == Cleared(2)


async def test_clearing_a_conversation_empties_it_and_no_other(store: SqlStore) -> None:
    agent = await settled(store)
    emptied, beside = await furnished(store, agent, "paused"), await furnished(store, agent, "paused")
    assert await store.conversations.clear("acme", agent.id, emptied[0].id) == Cleared(2)
    assert await kept(store, *emptied) == EMPTIED
    assert await kept(store, *beside) == WHOLE
    assert (await state_of(store, emptied[1]), await state_of(store, beside[1])) == ("cancelled", "paused")
    assert await store.conversations.get("acme", emptied[0].id) == emptied[0]
    assert await store.conversations.clear("acme", agent.id, emptied[0].id) == Cleared()


async def test_clearing_an_agent_empties_all_its_conversations(store: SqlStore) -> None:
    agent, other = await settled(store), await settled(store, name="Other")
    emptied = [await furnished(store, agent), await furnished(store, agent, "paused")]
    beside = await furnished(store, other)
    assert await store.conversations.clear("acme", agent.id, None) == Cleared(4)
    for each in emptied:
        assert await kept(store, *each) == EMPTIED
    assert await state_of(store, emptied[1][1]) == "cancelled"
    assert await kept(store, *beside) == WHOLE


async def test_numbers_are_not_used_again_after_a_clearing(store: SqlStore) -> None:
    agent = await settled(store)
    conversation = await opened(store, agent)
    before = await wrote(store, conversation, *texts("1", "2"))
    await store.conversations.clear("acme", agent.id, None)
    assert await wrote(store, conversation, *texts("3")) == [before[-1] + 1]


async def test_a_turn_after_a_clearing_knows_nothing_of_before(store: SqlStore) -> None:
    agent = await settled(store)
    before = await said(store, agent, "Hello", scope="once")
    assert await store.conversations.clear("acme", agent.id, None) == Cleared(2)
    after = await begun(store, agent, "Again", scope="once", conversation_id=before.conversation_id)
    assert after.turn.id != before.id
    assert after.turn.answer_number > before.answer_number
    assert [each.content for each in after.prompt] == ["Again"]


async def test_no_turn_begins_in_a_conversation_that_was_deleted(store: SqlStore) -> None:
    agent = await settled(store)
    before = await said(store, agent, "Hello", scope="once")
    assert await store.conversations.delete("acme", before.conversation_id) == Cleared(2)
    with pytest.raises(ConversationNotFound):
        await begun(store, agent, "Again", scope="once", conversation_id=before.conversation_id)
    used = await store.turns.get("acme", before.id)
    assert used is not None
    assert (used.state, used.prompt_tokens, used.completion_tokens) == ("completed", 7, 3)


async def test_a_conversation_is_cleared_by_its_own_agent_alone(store: SqlStore) -> None:
    agent, other = await settled(store), await settled(store, name="Other")
    mine = await furnished(store, agent)
    for agent_id in (other.id, new_id()):
        assert await store.conversations.clear("acme", agent_id, mine[0].id) == Cleared()
    assert await store.conversations.clear("acme", agent.id, new_id()) == Cleared()
    assert await kept(store, *mine) == WHOLE


async def test_a_long_history_is_cleared_the_oldest_first_in_pieces(
    store: SqlStore, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(messages, "FORGOTTEN_AT_ONCE", 3)
    agent = await settled(store)
    conversation = await opened(store, agent)
    await wrote(store, conversation, *texts(*"1234567"))
    for expected, left in ((Cleared(3, more=True), "4567"), (Cleared(3, more=True), "7"), (Cleared(1), "")):
        assert await store.conversations.clear("acme", agent.id, conversation.id) == expected
        found, _ = await store.conversations.messages("acme", conversation.id)
        assert "".join(map(str, contents(found))) == left
    await wrote(store, conversation, *texts(*"abc"))
    assert await store.conversations.clear("acme", agent.id, None) == Cleared(3)


@pytest.mark.parametrize(("verb", "state"), [("delete", "failed"), ("delete", "paused"), ("clear", "paused")])
async def test_what_meets_a_turn_that_is_about_to_run_waits_for_it_and_leaves_it_alone(
    postgres_url: str, verb: str, state: str
) -> None:
    store = await open_store(postgres_url)
    agent = await settled(store)
    conversation, turn = await furnished(store, agent, state)
    held, go = asyncio.Event(), asyncio.Event()

    async def going_on(transaction: Transaction) -> None:
        ours = {"id": conversation.id, "turn": turn}
        await transaction.run("UPDATE conversations SET updated_at = updated_at WHERE id = :id", ours)
        await transaction.run("UPDATE turns SET state = 'running' WHERE id = :turn", ours)
        held.set()
        await go.wait()

    beginning = asyncio.create_task(store._database.write(going_on))
    await held.wait()
    if verb == "delete":
        forgetting = asyncio.create_task(store.conversations.delete("acme", conversation.id))
    else:
        forgetting = asyncio.create_task(store.conversations.clear("acme", agent.id, None))
    done, _ = await asyncio.wait([forgetting], timeout=0.2)
    go.set()
    await beginning
    assert not done
    assert await forgetting == Cleared(busy=(turn,))
    assert await kept(store, conversation, turn) == WHOLE
    await store.close()


async def test_what_is_said_while_an_agent_is_cleared_stays(postgres_url: str, monkeypatch: pytest.MonkeyPatch) -> None:
    store = await open_store(postgres_url)
    agent = await settled(store)
    conversation, _ = await furnished(store, agent)
    page = messages.page

    async def interrupted(*found: Any, **more: Any) -> tuple[int, bool]:
        await wrote(store, conversation, *texts("new"))
        return await page(*found, **more)

    monkeypatch.setattr(messages, "page", interrupted)
    assert await store.conversations.clear("acme", agent.id, None) == Cleared(2)
    assert contents((await store.conversations.messages("acme", conversation.id))[0]) == ["new"]
    await store.close()
