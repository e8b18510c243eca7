"""Streams that are cut anywhere and resumed (RELIABILITY row 11): the pieces are the uncut stream, to the byte."""

import asyncio
import json
import random
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import aiohttp

from tests.dialects.scene import blocks, id_of
from tests.faults.conftest import count
from tests.support.server import KEY, ServerProcess, manifest, scripted

AGENT = "123e4567-e89b-12d3-a456-426614174000"
TOKENS = [f"word{number} é日 " for number in range(40)]
COMMENT, GAP = b":\n\n", b": gap\n\n"
STREAMS: Mapping[str, tuple[str, dict[str, Any]]] = {
    "aloochat": ("/api/v1/chat/agent/stream", {"agent_key": f"agent:{AGENT}:web:eu", "query": "Hello"}),
    "alonchat": (f"/v1/agents/{AGENT}/chat", {"message": "Hello", "stream": True}),
    "slug": ("/v1/api/chat/support-agent", {"message": "Hello", "stream": True}),
    "agents": (f"/api/agents/{AGENT}/chat", {"message": "Hello", "stream": True}),
}


@dataclass
class Cut:
    """One stream of one contract, cut after so many bytes; `seen` are the whole frames that came before."""

    contract: str
    key: str
    after: int
    seen: list[bytes]

    @property
    def last(self) -> str | None:
        """The id of the last frame that was seen."""
        return next((found for block in reversed(self.seen) if (found := id_of(block))), None)


async def read(server: ServerProcess, cut: Cut, *, after: str | None, limit: int | None = None) -> bytes:
    """What a request for this stream brings: all of it, or some more than `limit` bytes."""
    path, body = STREAMS[cut.contract]
    headers = {"Authorization": f"Bearer {KEY}", "x-api-token": KEY, "Idempotency-Key": cut.key}
    headers |= {"Last-Event-ID": after} if after else {}
    received = b""
    # A connection of its own: a cut closes it.
    async with (
        aiohttp.ClientSession() as session,
        session.post(server.url + path, json=body, headers=headers) as response,
    ):
        assert response.status == 200, await response.read()
        async for piece in response.content.iter_any():
            received += piece
            if limit is not None and len(received) > limit:
                response.close()
                break
    return received


async def made(server: ServerProcess, chance: random.Random, name: str, number: int) -> list[Cut]:
    """Streams of every contract in turn, each cut somewhere."""
    contracts = list(STREAMS)
    cuts = [
        Cut(contracts[index % len(contracts)], f"{name}-{index}", chance.randrange(0, 4000), [])
        for index in range(number)
    ]

    async def begin(cut: Cut) -> None:
        await asyncio.sleep(chance.uniform(0, 0.5))
        try:
            cut.seen = blocks(await read(server, cut, after=None, limit=cut.after))
        except (aiohttp.ClientError, ConnectionError):
            cut.seen = []

    await asyncio.gather(*(begin(cut) for cut in cuts))
    return cuts


async def test_random_cuts_are_resumed_to_the_byte(server: ServerProcess) -> None:
    chance = random.Random(11)
    key = {"name": "backend", "type": "secret", "value": KEY}
    buckets = {"stream_per_minute": 100_000}
    server.apply(
        manifest(
            scripted("Support Agent", {"tokens": TOKENS, "delay": 0.01}, id=AGENT), keys=[{**key, "limits": buckets}]
        )
    )
    server.start()
    for cut in await made(server, chance, "cut", count(60, 500)):
        after = cut.last
        rest = blocks(await read(server, cut, after=after))
        whole = blocks(await read(server, cut, after=None))
        before = cut.seen[: 1 + max((at for at, block in enumerate(cut.seen) if id_of(block)), default=-1)]
        assert [block for block in (*before, *rest) if block != COMMENT] == whole[1:], cut
        assert GAP not in rest


async def test_cuts_by_a_kill_are_resumed_to_the_byte_or_after_an_explicit_gap(server: ServerProcess) -> None:
    chance = random.Random(12)
    key = {"name": "backend", "type": "secret", "value": KEY, "limits": {"stream_per_minute": 100_000}}
    server.apply(manifest(scripted("Support Agent", {"tokens": TOKENS, "delay": 0.03}, id=AGENT), keys=[key]))
    server.start()
    streaming = asyncio.create_task(made(server, chance, "kill", count(40, 200)))
    await asyncio.sleep(0.9)
    server.kill9()
    cuts = await streaming
    server.start()
    resumed = [cut for cut in cuts if cut.last is not None]
    assert len(resumed) > len(cuts) / 4
    for cut in resumed:
        rest = blocks(await read(server, cut, after=cut.last))
        before = cut.seen[: 1 + max(at for at, block in enumerate(cut.seen) if id_of(block))]
        together = [*before, *rest]
        if GAP not in rest:
            places = [place for block in together if (place := sequence_of(block)) is not None]
            assert places == sorted(places), cut
            assert places[0] <= 2
            assert set(places) == set(range(places[0], places[-1] + 1)), cut
            said = "".join(token for block in together for token in TOKENS if json.dumps(token) in told(block))
            assert "".join(TOKENS).startswith(said), cut
        assert "restarted" in told(together[-2 if cut.contract == "slug" else -1]), cut


def sequence_of(block: bytes) -> int | None:
    """The number of the event that a frame is of."""
    event_id = id_of(block)
    return int(event_id.split(".")[2]) if event_id else None


def told(block: bytes) -> str:
    """The data of a frame, with every character escaped that JSON lets escape."""
    data = block.partition(b"data: ")[2].strip()
    return json.dumps(json.loads(data)) if data.startswith(b"{") else ""
