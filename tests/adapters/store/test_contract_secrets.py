"""Secrets on either database: sealed, of one tenant, replaced as a whole."""

from dragoman.adapters.sealing import Sealing
from dragoman.core.tenants import Tenant
from dragoman.ports.secrets import SecretName
from dragoman.ports.store import Store
from dragoman.services.audit import Audit
from dragoman.services.secrets import Secrets

VALUE = "sk-the-shop-0123456789"


async def test_secrets_are_kept_replaced_listed_and_deleted(store: Store) -> None:
    assert await store.secrets.put("acme", "b", b"\x00\x01\xff", 1)
    assert await store.secrets.put("acme", "a", b"first", 2)
    assert not await store.secrets.put("acme", "a", b"second", 3)
    assert await store.secrets.put("other", "a", b"others", 4)
    assert await store.secrets.all("acme") == [SecretName("a", 3), SecretName("b", 1)]
    assert await store.secrets.get("acme", "a") == b"second"
    assert await store.secrets.get("acme", "b") == b"\x00\x01\xff"
    assert await store.secrets.delete("acme", "a")
    assert not await store.secrets.delete("acme", "a")
    assert await store.secrets.get("acme", "a") is None
    assert await store.secrets.get("other", "a") == b"others"


async def test_a_secret_opens_for_its_tenant_and_name_alone(store: Store) -> None:
    for tenant in ("acme", "other"):
        await store.tenants.put(Tenant(tenant, tenant), 1)
    secrets = Secrets(store, Sealing(b"k" * 32), Audit(store))
    assert await secrets.put("acme", "operator", "shop", VALUE)
    assert await secrets.open_("acme", "shop") == VALUE
    assert await secrets.open_("acme", "absent") is None
    assert await secrets.open_("other", "shop") is None
    sealed = await store.secrets.get("acme", "shop")
    assert sealed is not None
    assert VALUE.encode() not in sealed
    # Whoever can write the database still cannot have another tenant's secret opened for one.
    await store.secrets.put("other", "shop", sealed, 2)
    await store.secrets.put("acme", "moved", sealed, 2)
    assert await secrets.open_("other", "shop") is None
    assert await secrets.open_("acme", "moved") is None


async def test_another_server_secret_opens_nothing_and_says_so_by_no_value(store: Store) -> None:
    await store.tenants.put(Tenant("acme", "Acme"), 1)
    await Secrets(store, Sealing(b"k" * 32), Audit(store)).put("acme", "operator", "shop", VALUE)
    assert await Secrets(store, Sealing(b"x" * 32), Audit(store)).open_("acme", "shop") is None
