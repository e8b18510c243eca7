"""The tools that come along: what they say, and what no expression can make them do."""

import time
from datetime import UTC, datetime

import pytest

from dragoman.adapters.tools.builtin import calculated, now_in
from dragoman.core.agents import Tool
from dragoman.ports.tools import ToolError
from tests.adapters.tools.conftest import Toolbox


@pytest.mark.parametrize(
    ("expression", "value"),
    [
        ("2 + 3 * 4", "14"),
        ("(2 + 3) * 4 - 0.5", "19.5"),
        ("0.1 + 0.2", "0.3"),
        ("7 // 2 + 7 % 4", "6"),
        ("-2 ** 2", "-4"),
        ("2 ^ 10", "1024"),
        ("2 ** -1", "0.5"),
        ("123456789 * 987654321", "121932631112635269"),
        ("round(sqrt(2), 3)", "1.414"),
        ("max(1, 2, 3) + min(4, 5) + abs(-1)", "8"),
        ("ln(e)", "1"),
        ("19.99 * (1 + 19/100)", "23.7881"),
        ("1_000 / 3", "333.333333333333"),
    ],
)
def test_expressions_have_their_values(expression: str, value: str) -> None:
    assert calculated(expression) == value


@pytest.mark.parametrize(
    "expression",
    [
        "__import__('os').system('true')",
        "().__class__",
        "open('x')",
        "x + 1",
        "'a' * 3",
        "[1] * 3",
        "lambda: 1",
        "1 if True else 2",
        "1 < 2",
        "True + 1",
        "max(*[1])",
        "round(1, ndigits=2)",
        "1 / 0",
        "9 ** 9 ** 9",
        "2 ** 100000000",
        "(2.5 ** 100) ** 100",
        "(-8) ** 0.5",
        "10 ** 61",
        "1e999",
        "1e999 - 1e999",
        "exp(10000)",
        "ceil(1e999)",
        "sqrt(-1)",
        "max()",
        "",
        "1 +",
        "1; 2",
        "a := 1",
        "1j",
        "nul\0",
        "-" * 400 + "1",
        "(" * 240 + "1" + ")" * 240,
        "1+" * 249 + "1",
        "9" * 499,
        "1" * 501,
    ],
)
def test_what_is_no_arithmetic_or_too_much_of_it_is_an_error_at_once(expression: str) -> None:
    began = time.monotonic()
    with pytest.raises(ToolError):
        calculated(expression)
    assert time.monotonic() - began < 1


def test_a_chain_of_powers_stays_small() -> None:
    for expression in ("((10**59)**1 * 1) // 1", "1 ** 10 ** 50", "(-1) ** 10 ** 50", "0 ** 10 ** 50"):
        assert len(calculated(expression)) <= 62


def test_the_clock_knows_zones() -> None:
    told = now_in("Asia/Tokyo")
    assert told.endswith("+09:00 (Asia/Tokyo)")
    shown = datetime.fromisoformat(told.split(", ")[1].split(" ")[0])
    assert abs((datetime.now(UTC) - shown).total_seconds()) < 60
    assert told.startswith(f"{shown:%A}")


@pytest.mark.parametrize("zone", ["Mars/Olympus", "../../etc/passwd", "/etc/passwd", "", "a\0b", "Europe"])
def test_a_zone_that_is_none_is_an_error(zone: str) -> None:
    with pytest.raises(ToolError, match="no such time zone"):
        now_in(zone)


async def test_builtins_are_offered_with_their_own_schemas_and_never_write(toolbox: Toolbox) -> None:
    tools = [Tool("builtin", name) for name in ("clock", "calculator", "knowledge", "handover")]
    offers = await toolbox.offers(*tools, Tool("builtin", "of_another_version"))
    assert list(offers) == ["clock", "calculator", "knowledge", "handover"]
    assert not any(offer.writes for offer in offers.values())
    assert all(offer.tool.description for offer in offers.values())
    assert toolbox.tools.problem(offers["clock"], {}) is None
    assert toolbox.tools.problem(offers["calculator"], {}) is not None
    assert toolbox.tools.problem(offers["clock"], {"timezone": "UTC"}) is not None
    assert "UTC" in await toolbox.made(offers["clock"])
    assert await toolbox.made(offers["calculator"], expression="6*7") == "42"


async def test_knowledge_is_told_as_numbered_passages(toolbox: Toolbox) -> None:
    knowledge = Tool("builtin", "knowledge", "Searches the handbook")
    (offer,) = (await toolbox.offers(knowledge)).values()
    assert offer.tool.description == "Searches the handbook"
    told = await toolbox.made(offer, question="How long?")
    assert told == "[1] Returns - Deadline\nGoods: 30 days. (agent)"
    assert await toolbox.made(offer, question="nothing") == "(nothing was found)"


async def test_a_handover_is_not_made_here(toolbox: Toolbox) -> None:
    with pytest.raises(ToolError, match="cannot be called here"):
        await toolbox.call(Tool("builtin", "handover"))
