"""Asking a model: time-outs, retries before the first token, a breaker per upstream. Knows no turn, no vendor."""

import asyncio
import secrets
from collections.abc import Callable, Sequence
from dataclasses import dataclass

import structlog

from dragoman.core.agents import ModelChoice, Tool
from dragoman.core.prompt import PromptMessage
from dragoman.ports.models import ModelError, ModelPart, Models

TRIES = 3
FIRST_PAUSE = 0.25
LONGEST_RETRY_AFTER = 60.0
BREAKER_FAILURES = 10
BREAKER_OPEN = 5.0

_jitter = secrets.SystemRandom()
_log = structlog.get_logger(__name__)


@dataclass(slots=True)
class _Breaker:
    """Closed until failures in a row are too many; then open for a while; then one attempt decides."""

    failures: int = 0
    open_until: float = 0.0
    probing: bool = False

    def admit(self, now: float) -> None:
        if self.failures < BREAKER_FAILURES:
            return
        if now < self.open_until or self.probing:
            raise ModelError("its circuit breaker is open after too many failures in a row", retriable=False)
        self.probing = True

    def succeeded(self) -> None:
        self.failures, self.probing = 0, False

    def failed(self, now: float) -> None:
        self.failures += 1
        self.probing = False
        self.open_until = now + BREAKER_OPEN


class Attempts:
    """Asks models on behalf of turns. Time-outs are in seconds: to the first token, and between two reads."""

    def __init__(self, models: Models, first_token_timeout: float, idle_timeout: float) -> None:
        self._models = models
        self._first_token_timeout = first_token_timeout
        self._idle_timeout = idle_timeout
        self._breakers: dict[str, _Breaker] = {}

    async def ask(
        self,
        choice: ModelChoice,
        prompt: Sequence[PromptMessage],
        take: Callable[[Sequence[ModelPart]], None],
        tools: Sequence[Tool] = (),
    ) -> None:
        """Give each read's parts to `take` until the answer is whole. Nothing is asked again once a part has come.

        Raises:
            ModelError: no attempt gave a whole answer.
        """
        upstream = self._models.upstream(choice)
        breaker = self._breakers.setdefault(upstream, _Breaker())
        loop = asyncio.get_running_loop()
        for attempt in range(1, TRIES + 1):
            breaker.admit(loop.time())
            heard = _Heard(take)
            try:
                await self._attempt(choice, prompt, tools, heard)
            except ModelError as error:
                if error.retriable:
                    breaker.failed(loop.time())
                else:
                    breaker.succeeded()
                wait = error.retry_after or 0.0
                if heard.anything or not error.retriable or attempt == TRIES or wait > LONGEST_RETRY_AFTER:
                    raise
                _log.warning("model_asked_again", upstream=upstream, attempt=attempt, error=str(error))
                await asyncio.sleep(max(wait, FIRST_PAUSE * 2 ** (attempt - 1) * _jitter.uniform(0.5, 1.0)))
            except BaseException:
                # Stopped by us: it says nothing about the upstream, but a probe must not stay out for ever.
                breaker.probing = False
                raise
            else:
                breaker.succeeded()
                return

    async def _attempt(
        self, choice: ModelChoice, prompt: Sequence[PromptMessage], tools: Sequence[Tool], heard: "_Heard"
    ) -> None:
        try:
            async with asyncio.timeout(self._first_token_timeout) as bound:
                try:
                    async for parts in self._models.stream(choice, prompt, tools):
                        heard(parts, bound, self._idle_timeout)
                finally:
                    heard.rest()
        except TimeoutError as error:
            what = "stopped in its answer" if heard.begun else "gave no first token"
            seconds = self._idle_timeout if heard.begun else self._first_token_timeout
            raise ModelError(f"the model {what} within {seconds:g} s") from error


class _Heard:
    """Passes parts on and watches the time between them.

    A time-out that is moved for every token costs more than the token: here a timer looks, once an idle time-out,
    when the last one came.
    """

    __slots__ = ("_at", "_loop", "_take", "_timer", "anything")

    def __init__(self, take: Callable[[Sequence[ModelPart]], None]) -> None:
        self._take = take
        self._loop = asyncio.get_running_loop()
        self._at = 0.0
        self._timer: asyncio.TimerHandle | None = None
        self.anything = False

    def __call__(self, parts: Sequence[ModelPart], bound: asyncio.Timeout, idle_timeout: float) -> None:
        """One read's parts have come."""
        self._at = self._loop.time()
        if self._timer is None:
            bound.reschedule(None)
            self._timer = self._loop.call_later(idle_timeout, self._look, bound, idle_timeout)
        if parts:
            self.anything = True
            self._take(parts)

    @property
    def begun(self) -> bool:
        """Whether the model has sent anything, be it half a call."""
        return self._timer is not None

    def _look(self, bound: asyncio.Timeout, idle_timeout: float) -> None:
        if self._loop.time() - self._at >= idle_timeout:
            bound.reschedule(self._loop.time())
        else:
            self._timer = self._loop.call_at(self._at + idle_timeout, self._look, bound, idle_timeout)

    def rest(self) -> None:
        """Nothing more comes."""
        if self._timer is not None:
            self._timer.cancel()
