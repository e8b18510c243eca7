"""Documents into knowledge: each step kept, nothing done twice, failures told to the owner."""

from typing import Any

import pytest

from dragoman.core.errors import Invalid, TooLarge, UnsupportedMedia
from dragoman.core.knowledge import Document
from dragoman.ports.embedders import EmbedderError
from dragoman.ports.knowledge import Superseded
from dragoman.services.knowledge import Given
from tests.services.knowing import Knowing, answer_to, text
from tests.services.scene import World

POLICY = text("Policy", "alpha", "beta", "gamma", "delta", "epsilon")


@pytest.fixture
def knowing(world: World) -> Knowing:
    return Knowing(world)


async def kept(world: World, document_id: str) -> Document:
    found = await world.store.documents.get("acme", document_id)
    assert found is not None
    return found


async def test_a_document_becomes_ready_step_by_step(world: World, knowing: Knowing) -> None:
    (policy,) = await knowing.learn(POLICY)
    found = await kept(world, policy)
    assert (found.state, found.step, found.done, found.total, found.error) == ("ready", "done", 5, 5, None)
    assert world.embedder.texts == [f"Policy\n{word}" for word in ("alpha", "beta", "gamma", "delta", "epsilon")]


async def test_what_the_tenant_knows_already_is_not_embedded_again(world: World, knowing: Knowing) -> None:
    (policy,) = await knowing.learn(POLICY)
    world.embedder.texts.clear()
    await knowing.learn(text("Policy", "beta", "zeta", "zeta"))
    assert world.embedder.texts == ["Policy\nzeta"]
    await knowing.knowledge.retry("acme", policy)
    await knowing.ingestion.work_off()
    assert world.embedder.texts == ["Policy\nzeta"]
    assert (await kept(world, policy)).state == "ready"


async def test_work_goes_on_where_it_was_broken_off(
    world: World, knowing: Knowing, monkeypatch: pytest.MonkeyPatch
) -> None:
    """As after a kill: the first batch is kept, its owner is dead, and the embedder is asked for the others alone."""
    agent_id = await knowing.agent()
    policy, _ = await knowing.knowledge.add("acme", agent_id, POLICY)
    whole = world.embedder.embed
    asked = 0

    async def dying(choice: Any, texts: Any) -> Any:
        nonlocal asked
        asked += 1
        if asked == 2:
            raise SystemExit
        return await whole(choice, texts)

    monkeypatch.setattr(world.embedder, "embed", dying)
    with pytest.raises(SystemExit):
        await knowing.ingestion.work_once()
    assert ((await kept(world, policy)).state, (await kept(world, policy)).done) == ("working", 2)
    monkeypatch.undo()
    database = world.store._database

    async def dead(owners: list[int]) -> list[int]:
        return list(owners)

    monkeypatch.setattr(database, "dead", dead)
    world.embedder.texts.clear()
    await knowing.ingestion.work_off()
    assert world.embedder.texts == [f"Policy\n{word}" for word in ("gamma", "delta", "epsilon")]
    assert (await kept(world, policy)).state == "ready"


async def test_a_document_that_cannot_be_read_says_why_and_can_be_tried_again(world: World, knowing: Knowing) -> None:
    (broken,) = await knowing.learn(text("Notes", "broken"))
    found = await kept(world, broken)
    assert (found.state, found.error) == ("failed", "The document is broken")
    again = await knowing.knowledge.retry("acme", broken)
    assert (again.state, again.error) == ("queued", None)


async def test_an_embedder_that_is_away_is_asked_again_later(world: World, knowing: Knowing) -> None:
    world.embedder.failure = EmbedderError("connection refused by 10.0.0.7")
    (policy,) = await knowing.learn(POLICY)
    found = await kept(world, policy)
    assert (found.state, found.error) == ("queued", "The embedder could not be used")


async def test_an_embedder_that_refuses_for_good_fails_the_document(world: World, knowing: Knowing) -> None:
    world.embedder.failure = EmbedderError("no such model", retriable=False)
    (policy,) = await knowing.learn(POLICY)
    assert (await kept(world, policy)).state == "failed"


async def test_a_parser_that_cannot_be_started_is_tried_again_later(world: World, knowing: Knowing) -> None:
    knowing.parser.away = True
    (policy,) = await knowing.learn(POLICY)
    assert (await kept(world, policy)).state == "queued"


async def test_a_document_that_is_deleted_while_it_is_worked_on_leaves_nothing(
    world: World, knowing: Knowing, monkeypatch: pytest.MonkeyPatch
) -> None:
    agent_id = await knowing.agent()
    policy, _ = await knowing.knowledge.add("acme", agent_id, POLICY)
    whole = world.embedder.embed

    async def meanwhile(choice: Any, texts: Any) -> Any:
        await world.store.documents.delete("acme", policy)
        return await whole(choice, texts)

    monkeypatch.setattr(world.embedder, "embed", meanwhile)
    assert await knowing.ingestion.work_once()
    assert await world.store.documents.get("acme", policy) is None
    assert not await knowing.ingestion.work_once()


async def test_a_websites_pages_are_known_but_those_that_cannot_be_fetched(world: World, knowing: Knowing) -> None:
    knowing.site.pages = {
        "https://example.com/a": "alpha page",
        "https://example.com/b": "broken",
        "https://example.com/c": "gamma",
    }
    (site,) = await knowing.learn(Given(type="website", title="Help", url="https://example.com/sitemap.xml"))
    assert ((await kept(world, site)).state, (await kept(world, site)).total) == ("ready", 2)
    assert set(knowing.site.private) == {False}


async def test_a_website_of_which_no_page_can_be_had_is_tried_again_and_says_why(
    world: World, knowing: Knowing
) -> None:
    (site,) = await knowing.learn(Given(type="website", title="Help", url="https://example.com/"))
    found = await kept(world, site)
    assert (found.state, found.error) == ("queued", "The address answered 404")


async def test_a_website_that_may_never_be_reached_has_failed_and_says_why(world: World, knowing: Knowing) -> None:
    knowing.site.refused = {"https://example.com/"}
    (site,) = await knowing.learn(Given(type="website", title="Help", url="https://example.com/"))
    found = await kept(world, site)
    assert (found.state, found.error) == ("failed", "The address may not be reached")


async def test_a_website_of_which_one_page_may_come_later_is_tried_again(
    world: World, knowing: Knowing, monkeypatch: pytest.MonkeyPatch
) -> None:
    pages = ["https://example.com/away", "https://example.com/refused"]

    async def listed(url: str, *, allow_private: bool) -> list[str]:
        return pages

    monkeypatch.setattr(knowing.site, "pages_of", listed)
    knowing.site.refused = {pages[1]}
    (site,) = await knowing.learn(Given(type="website", title="Help", url="https://example.com/"))
    assert (await kept(world, site)).state == "queued"


async def test_an_agent_that_is_gone_fails_its_documents(
    world: World, knowing: Knowing, monkeypatch: pytest.MonkeyPatch
) -> None:
    agent_id = await knowing.agent()
    policy, _ = await knowing.knowledge.add("acme", agent_id, POLICY)

    async def gone(tenant_id: str, reference: str) -> None:
        return None

    monkeypatch.setattr(world.store.agents, "find", gone)
    await knowing.ingestion.work_once()
    assert (await kept(world, policy)).error == "Its agent is gone"


@pytest.mark.parametrize(
    ("given", "error"),
    [
        (answer_to("", "x"), Invalid),
        (Given(type="qa", title="t", question="q"), Invalid),
        (Given(type="text", title="t", text="  "), Invalid),
        (Given(type="text", title="t" * 201, text="x"), TooLarge),
        (Given(type="website", title="t", url="ftp://example.com"), Invalid),
        (Given(type="file", title="t", name="a.exe", data=b"MZ\0\0"), UnsupportedMedia),
        (Given(type="file", title="t", name="a.pdf"), TooLarge),
        (Given(type="table", title="t", name="a.md", data=b"# no table"), UnsupportedMedia),
    ],
)
async def test_what_cannot_be_known_is_refused_before_it_is_kept(
    world: World, knowing: Knowing, given: Given, error: type[Exception]
) -> None:
    agent_id = await knowing.agent()
    with pytest.raises(error):
        await knowing.knowledge.add("acme", agent_id, given)
    assert await world.store.documents.page("acme", agent_id, 10, None) == []


async def test_who_lost_a_document_to_another_does_not_write_it(world: World, knowing: Knowing) -> None:
    agent_id = await knowing.agent()
    policy, _ = await knowing.knowledge.add("acme", agent_id, POLICY)
    work = await world.store.documents.claim(2**60)
    assert work is not None
    await knowing.knowledge.retry("acme", policy)
    with pytest.raises(Superseded):
        await world.store.documents.advance(work, "embedding", 1, 5, 3)
