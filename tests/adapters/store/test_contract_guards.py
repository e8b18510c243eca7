"""What every store says of addresses of models: whose word they are, as it stands when they are read."""

from typing import Any

from dragoman.adapters.store import SqlStore
from dragoman.core.agents import AgentDefinition
from dragoman.core.tenants import Tenant
from tests.adapters.store.scene import NOW
from tests.adapters.store.test_contract_agents import made

LENT, OWN = "http://10.0.0.5/v1", "http://10.0.0.6/v1"
NAMED = {"provider": "openai", "name": "m"}


def using(address: str) -> dict[str, Any]:
    vendor = {**NAMED, "base_url": address}
    return {"model": vendor, "embedder": vendor, "transcriber": vendor}


async def read(store: SqlStore, slug: str) -> AgentDefinition:
    agent = await store.agents.find("acme", slug)
    assert agent is not None
    listed = [each.definition for each, _ in await store.agents.definitions("acme") if each.slug == slug]
    assert listed == [agent.definition]
    return agent.definition


def guards(definition: AgentDefinition) -> tuple[str | None, ...]:
    return definition.model.guard, definition.embedder.guard, definition.transcriber.guard


async def test_an_address_that_a_tenant_named_is_guarded_until_a_manifest_lends_it(store: SqlStore) -> None:
    await made(store, "Own", definition=using(OWN))
    await made(store, "Lent", definition={**using(OWN), "model": {**NAMED, "base_url": LENT}})
    await made(store, "Elsewhere", tenant="other", definition=using(OWN))
    await store.agents.put("other", None, None, "Others", using(OWN), NOW)
    assert guards(await read(store, "own")) == ("public", "public", "public")
    # Where a manifest names it is all the same: as a model, an embedder or a transcriber.
    _, _ = await store.agents.put("acme", None, None, "Operated", {"embedder": {**NAMED, "base_url": LENT}}, NOW)
    assert guards(await read(store, "operated")) == (None, None, None)
    assert guards(await read(store, "lent")) == (None, "public", "public")
    await store.agents.put("acme", None, None, "Operated", using(OWN), NOW)
    assert guards(await read(store, "own")) == (None, None, None)
    assert guards(await read(store, "lent")) == ("public", None, None)


async def test_who_may_reach_private_networks_is_guarded_from_the_rest_alone(store: SqlStore) -> None:
    await made(store, "Own", definition=using(OWN))
    await store.tenants.put(Tenant("acme", "Acme", allow_private=True), NOW)
    assert guards(await read(store, "own")) == ("private", "private", "private")


async def test_a_vendors_usual_address_needs_no_guard(store: SqlStore) -> None:
    await made(store, "Usual", definition={"model": NAMED, "embedder": {"provider": "embedded"}})
    assert guards(await read(store, "usual")) == (None, None, None)
