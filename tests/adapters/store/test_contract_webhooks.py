"""Endpoints, what is entered for them with what happened, and how their deliveries are leased, on either database."""

import asyncio
from dataclasses import replace
from typing import Any

import pytest

from dragoman.adapters.store import SqlStore, open_store
from dragoman.adapters.store.driver import Transaction
from dragoman.adapters.store.outbox import tell
from dragoman.core.conversations import Conversation
from dragoman.core.errors import Conflict, NameTaken, NotFound
from dragoman.core.ids import new_id
from dragoman.core.webhooks import Attempt, Endpoint
from dragoman.ports.webhooks import Work
from tests.adapters.store.scene import NOW, asked, begun, ending, rows, said, settled

SECOND = 1_000_000
LEASE = 60 * SECOND


async def listening(store: SqlStore, url: str = "http://hooks", tenant: str = "acme", *events: str) -> Endpoint:
    made = Endpoint(new_id(), tenant, url, events, "active", "api", False, NOW, NOW)
    await store.endpoints.create(made, b"sealed")
    return made


async def told(store: SqlStore, event: str = "message.sent", conversation: str | None = None, **data: Any) -> None:
    async def job(transaction: Transaction) -> None:
        await tell(transaction, "acme", event, data, NOW, conversation)

    await store._database.write(job)


async def claimed(store: SqlStore, endpoint: Endpoint, now: int = NOW, most: int = 8) -> list[Work]:
    return list(await store.deliveries.claim(endpoint.tenant_id, endpoint.id, most, now, now + LEASE))


async def finished(store: SqlStore, work: Work, now: int = NOW) -> None:
    await store.deliveries.finish(work, Attempt(now, 5, 200, "ok"), "delivered", None, now)


async def failed(store: SqlStore, work: Work, due: int, now: int = NOW) -> None:
    await store.deliveries.finish(work, Attempt(now, 5, error="refused"), "pending", due, now)


async def test_nothing_is_entered_where_nobody_listens(store: SqlStore) -> None:
    agent = await settled(store)
    await said(store, agent, "Hello")
    assert await rows(store, "SELECT id FROM outbox WHERE tenant_id = 'acme'") == []


async def test_a_turn_enters_its_events_for_each_endpoint_that_takes_them(store: SqlStore) -> None:
    agent = await settled(store)
    everything, received = await listening(store), await listening(store, "http://two", "acme", "message.received")
    await settled(store, "other")
    foreign = await listening(store, "http://hooks", "other")
    await said(store, agent, "Hello", metadata={"page": "/pricing"})
    page = await store.deliveries.page("acme", everything.id, None, 10, None)
    assert sorted(each.event for each in page) == ["conversation.created", "message.received", "message.sent"]
    (only,) = await store.deliveries.page("acme", received.id, None, 10, None)
    assert only.event == "message.received"
    assert '"message":"Hello"' in only.body
    assert '"metadata":{"page":"/pricing"}' in only.body
    assert await store.deliveries.page("other", foreign.id, None, 10, None) == []
    assert await store.deliveries.page("other", everything.id, None, 10, None) == []


async def test_a_turn_that_does_not_begin_tells_of_nothing(store: SqlStore) -> None:
    agent = await settled(store)
    await listening(store)
    request = asked(store, agent, conversation_id=new_id())
    with pytest.raises(NotFound):
        await store.turns.begin(request).applied
    assert await rows(store, "SELECT id FROM outbox WHERE tenant_id = 'acme'") == []


async def test_closing_a_conversation_is_told_once(store: SqlStore) -> None:
    agent = await settled(store)
    endpoint = await listening(store, "http://hooks", "acme", "conversation.closed")
    one, other = new_id(), new_id()
    for each in (one, other):
        await store.conversations.create(Conversation(each, "acme", agent.id, "", NOW, NOW))
    for _ in range(2):
        await store.conversations.change("acme", one, {"archived_at": NOW}, NOW)
    await store.conversations.delete("acme", other)
    await store.conversations.delete("acme", other)
    bodies = [each.body for each in await store.deliveries.page("acme", endpoint.id, None, 10, None)]
    assert len(bodies) == 2
    assert {"archived" in body for body in bodies} == {True, False}


async def test_of_a_conversation_the_oldest_alone_is_leased_and_others_go_beside_it(store: SqlStore) -> None:
    await settled(store)
    endpoint = await listening(store)
    for number in range(3):
        await told(store, conversation="one", number=number)
    await told(store, conversation="two", number=9)
    await told(store, number=10)
    await told(store, number=11)
    first = await claimed(store, endpoint)
    assert [work.body.partition("number")[2] for work in first] == ['":0}}', '":9}}', '":10}}', '":11}}']
    assert await claimed(store, endpoint) == []
    await finished(store, first[0])
    (second,) = await claimed(store, endpoint)
    assert '"number":1' in second.body


async def test_what_follows_waits_as_long_as_what_has_failed_and_goes_when_it_is_through(store: SqlStore) -> None:
    await settled(store)
    endpoint = await listening(store)
    for number in range(2):
        await told(store, conversation="one", number=number)
    (first,) = await claimed(store, endpoint)
    later = NOW + 5 * SECOND
    await failed(store, first, later)
    await told(store, conversation="one", number=2)
    assert await store.deliveries.due(NOW) == []
    assert await store.deliveries.due(later) == [("acme", endpoint.id)]
    for number in range(3):
        (work,) = await claimed(store, endpoint, later)
        assert f'"number":{number}' in work.body
        assert work.attempts == (1 if number == 0 else 0)
        await finished(store, work, later)
    assert await store.deliveries.due(later) == []
    newest = await store.deliveries.get("acme", first.id)
    assert newest is not None
    assert [(each.status, each.error) for each in newest.attempts] == [(None, "refused"), (200, None)]


async def test_two_that_claim_at_once_get_none_twice(store: SqlStore) -> None:
    await settled(store)
    endpoint = await listening(store)
    for number in range(20):
        await told(store, conversation=f"c{number}")
    batches = await asyncio.gather(*(claimed(store, endpoint, most=5) for _ in range(6)))
    ids = [work.id for batch in batches for work in batch]
    assert len(ids) == len(set(ids)) <= 20
    ids += [work.id for work in await claimed(store, endpoint, most=20)]
    assert len(set(ids)) == len(ids) == 20


async def test_leases_of_the_dead_and_those_that_last_too_long_fall_free(url: str, store: SqlStore) -> None:
    await settled(store)
    endpoint = await listening(store)
    await told(store)
    (work,) = await claimed(store, endpoint)
    assert await store.deliveries.release([work.id], NOW + 2 * LEASE) == 0
    assert await store.deliveries.release([], NOW + LEASE // 2) == 0
    assert await store.deliveries.release([], NOW + 2 * LEASE) == 1
    (again,) = await claimed(store, endpoint)
    assert again.id == work.id
    await rows(store, "SELECT 1 FROM deliveries WHERE tenant_id = 'acme'")
    if url.startswith("postgresql"):
        other = await open_store(url)
        assert await other.deliveries.release([], NOW) == 0
        await store.close()
        assert await other.deliveries.release([], NOW) == 1
        await other.close()


async def test_what_another_has_taken_over_is_not_noted(store: SqlStore) -> None:
    await settled(store)
    endpoint = await listening(store)
    await told(store)
    (work,) = await claimed(store, endpoint)
    await store.deliveries.release([], NOW + 2 * LEASE)
    await finished(store, work)
    kept = await store.deliveries.get("acme", work.id)
    assert kept is not None
    assert (kept.state, kept.attempts) == ("pending", ())


async def test_disabling_parks_what_waits_and_a_replay_needs_it_enabled(store: SqlStore) -> None:
    await settled(store)
    endpoint = await listening(store)
    for number in range(3):
        await told(store, conversation="one", number=number)
    (work,) = await claimed(store, endpoint)
    await store.endpoints.set_state("acme", endpoint.id, "disabled", NOW)
    await store.deliveries.finish(work, Attempt(NOW, 5, 500, ""), "pending", NOW + SECOND, NOW)
    await told(store, conversation="one", number=3)
    page = await store.deliveries.page("acme", endpoint.id, "failed", 10, None)
    assert [each.state for each in page] == ["failed"] * 3
    assert await store.deliveries.page("acme", endpoint.id, "pending", 10, None) == []
    with pytest.raises(Conflict):
        await store.deliveries.replay("acme", work.id, NOW)
    with pytest.raises(Conflict):
        await store.deliveries.replay_all("acme", endpoint.id, 0, NOW, None, NOW)
    await store.endpoints.set_state("acme", endpoint.id, "active", NOW)
    assert await store.deliveries.replay_all("acme", endpoint.id, 0, NOW - 1, None, NOW) == 0
    assert await store.deliveries.replay_all("acme", endpoint.id, NOW, NOW, "delivered", NOW) == 0
    assert await store.deliveries.replay_all("acme", endpoint.id, NOW, NOW, "failed", NOW) == 3
    for number in range(3):
        (again,) = await claimed(store, endpoint)
        assert f'"number":{number}' in again.body
        await finished(store, again)


async def test_a_replay_goes_out_under_the_same_event(store: SqlStore) -> None:
    await settled(store)
    endpoint = await listening(store)
    await told(store)
    (work,) = await claimed(store, endpoint)
    await finished(store, work)
    assert await store.deliveries.replay("other", work.id, NOW) is None
    replayed = await store.deliveries.replay("acme", work.id, NOW)
    assert replayed is not None
    assert (replayed.state, replayed.finished_at) == ("pending", None)
    (again,) = await claimed(store, endpoint)
    assert (again.id, again.event_id, again.attempts) == (work.id, work.event_id, 0)


async def test_a_secret_that_was_replaced_signs_too_until_its_time_is_over(store: SqlStore) -> None:
    await settled(store)
    endpoint = await listening(store)
    await told(store)
    await told(store)
    await store.endpoints.rotate("acme", endpoint.id, b"newer", NOW + SECOND, NOW)
    (during,) = await claimed(store, endpoint, NOW, 1)
    (after,) = await claimed(store, endpoint, NOW + SECOND, 1)
    assert (during.keys, after.keys) == ([b"newer", b"sealed"], [b"newer"])
    assert await store.endpoints.key("acme", endpoint.id) == b"newer"
    assert await store.endpoints.key("other", endpoint.id) is None


async def test_a_tenant_has_one_endpoint_of_a_url(store: SqlStore) -> None:
    await settled(store)
    await settled(store, "other")
    endpoint = await listening(store)
    second = await listening(store, "http://two")
    await listening(store, "http://hooks", "other")
    with pytest.raises(NameTaken):
        await listening(store)
    with pytest.raises(NameTaken):
        await store.endpoints.change(Endpoint(second.id, "acme", "http://hooks", (), "active", "api", False, NOW, NOW))
    assert await store.endpoints.get("acme", endpoint.id) == endpoint
    assert await store.endpoints.get("other", endpoint.id) is None
    assert not await store.endpoints.delete("other", endpoint.id)


async def test_a_deleted_endpoint_takes_its_deliveries_along_and_others_follow_at_once(store: SqlStore) -> None:
    await settled(store)
    endpoint = await listening(store)
    await told(store)
    (work,) = await claimed(store, endpoint)
    await finished(store, work)
    assert await store.endpoints.delete("acme", endpoint.id)
    await told(store)
    for table in ("deliveries", "delivery_attempts"):
        assert await rows(store, f"SELECT 1 FROM {table} WHERE tenant_id = 'acme'") == []


async def test_what_was_done_with_long_ago_is_forgotten_and_the_rest_is_not(store: SqlStore) -> None:
    await settled(store)
    endpoint = await listening(store)
    await told(store, number=1)
    await told(store, number=2)
    (work,) = await claimed(store, endpoint, most=1)
    await finished(store, work)
    await store.deliveries.prune(NOW)
    assert len(await rows(store, "SELECT 1 FROM outbox WHERE tenant_id = 'acme'")) == 2
    await store.deliveries.prune(NOW + 1)
    assert await store.deliveries.get("acme", work.id) is None
    (left,) = await store.deliveries.page("acme", endpoint.id, None, 10, None)
    assert left.state == "pending"
    assert len(await rows(store, "SELECT 1 FROM outbox WHERE tenant_id = 'acme'")) == 1
    assert await rows(store, "SELECT 1 FROM delivery_attempts WHERE tenant_id = 'acme'") == []


async def test_an_endpoint_of_a_terminal_goes_when_its_time_is_over(store: SqlStore) -> None:
    await settled(store)
    made = Endpoint(new_id(), "acme", "http://t", (), "active", "listen", False, NOW, NOW, None, NOW + SECOND)
    await store.endpoints.create(made, b"sealed")
    await told(store)
    (work,) = await claimed(store, made)
    assert work.allow_private
    await store.endpoints.delete_expired(NOW)
    assert await store.endpoints.get("acme", made.id) is not None
    await store.endpoints.delete_expired(NOW + SECOND)
    assert await store.endpoints.get("acme", made.id) is None


async def test_low_credits_are_told_once_for_each_grant(store: SqlStore) -> None:
    agent = await settled(store)
    endpoint = await listening(store, "http://hooks", "acme", "credits.low")
    tenant = await store.tenants.get("acme")
    assert tenant is not None

    async def grant(total: int) -> None:
        await store.tenants.put(replace(tenant, credits=total), NOW)

    async def spend() -> None:
        await store.turns.finish(ending(store, await begun(store, agent), charged=1))

    async def low() -> list[str]:
        page = await store.deliveries.page("acme", endpoint.id, None, 10, None)
        return [each.body for each in page]

    await grant(10)
    for spent in range(1, 11):
        await spend()
        assert len(await low()) == (1 if spent >= 9 else 0)
    await grant(20)
    for spent in range(1, 10):
        await spend()
        assert len(await low()) == (2 if spent >= 8 else 1)
    assert '"credits":2,"granted":20' in (await low())[0] + (await low())[1]
