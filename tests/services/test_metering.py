"""Which windows a request counts in, by who acts, on which route, from where."""

from collections.abc import AsyncIterator
from pathlib import Path

import pytest

from dragoman.adapters.limits.memory import MemoryLimiter
from dragoman.adapters.store import SqlStore, open_store
from dragoman.core.clock import now_us
from dragoman.core.errors import Unauthenticated
from dragoman.core.limits import Admission, Bucket
from dragoman.core.tenants import Principal, Tenant
from dragoman.services import remembered
from dragoman.services.metering import Metering

CHAT = Bucket("chat", 60, "key", "chat_per_minute")
ALL_CHATS = Bucket("chats", 100, "tenant")
BACKEND = Principal("acme", "backend", "secret")
WIDGET = Principal("acme", "widget", "publishable", "visitor", ("shop",))
PUBLIC = Principal("acme", None, "public", "visitor", ("shop",))


@pytest.fixture
async def store(tmp_path: Path) -> AsyncIterator[SqlStore]:
    opened = await open_store(f"sqlite:///{tmp_path / 'dragoman.db'}")
    await opened.tenants.put(Tenant("acme", "Acme", "pro"), now_us())
    yield opened
    await opened.close()


@pytest.fixture
def metering(store: SqlStore) -> Metering:
    return Metering(store, MemoryLimiter(store.limits))


def limits(told: Admission) -> dict[str, int]:
    return {count.window.bucket: count.window.limit for count in told.counts}


def used(told: Admission) -> dict[str, int]:
    return {count.window.bucket: count.used for count in told.counts}


@pytest.mark.parametrize(
    ("tenant", "expected"),
    [
        (Tenant("acme", "Acme", "free"), {"minute": 10, "day": 100}),
        (Tenant("acme", "Acme", "starter"), {"minute": 60, "day": 1_000}),
        (Tenant("acme", "Acme", "pro"), {"minute": 300, "day": 10_000}),
        (Tenant("acme", "Acme", "enterprise"), {"minute": 6_000}),
        (Tenant("acme", "Acme", "enterprise", per_minute=9), {"minute": 9}),
        (Tenant("acme", "Acme", "pro", per_day=50_000), {"minute": 300, "day": 50_000}),
    ],
)
async def test_a_plan_has_its_windows_unless_the_tenant_has_its_own(
    store: SqlStore, metering: Metering, tenant: Tenant, expected: dict[str, int]
) -> None:
    await store.tenants.put(tenant, now_us())
    assert limits(await metering.admit(BACKEND, "")) == expected


async def test_a_changed_plan_holds_within_three_seconds(
    store: SqlStore, metering: Metering, monkeypatch: pytest.MonkeyPatch
) -> None:
    assert remembered.REMEMBERED_SECONDS <= 3
    monkeypatch.setattr(remembered, "REMEMBERED_SECONDS", 0.0)
    assert limits(await metering.admit(BACKEND, ""))["minute"] == 300
    await store.tenants.put(Tenant("acme", "Acme", "free"), now_us())
    told = await metering.admit(BACKEND, "")
    assert (limits(told)["minute"], used(told)["minute"]) == (10, 2)


async def test_a_tenant_that_is_not_there_may_nothing(metering: Metering) -> None:
    with pytest.raises(Unauthenticated):
        await metering.admit(Principal("gone", "key", "secret"), "")


async def test_a_routes_bucket_counts_for_each_key_or_for_the_tenant(metering: Metering) -> None:
    other = Principal("acme", "other", "secret")
    await metering.admit(BACKEND, "", bucket=CHAT)
    told = await metering.admit(other, "", bucket=CHAT)
    assert used(told) == {"minute": 2, "day": 2, "chat": 1}
    assert limits(told)["chat"] == 60
    await metering.admit(BACKEND, "", bucket=ALL_CHATS)
    assert used(await metering.admit(other, "", bucket=ALL_CHATS)) == {"minute": 4, "day": 4, "chats": 2}


async def test_a_key_may_have_a_limit_of_its_own_in_place_of_the_buckets(metering: Metering) -> None:
    bulk = Principal("acme", "bulk", "secret", limits=(("chat_per_minute", 600), ("stream_per_minute", 7)))
    assert limits(await metering.admit(bulk, "", bucket=CHAT))["chat"] == 600
    managing = Bucket("manage", 100, "key", "manage_per_minute")
    assert limits(await metering.admit(bulk, "", bucket=managing))["manage"] == 100


async def test_a_visitor_counts_in_the_plan_and_in_bounds_of_his_key_and_address(metering: Metering) -> None:
    told = await metering.admit(WIDGET, "1.2.3.4", sends=True)
    assert limits(told) == {"minute": 300, "day": 10_000, "sends": 60}
    assert limits(await metering.admit(WIDGET, "1.2.3.4"))["reads"] == 100
    assert used(await metering.admit(WIDGET, "1.2.3.4", sends=True)) == {"minute": 3, "day": 3, "sends": 2}
    assert used(await metering.admit(WIDGET, "1.2.3.5", sends=True))["sends"] == 1
    page = Principal("acme", "page", "publishable", "visitor", ("shop",), (("chat_per_minute", 5),))
    told = await metering.admit(page, "1.2.3.4", sends=True)
    assert (used(told)["sends"], limits(told)["sends"]) == (1, 5)


async def test_who_has_no_credential_counts_by_address_and_not_in_the_plan(metering: Metering) -> None:
    told = await metering.admit(PUBLIC, "1.2.3.4", sends=True)
    assert limits(told) == {"public": 20}
    assert used(await metering.admit(PUBLIC, "1.2.3.4")) == {"public": 2}
    assert used(await metering.admit(PUBLIC, "1.2.3.5")) == {"public": 1}
    assert used(await metering.admit(BACKEND, "1.2.3.4"))["minute"] == 1
