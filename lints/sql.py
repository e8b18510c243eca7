"""SQL as lints see it, and the rule that it lives in one place."""

import ast
import re
from collections.abc import Iterator

from lints.house import Finding, House, docstring

DRIVERS = {"sqlite3", "asyncpg", "sqlalchemy", "alembic"}
STORE = "adapters/store"

# Keywords stand in capitals, or all in small letters; prose begins with one capital.
_STATEMENTS = (
    r"SELECT\s.*?\sFROM\s",
    r"SELECT\s+[\w*]+\(",
    r"INSERT\s+(?:OR\s+\w+\s+)?INTO\s",
    r"REPLACE\s+INTO\s",
    r"UPDATE\s+\w+\s+(?:AS\s+\w+\s+)?SET\s",
    r"DELETE\s+FROM\s",
    r"WITH\s+(?:RECURSIVE\s+)?\w+\s*(?:\([^)]*\)\s*)?AS\s+(?:(?:NOT\s+)?MATERIALIZED\s*)?\(",
    r"(?:CREATE|ALTER|DROP)\s+(?:UNIQUE\s+)?(?:TABLE|INDEX|TRIGGER|VIEW)\s",
)
_CAPITALS = "|".join(_STATEMENTS)
_SMALL = re.sub(r"(?<!\\)[A-Z]", lambda letter: letter.group().lower(), _CAPITALS)
STATEMENT = re.compile(rf"\s*(?:{_CAPITALS}|{_SMALL})", re.DOTALL)


def is_sql(text: str) -> bool:
    """Whether a text begins as a statement does."""
    return STATEMENT.match(text) is not None


def sql(house: House) -> Iterator[Finding]:
    """Outside the store no module holds SQL or imports what speaks it."""
    for module in house.modules:
        if module.within(STORE):
            continue
        said = {docstring(node) for node in ast.walk(module.tree)}
        for node in ast.walk(module.tree):
            for name in _imported(node):
                if name.partition(".")[0] in DRIVERS:
                    yield Finding(module.path, _line(node), f"{name} is imported outside {STORE}")
            if node not in said and is_sql(_text(node)):
                yield Finding(module.path, _line(node), f"SQL outside {STORE}")


def _imported(node: ast.AST) -> list[str]:
    if isinstance(node, ast.Import):
        return [alias.name for alias in node.names]
    return [node.module or ""] if isinstance(node, ast.ImportFrom) and not node.level else []


def _text(node: ast.AST) -> str:
    if isinstance(node, ast.Constant) and isinstance(node.value, str):
        return node.value
    if isinstance(node, ast.JoinedStr):
        # A value within stands for a name.
        return "".join(str(part.value) if isinstance(part, ast.Constant) else "x" for part in node.values)
    return ""


def _line(node: ast.AST) -> int:
    return int(getattr(node, "lineno", 1))
