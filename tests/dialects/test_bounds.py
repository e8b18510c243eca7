"""Long turns: kept alive while the model is silent, and bounded, with the partial answer kept."""

import sys
from collections.abc import Iterator

import pytest

from tests.dialects.scene import CONTRACTS, SLUG, Contract, agents, blocks
from tests.support import server as support
from tests.support.client import Client
from tests.support.server import ServerProcess, manifest

COMMENT = b":\n\n"
# How the contracts that have a frame before the first words spell it.
START = b'"type": "start"'
# The command itself, but for its patience.
IMPATIENT = """
from dragoman.cli import main
from dragoman.server import streaming
streaming.KEEP_ALIVE_SECONDS = 0.1
main()
"""


@pytest.fixture(scope="module")
def server(tmp_path_factory: pytest.TempPathFactory, upstream: str) -> Iterator[ServerProcess]:
    """A server on which a turn may take one second, and a stream be silent for a tenth of one."""
    process = ServerProcess(tmp_path_factory.mktemp("server"), DRAGOMAN_TURN_TIMEOUT="1")
    process.apply(manifest(*agents(upstream)))
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(support, "COMMAND", (sys.executable, "-c", IMPATIENT))
        process.start()
    try:
        yield process
    finally:
        process.stop()


@pytest.mark.requirement("S2-12")
@pytest.mark.parametrize("contract", CONTRACTS, ids=lambda contract: contract.name)
async def test_a_turn_over_its_limit_fails_and_keeps_what_there_is(client: Client, contract: Contract) -> None:
    async with client.post(contract.path(), contract.body("hang on", stream=True)) as response:
        told = blocks(await response.read())
        conversation = response.headers["X-Conversation-Id"]
    said = [block for block in told if block != COMMENT and START not in block]
    assert b"Well," in said[0]
    assert b'"message":"The AI service took too long"' in said[1]
    assert said[2:] == ([b"data: [DONE]\n\n"] if contract is SLUG else [])
    assert [message["content"] for message in await client.history(conversation)] == ["hang on", "Well,"]


@pytest.mark.requirement("S2-12", "S1-15")
@pytest.mark.parametrize("contract", CONTRACTS, ids=lambda contract: contract.name)
async def test_a_turn_over_its_limit_is_a_500_where_it_is_not_streamed(client: Client, contract: Contract) -> None:
    async with client.post(contract.path(), contract.body("think for ever")) as response:
        assert response.status == 500
        assert contract.check(await response.json(), "ModelFailed") == "The AI service took too long"


@pytest.mark.requirement("S2-12")
@pytest.mark.parametrize("contract", CONTRACTS, ids=lambda contract: contract.name)
async def test_a_silent_stream_is_kept_alive_by_comments(client: Client, contract: Contract) -> None:
    async with client.post(contract.path(), contract.body("think for ever", stream=True)) as response:
        told = [block for block in blocks(await response.read()) if START not in block]
    comments = [block for block in told if block == COMMENT]
    assert told[: len(comments)] == comments
    assert len(comments) > 4
    assert b"The AI service took too long" in told[len(comments)]
