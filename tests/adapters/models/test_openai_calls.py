"""Tools are offered to an OpenAI-compatible server, its calls are taken, and their results are sent back to it."""

import json
from collections.abc import Sequence

import pytest

from dragoman.adapters.models.openai import OpenAIModels
from dragoman.adapters.models.registry import ModelRegistry
from dragoman.core.agents import ModelChoice, Tool
from dragoman.core.events import TextDelta, ToolCall
from dragoman.core.prompt import CallingMessage, PromptMessage, ResultMessage
from dragoman.ports.models import ModelError, ModelPart, UsagePart
from dragoman.services.attempts import Attempts
from tests.support.upstream import Upstream

PLACE = {"type": "object", "properties": {"location": {"type": "string"}}, "required": ["location"]}
TOOLS = (Tool("client", "weather", "Current weather at a place", PLACE), Tool("http", "now"))
PROMPT = (PromptMessage("system", "Be brief."), PromptMessage("user", '{"location": "Köln"}'))
CALLS = (ToolCall("call_1", "weather", '{"number": 1}'), ToolCall("call_2", "now", '{"number": 2}'))
RESULTS = (
    CallingMessage("assistant", "", CALLS),
    ResultMessage("tool", "rain", "call_1"),
    ResultMessage("tool", "noon", "call_2"),
)


def choice_of(upstream: Upstream, name: str) -> ModelChoice:
    return ModelChoice(provider="openai", name=name, base_url=upstream.url)


async def ask(
    models: OpenAIModels, choice: ModelChoice, prompt: Sequence[PromptMessage] = PROMPT, tools: Sequence[Tool] = TOOLS
) -> list[ModelPart]:
    return [part async for read in models.stream(choice, prompt, tools) for part in read]


def text_of(parts: list[ModelPart]) -> str:
    return "".join(part.text for part in parts if isinstance(part, TextDelta))


async def test_tools_are_offered_as_functions(models: OpenAIModels, upstream: Upstream) -> None:
    offered = json.loads(text_of(await ask(models, choice_of(upstream, "offered"))))
    assert offered == [
        {
            "type": "function",
            "function": {"name": "weather", "description": "Current weather at a place", "parameters": PLACE},
        },
        {
            "type": "function",
            "function": {"name": "now", "description": "", "parameters": {"type": "object", "properties": {}}},
        },
    ]


async def test_where_there_are_no_tools_none_are_spoken_of(models: OpenAIModels, upstream: Upstream) -> None:
    await ask(models, choice_of(upstream, "echo"), tools=())
    assert "tools" not in upstream.bodies[-1]


@pytest.mark.parametrize("how", ["", ",split", ",crlf", ",no_done", ",json"])
async def test_calls_are_taken_whole(models: OpenAIModels, upstream: Upstream, how: str) -> None:
    assert await ask(models, choice_of(upstream, f"calls=2{how}")) == [*CALLS, UsagePart(7, 2)]
    said = [TextDelta("tok0 tok1 ")] if how == ",json" else [TextDelta("tok0 "), TextDelta("tok1 ")]
    assert await ask(models, choice_of(upstream, f"tokens=2,calls=2{how}")) == [*said, *CALLS, UsagePart(7, 4)]


async def test_arguments_stay_as_the_model_wrote_them(models: OpenAIModels, upstream: Upstream) -> None:
    parts = await ask(models, choice_of(upstream, "calls=1,args,no_ids,called=other"))
    assert parts[0] == ToolCall("", "other", PROMPT[-1].content)


async def test_calls_and_results_are_sent_back_in_their_order(models: OpenAIModels, upstream: Upstream) -> None:
    parts = await ask(models, choice_of(upstream, "calls=2,prompt"), (*PROMPT, *RESULTS))
    assert json.loads(text_of(parts)) == [
        {"role": "system", "content": "Be brief."},
        {"role": "user", "content": PROMPT[-1].content},
        {
            "role": "assistant",
            "content": None,
            "tool_calls": [
                {"type": "function", "id": call.id, "function": {"name": call.name, "arguments": call.arguments}}
                for call in CALLS
            ],
        },
        {"role": "tool", "tool_call_id": "call_1", "content": "rain"},
        {"role": "tool", "tool_call_id": "call_2", "content": "noon"},
    ]
    assert text_of(await ask(models, choice_of(upstream, "calls=2"), (*PROMPT, *RESULTS))) == "call_1=rain; call_2=noon"


async def test_what_was_said_beside_a_call_is_sent_back(models: OpenAIModels, upstream: Upstream) -> None:
    said = CallingMessage("assistant", "Let me see.", CALLS)
    await ask(models, choice_of(upstream, "tokens=1"), (*PROMPT, said, *RESULTS[1:]), ())
    assert upstream.bodies[-1]["messages"][2]["content"] == "Let me see."


async def test_calls_can_come_in_several_rounds(models: OpenAIModels, upstream: Upstream) -> None:
    choice = choice_of(upstream, "calls=1,rounds=2")
    again = await ask(models, choice, (*PROMPT, *RESULTS))
    assert again[0] == ToolCall("call_3", "weather", '{"number": 1}')
    then = (
        CallingMessage("assistant", "", (ToolCall("call_3", "weather", "{}"),)),
        ResultMessage("tool", "", "call_3"),
    )
    assert text_of(await ask(models, choice, (*PROMPT, *RESULTS, *then))) == "call_3="
    anew = await ask(models, choice_of(upstream, "calls=1,same_ids"), (*PROMPT, *RESULTS, PROMPT[-1]))
    assert anew[0] == CALLS[0]


@pytest.mark.parametrize("fault", ["reset", "truncate", "no_finish", "bad_json", "error"])
async def test_a_fault_within_calls_brings_none_of_them(models: OpenAIModels, upstream: Upstream, fault: str) -> None:
    heard: list[ModelPart] = []

    async def hear() -> None:
        async for parts in models.stream(choice_of(upstream, f"calls=2,fault={fault}"), PROMPT, TOOLS):
            heard.extend(parts)

    with pytest.raises(ModelError):
        await hear()
    assert heard == []


async def test_broken_arguments_fail_the_answer(models: OpenAIModels, upstream: Upstream) -> None:
    with pytest.raises(ModelError, match="arguments for weather"):
        await ask(models, choice_of(upstream, "calls=1,args"), (PromptMessage("user", '{"location": '),))


async def test_an_attempt_offers_the_tools_through_the_registry(models: OpenAIModels, upstream: Upstream) -> None:
    parts: list[ModelPart] = []
    attempts = Attempts(ModelRegistry({"openai": models}), 5, 5)
    await attempts.ask(choice_of(upstream, "calls=2"), PROMPT, parts.extend, TOOLS)
    assert parts == [*CALLS, UsagePart(7, 2)]
    await attempts.ask(choice_of(upstream, "calls=2"), PROMPT, parts.extend)
    assert "tools" not in upstream.bodies[-1]
