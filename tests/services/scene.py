"""A runner over a real store, with a model that speaks when it is told to."""

import asyncio
import struct
from collections.abc import AsyncIterator, Awaitable, Callable, Mapping, Sequence
from typing import Any

from dragoman.adapters.limits.memory import MemoryLimiter
from dragoman.adapters.store import SqlStore
from dragoman.core.agents import Agent, ModelChoice, Tool, VendorChoice
from dragoman.core.answers import Answer
from dragoman.core.commands import AnswerCalls, Idempotency, Recording, StartTurn
from dragoman.core.events import TextDelta, ToolCall
from dragoman.core.prompt import PromptMessage
from dragoman.core.tenants import Principal
from dragoman.ports.models import ModelPart
from dragoman.ports.tools import CallContext, Offer
from dragoman.services.attempts import Attempts
from dragoman.services.grounding import Grounding
from dragoman.services.handover import Desk
from dragoman.services.live import Live
from dragoman.services.retrieval import Retrieval
from dragoman.services.toolbox import Toolbox
from dragoman.services.turn import TurnRunner

SOON = 5.0


class Speaker:
    """A model whose answers are said by the test: `say` to an answer in the order in which they were asked for."""

    def __init__(self) -> None:
        self.asked: list[asyncio.Queue[str | ToolCall | None]] = []
        self.prompts: list[Sequence[PromptMessage]] = []

    async def stream(
        self, choice: ModelChoice, prompt: Sequence[PromptMessage], tools: Sequence[Tool] = ()
    ) -> AsyncIterator[Sequence[ModelPart]]:
        words: asyncio.Queue[str | ToolCall | None] = asyncio.Queue()
        self.asked.append(words)
        self.prompts.append(prompt)
        while (word := await words.get()) is not None:
            yield (TextDelta(word) if isinstance(word, str) else word,)

    def upstream(self, choice: ModelChoice) -> str:
        return "speaker"

    async def say(self, *words: str | ToolCall | None, to: int = -1) -> None:
        """Say these words and calls, None for the end, to the one asked last, and let them be heard."""
        async with asyncio.timeout(SOON):
            while not self.asked:
                await asyncio.sleep(0)
        for word in words:
            self.asked[to].put_nowait(word)
        await asyncio.sleep(0.02)


class Letters:
    """An embedder whose vectors count letters: texts that are spelled alike are near each other."""

    def __init__(self) -> None:
        self.texts: list[str] = []
        self.failure: Exception | None = None

    async def embed(self, choice: VendorChoice, texts: Sequence[str]) -> Sequence[bytes]:
        if self.failure is not None:
            raise self.failure
        self.texts += texts
        return [self._vector(text.lower()) for text in texts]

    def _vector(self, text: str) -> bytes:
        counts = [text.count(letter) + 0.001 for letter in "abcdefghijklmnopqrstuvwxyz"]
        length = sum(count * count for count in counts) ** 0.5
        return struct.pack("<26f", *(count / length for count in counts))

    def name(self, choice: VendorChoice) -> str:
        return "letters"

    def batch(self, choice: VendorChoice) -> int:
        return 2

    async def close(self) -> None:
        pass


class Tools:
    """Tools that answer as a test says; notes each call."""

    def __init__(self) -> None:
        self.answers: dict[str, Callable[[Mapping[str, Any]], Awaitable[str]]] = {}
        self.writes: set[str] = set()
        self.called: list[tuple[str, Mapping[str, Any]]] = []

    async def offers(self, agent: Agent, *, allow_private: bool) -> Sequence[Offer]:
        return [Offer(tool, tool, writes=tool.name in self.writes) for tool in agent.definition.server_tools]

    async def call(self, offer: Offer, arguments: Mapping[str, Any], context: CallContext) -> str:
        self.called.append((offer.tool.name, arguments))
        return await self.answers[offer.tool.name](arguments)

    def problem(self, offer: Offer, arguments: Any) -> str | None:
        return None if isinstance(arguments, dict) else "The arguments are no object"


class World:
    """A runner over a store with two tenants that have an agent each."""

    def __init__(self, store: SqlStore) -> None:
        self.store = store
        self.speaker = Speaker()
        self.live = Live(store)
        self.embedder = Letters()
        self.recordings: list[Recording] = []
        grounding = Grounding(Retrieval(store.passages, self.embedder))
        self.tools = Tools()
        self.desk = Desk(store)
        toolbox = Toolbox(store, self.tools, MemoryLimiter(store.limits))
        attempts = Attempts(self.speaker, 30, 30)
        self.runner = TurnRunner(store, self.live, attempts, grounding, toolbox, self.desk, self.hear, 60)

    async def hear(self, choice: VendorChoice, recording: Recording) -> str:
        """What a recording says is what its bytes spell."""
        self.recordings.append(recording)
        return recording.data.decode()

    def command(
        self, text: str = "hello", *, conversation: str | None = None, key: str | None = None, tenant: str = "acme"
    ) -> StartTurn:
        return StartTurn(
            principal=Principal(tenant, f"key of {tenant}", "secret"),
            agent_reference="agent",
            text=text,
            conversation_id=conversation,
            idempotency=Idempotency(key, "body") if key else None,
        )

    def results(self, conversation: str, *pairs: tuple[str, str]) -> AnswerCalls:
        return AnswerCalls(Principal("acme", "key of acme", "secret"), "agent", conversation, pairs)


async def whole(answer: "asyncio.Task[Answer]") -> Answer:
    async with asyncio.timeout(SOON):
        return await answer
