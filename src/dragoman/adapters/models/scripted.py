"""Models that answer from a script in the manifest, for demos and tests. Know no network."""

import asyncio
import re
from collections.abc import AsyncGenerator, Sequence
from itertools import takewhile
from typing import Annotated, Any

import msgspec

from dragoman.adapters.models.calls import MAX_CALLS, is_object
from dragoman.core.agents import ModelChoice, Tool
from dragoman.core.events import TextDelta, ToolCall
from dragoman.core.prompt import PromptMessage, ResultMessage, estimate_tokens
from dragoman.ports.models import ModelError, ModelPart, UsagePart

# A generator that never waits starves the loop: it lets others run after so many tokens.
TOKENS_PER_BREATH = 16

_TOKEN = re.compile(r"\s*\S+|\s+")
_Seconds = Annotated[float, msgspec.Meta(ge=0, le=3600)]
_Word = Annotated[str, msgspec.Meta(min_length=1)]


class _Call(msgspec.Struct, forbid_unknown_fields=True):
    """A call that an entry wants made. Arguments are given as an object, or as its text to the letter."""

    name: _Word
    arguments: dict[str, Any] | str = "{}"
    id: str = ""

    def __post_init__(self) -> None:
        if isinstance(self.arguments, str) and not is_object(self.arguments):
            raise ValueError("needs `arguments` that are an object, or the JSON text of one")

    def made(self) -> ToolCall:
        arguments = self.arguments if isinstance(self.arguments, str) else msgspec.json.encode(self.arguments).decode()
        return ToolCall(self.id, self.name, arguments)


class _Entry(msgspec.Struct, forbid_unknown_fields=True):
    """One entry of a script. Times are seconds; `error` is what the operator's log is told."""

    text: str | None = None
    tokens: list[_Word] | None = None
    tool_calls: Annotated[list[_Call], msgspec.Meta(min_length=1, max_length=MAX_CALLS)] | None = None
    when: str | None = None
    delay: _Seconds = 0
    first_delay: _Seconds = 0
    error: str | None = None
    retriable: bool = False

    def __post_init__(self) -> None:
        if self.text is not None and self.tokens is not None:
            raise ValueError("takes `text` or `tokens`, not both")
        if self.text is None and self.tokens is None and self.tool_calls is None and self.error is None:
            raise ValueError("needs `text`, `tokens`, `tool_calls` or `error`")

    def deltas(self, message: str) -> list[str]:
        if self.tokens is not None:
            return self.tokens
        return _TOKEN.findall((self.text or "").replace("{message}", message))


_ECHO = _Entry(text="You said: {message}")
_RELAY = _Entry(text="The tools said: {message}")


class ScriptedModels:
    """Answers as `choice.script` says: by what the message holds, else by the turn's place in the conversation.

    The message is the user's last one; where results of calls came after it, their contents. To results it makes no
    further calls.
    """

    async def stream(
        self, choice: ModelChoice, prompt: Sequence[PromptMessage], tools: Sequence[Tool] = ()
    ) -> AsyncGenerator[Sequence[ModelPart], None]:
        """One answer, a token an item, then its calls, whatever is offered, and what it used.

        Raises:
            ModelError: the script says so, or is malformed.
        """
        try:
            entries = _parse(choice.script)
        except ValueError as error:
            raise ModelError(str(error), retriable=False) from error
        asked = [message.content for message in prompt if message.role == "user"] or [""]
        if results := _last_results(prompt):
            message = "; ".join(results)
            entry = _pick([entry for entry in entries if entry.tool_calls is None], message, len(asked) - 1) or _RELAY
        else:
            message = asked[-1]
            entry = _pick(entries, message, len(asked) - 1) or _ECHO
        deltas = entry.deltas(message)
        await asyncio.sleep(entry.first_delay)
        for count, delta in enumerate(deltas):
            if count and (entry.delay or count % TOKENS_PER_BREATH == 0):
                await asyncio.sleep(entry.delay)
            yield (TextDelta(delta),)
        if entry.error is not None:
            raise ModelError(entry.error, retriable=entry.retriable)
        calls = [call.made() for call in entry.tool_calls or ()]
        prompt_tokens = sum(estimate_tokens(message.content) for message in prompt)
        called_tokens = sum(estimate_tokens(call.name + call.arguments) for call in calls)
        yield (*calls, UsagePart(prompt_tokens, len(deltas) + called_tokens))

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


def _last_results(prompt: Sequence[PromptMessage]) -> list[str]:
    """What the calls brought that the prompt ends with, in order."""
    ending = takewhile(lambda message: isinstance(message, ResultMessage), reversed(prompt))
    return [message.content for message in ending][::-1]


def _pick(entries: list[_Entry], message: str, turns_before: int) -> _Entry | None:
    folded = message.casefold()
    for entry in entries:
        if entry.when is not None and entry.when.casefold() in folded:
            return entry
    in_turn = [entry for entry in entries if entry.when is None]
    return in_turn[turns_before % len(in_turn)] if in_turn else None
