"""Embedders: the one that comes along against what it must know, and OpenAI's protocol against a stand-in."""

import gzip
import hashlib
import struct
from collections.abc import AsyncIterator, Iterator
from importlib import resources
from pathlib import Path

import pytest
from aiohttp import web

from dragoman.adapters.embedders.embedded import EmbeddedEmbedder
from dragoman.adapters.embedders.openai import OpenAIEmbedder
from dragoman.adapters.embedders.registry import EmbedderRegistry
from dragoman.core.agents import VendorChoice
from dragoman.ports.embedders import EmbedderError
from dragoman.settings import load
from tests.support.embeddings import Embeddings, embedding

TOKENIZER = "be50c3628f2bf5bb5e3a7f17b1f74611b2561a3a27eeab05e5aa30f411572037"


def likeness(one: bytes, other: bytes) -> float:
    count = len(one) // 4
    pairs = zip(struct.unpack(f"<{count}f", one), struct.unpack(f"<{count}f", other), strict=True)
    return sum(left * right for left, right in pairs)


@pytest.fixture
async def embedded() -> AsyncIterator[EmbeddedEmbedder]:
    made = EmbeddedEmbedder(load().models_dir)
    yield made
    await made.close()


@pytest.fixture
def server() -> Iterator[Embeddings]:
    with embedding() as made:
        yield made


async def test_texts_of_one_meaning_are_near_each_other_and_vectors_have_length_one(embedded: EmbeddedEmbedder) -> None:
    texts = ["When do you open?", "What are your business hours?", "The cat sleeps on the sofa."]
    one, same, other = await embedded.embed(VendorChoice(), texts)
    assert len(one) == 384 * 4
    assert likeness(one, one) == pytest.approx(1, abs=1e-4)
    assert likeness(one, same) > 0.4 > 0.2 > likeness(one, other)


async def test_a_text_has_one_vector_whatever_it_is_embedded_beside(embedded: EmbeddedEmbedder) -> None:
    (alone,) = await embedded.embed(VendorChoice(), ["When do you open?"])
    beside = await embedded.embed(VendorChoice(), ["When do you open?", "a much longer text " * 80])
    assert likeness(alone, beside[0]) > 0.99


async def test_no_text_is_too_long_too_short_or_too_strange(embedded: EmbeddedEmbedder) -> None:
    strange = ["", " ", "word " * 5_000, "\u202e\u0000\U0001f600", "日本語のテキスト"]
    assert len(await embedded.embed(VendorChoice(), strange)) == len(strange)


async def test_missing_weights_are_named_with_the_command_that_fetches_them(tmp_path: Path) -> None:
    empty = EmbeddedEmbedder(tmp_path)
    with pytest.raises(EmbedderError, match="dragoman models pull embedder"):
        await empty.embed(VendorChoice(), ["text"])
    await empty.close()


def test_the_tokenizer_is_the_one_that_its_note_says() -> None:
    packed = resources.files("dragoman.adapters.embedders").joinpath("minilm-tokenizer.json.gz").read_bytes()
    assert hashlib.sha256(gzip.decompress(packed)).hexdigest() == TOKENIZER


async def test_openais_protocol_gives_vectors_of_length_one_in_order(server: Embeddings) -> None:
    registry = EmbedderRegistry({"openai": OpenAIEmbedder()})
    choice = VendorChoice("openai", "letters", server.embedder["base_url"])
    one, other = await registry.embed(choice, ["aab", "b"])
    assert likeness(one, one) == pytest.approx(1)
    assert likeness(one, other) < 0.9
    assert server.texts == ["aab", "b"]
    assert registry.name(choice) == "openai:letters"
    assert registry.batch(choice) > 1
    await registry.close()


@pytest.mark.parametrize(
    ("status", "body", "retriable"),
    [
        (500, b"", True),
        (429, b"", True),
        (401, b"", False),
        (200, b"no json", False),
        (200, b'{"data": []}', True),
        (200, b'{"data": [{"embedding": [0, 0]}]}', True),
        (200, b'{"data": [{"embedding": [1e999]}]}', False),
    ],
)
async def test_an_answer_that_is_none_says_whether_to_ask_again(status: int, body: bytes, retriable: bool) -> None:
    async def answer(request: web.Request) -> web.Response:
        return web.Response(status=status, body=body)

    app = web.Application()
    app.router.add_post("/v1/embeddings", answer)
    runner = web.AppRunner(app)
    await runner.setup()
    site = web.TCPSite(runner, "127.0.0.1", 0)
    await site.start()
    port = runner.addresses[0][1]
    embedder = OpenAIEmbedder()
    with pytest.raises(EmbedderError) as told:
        await embedder.embed(VendorChoice("openai", "m", f"http://127.0.0.1:{port}/v1"), ["text"])
    await embedder.close()
    await runner.cleanup()
    assert told.value.retriable is retriable


async def test_a_server_that_is_not_there_may_be_asked_again() -> None:
    embedder = OpenAIEmbedder()
    with pytest.raises(EmbedderError) as told:
        await embedder.embed(VendorChoice("openai", "m", "http://127.0.0.1:9/v1"), ["text"])
    assert told.value.retriable
    with pytest.raises(EmbedderError):
        await embedder.embed(VendorChoice("openai"), ["text"])
    await embedder.close()
