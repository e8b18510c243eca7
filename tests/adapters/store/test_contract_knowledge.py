"""What the store keeps of documents, on either database: steps, vectors, words, and who may find what."""

import struct
from dataclasses import replace

import pytest

from dragoman.adapters.store import SqlStore, passages
from dragoman.core.agents import Agent
from dragoman.core.errors import AgentNotFound
from dragoman.core.ids import new_id
from dragoman.core.knowledge import Passage
from dragoman.ports.knowledge import NewChunk, NewDocument, Superseded, Work
from tests.adapters.store.scene import NOW, rows, settled

EMBEDDER = "test"


def vector(*numbers: float) -> bytes:
    """A vector of length 1 in the direction of these numbers."""
    length = sum(number * number for number in numbers) ** 0.5
    return struct.pack(f"<{len(numbers)}f", *(number / length for number in numbers))


def document(agent: Agent, title: str = "Returns", **more: object) -> NewDocument:
    made = NewDocument(
        new_id(), agent.tenant_id, agent.id, "text", title, {"text": title}, f"hash of {title}", "api", None
    )
    return replace(made, **more)


def chunk(position: int, content: str, at: bytes) -> NewChunk:
    return NewChunk(position, "", content, f"hash of {content}", at)


async def claimed(store: SqlStore) -> Work:
    work = await store.documents.claim(NOW)
    assert work is not None
    return work


async def known(store: SqlStore, agent: Agent, title: str, *contents: tuple[str, bytes]) -> NewDocument:
    """A document that is ready, with these chunks."""
    made = document(agent, title)
    await store.documents.put(made, NOW)
    work = await claimed(store)
    assert work.document.id == made.id
    await store.documents.add_chunks(
        work, EMBEDDER, [chunk(at, *content) for at, content in enumerate(contents)], len(contents), NOW
    )
    await store.documents.publish(work, EMBEDDER, len(contents), NOW)
    return made


async def found(store: SqlStore, agent: Agent, words: list[str], *vectors: bytes) -> list[Passage]:
    return list((await store.passages.search(agent.tenant_id, agent.id, words, vectors, EMBEDDER, 5)).passages)


async def test_a_document_is_kept_queued_and_the_same_one_again_changes_nothing(store: SqlStore) -> None:
    agent = await settled(store)
    made = document(agent)
    assert await store.documents.put(made, NOW) == "created"
    assert await store.documents.put(made, NOW + 1) == "unchanged"
    kept = await store.documents.get("acme", made.id)
    assert kept is not None
    assert (kept.state, kept.step, kept.updated_at) == ("queued", "waiting", NOW)
    assert await store.documents.put(replace(made, hash="another"), NOW + 2) == "updated"
    assert await store.documents.get("globex", made.id) is None


async def test_a_document_of_an_agent_that_is_not_there_is_refused(store: SqlStore) -> None:
    agent = await settled(store)
    with pytest.raises(AgentNotFound):
        await store.documents.put(replace(document(agent), tenant_id="globex"), NOW)


async def test_words_and_vectors_find_passages_of_this_agent_alone(store: SqlStore) -> None:
    agent, other = await settled(store), await settled(store, name="Other")
    foreign = await settled(store, tenant="globex")
    contents = (("Returns within 30 days", vector(1, 0, 0)), ("Shipping takes a week", vector(0, 1, 0)))
    for each in (agent, other, foreign):
        await known(store, each, "Policies", *contents)
    by_word = await found(store, agent, ["shipping"])
    assert [each.text for each in by_word] == ["Shipping takes a week"]
    assert {each.document_id for each in by_word} == {
        each.id for each in await store.documents.page("acme", agent.id, 10, None)
    }
    by_meaning = await found(store, agent, [], vector(0.9, 0.1, 0))
    assert [each.text for each in by_meaning] == ["Returns within 30 days", "Shipping takes a week"]
    assert by_meaning[0].similarity == pytest.approx(0.9939, abs=1e-3)
    crossed = await store.passages.search("globex", agent.id, ["shipping"], [vector(1, 0, 0)], EMBEDDER, 5)
    assert list(crossed.passages) == []


async def test_what_both_rankings_find_stands_before_what_one_does(store: SqlStore) -> None:
    agent = await settled(store)
    contents = (("alpha", vector(1, 0)), ("beta gamma", vector(0.8, 0.2)), ("gamma", vector(0, 1)))
    await known(store, agent, "Letters", *contents)
    passages = await found(store, agent, ["beta"], vector(1, 0))
    assert [each.text for each in passages] == ["beta gamma", "alpha", "gamma"]


async def test_nothing_finds_a_document_that_is_still_worked_on_nor_one_that_is_deleted(store: SqlStore) -> None:
    agent = await settled(store)
    made = document(agent)
    await store.documents.put(made, NOW)
    work = await claimed(store)
    await store.documents.add_chunks(work, EMBEDDER, [chunk(0, "thirty days", vector(1, 0))], 1, NOW)
    assert await found(store, agent, ["thirty"], vector(1, 0)) == []
    await store.documents.publish(work, EMBEDDER, 1, NOW)
    assert len(await found(store, agent, ["thirty"], vector(1, 0))) == 1
    assert await store.documents.delete("acme", made.id)
    assert not await store.documents.delete("acme", made.id)
    assert await found(store, agent, ["thirty"], vector(1, 0)) == []
    for table in ("chunks", "chunk_words", "documents"):
        assert await rows(store, f"SELECT 1 FROM {table}") == []


async def test_a_changed_document_is_found_as_it_was_until_it_is_ready_again(store: SqlStore) -> None:
    agent = await settled(store)
    made = await known(store, agent, "Hours", ("nine to five", vector(1, 0)), ("closed on Sunday", vector(0, 1)))
    await store.documents.put(replace(made, hash="new", source={"text": "new"}), NOW)
    work = await claimed(store)
    await store.documents.add_chunks(work, EMBEDDER, [chunk(0, "nine to six", vector(1, 0))], 1, NOW)
    assert [each.text for each in await found(store, agent, ["nine"])] == ["nine to five"]
    await store.documents.publish(work, EMBEDDER, 1, NOW)
    assert [each.text for each in await found(store, agent, ["nine", "sunday"], vector(1, 0))] == ["nine to six"]


async def test_who_works_on_an_older_revision_is_refused(store: SqlStore) -> None:
    agent = await settled(store)
    made = document(agent)
    await store.documents.put(made, NOW)
    work = await claimed(store)
    await store.documents.put(replace(made, hash="new"), NOW)
    with pytest.raises(Superseded):
        await store.documents.add_chunks(work, EMBEDDER, [chunk(0, "old", vector(1, 0))], 1, NOW)
    with pytest.raises(Superseded):
        await store.documents.fail(work, "no", NOW)
    assert await rows(store, "SELECT 1 FROM chunks") == []
    again = await claimed(store)
    await store.documents.delete("acme", made.id)
    with pytest.raises(Superseded):
        await store.documents.publish(again, EMBEDDER, 0, NOW)


async def test_a_document_is_claimed_once_and_what_failed_for_now_is_due_later(store: SqlStore) -> None:
    agent = await settled(store)
    await store.documents.put(document(agent), NOW)
    work = await claimed(store)
    assert await store.documents.claim(NOW) is None
    await store.documents.fail(work, "the embedder is away", NOW, NOW + 10)
    assert await store.documents.claim(NOW + 9) is None
    later = await store.documents.claim(NOW + 10)
    assert later is not None
    assert later.attempts == 2
    await store.documents.fail(later, "it is broken", NOW)
    kept = await store.documents.get("acme", work.document.id)
    assert kept is not None
    assert (kept.state, kept.error) == ("failed", "it is broken")
    again = await store.documents.retry("acme", work.document.id, NOW)
    assert again is not None
    assert (again.state, again.error) == ("queued", None)


async def test_vectors_are_known_by_their_hash_within_a_tenant(store: SqlStore) -> None:
    agent, foreign = await settled(store), await settled(store, tenant="globex")
    await known(store, agent, "Hours", ("nine to five", vector(1, 0)))
    hashes = ["hash of nine to five", "hash of another"]
    assert await store.documents.known_vectors("acme", EMBEDDER, hashes) == {hashes[0]: vector(1, 0)}
    assert await store.documents.known_vectors(foreign.tenant_id, EMBEDDER, hashes) == {}
    assert await store.documents.known_vectors("acme", "another", hashes) == {}


async def test_files_are_kept_once_and_go_with_their_last_document(store: SqlStore) -> None:
    import hashlib

    agent = await settled(store)
    data = b"%PDF- and so on"
    digest = hashlib.sha256(data).hexdigest()
    two = [document(agent, title, type="file", data=data, hash=digest) for title in ("One", "Two")]
    for each in two:
        await store.documents.put(each, NOW)
    work = await claimed(store)
    assert work.data == data
    assert len(await rows(store, "SELECT 1 FROM blobs")) == 1
    await store.documents.delete("acme", two[0].id)
    assert len(await rows(store, "SELECT 1 FROM blobs")) == 1
    await store.documents.delete("acme", two[1].id)
    assert await rows(store, "SELECT 1 FROM blobs") == []


async def test_a_word_is_rarer_the_fewer_passages_hold_it(store: SqlStore) -> None:
    agent = await settled(store)
    contents = [(f"common {number}", vector(1, number)) for number in range(8)]
    await known(store, agent, "Words", *contents, ("common seldom", vector(0, 1)))
    words = ["common", "seldom", "never"]
    rarity = (await store.passages.search("acme", agent.id, words, [], EMBEDDER, 5)).rarity
    assert rarity["common"] == pytest.approx(0, abs=0.01)
    assert 0 < rarity["seldom"] < rarity["never"] == 1


async def test_hostile_words_are_words_and_no_query(store: SqlStore) -> None:
    from dragoman.core.knowledge import terms

    agent = await settled(store)
    await known(store, agent, "Hours", ("nine to five", vector(1, 0)))
    for hostile in ('" OR agent : "a', "nine' | 'five", "NEAR(nine five) * ^ : ( )", "a:*", "\\"):
        await found(store, agent, terms(hostile), vector(1, 0))


async def test_what_is_added_later_is_found_beside_what_is_remembered(store: SqlStore) -> None:
    agent = await settled(store)
    await known(store, agent, "One", ("one", vector(1, 0)))
    assert len(await found(store, agent, [], vector(1, 0))) == 1
    second = await known(store, agent, "Two", ("two", vector(0, 1)))
    assert [each.text for each in await found(store, agent, [], vector(0, 1))] == ["two", "one"]
    await store.documents.delete("acme", second.id)
    assert [each.text for each in await found(store, agent, [], vector(0, 1))] == ["one"]


async def test_what_two_workers_publish_crosswise_is_all_found(store: SqlStore) -> None:
    """The one that began first, and so has the lower ids, is published last."""
    agent = await settled(store)
    works = []
    for number, title in enumerate(("First", "Second")):
        await store.documents.put(document(agent, title), NOW + number)
        work = await store.documents.claim(NOW + 2)
        assert work is not None
        new = [chunk(0, title.lower(), vector(1, number))]
        await store.documents.add_chunks(work, EMBEDDER, new, 1, NOW)
        works.append(work)
    assert await found(store, agent, [], vector(1, 0)) == []
    await store.documents.publish(works[1], EMBEDDER, 1, NOW)
    assert [each.text for each in await found(store, agent, [], vector(1, 0))] == ["second"]
    await store.documents.publish(works[0], EMBEDDER, 1, NOW)
    assert [each.text for each in await found(store, agent, [], vector(1, 0))] == ["first", "second"]


async def test_words_that_very_many_passages_hold_rank_nothing_beside_rarer_ones(
    store: SqlStore, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(passages, "MOST_COUNTED", 3)
    agent = await settled(store)
    contents = [(f"common {number}", vector(1, number)) for number in range(8)]
    await known(store, agent, "Words", *contents, ("seldom", vector(0, 1)))
    assert [each.text for each in await found(store, agent, ["common", "seldom"])] == ["seldom"]
    assert len(await found(store, agent, ["common"])) == 5
