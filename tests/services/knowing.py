"""What tests of knowledge share: an agent that is given things to know, parsed and fetched by parts that obey."""

from collections.abc import Sequence
from typing import Any

from dragoman.ports.egress import Unfetchable
from dragoman.ports.pages import Page
from dragoman.ports.parsers import Kind, Piece, Unreadable
from dragoman.services.ingestion import Ingestion
from dragoman.services.knowledge import Given, Knowledge
from tests.services.scene import World


class Paragraphs:
    """A parser that makes a piece of every paragraph; what begins with ``broken`` cannot be read."""

    def __init__(self) -> None:
        self.parsed: list[bytes] = []
        self.away = False

    async def parse(self, kind: Kind, data: bytes) -> Sequence[Piece]:
        if self.away:
            raise OSError("no process")
        self.parsed.append(data)
        if data.startswith(b"broken"):
            raise Unreadable("The document is broken")
        return [Piece("", text) for text in data.decode().split("\n\n") if text.strip()]

    async def close(self) -> None:
        pass


class Site:
    """Pages by their address; an address that is not there cannot be fetched, those that are `refused` never."""

    def __init__(self) -> None:
        self.refused: set[str] = set()
        self.pages: dict[str, str] = {}
        self.private: list[bool] = []

    async def fetch(self, url: str, *, allow_private: bool) -> Page:
        self.private.append(allow_private)
        if url in self.refused:
            raise Unfetchable("The address may not be reached", retriable=False)
        if url not in self.pages:
            raise Unfetchable("The address answered 404")
        return Page(url, "text/html", self.pages[url].encode())

    async def pages_of(self, url: str, *, allow_private: bool) -> Sequence[str]:
        return list(self.pages) or [url]

    async def close(self) -> None:
        pass


class Knowing:
    """A world whose agent learns."""

    def __init__(self, world: World) -> None:
        self.world = world
        self.parser, self.site = Paragraphs(), Site()
        self.ingestion = Ingestion(world.store, self.parser, self.site, world.embedder)
        self.knowledge = Knowledge(world.store, self.ingestion.wake)

    async def agent(self, tenant: str = "acme", **definition: Any) -> str:
        """The agent's id, once it is defined so."""
        model = {"provider": "scripted", "name": "m"}
        agent, _ = await self.world.store.agents.put(tenant, None, "agent", "Agent", {"model": model, **definition}, 1)
        return agent.id

    async def learn(self, *given: Given, tenant: str = "acme", **definition: Any) -> list[str]:
        """Give the agent these things and work until they are known; the documents' ids."""
        agent_id = await self.agent(tenant, **definition)
        ids = [(await self.knowledge.add(tenant, agent_id, each))[0] for each in given]
        await self.ingestion.work_off()
        return ids


def answer_to(question: str, answer: str, *, verbatim: bool = False) -> Given:
    """A question with its answer, to be known."""
    return Given(type="qa", title=question, question=question, answer=answer, verbatim=verbatim)


def text(title: str, *paragraphs: str) -> Given:
    """A text to be known, a piece a paragraph."""
    return Given(type="text", title=title, text="\n\n".join(paragraphs))
