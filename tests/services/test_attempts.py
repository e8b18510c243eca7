"""How long a model may say nothing."""

import asyncio
from collections.abc import AsyncIterator, Sequence

import pytest

from dragoman.core.agents import ModelChoice, Tool
from dragoman.core.events import TextDelta, ToolCall
from dragoman.core.prompt import PromptMessage
from dragoman.ports.models import ModelError, ModelPart
from dragoman.services.attempts import Attempts

CALL = ToolCall("call_1", "get_weather", "{}")


class Hesitating:
    """A model that says these things, with a pause after the first."""

    def __init__(self, *items: Sequence[ModelPart], pause: float) -> None:
        self._items = items
        self._pause = pause
        self.asked = 0

    async def stream(
        self, choice: ModelChoice, prompt: Sequence[PromptMessage], tools: Sequence[Tool] = ()
    ) -> AsyncIterator[Sequence[ModelPart]]:
        self.asked += 1
        for number, item in enumerate(self._items):
            await asyncio.sleep(self._pause if number == 1 else 0)
            yield item

    def upstream(self, choice: ModelChoice) -> str:
        return "hesitating"


async def test_half_a_call_is_not_silence() -> None:
    model, heard = Hesitating((), (CALL,), pause=0.3), list[ModelPart]()
    await Attempts(model, 0.1, 5).ask(ModelChoice(), (), heard.extend)
    assert heard == [CALL]


async def test_a_model_that_stops_within_a_call_is_asked_again_for_nothing_was_heard() -> None:
    model, heard = Hesitating((), (CALL,), pause=30), list[ModelPart]()
    with pytest.raises(ModelError, match="stopped in its answer"):
        await Attempts(model, 5, 0.1).ask(ModelChoice(), (), heard.extend)
    assert (model.asked, heard) == (3, [])


async def test_a_model_that_stops_within_its_text_is_not_asked_again() -> None:
    model, heard = Hesitating((TextDelta("Half"),), (CALL,), pause=30), list[ModelPart]()
    with pytest.raises(ModelError, match="stopped in its answer"):
        await Attempts(model, 5, 0.1).ask(ModelChoice(), (), heard.extend)
    assert (model.asked, heard) == (1, [TextDelta("Half")])
