"""What every store gives to later prompts, and what becomes of turns whose owner died."""

import asyncio
from collections.abc import Sequence
from typing import Any

import pytest

from dragoman.adapters.store import SqlStore, history, open_store
from dragoman.adapters.store.driver import Params, Row, Transaction
from dragoman.core.events import TextDelta, TurnInterrupted
from dragoman.core.ids import new_id
from dragoman.core.prompt import MESSAGE_OVERHEAD_BYTES, PromptMessage
from dragoman.ports.turns import Begun
from tests.adapters.store.scene import NOW, answer, begun, deltas, ending, row, rows, said, settled, started

MESSAGE = """INSERT INTO messages
    (id, tenant_id, conversation_id, agent_id, number, role, content, in_prompt, created_at)
    VALUES (:id, 'acme', :conversation, :agent, :number, 'user', :content, 1, 0)"""


class Counted:
    """A transaction that counts the rows which it fetched."""

    def __init__(self, within: Transaction) -> None:
        self._within = within
        self.fetched = 0

    async def run(self, sql: str, params: Params, /) -> int:
        return await self._within.run(sql, params)

    async def one(self, sql: str, params: Params, /) -> Row | None:
        return await self._within.one(sql, params)

    async def all(self, sql: str, params: Params, /) -> Sequence[Row]:
        found = await self._within.all(sql, params)
        self.fetched += len(found)
        return found

    async def many(self, sql: str, params: Sequence[Params], /) -> None:
        await self._within.many(sql, params)


async def filled(store: SqlStore, count: int, content: str = "0123456789") -> str:
    """A conversation with so many messages."""
    conversation, agent = new_id(), new_id()

    async def job(transaction: Transaction) -> None:
        one = {"conversation": conversation, "agent": agent, "content": content}
        await transaction.many(MESSAGE, [{**one, "id": new_id(), "number": number} for number in range(1, count + 1)])

    await store._database.write(job)
    return conversation


def said_before(beginning: Begun) -> list[str]:
    """What the prompt holds before the question, newest first."""
    return [message.content for message in reversed(beginning.prompt[:-1])]


async def window(store: SqlStore, conversation: str, budget: int, **more: Any) -> tuple[list[PromptMessage], int]:
    """The newest messages, and how many rows it took."""

    async def job(transaction: Transaction) -> tuple[list[PromptMessage], int]:
        counted = Counted(transaction)
        return await history.newest(counted, "acme", conversation, budget, **more), counted.fetched

    return await store._database.read(job)


async def test_history_is_newest_first(store: SqlStore) -> None:
    agent = await settled(store)
    turn = await said(store, agent, "1", "2")
    await said(store, agent, "3", "4", conversation_id=turn.conversation_id)
    following = await begun(store, agent, "5", conversation_id=turn.conversation_id)
    assert said_before(following) == ["4", "3", "2", "1"]


async def test_a_question_without_an_answer_is_left_out_of_the_next_prompt(store: SqlStore) -> None:
    agent = await settled(store)
    turn = await said(store, agent, "1", "2")
    await said(store, agent, "unanswered", "", conversation_id=turn.conversation_id)
    following = await begun(store, agent, "3", conversation_id=turn.conversation_id)
    assert said_before(following) == ["2", "1"]
    assert len((await store.conversations.messages("acme", turn.conversation_id))[0]) == 4


async def test_history_is_of_its_own_conversation_and_tenant(store: SqlStore) -> None:
    agent = await settled(store)
    await said(store, agent, "elsewhere")
    turn = await said(store, agent, "here")
    following = await begun(store, agent, "again", conversation_id=turn.conversation_id)
    assert said_before(following) == ["Hi there", "here"]


@pytest.mark.parametrize("fitting", [0, 1, 10, 31, 32, 33, 160, 500])
async def test_the_window_holds_what_fits_and_at_most_one_message_more(store: SqlStore, fitting: int) -> None:
    conversation = await filled(store, 200)
    found, _ = await window(store, conversation, fitting * (10 + MESSAGE_OVERHEAD_BYTES))
    assert min(fitting, 200) <= len(found) <= min(fitting + 1, 200)


async def test_the_window_is_measured_in_bytes(store: SqlStore) -> None:
    conversation = await filled(store, 20, "ä" * 42)
    found, _ = await window(store, conversation, 400)
    assert len(found) == 5


async def test_the_window_costs_the_same_however_long_the_conversation_is(store: SqlStore) -> None:
    short, long = await filled(store, 100), await filled(store, 3000)
    assert (await window(store, short, 500))[1] == (await window(store, long, 500))[1] == history.FIRST_PAGE
    assert (await window(store, long, 500, below=1500))[1] == history.FIRST_PAGE


async def test_the_window_is_found_by_an_index(store: SqlStore) -> None:
    conversation = await filled(store, 3000)
    await store._database.write(_analyze)
    on_file = hasattr(store._database, "path")
    explain = "EXPLAIN QUERY PLAN " if on_file else "EXPLAIN "
    plan = await rows(
        store, explain + history.NEWEST, conversation_id=conversation, tenant_id="acme", below=9999, count=32
    )
    text = " ".join(str(value) for each in plan for value in tuple(each))
    assert "SCAN messages" not in text
    assert "Seq Scan" not in text
    assert "INDEX" in text or "uq_messages_conversation_id_number" in text


async def test_orphans_of_a_dead_owner_are_interrupted_with_what_the_log_holds(url: str) -> None:
    store = await open_store(url)
    agent = await settled(store)
    spoken, silent = await begun(store, agent, scope="once"), await begun(store, agent)
    done = await said(store, agent, "done")
    turn = spoken.turn
    await store.turns.flush([row(turn, 1, started(turn), *deltas("par")), row(silent.turn, 1, started(silent.turn))])
    await store.turns.flush([row(turn, 3, *deltas("tial"))])
    await store.close()

    store = await open_store(url)
    assert await store.turns.interrupt_orphans(lambda _: True, NOW + 5) == 2
    assert await store.turns.interrupt_orphans(lambda _: True, NOW + 6) == 0
    closed = await store.turns.get("acme", turn.id)
    assert closed is not None
    assert (closed.state, closed.epoch, closed.finished_at) == ("interrupted", 2, NOW + 5)
    assert await answer(store, turn) == "partial"
    last = (await store.turns.events("acme", turn.id))[-1]
    assert (last.epoch, last.first_sequence, list(last.events)) == (2, 4, [TurnInterrupted(NOW + 5)])
    assert (await store.turns.events("acme", silent.turn.id))[-1].first_sequence == 2
    assert len((await store.conversations.messages("acme", silent.turn.conversation_id))[0]) == 1
    kept = await store.turns.get("acme", done.id)
    assert kept is not None
    assert kept.state == "completed"

    again = await begun(store, agent, scope="once")
    assert (again.turn.id, again.turn.epoch, again.next_sequence) == (turn.id, 3, 5)
    await store.close()


async def test_an_interrupted_retry_keeps_only_its_own_words(url: str) -> None:
    store = await open_store(url)
    agent = await settled(store)
    first = await begun(store, agent, scope="once")
    await store.turns.finish(ending(store, first, "first", state="failed"))
    again = await begun(store, agent, scope="once")
    await store.turns.flush([row(again.turn, again.next_sequence, started(again.turn), TextDelta("second"))])
    await store.close()
    store = await open_store(url)
    assert await store.turns.interrupt_orphans(lambda _: False, NOW) == 1
    assert await answer(store, again.turn) == "second"
    await store.close()


async def test_what_runs_here_is_spared_and_what_does_not_is_interrupted(store: SqlStore) -> None:
    agent = await settled(store)
    lost, mine = await begun(store, agent), await begun(store, agent)
    assert await store.turns.interrupt_orphans(lambda turn_id: turn_id == mine.turn.id, NOW) == 1
    states = [await store.turns.get("acme", each.turn.id) for each in (lost, mine)]
    assert [each.state for each in states if each] == ["interrupted", "running"]
    await store.turns.finish(ending(store, mine))


async def test_turns_of_a_living_neighbour_are_spared_until_it_is_gone(postgres_url: str) -> None:
    store, neighbour = await asyncio.gather(open_store(postgres_url), open_store(postgres_url))
    agent = await settled(store)
    theirs = await begun(neighbour, agent)
    assert await store.turns.interrupt_orphans(lambda _: False, NOW) == 0
    await neighbour.close()
    assert await store.turns.interrupt_orphans(lambda _: False, NOW) == 1
    closed = await store.turns.get("acme", theirs.turn.id)
    assert closed is not None
    assert closed.state == "interrupted"
    await store.close()


async def _analyze(transaction: Transaction) -> None:
    await transaction.run("ANALYZE messages", {})
