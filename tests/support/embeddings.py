"""A server that embeds and hears as OpenAI's do: always the same for the same, and it keeps what it was asked.

Knows nothing of the product.
"""

import asyncio
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

from aiohttp import web

LETTERS = "abcdefghijklmnopqrstuvwxyz0123456789"
HEARD = "What are your business hours?"
SLOW = "slow"
BROKEN = "broken"


def vector_of(text: str) -> list[float]:
    """How often each letter stands in a text, and a constant, so that no text has no direction."""
    lowered = text.lower()
    return [*(float(lowered.count(letter)) for letter in LETTERS), 1.0]


class Embeddings:
    """What the server was asked: texts in order of coming, and the names of models.

    The model ``slow`` takes half a second for each request, ``broken`` is refused until `mended`.
    """

    def __init__(self) -> None:
        self.url = ""
        self.texts: list[str] = []
        self.models: list[str] = []
        self.mended = False

    @property
    def embedder(self) -> dict[str, str]:
        """The embedder as a manifest names it."""
        return {"provider": "openai", "name": "letters", "base_url": self.url}

    @property
    def transcriber(self) -> dict[str, str]:
        """The transcriber as a manifest names it; it always hears `HEARD`."""
        return {"provider": "openai", "name": "ear", "base_url": self.url}

    async def embed(self, request: web.Request) -> web.Response:
        """POST /v1/embeddings."""
        asked: dict[str, Any] = await request.json()
        self.models.append(asked["model"])
        if asked["model"] == BROKEN and not self.mended:
            return web.json_response({"error": {"message": "refused by script"}}, status=400)
        if asked["model"] == SLOW:
            await asyncio.sleep(0.5)
        self.texts += asked["input"]
        data = [{"index": at, "embedding": vector_of(text)} for at, text in enumerate(asked["input"])]
        return web.json_response({"object": "list", "model": asked["model"], "data": data})

    async def hear(self, request: web.Request) -> web.Response:
        """POST /v1/audio/transcriptions."""
        await request.read()
        return web.json_response({"text": HEARD})


@contextmanager
def embedding() -> Iterator[Embeddings]:
    """The server in a thread of its own, while the block runs."""
    served = Embeddings()
    loop = asyncio.new_event_loop()
    ready = threading.Event()

    async def start() -> web.AppRunner:
        app = web.Application(client_max_size=64 << 20)
        app.router.add_post("/v1/embeddings", served.embed)
        app.router.add_post("/v1/audio/transcriptions", served.hear)
        runner = web.AppRunner(app)
        await runner.setup()
        site = web.TCPSite(runner, "127.0.0.1", 0)
        await site.start()
        host, port = runner.addresses[0][:2]
        served.url = f"http://{host}:{port}/v1"
        return runner

    def run() -> None:
        runner = loop.run_until_complete(start())
        ready.set()
        loop.run_forever()
        loop.run_until_complete(runner.cleanup())
        loop.close()

    thread = threading.Thread(target=run)
    thread.start()
    assert ready.wait(10)
    try:
        yield served
    finally:
        loop.call_soon_threadsafe(loop.stop)
        thread.join()
