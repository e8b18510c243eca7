"""What the contracts demand is data beside their tests, and the two are tied both ways."""

import ast
import tomllib
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

ROOT = Path(__file__).parents[1]
TESTS = ROOT / "tests"

# The items of each contract, by the folder of its dialect. S0 has no item 20, S2 no item 13.
ITEMS = {
    "aloochat": [f"S0-{number}" for number in range(1, 23) if number != 20],
    "alonchat": [f"S1-{number}" for number in range(1, 22)],
    "slug": [f"S2-{number}" for number in range(1, 15) if number != 13],
    "sessions": [f"S3-{number}" for number in range(1, 21)],
    "agents": [f"S4-{number}" for number in range(1, 17)],
    "across": [f"X-{number}" for number in range(1, 8)],
}


def rows_of(dialect: str) -> dict[str, dict[str, Any]]:
    return tomllib.loads((TESTS / "dialects" / dialect / "requirements.toml").read_text(encoding="utf-8"))


ROWS = {item: row for dialect in ITEMS for item, row in rows_of(dialect).items()}


def marked(module: Path) -> Iterator[tuple[str, set[str]]]:
    """Each test of a module, by the name that pytest selects it by, with the items that it says it shows."""

    def visit(body: list[ast.stmt], name: str) -> Iterator[tuple[str, set[str]]]:
        for node in body:
            if isinstance(node, ast.ClassDef):
                yield from visit(node.body, f"{name}::{node.name}")
            elif isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef) and node.name.startswith("test_"):
                yield f"{name}::{node.name}", {item for each in node.decorator_list for item in items_in(each)}

    tree = ast.parse(module.read_text(encoding="utf-8"))
    found = list(visit(tree.body, module.relative_to(ROOT).as_posix()))
    said = {item for _, items in found for item in items}
    assert said == items_in(tree), f"{module}: the marker `requirement` stands on a test, nowhere else"
    yield from found


def items_in(tree: ast.AST) -> set[str]:
    """The arguments of every ``pytest.mark.requirement`` at or below a node."""
    return {
        ast.literal_eval(argument)
        for node in ast.walk(tree)
        if isinstance(node, ast.Call) and ast.unparse(node.func).endswith("mark.requirement")
        for argument in node.args
    }


MARKED = {test: items for module in sorted(TESTS.rglob("test_*.py")) for test, items in marked(module)}


@pytest.mark.parametrize("dialect", ITEMS)
def test_every_item_has_its_row_in_order(dialect: str) -> None:
    assert list(rows_of(dialect)) == ITEMS[dialect]


def test_every_contract_has_a_list() -> None:
    assert {path.parent.name for path in TESTS.glob("dialects/*/requirements.toml")} == set(ITEMS)
    assert len(ROWS) == 98


@pytest.mark.parametrize("item", ROWS)
def test_a_row_says_what_holds_and_is_met_by_tests_or_open_with_an_issue(item: str) -> None:
    row = ROWS[item]
    assert set(row) <= {"text", "status", "issue", "tests"}
    assert row["text"].strip()
    if row["status"] == "met":
        assert row["tests"]
        assert "issue" not in row
    else:
        assert row["status"] == "open"
        assert row["issue"] > 0


@pytest.mark.parametrize("item", ROWS)
def test_a_row_names_tests_that_say_they_show_it(item: str) -> None:
    tests = ROWS[item]["tests"]
    assert len(set(tests)) == len(tests)
    assert [test for test in tests if item not in MARKED.get(test, ())] == []


def test_every_marker_stands_in_its_row() -> None:
    loose = [
        f"{item}: {test}"
        for test, items in MARKED.items()
        for item in items
        if test not in ROWS.get(item, {"tests": ()})["tests"]
    ]
    assert loose == []
