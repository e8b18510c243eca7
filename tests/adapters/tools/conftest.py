"""A shop whose tools are called, and what calls them."""

import asyncio
from collections.abc import AsyncIterator, Awaitable, Callable, Mapping
from dataclasses import dataclass, field
from typing import Any

import pytest
from aiohttp import web

from dragoman.adapters.egress import Egress
from dragoman.adapters.tools.builtin import BuiltinTools
from dragoman.adapters.tools.http import HttpTools
from dragoman.adapters.tools.mcp import McpTools
from dragoman.adapters.tools.registry import ToolRegistry
from dragoman.core.agents import Agent, AgentDefinition, Tool
from dragoman.core.knowledge import Passage
from dragoman.ports.tools import CallContext, Offer
from tests.support.handling import handled

TOKEN = "tok-5f3e/9a+c1 d2"
SECRETS = {"shop_token": TOKEN}

Answer = Callable[[web.Request], Awaitable[web.StreamResponse]]


class Kept:
    """Secrets of tenant `acme`."""

    async def open_(self, tenant_id: str, name: str) -> str | None:
        return SECRETS.get(name) if tenant_id == "acme" else None


@dataclass
class Shop:
    """A real server that keeps what it was asked; `answer` says what it answers."""

    url: str
    asked: list[tuple[str, str, Mapping[str, str], bytes]] = field(default_factory=list)
    answer: Answer | None = None

    async def handle(self, request: web.Request) -> web.StreamResponse:
        self.asked.append((request.method, request.raw_path, request.headers.copy(), await request.read()))
        return await self.answer(request) if self.answer else web.json_response({"status": "shipped"})


@pytest.fixture
async def shop() -> AsyncIterator[Shop]:
    shop = Shop("")
    async with handled(shop.handle) as shop.url:
        yield shop


class Toolbox:
    """Tools of an agent of tenant `acme`, as a turn calls them."""

    def __init__(self, tools: ToolRegistry) -> None:
        self.tools = tools

    async def offers(self, *tools: Tool, allow_private: bool = True) -> Mapping[str, Offer]:
        """What is offered of these, by name."""
        offers = await self.tools.offers(agent_of(*tools), allow_private=allow_private)
        return {offer.tool.name: offer for offer in offers}

    async def call(self, tool: Tool, /, *, metadata: Any = None, allow_private: bool = True, **arguments: Any) -> str:
        """What the one tool that is offered brings."""
        (offer,) = (await self.offers(tool, allow_private=allow_private)).values()
        return await self.made(offer, metadata=metadata, allow_private=allow_private, **arguments)

    async def made(self, offer: Offer, /, *, metadata: Any = None, allow_private: bool = True, **arguments: Any) -> str:
        context = CallContext(agent_of(offer.entry), "conv", "turn", "call", metadata, allow_private)
        return await self.tools.call(offer, arguments, context)


def agent_of(*tools: Tool) -> Agent:
    """An agent of tenant `acme` with these tools."""
    return Agent("agent", "acme", "support", "Support", 1, AgentDefinition(tools=tools))


@pytest.fixture
async def toolbox() -> AsyncIterator[Toolbox]:
    egress = Egress()

    async def find(agent: Agent, question: str) -> list[Passage]:
        await asyncio.sleep(0)
        if question == "nothing":
            return []
        return [Passage(1, "doc", "text", "Returns", "Deadline", f"Goods: 30 days. ({agent.id})", 0.9, 0.9)]

    yield Toolbox(ToolRegistry(HttpTools(egress, Kept()), McpTools(egress, Kept()), BuiltinTools(find)))
    await egress.close()
