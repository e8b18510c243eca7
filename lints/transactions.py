"""No transaction stays open while somebody else decides when to go on."""

import ast
from collections.abc import Iterator

from lints.house import Finding, House, functions, in_scope, last_name

OPENING = {"write", "read", "transaction", "begin", "acquire"}
ENTERING = {"enter_context", "enter_async_context"}


def transactions(house: House) -> Iterator[Finding]:
    """No `yield` inside a `with` that opens a transaction; no async generator in the store at all."""
    for module in house.modules:
        for function in functions(module.tree):
            nodes = list(in_scope(function.body))
            yields = [node for node in nodes if isinstance(node, ast.Yield | ast.YieldFrom)]
            if not yields:
                continue
            if isinstance(function, ast.AsyncFunctionDef) and module.within("adapters/store"):
                yield Finding(module.path, function.lineno, f"{function.name} is an async generator in the store")
            held = {inner for node in nodes for inner in _held(node)}
            if any(_enters(node) for node in nodes):
                held.update(yields)
            for node in yields:
                if node in held:
                    yield Finding(module.path, node.lineno, f"{function.name} yields while a transaction is open")


def _held(node: ast.AST) -> Iterator[ast.AST]:
    if isinstance(node, ast.With | ast.AsyncWith) and any(_opens(item.context_expr) for item in node.items):
        yield from in_scope(node.body)


def _opens(expression: ast.expr) -> bool:
    return isinstance(expression, ast.Call) and last_name(expression) in OPENING


def _enters(node: ast.AST) -> bool:
    return isinstance(node, ast.Call) and last_name(node) in ENTERING and any(map(_opens, node.args))
