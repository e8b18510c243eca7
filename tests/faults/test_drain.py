"""SIGTERM under streams (RELIABILITY row 35): they end or are told to come back, and the exit is 0."""

import asyncio
import signal
import time

import aiohttp

from tests.faults.conftest import count
from tests.support.client import Client, frames_of
from tests.support.server import KEY, ServerProcess, manifest, scripted

EXIT_WITHIN = 30


async def test_streams_end_or_are_told_to_come_back_and_the_server_exits_0(
    server: ServerProcess, session: aiohttp.ClientSession
) -> None:
    server.apply(
        manifest(
            scripted("Short Agent", {"tokens": ["a "] * 40, "delay": 0.1}),
            scripted("Long Agent", {"tokens": ["b "] * 2000, "delay": 0.1}),
        )
    )
    server.start()
    short, long = Client(session, server.url, "short-agent"), Client(session, server.url, "long-agent")

    async def read(client: Client) -> tuple[str, list[str]]:
        async with client.s2("hi", stream=True) as response:
            assert response.status == 200
            return response.headers["X-Turn-Id"], [frame.data async for frame in frames_of(response)]

    streams = count(10, 50)
    reading = [asyncio.create_task(read(client)) for client in (short, long) for _ in range(streams)]
    await asyncio.sleep(1)
    assert server.process is not None
    server.process.send_signal(signal.SIGTERM)
    began = time.monotonic()
    await asyncio.sleep(0.3)
    async with session.get(f"{server.url}/readyz") as response:
        assert response.status == 503
        assert (await response.json())["reason"] == "draining"
    async with short.s2("too late") as response:
        assert response.status == 503
        assert response.headers["Retry-After"]
    told = await asyncio.gather(*reading)
    status = await asyncio.to_thread(server.process.wait, EXIT_WITHIN)
    assert status == 0
    assert time.monotonic() - began < EXIT_WITHIN
    for _, frames in told[:streams]:
        assert frames[-1] == "[DONE]"
        assert len(frames) == 41
    for _, frames in told[streams:]:
        assert frames[-1] == "[DONE]"
        assert "ServiceUnavailableError" in frames[-2]
    server.start()
    client = Client(session, server.url, key=KEY)
    for turn_id, frames in told:
        turn = await client.turn(turn_id)
        assert turn["state"] == ("completed" if len(frames) == 41 else "interrupted")
