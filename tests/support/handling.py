"""An HTTP server within the test, which answers as one function says."""

import asyncio
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager
from typing import Any

from aiohttp import web

Handler = Callable[[Any], Awaitable[web.StreamResponse]]


@asynccontextmanager
async def handled(answer: Handler) -> AsyncIterator[str]:
    """The address of a server of this machine that answers every request so."""
    server = web.Server(answer)
    runner = web.ServerRunner(server, shutdown_timeout=0.1)
    await runner.setup()
    await web.TCPSite(runner, "127.0.0.1", 0).start()
    yield f"http://127.0.0.1:{runner.addresses[0][1]}"
    left = [connection.transport for connection in server.connections if connection.transport is not None]
    await runner.cleanup()
    # One that was being written to would wait for its reader, and outlive the loop.
    for transport in left:
        transport.abort()
    await asyncio.sleep(0)
