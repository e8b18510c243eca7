"""What every store does with counts of requests, and how it finds a public agent."""

from dragoman.adapters.store import SqlStore
from dragoman.adapters.store.limits import KEPT_US
from tests.adapters.store.scene import NOW, rows, settled

DAY = 86_400_000_000


async def test_a_count_is_kept_for_its_window_alone(store: SqlStore) -> None:
    assert await store.limits.load("acme", "day", NOW) == 0
    await store.limits.keep("acme", "day", NOW, 3)
    assert await store.limits.load("acme", "day", NOW) == 3
    for tenant, bucket, at in (("other", "day", NOW), ("acme", "another", NOW), ("acme", "day", NOW + DAY)):
        assert await store.limits.load(tenant, bucket, at) == 0


async def test_a_count_only_rises(store: SqlStore) -> None:
    for count in (3, 9, 5):
        await store.limits.keep("acme", "day", NOW, count)
    assert await store.limits.load("acme", "day", NOW) == 9


async def test_yesterday_is_kept_and_what_was_long_ago_is_not(store: SqlStore) -> None:
    for days in range(5):
        await store.limits.keep("acme", "day", NOW + days * DAY, 1)
        await store.limits.keep("other", "day", NOW, 7)
    kept = await rows(store, "SELECT starts_at FROM limit_windows WHERE tenant_id = 'acme' ORDER BY starts_at")
    assert [row[0] for row in kept] == [NOW + days * DAY for days in (2, 3, 4)]
    assert 3 * DAY > KEPT_US >= DAY
    assert await store.limits.load("other", "day", NOW) == 7


async def test_a_public_agent_says_whose_it_is_and_another_does_not(store: SqlStore) -> None:
    public = await settled(store, "acme", "Public Agent", public=True)
    closed = await settled(store, "other", "Closed Agent")
    assert await store.agents.find_public(public.id) == "acme"
    assert await store.agents.find_public(closed.id) is None
    assert await store.agents.find_public("0" * 32) is None
    await settled(store, "acme", "Public Agent", public=False)
    assert await store.agents.find_public(public.id) is None
