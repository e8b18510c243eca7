"""How a small model is asked for one call: the question, and what of its answer counts."""

import json
from typing import Any

import pytest

from dragoman.adapters.models.choosing import callable_here, chosen, question
from dragoman.core.agents import ModelChoice, Tool
from dragoman.core.events import ToolCall
from dragoman.core.prompt import PromptMessage

ORDER = Tool(
    "http",
    "order_status",
    "Status of an order",
    {
        "type": "object",
        "properties": {"order_id": {"type": "string", "pattern": "(a+)+$"}, "deep": {"type": "object"}},
        "required": ["order_id"],
    },
)
CLOCK = Tool("builtin", "clock", "The time", {"type": "object", "properties": {"zone": {"type": "string"}}})
ASKED = (PromptMessage("system", "Be kind."), PromptMessage("user", "Where is order 12-A?"))


def told(tool: str, **arguments: Any) -> str:
    return json.dumps({"tool": tool, "arguments": arguments})


def test_tools_of_the_client_and_those_that_need_more_than_plain_values_are_left_out() -> None:
    client = Tool("client", "weather")
    deep = Tool("http", "deep", "", {"properties": {"where": {"type": "object"}}, "required": ["where"]})
    assert callable_here([client, deep, ORDER, CLOCK]) == [ORDER, CLOCK]


def test_the_question_names_each_tool_and_binds_the_answer_to_them() -> None:
    choice, prompt, schema = question(ModelChoice(temperature=0.9), ASKED, [ORDER, CLOCK])
    assert choice.temperature == 0
    assert "order_status(order_id)" in prompt[0].content
    assert "Be kind." not in prompt[0].content
    assert prompt[-1] == ASKED[-1]
    names = [each["properties"]["tool"]["const"] for each in schema["anyOf"]]
    assert names == ["order_status", "clock", "none"]
    assert schema["anyOf"][0]["properties"]["arguments"]["properties"] == {
        "order_id": {"type": "string", "maxLength": 200}
    }


def test_a_call_counts_whose_values_the_user_has_said() -> None:
    call = chosen(told("order_status", order_id="12-A"), ASKED, [ORDER, CLOCK])
    assert call == ToolCall("", "order_status", '{"order_id": "12-A"}')
    assert chosen(told("clock"), ASKED, [ORDER, CLOCK]) == ToolCall("", "clock", "{}")


@pytest.mark.parametrize(
    "text",
    [
        told("order_status", order_id="98765"),
        told("order_status"),
        told("order_status", order_id=""),
        told("delete_everything", order_id="12-A"),
        '{"tool": "none"}',
        '{"tool": "order_status", "arguments": [1]}',
        '{"tool": "order_status", "argu',
        "[]",
        "",
    ],
)
def test_anything_else_is_no_call(text: str) -> None:
    assert chosen(text, ASKED, [ORDER, CLOCK]) is None


def test_what_the_schema_does_not_know_is_not_passed_on() -> None:
    call = chosen(told("order_status", order_id="12-A", url="http://evil.example"), ASKED, [ORDER])
    assert call is not None
    assert json.loads(call.arguments) == {"order_id": "12-A"}
