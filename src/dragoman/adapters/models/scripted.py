"""Models that answer from a script in the manifest, for demos and tests. Know no network."""

import asyncio
import re
from collections.abc import AsyncGenerator, Sequence
from typing import Annotated, Any

import msgspec

from dragoman.core.agents import ModelChoice
from dragoman.core.events import TextDelta
from dragoman.core.prompt import PromptMessage, estimate_tokens
from dragoman.ports.models import ModelError, ModelPart, UsagePart

# A generator that never waits starves the loop: it lets others run after so many tokens.
TOKENS_PER_BREATH = 16

_TOKEN = re.compile(r"\s*\S+|\s+")
_Seconds = Annotated[float, msgspec.Meta(ge=0, le=3600)]


class _Entry(msgspec.Struct, forbid_unknown_fields=True):
    """One entry of a script. Times are seconds; `error` is what the operator's log is told."""

    text: str | None = None
    tokens: list[Annotated[str, msgspec.Meta(min_length=1)]] | None = None
    when: str | None = None
    delay: _Seconds = 0
    first_delay: _Seconds = 0
    error: str | None = None
    retriable: bool = False

    def __post_init__(self) -> None:
        if self.text is not None and self.tokens is not None:
            raise ValueError("takes `text` or `tokens`, not both")
        if self.text is None and self.tokens is None and self.error is None:
            raise ValueError("needs `text`, `tokens` or `error`")

    def deltas(self, message: str) -> list[str]:
        if self.tokens is not None:
            return self.tokens
        return _TOKEN.findall((self.text or "").replace("{message}", message))


_ECHO = _Entry(text="You said: {message}")


class ScriptedModels:
    """Answers as `choice.script` says: by what the message holds, else by the turn's place in the conversation."""

    async def stream(
        self, choice: ModelChoice, prompt: Sequence[PromptMessage]
    ) -> AsyncGenerator[Sequence[ModelPart], None]:
        """One answer, a token an item, then what it used.

        Raises:
            ModelError: the script says so, or is malformed.
        """
        try:
            entries = _parse(choice.script)
        except ValueError as error:
            raise ModelError(str(error), retriable=False) from error
        asked = [message.content for message in prompt if message.role == "user"] or [""]
        entry = _pick(entries, asked[-1], len(asked) - 1)
        deltas = entry.deltas(asked[-1])
        await asyncio.sleep(entry.first_delay)
        for count, delta in enumerate(deltas):
            if count and (entry.delay or count % TOKENS_PER_BREATH == 0):
                await asyncio.sleep(entry.delay)
            yield (TextDelta(delta),)
        if entry.error is not None:
            raise ModelError(entry.error, retriable=entry.retriable)
        yield (UsagePart(sum(estimate_tokens(message.content) for message in prompt), len(deltas)),)

    def upstream(self, choice: ModelChoice) -> str:
        """All scripts are one upstream: they cannot break apart."""
        return "scripted"

    async def close(self) -> None:
        """Scripts hold nothing."""


def check_script(script: Any) -> None:
    """Say what is wrong with a script as the manifest holds it.

    Raises:
        ValueError: the script is no list, or an entry has a wrong shape; the message names it by its index.
    """
    if not isinstance(script, list | tuple):
        raise ValueError("script: must be a list of entries")
    _parse(script)


def _parse(script: Sequence[Any]) -> list[_Entry]:
    entries = []
    for index, raw in enumerate(script):
        try:
            entries.append(_Entry(text=raw) if isinstance(raw, str) else msgspec.convert(raw, _Entry))
        except msgspec.ValidationError as error:
            raise ValueError(f"script[{index}]: {error}") from error
    return entries


def _pick(entries: list[_Entry], message: str, turns_before: int) -> _Entry:
    folded = message.casefold()
    for entry in entries:
        if entry.when is not None and entry.when.casefold() in folded:
            return entry
    in_turn = [entry for entry in entries if entry.when is None]
    return in_turn[turns_before % len(in_turn)] if in_turn else _ECHO
