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
from typing import Annotated, Any

import aiohttp
import msgspec

from dragoman.adapters.models.sse import EventParser, EventTooLarge
from dragoman.core.agents import ModelChoice
from dragoman.core.events import TextDelta
from dragoman.core.prompt import PromptMessage
from dragoman.ports.models import ModelError, ModelPart, UsagePart

DEFAULT_BASE_URL = "https://api.openai.com/v1"
MAX_ANSWER_BYTES = 4 << 20
MAX_ERROR_BYTES = 64 << 10
MAX_ERROR_CHARACTERS = 500
# uvicorn, under many model servers, hangs up after 5 s of silence: a request must not meet that.
KEEPALIVE_SECONDS = 4.0
# How long the end of an HTTP body may come after the end of the answer before its connection is given up.
BODY_END_SECONDS = 1.0
# From this size on aiohttp warns of a body given as bytes; one given as a file it writes piece by piece.
LARGE_BODY_BYTES = 1 << 20

_DONE = b"[DONE]"
_USERINFO = re.compile("//[^/@]*@")
# The last is what aiohttp says where the server names no type.
_STREAM_TYPES = ("text/event-stream", "text/plain", "application/octet-stream")
_HEADERS = {
    "Content-Type": "application/json",
    "Accept": "text/event-stream",
    # A compressed stream arrives in lumps, and its size before decoding says nothing.
    "Accept-Encoding": "identity",
    "User-Agent": "dragoman",
}

_Count = Annotated[int, msgspec.Meta(ge=0, le=1 << 53)]


class _StreamOptions(msgspec.Struct, frozen=True):
    include_usage: bool


class _Request(msgspec.Struct, omit_defaults=True):
    model: str
    messages: Sequence[PromptMessage]
    stream: bool
    stream_options: _StreamOptions
    temperature: float | None = None
    max_tokens: int | None = None


class _Content(msgspec.Struct):
    content: str | None = None


class _Choice(msgspec.Struct):
    delta: _Content | None = None
    message: _Content | None = None
    finish_reason: str | None = None


class _Usage(msgspec.Struct):
    prompt_tokens: _Count | None = None
    completion_tokens: _Count | None = None


class _Completion(msgspec.Struct):
    """A chunk of a streamed answer, or a whole answer: the same object but for `delta` and `message`."""

    choices: list[_Choice] | None = None
    usage: _Usage | None = None
    error: Any = None


_USAGE_WANTED = _StreamOptions(include_usage=True)
_encoder = msgspec.json.Encoder()
_decoder = msgspec.json.Decoder(_Completion)


class _Answer:
    """What has been read of one streamed answer. `failure` and `whole` say that reading must end, and how."""

    __slots__ = ("_events", "_finished", "_size", "_usage", "failure", "whole")

    def __init__(self) -> None:
        self._events = EventParser()
        self._size = 0
        self._finished = False
        self._usage: UsagePart | None = None
        self.failure: ModelError | None = None
        self.whole = False

    def read(self, received: bytes) -> list[ModelPart]:
        """The parts in these bytes, those before a failure included."""
        parts: list[ModelPart] = []
        try:
            for payload in self._events.feed(received):
                if payload == _DONE:
                    self._end(parts)
                    break
                if payload:
                    self._take(payload, parts)
        except EventTooLarge as error:
            self.failure = ModelError(f"the model broke the bound of its stream: {error}", retriable=False)
        except ModelError as error:
            self.failure = error
        return parts

    def read_end(self) -> list[ModelPart]:
        """The parts that the end of the body brings; without `[DONE]` only a finish reason makes an answer whole."""
        parts: list[ModelPart] = []
        if self._finished:
            self._end(parts)
        else:
            self.failure = ModelError("the model broke off its answer")
        return parts

    def _take(self, payload: bytes, parts: list[ModelPart]) -> None:
        completion = _decode(payload)
        if completion.choices:
            choice = completion.choices[0]
            if choice.finish_reason is not None:
                self._finished = True
            if choice.delta is not None and choice.delta.content:
                text = choice.delta.content
                self._size += len(text.encode())
                if self._size > MAX_ANSWER_BYTES:
                    raise ModelError(f"the model's answer is over {MAX_ANSWER_BYTES} bytes", retriable=False)
                parts.append(TextDelta(text))
        if completion.usage is not None:
            # Some servers count in every chunk; only the last count is of the whole request.
            self._usage = _usage_part(completion.usage)

    def _end(self, parts: list[ModelPart]) -> None:
        self.whole = True
        if self._usage is not None:
            parts.append(self._usage)


class OpenAIModels:
    """Asks OpenAI-compatible servers over one pool of connections, with as many at a time as there are answers.

    `force_close` opens a connection for each request: for a server that hangs up after an answer without saying so.
    """

    def __init__(self, *, force_close: bool = False) -> None:
        self._force_close = force_close
        self._session: aiohttp.ClientSession | None = None

    def stream(self, choice: ModelChoice, prompt: Sequence[PromptMessage]) -> AsyncGenerator[Sequence[ModelPart], None]:
        """One attempt at an answer, as `ports.models.Models` says."""
        return self.stream_from(choice.base_url or DEFAULT_BASE_URL, choice, prompt)

    def upstream(self, choice: ModelChoice) -> str:
        """The server's base URL, without a credential that may be in it."""
        return _USERINFO.sub("//", choice.base_url or DEFAULT_BASE_URL).rstrip("/")

    async def stream_from(
        self,
        base_url: str,
        choice: ModelChoice,
        prompt: Sequence[PromptMessage],
        headers: Mapping[str, str] | None = None,
    ) -> AsyncGenerator[Sequence[ModelPart], None]:
        """One attempt at the server at `base_url`, with `headers` beside our own; otherwise as `stream`.

        Raises:
            ModelError: as `ports.models.Models` says.
        """
        response: aiohttp.ClientResponse | None = None
        whole = False
        try:
            response = await self._ask(base_url, choice, prompt, {**_authorization(choice), **(headers or {})})
            if response.content_type == "application/json":
                # The server took no notice of `stream`.
                parts = _whole_answer(await _read_body(response))
                whole = True
                if parts:
                    yield parts
                return
            answer = _Answer()
            while not (answer.whole or answer.failure):
                received = await response.content.readany()
                parts = answer.read(received) if received else answer.read_end()
                whole = answer.whole
                if parts:
                    yield parts
            if answer.failure:
                raise answer.failure
        except (aiohttp.NonHttpUrlClientError, ValueError) as error:
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

    async def _ask(
        self, base_url: str, choice: ModelChoice, prompt: Sequence[PromptMessage], headers: Mapping[str, str]
    ) -> aiohttp.ClientResponse:
        if self._session is None:
            self._session = self._open_session()
        body = _encoder.encode(
            _Request(choice.name, prompt, True, _USAGE_WANTED, choice.temperature, choice.max_tokens)
        )
        response = await self._session.post(
            f"{base_url.rstrip('/')}/chat/completions",
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
            timeout=aiohttp.ClientTimeout(total=None, sock_connect=None),
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


def _decode(payload: bytes) -> _Completion:
    try:
        completion = _decoder.decode(payload)
    except (msgspec.DecodeError, UnicodeDecodeError, RecursionError) as error:
        raise ModelError(f"the model sent what is no chunk of an answer: {error}", retriable=False) from error
    if completion.error is not None:
        raise _reported(completion.error)
    return completion


def _whole_answer(body: bytes) -> list[ModelPart]:
    completion = _decode(body)
    if not completion.choices or completion.choices[0].message is None:
        raise ModelError("the model answered without a message", retriable=False)
    content = completion.choices[0].message.content
    parts: list[ModelPart] = [TextDelta(content)] if content else []
    if completion.usage is not None:
        parts.append(_usage_part(completion.usage))
    return parts


def _usage_part(usage: _Usage) -> UsagePart:
    return UsagePart(usage.prompt_tokens or 0, usage.completion_tokens or 0)


async def _read_body(response: aiohttp.ClientResponse) -> bytes:
    body = bytearray()
    while received := await response.content.readany():
        body += received
        if len(body) > MAX_ANSWER_BYTES:
            raise ModelError(f"the model's answer is over {MAX_ANSWER_BYTES} bytes", retriable=False)
    return bytes(body)


def _may_succeed_later(status: int) -> bool:
    return status in (408, 429) or status >= 500


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
        retriable=_may_succeed_later(response.status),
        retry_after=parse_retry_after(response.headers.get("Retry-After"), time.time()),
    )


def _reported(error: Any) -> ModelError:
    """The failure that an `error` member tells of; its `code` is a status with some servers, a word with others."""
    fields = error if isinstance(error, dict) else {"message": error}
    code = fields.get("code")
    text = str(fields.get("message", error))[:MAX_ERROR_CHARACTERS]
    return ModelError(
        f"the model reported an error: {text}", retriable=not isinstance(code, int) or _may_succeed_later(code)
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
