"""Any server that speaks OpenAI's embeddings. Knows no store."""

import os
from collections.abc import Sequence
from typing import Any

import aiohttp
import msgspec

from dragoman.adapters.guard import GuardedSessions, Resolve, resolved
from dragoman.core.agents import Guard, VendorChoice
from dragoman.ports.egress import Unfetchable
from dragoman.ports.embedders import EmbedderError

TIMEOUT_SECONDS = 30.0
ANSWER_CAP = 64 * 1024 * 1024
BATCH = 64
# A compressed answer says nothing of its size before it is decoded.
_HEADERS = {"Content-Type": "application/json", "Accept-Encoding": "identity", "User-Agent": "dragoman"}
_TIMEOUT = aiohttp.ClientTimeout(total=TIMEOUT_SECONDS)
_RETRIABLE = frozenset((408, 425, 429))


class _Embedding(msgspec.Struct):
    embedding: list[float]
    index: int = 0


class _Answer(msgspec.Struct):
    data: list[_Embedding]


_answer = msgspec.json.Decoder(_Answer)


class OpenAIEmbedder:
    """The provider `openai`: ``POST {base_url}/embeddings``."""

    def __init__(self, resolve: Resolve = resolved) -> None:
        self._session: aiohttp.ClientSession | None = None
        self._guarded = GuardedSessions(timeout=_TIMEOUT, headers=_HEADERS, resolve=resolve)

    async def embed(self, choice: VendorChoice, texts: Sequence[str]) -> Sequence[bytes]:
        import numpy as np

        if choice.base_url is None or choice.name is None:
            raise EmbedderError("embedder: provider openai needs name and base_url", retriable=False)
        headers = {}
        if choice.api_key_env is not None:
            headers["Authorization"] = f"Bearer {os.environ.get(choice.api_key_env, '')}"
        asked = {"model": choice.name, "input": list(texts), "encoding_format": "float"}
        answer = await self._ask(f"{choice.base_url.rstrip('/')}/embeddings", choice.guard, headers, asked)
        if len(answer.data) != len(texts):
            raise EmbedderError(f"the embedder gave {len(answer.data)} vectors for {len(texts)} texts")
        packed = []
        for each in sorted(answer.data, key=lambda each: each.index):
            vector = np.array(each.embedding, dtype="<f4")
            length = float(np.linalg.norm(vector))
            if not np.isfinite(length) or length == 0:
                raise EmbedderError("the embedder gave a vector without a direction")
            packed.append((vector / np.float32(length)).tobytes())
        return packed

    def name(self, choice: VendorChoice) -> str:
        return f"openai:{choice.name}"

    def batch(self, choice: VendorChoice) -> int:
        return BATCH

    async def close(self) -> None:
        if self._session is not None:
            await self._session.close()
        await self._guarded.close()

    async def _ask(self, url: str, guard: Guard | None, headers: dict[str, str], asked: dict[str, Any]) -> _Answer:
        if self._session is None:
            self._session = aiohttp.ClientSession(timeout=_TIMEOUT, headers=_HEADERS, trust_env=False)
        try:
            session = self._guarded.to(url, guard) if guard else self._session
            async with session.post(
                url, data=msgspec.json.encode(asked), headers=headers, allow_redirects=False
            ) as response:
                body = await response.content.read(ANSWER_CAP + 1)
                while len(body) <= ANSWER_CAP and (more := await response.content.read(ANSWER_CAP)):
                    body += more
                if response.status != 200:
                    retriable = response.status >= 500 or response.status in _RETRIABLE
                    raise EmbedderError(f"the embedder answered {response.status}", retriable=retriable)
        except Unfetchable as error:
            raise EmbedderError(f"the embedder may not be asked: {error}", retriable=False) from error
        except (aiohttp.ClientError, TimeoutError) as error:
            raise EmbedderError(f"the embedder cannot be reached: {type(error).__name__}") from error
        if len(body) > ANSWER_CAP:
            raise EmbedderError("the embedder's answer is too large", retriable=False)
        try:
            return _answer.decode(body)
        except msgspec.MsgspecError as error:
            raise EmbedderError(f"the embedder's answer is none: {error}", retriable=False) from error
