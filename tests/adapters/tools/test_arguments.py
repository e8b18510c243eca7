"""Arguments are judged by the tool's schema before anything is called, and in no time."""

import json
import time
from typing import Any

import pytest

from dragoman.adapters.tools.registry import LARGEST_ARGUMENTS
from dragoman.core.agents import Tool
from tests.adapters.tools.conftest import Toolbox

SCHEMA = {
    "type": "object",
    "properties": {
        "order_id": {"type": "string", "pattern": "^(a+)+$"},
        "lines": {"type": "array", "items": {"type": "object", "properties": {"sku": {"type": "integer"}}}},
    },
    "required": ["order_id"],
    "additionalProperties": False,
}


async def problem(toolbox: Toolbox, schema: Any, arguments: Any) -> str | None:
    offers = await toolbox.offers(Tool("http", "order", "An order", schema, url="http://127.0.0.1:9/"))
    return toolbox.tools.problem(offers["order"], arguments)


async def test_arguments_that_fit_have_no_problem(toolbox: Toolbox) -> None:
    assert await problem(toolbox, SCHEMA, {"order_id": "aaa", "lines": [{"sku": 1}]}) is None
    assert await problem(toolbox, None, {}) is None


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        ({}, ["order_id", "required"]),
        ({"order_id": 7}, ["order_id: ", "string"]),
        ({"order_id": "a", "more": 1}, ["more"]),
        ({"order_id": "a", "lines": [{"sku": 1}, {"sku": "x"}]}, ["lines.1.sku: ", "integer"]),
        ([], ["object"]),
        ("a", ["object"]),
        (None, ["object"]),
        ({"order_id": "a" * LARGEST_ARGUMENTS}, [str(LARGEST_ARGUMENTS)]),
    ],
)
async def test_what_does_not_fit_is_told_to_the_model(toolbox: Toolbox, arguments: Any, words: list[str]) -> None:
    told = await problem(toolbox, SCHEMA, arguments)
    assert told is not None
    assert all(word in told for word in words)
    assert len(told) < 1_500


async def test_a_pattern_that_would_try_for_ever_takes_no_time(toolbox: Toolbox) -> None:
    began = time.monotonic()
    assert await problem(toolbox, SCHEMA, {"order_id": "a" * 30_000 + "!"}) is not None
    assert time.monotonic() - began < 2


async def test_deep_arguments_are_refused_or_judged_and_break_nothing(toolbox: Toolbox) -> None:
    deep: Any = []
    for _ in range(5_000):
        deep = [deep]
    assert "deep" in str(await problem(toolbox, SCHEMA, {"order_id": deep}))
    shallow = json.loads("[" * 400 + "]" * 400)
    assert await problem(toolbox, SCHEMA, {"order_id": shallow}) is not None


@pytest.mark.parametrize(
    "schema",
    [
        {"$ref": "http://127.0.0.1:9/schema"},
        {"$ref": "file:///etc/passwd"},
        {"properties": {"a": {"pattern": "(?=x)"}}},
        {"type": "nothing"},
        {"properties": {"a": {"pattern": "(a{1000}){1000}"}}},
    ],
)
async def test_a_schema_that_cannot_be_used_lets_its_server_judge(toolbox: Toolbox, schema: Any) -> None:
    began = time.monotonic()
    assert await problem(toolbox, schema, {"a": 1}) is None
    assert await problem(toolbox, schema, []) is not None
    assert time.monotonic() - began < 2
