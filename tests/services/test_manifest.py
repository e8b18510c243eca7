"""A manifest is read key by key; what is wrong in it is named by its path."""

from pathlib import Path
from typing import Any

import pytest
import yaml

from dragoman.services.manifest import ManifestError, read
from dragoman.services.manifest.format import definition_of

WHOLE = Path(__file__).with_name("whole.yaml").read_text()


def agent(**more: Any) -> dict[str, Any]:
    return {"name": "A", **more}


def spelled(**tenant: Any) -> str:
    return yaml.safe_dump({"tenants": [{"id": "acme", **tenant}]})


def test_a_manifest_with_every_key_is_accepted() -> None:
    manifest = read(WHOLE)
    (tenant,) = manifest.tenants
    assert [price.credits_per_turn for price in manifest.models] == [0, 12]
    assert (tenant.plan, tenant.credits, tenant.default_agent) == ("starter", 250, "concierge")
    assert [key.name for key in tenant.keys] == ["server", "page", "nightly", "import"]
    assert tenant.keys[2].expires_at is not None
    first, second, third = tenant.agents
    assert (first.slug, first.model.temperature, first.min_confidence) == ("concierge", 0.7, 0.25)
    assert [each.type for each in first.knowledge] == ["qa", "text", "file", "website", "table"]
    assert [each.type for each in first.tools] == ["client", "http", "mcp"]
    assert (second.model.provider, second.model.path) == ("embedded", "house.gguf")
    assert len(third.model.script) == 2


def test_an_empty_manifest_says_nothing() -> None:
    for text in ("", "{}", "tenants: []", "# nothing"):
        assert read(text).tenants == ()


@pytest.mark.parametrize(
    ("text", "told"),
    [
        (spelled(agents=[agent(), agent(name="B", modle={})]), "tenants[0].agents[1].modle: there is no such key"),
        (spelled(agents=[agent(model={"nam": "x"})]), "tenants[0].agents[0].model.nam: there is no such key"),
        (spelled(keyz=[]), "tenants[0].keyz: there is no such key"),
        ("tennants: []", "tennants: there is no such key"),
        (spelled(agents=[agent(name=5)]), "tenants[0].agents[0].name: Expected `str`, got `int`"),
        (spelled(agents={}), "tenants[0].agents: Expected `array`, got `object`"),
        (spelled(agents=[{}]), "tenants[0].agents[0]: Object missing required field `name`"),
        (spelled(plan="gold"), "tenants[0].plan: Invalid enum value 'gold'"),
        (spelled(credits=-1), "tenants[0].credits: Expected `int` >= 0"),
        (spelled(limits={"per_minute": 0}), "tenants[0].limits.per_minute: Expected `int` >= 1"),
        (spelled(keys=[{"name": "k", "value": "short"}]), "tenants[0].keys[0].value: Expected `str` of length >= 32"),
        (spelled(keys=[{"name": "k", "type": "public"}]), "tenants[0].keys[0].type: Invalid enum value 'public'"),
        (spelled(keys=[{"name": "k", "expires_at": "soon"}]), "tenants[0].keys[0].expires_at: "),
        (spelled(keys=[{"name": "k", "limits": {"per_day": 1}}]), "tenants[0].keys[0].limits.per_day: there is no"),
        (spelled(agents=[agent(model={"temperature": 3})]), "tenants[0].agents[0].model.temperature: "),
        (spelled(agents=[agent(model={"temperature": float("nan")})]), "tenants[0].agents[0].model.temperature: "),
        (spelled(agents=[agent(min_confidence=1.5)]), "tenants[0].agents[0].min_confidence: "),
        (spelled(agents=[agent(on_disconnect="stop")]), "tenants[0].agents[0].on_disconnect: "),
        (spelled(agents=[agent(slug="No Good")]), "tenants[0].agents[0].slug: "),
        (spelled(agents=[agent(id="7")]), "tenants[0].agents[0].id: "),
        (spelled(agents=[agent(deployments=[{"channel": "voice"}])]), "tenants[0].agents[0].deployments[0]: "),
        (spelled(agents=[agent(tools=[{"type": "magic"}])]), "tenants[0].agents[0].tools[0].type: "),
        (spelled(webhooks=[{"url": "ftp://x"}]), "tenants[0].webhooks[0].url: "),
        (
            spelled(webhooks=[{"url": "http://x", "events": ["message.read"]}]),
            "tenants[0].webhooks[0].events: There is no",
        ),
        (
            spelled(webhooks=[{"url": "http://x", "secret": "whsec_c2hvcnQ="}]),
            "tenants[0].webhooks[0].secret: A webhook's",
        ),
        (
            spelled(webhooks=[{"url": "http://x"}, {"url": "http://x"}]),
            "tenants[0].webhooks[1]: 'http://x' is there twice",
        ),
        (spelled(egress={"allow_private": "yes"}), "tenants[0].egress.allow_private: Expected `bool`"),
        (yaml.safe_dump({"tenants": [{"id": "a b"}]}), "tenants[0].id: "),
        (yaml.safe_dump({"models": [{"name": "x"}]}), "models[0]: Object missing required field `credits_per_turn`"),
        (spelled(agents=[agent(model={"provider": "openai"})]), "tenants[0].agents[0].model.name: provider openai"),
        (
            spelled(agents=[agent(model={"provider": "openai", "name": "x"})]),
            "tenants[0].agents[0].model.base_url: provider openai",
        ),
        (spelled(keys=[{"name": "k"}, {"name": "k"}]), "tenants[0].keys[1]: 'k' is there twice"),
        (spelled(agents=[agent(slug="s"), agent(slug="s")]), "tenants[0].agents[1]: 's' is there twice"),
        (spelled(agents=[agent(), agent()]), "tenants[0].agents[1]: 'a' is there twice"),
        (spelled(agents=[agent(slug="help"), agent(name="Help!")]), "tenants[0].agents[1]: 'help' is there twice"),
        (yaml.safe_dump({"tenants": [{"id": "a"}, {"id": "a"}]}), "tenants[1]: 'a' is there twice"),
        ("tenants: [", "not valid YAML"),
        ("[]", "Expected `object`, got `array`"),
        ("a: !!python/object:os.system {}", "not valid YAML"),
        ("[" * 5000, "nested too deep"),
    ],
)
def test_what_is_wrong_is_named_by_its_path(text: str, told: str) -> None:
    with pytest.raises(ManifestError) as wrong:
        read(text, "file.yaml")
    assert wrong.value.message.startswith(f"file.yaml: {told}")
    assert "\n" not in wrong.value.message


def test_two_agents_of_one_name_are_told_apart_by_their_ids() -> None:
    ids = [f"123e4567-e89b-12d3-a456-42661417400{last}" for last in "01"]
    manifest = read(spelled(agents=[agent(id=each) for each in ids]))
    assert [each.id for each in manifest.tenants[0].agents] == ids


def test_what_is_kept_of_an_agent_reads_back_as_the_same_agent() -> None:
    for each in read(WHOLE).tenants[0].agents:
        kept = {"name": each.name, **definition_of(each)}
        (again,) = read(yaml.safe_dump({"tenants": [{"id": "acme", "agents": [kept]}]})).tenants[0].agents
        assert definition_of(again) == definition_of(each)


def test_a_model_without_a_name_gets_that_of_its_provider() -> None:
    for provider, name in (("embedded", "qwen2.5-coder-0.5b-instruct"), ("scripted", "scripted")):
        (each,) = read(spelled(agents=[agent(model={"provider": provider})])).tenants[0].agents
        assert definition_of(each)["model"]["name"] == name
