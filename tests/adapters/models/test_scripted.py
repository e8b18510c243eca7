"""The scripted model answers what its script says, as exactly as it says it."""

import asyncio
from typing import Any

import pytest

from dragoman.adapters.models.registry import ModelRegistry
from dragoman.adapters.models.scripted import ScriptedModels, check_script
from dragoman.core.agents import ModelChoice
from dragoman.core.events import TextDelta, ToolCall
from dragoman.core.prompt import CallingMessage, PromptMessage, ResultMessage
from dragoman.ports.models import ModelError, ModelPart, UsagePart


def conversation(*messages: str) -> tuple[PromptMessage, ...]:
    """A prompt in which the user said these, each but the last answered."""
    turns = [turn for said in messages for turn in (PromptMessage("user", said), PromptMessage("assistant", "ok"))]
    return (PromptMessage("system", "Be brief."), *turns[:-1])


async def deltas(*script: Any, prompt: tuple[PromptMessage, ...] = conversation("Hi")) -> list[str]:
    parts: list[ModelPart] = []
    async for read in ScriptedModels().stream(ModelChoice(provider="scripted", script=script), prompt):
        parts += read
    assert isinstance(parts.pop(), UsagePart)
    return [part.text for part in parts if isinstance(part, TextDelta)]


async def test_text_is_answered_in_words_that_keep_their_white_space() -> None:
    assert await deltas("Hello there!") == ["Hello", " there!"]
    assert await deltas("  a\n\n b\t") == ["  a", "\n\n b", "\t"]
    assert await deltas({"text": "one two"}) == ["one", " two"]
    assert await deltas("") == []


async def test_tokens_are_answered_exactly() -> None:
    assert await deltas({"tokens": ["a b", "\n", "{message}"]}) == ["a b", "\n", "{message}"]


async def test_the_first_entry_whose_condition_holds_answers() -> None:
    script = ("plain", {"when": "HOURS", "text": "nine"}, {"when": "hours", "text": "ten"})
    assert await deltas(*script, prompt=conversation("Your Hours?")) == ["nine"]
    assert await deltas(*script, prompt=conversation("hours", "Who?")) == ["plain"]


async def test_other_entries_take_turns() -> None:
    script = ("a", {"when": "x", "text": "never"}, "b")
    answers = [await deltas(*script, prompt=conversation(*["Hi"] * turn)) for turn in (1, 2, 3, 4)]
    assert answers == [["a"], ["b"], ["a"], ["b"]]


async def test_without_an_entry_the_message_is_said_back() -> None:
    assert await deltas(prompt=conversation("Hi {x} %s")) == ["You", " said:", " Hi", " {x}", " %s"]
    assert await deltas({"when": "x", "text": "never"}) == ["You", " said:", " Hi"]


WEATHER = {"name": "weather", "arguments": {"location": "Köln", "days": [1]}, "id": "a"}
CALLING = CallingMessage("assistant", "", (ToolCall("a", "weather", "{}"), ToolCall("b", "weather", "{}")))


def after_results(*results: str, asked: str = "Weather?") -> tuple[PromptMessage, ...]:
    """A prompt that ends with these results of calls, each for an id of its own."""
    earlier = (*conversation("Hi", asked), CALLING, ResultMessage("tool", "an earlier round", "z"), CALLING)
    return (*earlier, *(ResultMessage("tool", result, str(number)) for number, result in enumerate(results)))


async def test_calls_come_after_the_text() -> None:
    script = {"text": "Let me see.", "tool_calls": [WEATHER, {"name": "now"}, {"name": "say", "arguments": "{ }"}]}
    choice = ModelChoice(provider="scripted", script=(script,))
    reads = [read async for read in ScriptedModels().stream(choice, (PromptMessage("user", "Hi"),))]
    assert reads == [
        (TextDelta("Let"),),
        (TextDelta(" me"),),
        (TextDelta(" see."),),
        (
            ToolCall("a", "weather", '{"location":"Köln","days":[1]}'),
            ToolCall("", "now", "{}"),
            ToolCall("", "say", "{ }"),
            UsagePart(1, 3 + 9 + 1 + 1),
        ),
    ]


async def test_an_entry_may_be_calls_alone() -> None:
    choice = ModelChoice(provider="scripted", script=({"when": "weather", "tool_calls": [WEATHER]}, "Hello"))
    reads = [read async for read in ScriptedModels().stream(choice, conversation("Weather?"))]
    assert [type(part) for read in reads for part in read] == [ToolCall, UsagePart]
    assert await deltas(*choice.script, prompt=conversation("Hi")) == ["Hello"]


async def test_to_results_an_entry_without_calls_answers_by_what_they_hold() -> None:
    calls = {"when": "rain", "tool_calls": [WEATHER]}
    script = (calls, {"when": "weather", "text": "never"}, {"when": "RAIN", "text": "Wet: {message}"}, "Some {message}")
    assert "".join(await deltas(*script, prompt=after_results("rain", "12 degrees"))) == "Wet: rain; 12 degrees"
    assert "".join(await deltas(*script, prompt=after_results("sun"))) == "Some sun"


async def test_results_that_no_entry_answers_are_said_back() -> None:
    for script in ((), ({"tool_calls": [WEATHER]},), ({"when": "x", "text": "never"},)):
        assert "".join(await deltas(*script, prompt=after_results("sun", "", "{y}"))) == "The tools said: sun; ; {y}"


async def test_after_the_results_the_user_is_heard_again() -> None:
    prompt = (*after_results("sun"), PromptMessage("assistant", "It is sunny."), PromptMessage("user", "Thanks"))
    assert "".join(await deltas(prompt=prompt)) == "You said: Thanks"


async def test_an_error_comes_instead_of_the_calls() -> None:
    script = ({"tool_calls": [WEATHER], "error": "gone"},)
    with pytest.raises(ModelError, match="gone"):
        await anext(ScriptedModels().stream(ModelChoice(provider="scripted", script=script), conversation("Hi")))


async def test_usage_counts_the_prompt_and_the_deltas() -> None:
    choice = ModelChoice(provider="scripted", script=("one two three",))
    reads = [read async for read in ScriptedModels().stream(choice, (PromptMessage("user", "x" * 40),))]
    assert reads == [
        (TextDelta("one"),),
        (TextDelta(" two"),),
        (TextDelta(" three"),),
        (UsagePart(10, 3),),
    ]


@pytest.mark.parametrize("retriable", [True, False])
async def test_an_error_comes_after_the_tokens(retriable: bool) -> None:
    choice = ModelChoice(provider="scripted", script=({"text": "a b", "error": "gone", "retriable": retriable},))
    reads = ScriptedModels().stream(choice, conversation("Hi"))
    assert [await anext(reads), await anext(reads)] == [(TextDelta("a"),), (TextDelta(" b"),)]
    with pytest.raises(ModelError, match="gone") as raised:
        await anext(reads)
    assert raised.value.retriable is retriable


async def test_delays_are_kept() -> None:
    loop = asyncio.get_running_loop()
    started = loop.time()
    await deltas({"tokens": ["a", "b", "c"], "first_delay": 0.1, "delay": 0.05})
    assert loop.time() - started >= 0.19


async def test_a_long_answer_lets_others_run() -> None:
    ran = 0

    async def run() -> None:
        nonlocal ran
        while True:
            ran += 1
            await asyncio.sleep(0)

    other = asyncio.create_task(run())
    await deltas("word " * 500)
    other.cancel()
    assert ran > 10


@pytest.mark.parametrize(
    ("script", "told"),
    [
        ("text", "script: "),
        (["ok", 7], r"script\[1\]: "),
        ([{"txt": "a"}], r"script\[0\]: .*txt"),
        ([{}], r"script\[0\]: .*needs"),
        ([{"when": "a"}], r"script\[0\]: .*needs"),
        ([{"text": "a", "tokens": ["a"]}], r"script\[0\]: .*not both"),
        ([{"tokens": ["a", ""]}], r"script\[0\]: .*tokens"),
        ([{"text": "a", "delay": -1}], r"script\[0\]: .*delay"),
        ([{"text": "a", "delay": True}], r"script\[0\]: .*delay"),
        ([{"text": "a", "first_delay": float("nan")}], r"script\[0\]: .*first_delay"),
        ([{"error": "a", "retriable": "yes"}], r"script\[0\]: .*retriable"),
        ([None], r"script\[0\]: "),
        ([{"tool_calls": []}], r"script\[0\]: .*tool_calls"),
        ([{"tool_calls": [WEATHER] * 33}], r"script\[0\]: .*tool_calls"),
        ([{"tool_calls": [{"arguments": {}}]}], r"script\[0\]: .*name.*tool_calls"),
        ([{"tool_calls": [{"name": ""}]}], r"script\[0\]: .*tool_calls.*name"),
        ([{"tool_calls": [{"name": "a", "args": {}}]}], r"script\[0\]: .*args"),
        ([{"tool_calls": [{"name": "a", "arguments": [1]}]}], r"script\[0\]: .*arguments"),
        ([{"tool_calls": [{"name": "a", "arguments": "{"}]}], r"script\[0\]: .*arguments.*tool_calls"),
        ([{"tool_calls": [{"name": "a", "arguments": "[1]"}]}], r"script\[0\]: .*arguments"),
        ([{"tool_calls": [{"name": "a", "id": 7}]}], r"script\[0\]: .*id"),
    ],
)
async def test_a_script_of_a_wrong_shape_is_refused_by_its_index(script: Any, told: str) -> None:
    with pytest.raises(ValueError, match=told):
        check_script(script)


def test_a_script_of_right_shapes_passes() -> None:
    check_script(["a", {"text": "a", "delay": 1}, {"tokens": ["a"], "when": "b", "first_delay": 0.5}, {"error": "c"}])
    check_script([{"tool_calls": [WEATHER, {"name": "now"}]}, {"text": "a", "when": "b", "tool_calls": [WEATHER]}])
    check_script(())


async def test_a_malformed_script_fails_the_attempt_for_good() -> None:
    with pytest.raises(ModelError) as raised:
        await deltas({"txt": "a"})
    assert not raised.value.retriable


async def test_the_registry_asks_the_adapter_of_the_provider() -> None:
    registry = ModelRegistry({"scripted": ScriptedModels()})
    choice = ModelChoice(provider="scripted", script=("Hello",))
    reads = [read async for read in registry.stream(choice, conversation("Hi"))]
    assert reads[0] == (TextDelta("Hello"),)
    assert registry.upstream(choice) == "scripted"
    for ask in (lambda other: registry.stream(other, ()), registry.upstream):
        with pytest.raises(ModelError) as raised:
            ask(ModelChoice(provider="openai"))
        assert not raised.value.retriable
    await registry.close()


async def test_the_registry_closes_every_adapter_though_one_fails() -> None:
    closed = []

    class Closing(ScriptedModels):
        def __init__(self, name: str) -> None:
            self._name = name

        async def close(self) -> None:
            closed.append(self._name)
            if self._name == "b":
                raise RuntimeError("broken")

    with pytest.raises(RuntimeError, match="broken"):
        await ModelRegistry({"openai": Closing("a"), "embedded": Closing("b"), "scripted": Closing("c")}).close()
    assert sorted(closed) == ["a", "b", "c"]
