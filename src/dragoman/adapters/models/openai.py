"""Models behind any server that speaks OpenAI's chat completions. Knows no turn, no retry and no time-out."""

import asyncio
import math
import os
import re
import time
from collections.abc import AsyncGenerator, Mapping, Sequence
from contextlib import suppress
from email.utils import parsedate_to_datetime
from io import BytesIO
from typing import Any

import aiohttp

from dragoman.adapters.guard import GuardedSessions, Resolve, resolved
from dragoman.adapters.models.completions import (
    MAX_ANSWER_BYTES,
    MAX_ERROR_CHARACTERS,
    Answer,
    encode_request,
    may_succeed_later,
    too_large,
    whole_answer,
)
from dragoman.core.agents import Guard, ModelChoice, Tool
from dragoman.core.prompt import PromptMessage
from dragoman.ports.egress import Unfetchable
from dragoman.ports.models import ModelError, ModelPart

DEFAULT_BASE_URL = "https://api.openai.com/v1"
MAX_ERROR_BYTES = 64 << 10
# uvicorn, under many model servers, hangs up after 5 s of silence: a request must not meet that.
KEEPALIVE_SECONDS = 4.0
# How long the end of an HTTP body may come after the end of the answer before its connection is given up.
BODY_END_SECONDS = 1.0
# From this size on aiohttp warns of a body given as bytes; one given as a file it writes piece by piece.
LARGE_BODY_BYTES = 1 << 20

_USERINFO = re.compile("//[^/@]*@")
# The last is what aiohttp says where the server names no type.
_STREAM_TYPES = ("text/event-stream", "text/plain", "application/octet-stream")
# The turn has time-outs of its own.
_TIMEOUT = aiohttp.ClientTimeout(total=None, sock_connect=None)
_HEADERS = {
    "Content-Type": "application/json",
    "Accept": "text/event-stream",
    # A compressed stream arrives in lumps, and its size before decoding says nothing.
    "Accept-Encoding": "identity",
    "User-Agent": "dragoman",
}


class OpenAIModels:
    """Asks OpenAI-compatible servers over one pool of connections, with as many at a time as there are answers.

    `force_close` opens a connection for each request: for a server that hangs up after an answer without saying so.
    """

    def __init__(self, *, force_close: bool = False, resolve: Resolve = resolved) -> None:
        self._force_close = force_close
        self._session: aiohttp.ClientSession | None = None
        self._guarded = GuardedSessions(timeout=_TIMEOUT, headers=_HEADERS, resolve=resolve)

    def stream(
        self, choice: ModelChoice, prompt: Sequence[PromptMessage], tools: Sequence[Tool] = ()
    ) -> AsyncGenerator[Sequence[ModelPart], None]:
        """One attempt at an answer, as `ports.models.Models` says."""
        return self.stream_from(choice.base_url or DEFAULT_BASE_URL, choice, prompt, tools=tools, guard=choice.guard)

    def upstream(self, choice: ModelChoice) -> str:
        """The server's base URL, without a credential that may be in it; one that is guarded is another."""
        address = _USERINFO.sub("//", choice.base_url or DEFAULT_BASE_URL).rstrip("/")
        return f"{choice.guard} {address}" if choice.guard else address

    async def stream_from(
        self,
        base_url: str,
        choice: ModelChoice,
        prompt: Sequence[PromptMessage],
        headers: Mapping[str, str] | None = None,
        tools: Sequence[Tool] = (),
        guard: Guard | None = None,
        schema: Mapping[str, Any] | None = None,
    ) -> AsyncGenerator[Sequence[ModelPart], None]:
        """One attempt at the server at `base_url`, with `headers` beside our own; otherwise as `stream`.

        With a `schema` the answer is JSON that fits it.

        Raises:
            ModelError: as `ports.models.Models` says.
        """
        response: aiohttp.ClientResponse | None = None
        whole = False
        try:
            body = encode_request(choice, prompt, tools, schema)
            response = await self._ask(base_url, guard, body, {**_authorization(choice), **(headers or {})})
            if response.content_type == "application/json":
                # The server took no notice of `stream`.
                parts = whole_answer(await _read_body(response))
                whole = True
                if parts:
                    yield parts
                return
            answer = Answer()
            while not (answer.whole or answer.failure):
                received = await response.content.readany()
                parts = answer.read(received) if received else answer.read_end()
                whole = answer.whole
                if parts or answer.calling:
                    yield parts
            if answer.failure:
                raise answer.failure
        except (aiohttp.NonHttpUrlClientError, Unfetchable, ValueError) as error:
            raise ModelError(f"the model cannot be asked: {error}", retriable=False) from error
        except (aiohttp.ClientError, OSError) as error:
            raise ModelError(f"the connection to the model failed: {type(error).__name__}: {error}") from error
        finally:
            if response is not None:
                _leave(response, whole)

    async def close(self) -> None:
        """Close every connection; answers that are being read fail."""
        if self._session is not None:
            await self._session.close()
            self._session = None
        await self._guarded.close()

    async def _ask(
        self, base_url: str, guard: Guard | None, body: bytes, headers: Mapping[str, str]
    ) -> aiohttp.ClientResponse:
        url = f"{base_url.rstrip('/')}/chat/completions"
        if self._session is None:
            self._session = self._open_session()
        session = self._guarded.to(url, guard) if guard else self._session
        response = await session.post(
            url,
            data=body if len(body) <= LARGE_BODY_BYTES else BytesIO(body),
            headers=headers,
            allow_redirects=False,
        )
        try:
            if response.status != 200:
                secret = headers.get("Authorization", "").removeprefix("Bearer ")
                raise await _refusal(response, secret)
            if response.content_type not in (*_STREAM_TYPES, "application/json"):
                raise ModelError(f"the model answered with {response.content_type}", retriable=False)
        except BaseException:
            _leave(response, whole=False)
            raise
        return response

    def _open_session(self) -> aiohttp.ClientSession:
        return aiohttp.ClientSession(
            connector=aiohttp.TCPConnector(
                limit=0,
                force_close=self._force_close,
                keepalive_timeout=None if self._force_close else KEEPALIVE_SECONDS,
            ),
            # One pool serves all tenants: a cookie of one answer must not go out with another's request.
            cookie_jar=aiohttp.DummyCookieJar(),
            timeout=_TIMEOUT,
            headers=_HEADERS,
        )


def parse_retry_after(value: str | None, now: float) -> float | None:
    """The seconds that a Retry-After header asks for, at `now` in seconds since the epoch; None where it is no use."""
    if value is None:
        return None
    try:
        seconds = float(value)
    except ValueError:
        try:
            seconds = parsedate_to_datetime(value).timestamp() - now
        except (ValueError, OverflowError):
            return None
        return max(0.0, seconds)
    return seconds if math.isfinite(seconds) and seconds >= 0 else None


def _authorization(choice: ModelChoice) -> dict[str, str]:
    if choice.api_key_env is None:
        return {}
    key = os.environ.get(choice.api_key_env, "").strip()
    if not key:
        raise ModelError(
            f"the environment variable {choice.api_key_env} of the model's key is not set", retriable=False
        )
    return {"Authorization": f"Bearer {key}"}


async def _read_body(response: aiohttp.ClientResponse) -> bytes:
    body = bytearray()
    while received := await response.content.readany():
        body += received
        if len(body) > MAX_ANSWER_BYTES:
            raise too_large()
    return bytes(body)


async def _refusal(response: aiohttp.ClientResponse, secret: str) -> ModelError:
    """The error that a status other than 200 stands for, with what the server says, its reader's key left out."""
    body = bytearray()
    with suppress(aiohttp.ClientError):
        while len(body) < MAX_ERROR_BYTES and (received := await response.content.readany()):
            body += received
    text = bytes(body[:MAX_ERROR_BYTES]).decode(errors="replace").strip()
    if secret:
        text = text.replace(secret, "***")
    return ModelError(
        f"the model answered {response.status}: {text[:MAX_ERROR_CHARACTERS]}",
        retriable=may_succeed_later(response.status),
        retry_after=parse_retry_after(response.headers.get("Retry-After"), time.time()),
    )


def _leave(response: aiohttp.ClientResponse, whole: bool) -> None:
    """Let go of the connection: to the pool once the body of a whole answer has ended, else closed at once."""
    if response.content.is_eof():
        response.release()
    elif whole:
        # The last chunk of the body often comes a moment after `[DONE]`; aiohttp pools the connection when it does.
        timer = asyncio.get_running_loop().call_later(BODY_END_SECONDS, response.close)
        response.content.on_eof(timer.cancel)
    else:
        response.close()
