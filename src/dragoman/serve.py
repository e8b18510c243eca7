"""Running the app under uvicorn: start, the demo, a graceful end. Knows no route."""

import asyncio
import gc
import os
import resource
import signal
import socket
import sys
import time
from pathlib import Path
from types import FrameType
from typing import Any

import structlog
import uvicorn

from dragoman.app import make_app, running
from dragoman.core.ids import prefixed
from dragoman.core.knowledge import Document
from dragoman.server import protocols
from dragoman.services.knowledge import Knowledge
from dragoman.services.operator import Operator
from dragoman.services.turn import TurnRunner
from dragoman.settings import Settings, SettingsError

DRAIN_SECONDS = 20.0
CLOSE_SECONDS = 5
COLLECT_EVERY = 20_000
BACKLOG = 2048
MOST_FILES = 65_536
DEMO = Path(__file__).parent / "demo.yaml"
HANDBOOK = DEMO.parent / "demo" / "handbook.md"
READ_SECONDS = 60.0
LOOK_SECONDS = 0.1
MOST_DOCUMENTS = 1000
CLEAR = "\x1b[2K"

_log = structlog.get_logger(__name__)


class DrainingServer(uvicorn.Server):
    """On the first signal it lets turns end before connections are closed; on the second it leaves at once."""

    def __init__(self, config: uvicorn.Config, turns: TurnRunner) -> None:
        super().__init__(config)
        self._turns = turns
        self._loop = asyncio.get_running_loop()
        self._draining: asyncio.Task[None] | None = None

    def handle_exit(self, sig: int, frame: FrameType | None) -> None:
        """Called in the main thread, outside of the loop. uvicorn is not told: it would raise the signal again."""
        if self._turns.draining:
            self.force_exit = self.should_exit = True
            return
        self._turns.draining = True
        self._loop.call_soon_threadsafe(self._begin_to_drain)

    def _begin_to_drain(self) -> None:
        self._draining = self._loop.create_task(self._drain())

    async def _drain(self) -> None:
        _log.info("draining", seconds=DRAIN_SECONDS)
        await self._turns.drain(DRAIN_SECONDS)
        self.should_exit = True


async def serve(settings: Settings, *, demo: bool) -> None:
    """Serve until a signal comes.

    Raises:
        SettingsError, StoreUnusable: it cannot start as it is.
    """
    if settings.workers > 1:
        raise SettingsError(
            f"DRAGOMAN_WORKERS is {settings.workers}: more than one worker wants PostgreSQL and Redis, "
            "which this version cannot share streams over yet; it takes 1"
        )
    if settings.redis_url:
        _log.warning("redis_not_used", reason="this version keeps live streams in one process")
    _allow_files()
    async with running(settings) as (services, operator):
        config = uvicorn.Config(
            make_app(services, settings.public_url),
            host=settings.host,
            port=settings.port,
            loop="none",
            http=protocols.HttpConnection,
            ws=protocols.SocketConnection,
            ws_max_size=protocols.MESSAGE_CAP,
            ws_ping_interval=protocols.PING_SECONDS,
            ws_ping_timeout=protocols.PONG_SECONDS,
            ws_per_message_deflate=False,
            lifespan="off",
            log_config=None,
            access_log=False,
            server_header=False,
            proxy_headers=bool(settings.trusted_proxies),
            forwarded_allow_ips=settings.trusted_proxies or None,
            timeout_graceful_shutdown=CLOSE_SECONDS,
        )
        server = DrainingServer(config, services.turns)
        bound = _listen(settings.host, settings.port)
        address = f"http://{settings.host}:{bound.getsockname()[1]}"
        if demo:
            _say(await _prepare_demo(settings, operator, services.knowledge, address))
        # What is there now stays: the collector need not look at it again, and rarely at what comes.
        gc.collect()
        gc.freeze()
        gc.set_threshold(COLLECT_EVERY)
        _log.info("serving", address=address)
        await server.serve(sockets=[bound])
    _log.info("stopped")


def _allow_files() -> None:
    """Have as many connections as the system lets this process have; its first bound is often 1,024 files."""
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    wanted = MOST_FILES if hard == resource.RLIM_INFINITY else min(hard, MOST_FILES)
    if soft < wanted:
        resource.setrlimit(resource.RLIMIT_NOFILE, (wanted, hard))


def _listen(host: str, port: int) -> socket.socket:
    """A socket that listens.

    Raises:
        SettingsError: the address cannot be had.
    """
    try:
        family = socket.AF_INET6 if ":" in host else socket.AF_INET
        return socket.create_server((host, port), family=family, backlog=BACKLOG)
    except OSError as error:
        raise SettingsError(
            f"cannot listen on {host}:{port} ({error.strerror}); choose others with DRAGOMAN_HOST and DRAGOMAN_PORT"
        ) from error


async def _prepare_demo(settings: Settings, operator: Operator, knowledge: Knowledge, address: str) -> str:
    """Apply the demo's manifest, keep its key where its user finds it, have its agent know, and say what to type."""
    done = await operator.apply([("demo.yaml", DEMO.read_text(), str(DEMO.parent))])
    kept = settings.data_dir / "demo.keys"
    value = next((key["value"] for key in done["keys"] if "value" in key), None)
    if value is None and not kept.exists():
        value = (await operator.keys_rotate("demo", "demo", "0s"))["value"]
    if value is not None:
        descriptor = os.open(kept, os.O_WRONLY | os.O_CREAT | os.O_TRUNC, 0o600)
        with os.fdopen(descriptor, "w") as file:
            file.write(f"demo={value}\n")
    key = kept.read_text().strip().partition("=")[2]
    agent = await operator.agent_id("demo", "support-agent")
    await _make_known(knowledge, agent)
    return _welcome(address, key, kept, agent, settings.data_dir)


async def _make_known(knowledge: Knowledge, agent: str) -> None:
    """Wait until the demo's agent knows what its manifest gives it, and say what it does not know in time, and why.

    What did not work the last time is tried again: its reason, weights that were missing say, may be gone.
    """
    for each in await _given(knowledge, agent):
        if each.error is not None:
            await knowledge.retry(each.tenant_id, each.id)
    deadline = time.monotonic() + READ_SECONDS
    shown = False
    while True:
        given = await _given(knowledge, agent)
        ready = sum(each.state == "ready" for each in given)
        undecided = any(each.state in ("queued", "working") and each.error is None for each in given)
        if not undecided or time.monotonic() > deadline:
            break
        if shown := sys.stderr.isatty():
            # The cursor goes back to the line's beginning, so that a line of the log takes its place.
            _note(f"{CLEAR}The demo agent reads: {ready} of {len(given)} documents\r")
        await asyncio.sleep(LOOK_SECONDS)
    _note(f"{CLEAR if shown else ''}The demo agent has read {ready} of {len(given)} documents.\n")
    for each in given:
        if each.state != "ready":
            why = each.error or f"it was not read within {READ_SECONDS:.0f} s; that goes on"
            _note(f"The demo agent does not know {each.title!r}: {why}. `{sys.argv[0]} doctor` may say more.\n")


async def _given(knowledge: Knowledge, agent: str) -> list[Document]:
    """What the demo's manifest gives its agent to know."""
    return [each for each in await knowledge.page("demo", agent, MOST_DOCUMENTS, None) if each.managed == "manifest"]


def _welcome(address: str, key: str, kept: Path, agent: str, data_dir: Path) -> str:
    """What there is to type, over each contract."""
    bearer, json = f'-H "Authorization: Bearer {key}"', '-H "Content-Type: application/json"'
    question = "What are your business hours?"
    return f"""
Dragoman is at {address}, what it speaks at {address}/docs

  key     {key}   (kept in {kept})
  agent   support-agent   {prefixed("agent", agent)}   {agent}

It answers from the handbook of a small shop: {HANDBOOK}
Ask it over any of its contracts, for one "How much is express delivery?" or "How long is a gift card valid?":

  S0  curl "{address}/api/v1/chat/agent/chat" -H "x-api-token: {key}" \\
        -F "agent_key=agent:{agent}:voice:us-east-1" -F "query={question}"

  S1  curl "{address}/v1/agents/{prefixed("agent", agent)}/chat" {bearer} \\
        {json} -d '{{"message": "{question}"}}'

  S2  curl "{address}/v1/api/chat/support-agent" {bearer} \\
        {json} -d '{{"message": "{question}"}}'

  S3  curl "{address}/api/v1/chats/" -H "X-API-Key: {key}" \\
        {json} -d '{{"user_id": "me"}}'
      and then a WebSocket: {address.replace("http", "ws", 1)}/ws/chat?api_key=...&user_id=me&chat_id=...

  S4  curl -N "{address}/api/agents/{prefixed("agent", agent)}/chat" \\
        {json} -d '{{"message": "{question}", "stream": true}}'

or from another terminal:

  {sys.argv[0]} chat support-agent

Ctrl-C stops it; everything said is kept in {data_dir}.
"""


def _say(text: str) -> None:
    sys.stdout.write(text)
    sys.stdout.flush()


def _note(text: str) -> None:
    sys.stderr.write(text)
    sys.stderr.flush()


def run(settings: Settings, *, demo: bool) -> None:
    """Serve in this process, on uvloop where there is one."""
    options: dict[str, Any] = {}
    try:
        import uvloop
    except ImportError:
        pass
    else:
        options["loop_factory"] = uvloop.new_event_loop
    with asyncio.Runner(**options) as runner:
        # uvicorn takes these signals over; until it does, and after, they end the process in order.
        signal.signal(signal.SIGTERM, signal.default_int_handler)
        runner.run(serve(settings, demo=demo))
