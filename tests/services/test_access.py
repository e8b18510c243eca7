"""Who acts behind each kind of credential, over a real store."""

import asyncio
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import pytest

from dragoman.adapters.store import SqlStore, open_store
from dragoman.core.clock import now_us
from dragoman.core.errors import Forbidden, Unauthenticated
from dragoman.core.ids import prefixed
from dragoman.core.tenants import Tenant
from dragoman.services.access import Access, NewKey

ORIGIN = "https://shop.example"
AGENT = "123e4567-e89b-12d3-a456-426614174000"


@pytest.fixture
async def store(tmp_path: Path) -> AsyncIterator[SqlStore]:
    opened = await open_store(f"sqlite:///{tmp_path / 'dragoman.db'}")
    for tenant in ("acme", "other"):
        await opened.tenants.put(Tenant(tenant, tenant), now_us())
    await opened.agents.put("acme", AGENT, "shop", "Shop", {"public": True}, now_us())
    await opened.agents.put("other", None, "shop", "Shop", {}, now_us())
    yield opened
    await opened.close()


@pytest.fixture
def access(store: SqlStore) -> Access:
    return Access(store, b"p" * 32, b"v" * 32)


async def page(access: Access, tenant: str = "acme", **more: Any) -> str:
    """The value of a new publishable key."""
    wanted = {"name": f"page-{len(await access.list(tenant))}", "agents": ("shop",), "origins": (ORIGIN,), **more}
    _, value = await access.create(tenant, NewKey(type="publishable", **wanted))
    return value


async def test_a_secret_key_acts_for_its_tenant_from_anywhere(access: Access) -> None:
    key, value = await access.create("acme", NewKey("backend", limits={"chat_per_minute": 7}))
    for origin, token in ((None, None), ("https://evil.example", "vt_nonsense")):
        principal, new_token = await access.authenticate(value, origin, token)
        assert (principal.tenant_id, principal.key_id, principal.type) == ("acme", key.id, "secret")
        assert (principal.visitor_id, principal.limits) == (None, (("chat_per_minute", 7),))
        assert new_token is None
        assert principal.scope == key.id


async def test_what_has_expired_or_was_revoked_comes_to_life_by_a_rotation(access: Access) -> None:
    old, _ = await access.create("acme", NewKey("short", expires_at=now_us() + 50_000))
    await asyncio.sleep(0.06)
    key, value = await access.rotate("acme", "short")
    assert (old.expires_at is None, key.expires_at) == (False, None)
    await access.revoke("acme", "short")
    with pytest.raises(Unauthenticated):
        await access.authenticate(value)
    _, again = await access.rotate("acme", "short")
    assert (await access.authenticate(again))[0].tenant_id == "acme"


@pytest.mark.parametrize("credential", [None, "", "sk_unknown", "pk_unknown", "\ud800"])
async def test_what_opens_nothing_is_unauthenticated(access: Access, credential: str | None) -> None:
    with pytest.raises(Unauthenticated):
        await access.authenticate(credential)


async def test_a_publishable_key_acts_for_a_visitor_who_is_known_again_by_his_token(access: Access) -> None:
    value = await page(access, limits={"chat_per_minute": 7})
    first, token = await access.authenticate(value, ORIGIN)
    assert token is not None
    assert (first.type, first.agents, first.limits) == ("publishable", ("shop",), (("chat_per_minute", 7),))
    assert first.scope == first.visitor_id
    assert await access.authenticate(value, ORIGIN, token) == (first, None)
    another, other_token = await access.authenticate(value, ORIGIN)
    assert other_token not in (None, token)
    assert another.visitor_id != first.visitor_id
    assert first.may_read(first.visitor_id)
    assert not another.may_read(first.visitor_id)
    assert not another.may_read(None)


async def test_a_visitors_token_is_good_with_every_key_of_the_tenant_and_with_no_other_tenants(access: Access) -> None:
    first, token = await access.authenticate(await page(access), ORIGIN)
    again, new = await access.authenticate(await page(access), ORIGIN, token)
    assert (again.visitor_id, new) == (first.visitor_id, None)
    with pytest.raises(Unauthenticated):
        await access.authenticate(await page(access, "other"), ORIGIN, token)
    with pytest.raises(Unauthenticated):
        await access.authenticate(await page(access), ORIGIN, "")


async def test_a_publishable_key_is_for_its_origins(access: Access) -> None:
    value = await page(access)
    for origin in (None, "null", "https://evil.example"):
        with pytest.raises(Forbidden, match="origin"):
            await access.authenticate(value, origin)
    anywhere, nowhere = await page(access, origins=("*",)), await page(access, origins=())
    for origin in (None, "https://evil.example"):
        assert (await access.authenticate(anywhere, origin)).new_visitor_token
    assert (await access.authenticate(nowhere)).new_visitor_token
    with pytest.raises(Forbidden, match="origin"):
        await access.authenticate(nowhere, ORIGIN)


async def test_a_publishable_key_without_agents_says_what_to_do(access: Access) -> None:
    _, value = await access.bring_to("acme", NewKey("page", "publishable", origins=(ORIGIN,)))
    with pytest.raises(Forbidden, match="names no agent"):
        await access.authenticate(value, ORIGIN)


async def test_a_change_made_here_is_seen_at_once(access: Access) -> None:
    value = await page(access)
    await access.authenticate(value, ORIGIN)
    await access.revoke("acme", "page-0")
    with pytest.raises(Unauthenticated):
        await access.authenticate(value, ORIGIN)


@pytest.mark.parametrize("reference", [AGENT, AGENT.upper(), prefixed("agent", AGENT)])
async def test_a_public_agent_needs_no_credential(access: Access, reference: str) -> None:
    principal, token = await access.public(reference)
    assert token is not None
    assert (principal.tenant_id, principal.key_id, principal.type) == ("acme", None, "public")
    assert principal.agents == (AGENT,)
    assert await access.public(reference, token) == (principal, None)
    with pytest.raises(Unauthenticated):
        await access.public(reference, token + "x")


@pytest.mark.parametrize("reference", ["shop", "123e4567-e89b-12d3-a456-426614174009", "conv_" + "0" * 32, ""])
async def test_what_is_no_public_agents_id_is_unauthenticated(access: Access, reference: str) -> None:
    with pytest.raises(Unauthenticated):
        await access.public(reference)


async def test_an_agent_that_is_not_public_is_unauthenticated(store: SqlStore, access: Access) -> None:
    closed, _ = await store.agents.put("acme", None, "closed", "Closed", {}, now_us())
    with pytest.raises(Unauthenticated):
        await access.public(closed.id)
