"""Row 29: no hostile address is connected to, whatever fetches it and however it is led there."""

from collections.abc import AsyncIterator, Awaitable, Callable, Sequence
from contextlib import AbstractAsyncContextManager, asynccontextmanager, suppress
from types import SimpleNamespace
from typing import Any, cast

import httpx2
import pytest

from dragoman.adapters import guard
from dragoman.adapters.egress import Egress
from dragoman.adapters.embedders.openai import OpenAIEmbedder
from dragoman.adapters.guard import Resolve
from dragoman.adapters.models.openai import OpenAIModels
from dragoman.adapters.pages import GuardedPages
from dragoman.adapters.tools.http import HttpTools
from dragoman.adapters.tools.mcp import McpTools
from dragoman.adapters.tools.transport import guarded_client
from dragoman.adapters.transcribers.examiner import Examiner
from dragoman.adapters.transcribers.openai import OpenAITranscribers
from dragoman.core.agents import Agent, AgentDefinition, Guard, ModelChoice, Tool, VendorChoice
from dragoman.core.commands import Recording
from dragoman.core.errors import DragomanError
from dragoman.core.prompt import PromptMessage
from dragoman.ports.egress import Bounds, Unfetchable
from dragoman.ports.embedders import EmbedderError
from dragoman.ports.models import ModelError
from dragoman.ports.tools import CallContext, Offer, ToolError
from tests.faults.hostile import NAMES, PUBLIC, Canary, Lure, hostile, listening, luring, names, reachable

Fetch = Callable[[str], Awaitable[object]]
Fetcher = Callable[[Resolve, bool], AbstractAsyncContextManager[Fetch]]

# What something that fetches raises where it may not, or was told nothing of use.
REFUSED = (Unfetchable, ModelError, EmbedderError, DragomanError, httpx2.RequestError, httpx2.InvalidURL, ToolError)
BOUNDS = Bounds(seconds=5)


def requesting(ask: Callable[[Egress, str, bool], Awaitable[object]]) -> Fetcher:
    @asynccontextmanager
    async def fetcher(resolve: Resolve, private: bool) -> AsyncIterator[Fetch]:
        egress = Egress(BOUNDS, resolve)
        yield lambda url: ask(egress, url, private)
        await egress.close()

    return fetcher


async def page(egress: Egress, url: str, private: bool) -> object:
    return await GuardedPages(egress).fetch(url, allow_private=private)


async def pages_of_site(egress: Egress, url: str, private: bool) -> object:
    return await GuardedPages(egress).pages_of(url, allow_private=private)


class NoSecrets:
    async def open_(self, tenant_id: str, name: str) -> None:
        return None


def calling(private: bool) -> CallContext:
    return CallContext(Agent("agent", "acme", "a", "A", 1, AgentDefinition()), "conv", "turn", "call", None, private)


async def http_tool(egress: Egress, url: str, private: bool) -> object:
    tools = HttpTools(egress, NoSecrets())
    (offer,) = tools.offers(Tool("http", "x", "X", url=url, headers={"Authorization": "Bearer x"}, timeout=5))
    return await tools.call(offer, {}, calling(private))


async def mcp_tool(egress: Egress, url: str, private: bool) -> object:
    tool = Tool("mcp", url=url, allow=("x",), timeout=5)
    return await McpTools(egress, NoSecrets()).call(Offer(tool, tool, "x"), {}, calling(private))


async def delivery(egress: Egress, url: str, private: bool) -> object:
    answer = await egress.request("POST", url, allow_private=private, body=b"{}", follow=False, cut=True)
    if answer.status != 200:
        raise Unfetchable("not delivered")
    return answer


async def mcp_server(egress: Egress, url: str, private: bool) -> object:
    async with guarded_client(egress, allow_private=private, bounds=BOUNDS) as client:
        return (await client.post(url, json={}, follow_redirects=True)).raise_for_status()


def guard_of(private: bool) -> Guard:
    return "private" if private else "public"


@asynccontextmanager
async def model(resolve: Resolve, private: bool) -> AsyncIterator[Fetch]:
    models = OpenAIModels(resolve=resolve)

    async def ask(url: str) -> object:
        choice = ModelChoice("openai", "m", url, guard=guard_of(private))
        return [part async for part in models.stream(choice, [PromptMessage("user", "Hi")])]

    yield ask
    await models.close()


@asynccontextmanager
async def embedder(resolve: Resolve, private: bool) -> AsyncIterator[Fetch]:
    embedder = OpenAIEmbedder(resolve)
    yield lambda url: embedder.embed(VendorChoice("openai", "m", url, guard=guard_of(private)), ["text"])
    await embedder.close()


class Unexamined:
    async def examine(self, _: Recording) -> Any:
        return SimpleNamespace(kind="wav", seconds=1.0)


@asynccontextmanager
async def transcriber(resolve: Resolve, private: bool) -> AsyncIterator[Fetch]:
    transcribers = OpenAITranscribers(cast(Examiner, Unexamined()), resolve)
    recording = Recording("a.wav", "audio/wav", b"RIFF")
    yield lambda url: transcribers.transcribe(VendorChoice("openai", "m", url, guard=guard_of(private)), recording)
    await transcribers.close()


FETCHERS: dict[str, Fetcher] = {
    "page": requesting(page),
    "site": requesting(pages_of_site),
    "http tool": requesting(http_tool),
    "delivery": requesting(delivery),
    "mcp": requesting(mcp_server),
    "mcp tool": requesting(mcp_tool),
    "model": model,
    "embedder": embedder,
    "transcriber": transcriber,
}
every = pytest.mark.parametrize("fetcher", FETCHERS.values(), ids=FETCHERS)


@pytest.fixture
async def canary() -> AsyncIterator[Canary]:
    async with listening() as canary:
        yield canary


@pytest.fixture
async def lure(monkeypatch: pytest.MonkeyPatch) -> AsyncIterator[Lure]:
    monkeypatch.setattr(guard, "may_reach", reachable)
    async with luring() as lure:
        yield lure


def test_the_table_has_a_hundred_addresses_and_more() -> None:
    assert len(set(hostile(1))) >= 100 + len(NAMES)


@every
async def test_no_hostile_address_is_connected_to(canary: Canary, fetcher: Fetcher) -> None:
    async with fetcher(names, False) as fetch:
        for url in hostile(canary.port):
            with pytest.raises(REFUSED):
                await fetch(url)
    assert canary.knocked == []


@every
async def test_the_canary_sees_who_may_connect_to_private_addresses(canary: Canary, fetcher: Fetcher) -> None:
    async with fetcher(names, True) as fetch:
        for host, address in {
            "127.0.0.1": "127.0.0.1",
            "[::1]": "::1",
            "one.test": "127.0.0.1",
            "six.test": "::1",
        }.items():
            canary.knocked.clear()
            # What it says is of no use to a model; that it was asked is enough.
            with suppress(*REFUSED):
                await fetch(f"http://{host}:{canary.port}/")
            assert set(canary.knocked) == {address}, host


@every
async def test_no_redirect_leads_to_a_hostile_address(canary: Canary, lure: Lure, fetcher: Fetcher) -> None:
    async with fetcher(names, False) as fetch:
        for number, url in enumerate(hostile(canary.port)):
            lure.to, lure.status, lure.asked = url, (301, 302, 303, 307, 308)[number % 5], 0
            with pytest.raises(REFUSED):
                await fetch(lure.at)
            assert lure.asked, url
    assert canary.knocked == []


@pytest.mark.parametrize("name", ["page", "site", "http tool", "mcp"])
async def test_who_follows_redirects_does_follow_those_that_are_allowed(canary: Canary, lure: Lure, name: str) -> None:
    lure.to, lure.status = f"http://{PUBLIC}:{canary.port}/", 303
    async with FETCHERS[name](names, False) as fetch:
        await fetch(lure.at)
    assert set(canary.knocked) == {PUBLIC}


async def test_the_rules_of_a_site_are_not_fetched_from_a_hostile_address(canary: Canary, lure: Lure) -> None:
    lure.robots_too = True
    async with FETCHERS["site"](names, False) as fetch:
        for lure.to in hostile(canary.port):
            with pytest.raises(Unfetchable):
                await fetch(lure.at)
    assert canary.knocked == []


@every
@pytest.mark.usefixtures("lure")
async def test_a_name_that_changes_its_address_is_judged_at_each_connection(canary: Canary, fetcher: Fetcher) -> None:
    answers = iter([[PUBLIC], ["127.0.0.1"], ["::1"], [PUBLIC, "127.0.0.1"], ["::ffff:127.0.0.1"]])

    async def rebinding(_host: str, _port: int) -> Sequence[str]:
        return next(answers, ["127.0.0.1"])

    async with fetcher(rebinding, False) as fetch:
        for _ in range(5):
            with suppress(*REFUSED):
                await fetch(f"http://rebinding.test:{canary.port}/")
    # Resolved once for a connection: what was judged is what was connected to.
    assert canary.knocked == [PUBLIC]
