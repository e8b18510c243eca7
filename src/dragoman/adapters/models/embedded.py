"""Models that run beside the server, each in a llama.cpp process of its own. Knows no wire format and no llama.cpp."""

import asyncio
import os
import secrets
import sys
import time
from collections import deque
from collections.abc import AsyncGenerator, Mapping, Sequence
from contextlib import aclosing, suppress
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, Protocol

import msgspec
import structlog

from dragoman.adapters.models import choosing, telling, weights
from dragoman.adapters.models.turnstile import Turnstile
from dragoman.core.agents import EMBEDDED_MODEL, ModelChoice, Tool
from dragoman.core.events import TextDelta, ToolCall
from dragoman.core.prompt import PromptMessage, ResultMessage
from dragoman.ports.models import ModelError, ModelPart, UsagePart

CHILD = "dragoman.adapters.models.embedded_child"
DEATHS = 3
DEATHS_WITHIN_SECONDS = 60.0
REST_SECONDS = 30.0

_LAST_WORDS_BYTES = 4000

_log = structlog.get_logger(__name__)


class OpenAIStream(Protocol):
    """What asks an OpenAI-compatible server at a given address."""

    def stream_from(
        self,
        base_url: str,
        choice: ModelChoice,
        prompt: Sequence[PromptMessage],
        headers: Mapping[str, str] | None = None,
        *,
        schema: Mapping[str, Any] | None = None,
    ) -> AsyncGenerator[Sequence[ModelPart], None]:
        """One attempt at an answer, with `headers` beside the usual ones; raises ModelError."""
        ...

    async def close(self) -> None:
        """Let go of its connections."""
        ...


@dataclass(frozen=True, slots=True)
class _Server:
    base_url: str
    headers: Mapping[str, str]


class _Ready(msgspec.Struct, frozen=True):
    url: str


class EmbeddedModels:
    """The provider `embedded`: a process for each file of weights, started at its first use.

    A longer context than the process was started with needs another one.

    `openai` must open a connection for each request, as llama.cpp hangs up after each; it is closed with this.
    `turnstile` is shared with what else computes on this machine.
    Use it from the main thread's loop: the kernel ends a child with the THREAD that started it.
    """

    def __init__(self, models_dir: Path, openai: OpenAIStream, turnstile: Turnstile | None = None) -> None:
        self._models_dir = models_dir
        self._openai = openai
        self._turnstile = turnstile or Turnstile()
        self._children: dict[tuple[str | None, int], _Child] = {}

    async def stream(
        self, choice: ModelChoice, prompt: Sequence[PromptMessage], tools: Sequence[Tool] = ()
    ) -> AsyncGenerator[Sequence[ModelPart], None]:
        """One attempt at an answer, as `ports.models.Models` says; it waits while the weights are loaded.

        It is asked first which tool of the server it wants to call, if any; tools of the client it is not offered.
        What calls have brought it is told in words.

        Raises:
            ModelError: as the port says; not retriable where the weights are missing or their process keeps dying.
        """
        server = await self._child(choice).server()
        if choice.temperature is None and isinstance(prompt[-1], ResultMessage):
            # What a tool has said is to be told as it is, and not in ever new ways.
            choice = replace(choice, temperature=0.0)
        async with self._turnstile.generating():
            call, used = await self._call(server, choice, prompt, tools)
            if call is not None:
                yield (call, *used)
                return
            told = telling.in_words(prompt)
            async with aclosing(self._openai.stream_from(server.base_url, choice, told, server.headers)) as answer:
                async for parts in answer:
                    yield parts

    async def _call(
        self, server: "_Server", choice: ModelChoice, prompt: Sequence[PromptMessage], tools: Sequence[Tool]
    ) -> tuple[ToolCall | None, Sequence[UsagePart]]:
        """The call that the model wants to make, and what it took to ask; to results it makes no further calls."""
        able = choosing.callable_here(tools)
        if not able or isinstance(prompt[-1], ResultMessage):
            return None, ()
        asked, messages, schema = choosing.question(choice, prompt, able)
        parts: list[ModelPart] = []
        async with aclosing(
            self._openai.stream_from(server.base_url, asked, messages, server.headers, schema=schema)
        ) as answer:
            async for some in answer:
                parts += some
        text = "".join(part.text for part in parts if isinstance(part, TextDelta))
        return choosing.chosen(text, prompt, able), [part for part in parts if isinstance(part, UsagePart)]

    def upstream(self, choice: ModelChoice) -> str:
        """The weights, by their path, or by their name where they are those of the lock."""
        return f"embedded:{choice.path or EMBEDDED_MODEL}"

    async def warm(self, choice: ModelChoice | None = None) -> None:
        """Load the weights of a choice, the locked ones by default, so that the first answer need not wait for it.

        Raises:
            ModelError: as `stream`.
        """
        await self._child(choice or ModelChoice()).server()

    async def close(self) -> None:
        """End every process; answers in the making fail."""
        await asyncio.gather(*(child.close() for child in self._children.values()))
        await self._openai.close()

    def _child(self, choice: ModelChoice) -> "_Child":
        for (path, context_tokens), child in self._children.items():
            if path == choice.path and context_tokens >= choice.context_tokens:
                return child
        child = _Child(self._weights(choice), choice.context_tokens)
        self._children[choice.path, choice.context_tokens] = child
        return child

    def _weights(self, choice: ModelChoice) -> Path:
        if choice.path is None:
            found = weights.locate("chat", self._models_dir)
            if found is None:
                raise ModelError(f"no weights in {self._models_dir}; run: dragoman models pull", retriable=False)
            return found
        path = Path(choice.path).absolute()
        if not path.is_file():
            raise ModelError(f"there are no weights at {path}: correct the manifest's model.path", retriable=False)
        return path


class _Child:
    """One llama.cpp process that is started again when it dies, with a rest where it keeps dying."""

    def __init__(self, path: Path, context_tokens: int) -> None:
        self._path = path
        self._context_tokens = context_tokens
        # Where it serves, or why it does not; open while it is being started.
        self._state: asyncio.Future[_Server | str] = asyncio.get_running_loop().create_future()
        self._life = asyncio.create_task(self._live())

    async def server(self) -> _Server:
        """Where it serves, once it does.

        Raises:
            ModelError: not retriable: it keeps dying, or was closed.
        """
        state = await asyncio.shield(self._state)
        if isinstance(state, str):
            raise ModelError(state, retriable=False)
        return state

    async def close(self) -> None:
        """End the process, and its restarts."""
        self._life.cancel()
        with suppress(asyncio.CancelledError):
            await self._life
        self._become("the server is closing")

    async def _live(self) -> None:
        deaths: deque[float] = deque(maxlen=DEATHS)
        while True:
            last_words = await self._run()
            _log.warning("embedded_model_died", path=str(self._path), last_words=last_words)
            deaths.append(time.monotonic())
            if len(deaths) < DEATHS or deaths[-1] - deaths[0] > DEATHS_WITHIN_SECONDS:
                self._restart()
                continue
            self._become(
                f"the embedded model at {self._path} died {DEATHS} times within {DEATHS_WITHIN_SECONDS:.0f} s; "
                f"it is started again after {REST_SECONDS:.0f} s. Its last words: {last_words}"
            )
            await asyncio.sleep(REST_SECONDS)
            deaths.clear()
            self._restart()

    async def _run(self) -> str:
        """One process from its start to its death; what it said last."""
        try:
            process = await asyncio.create_subprocess_exec(
                *(sys.executable, "-P", "-m", CHILD),
                stdin=asyncio.subprocess.PIPE,
                stdout=asyncio.subprocess.PIPE,
                stderr=asyncio.subprocess.PIPE,
            )
        except OSError as error:
            return str(error)
        if process.stdin is None or process.stdout is None or process.stderr is None:
            raise AssertionError("what was asked for as a pipe is none")
        words = asyncio.create_task(_last_words(process.stderr))
        try:
            key = secrets.token_urlsafe()
            order = {"path": self._path, "context_tokens": self._context_tokens, "key": key, "parent": os.getpid()}
            process.stdin.write(msgspec.json.encode(order, enc_hook=str) + b"\n")
            ready = await process.stdout.readline()
            if ready.endswith(b"\n"):
                url = msgspec.json.decode(ready, type=_Ready).url
                self._become(_Server(f"{url}/v1", {"Authorization": f"Bearer {key}"}))
            await process.wait()
        finally:
            # Its end needs no order: it keeps nothing.
            with suppress(ProcessLookupError):
                process.kill()
            await process.wait()
            said = await words
        return f"(exit code {process.returncode}) {said}"

    def _become(self, state: _Server | str) -> None:
        self._restart()
        self._state.set_result(state)

    def _restart(self) -> None:
        if self._state.done():
            self._state = asyncio.get_running_loop().create_future()


async def _last_words(stream: asyncio.StreamReader) -> str:
    words = b""
    while said := await stream.read(_LAST_WORDS_BYTES):
        words = (words + said)[-_LAST_WORDS_BYTES:]
    return words.decode(errors="replace").strip()
