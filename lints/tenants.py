"""Every statement over a tenant's data binds the tenant, or its function says why it need not.

Texts are followed through local names, constants of the module and of the store, f-strings and sums. What an argument
brings in cannot be read, so a table that is named by one counts as a tenant's.
"""

import ast
import itertools
import re
from collections.abc import Iterator

from lints.house import Finding, Function, House, Module, docstring, last_name
from lints.sql import STORE, is_sql

SCHEMA = "src/dragoman/adapters/store/schema.py"
MIGRATIONS = "adapters/store/migrations"
EXEMPTION = "across_tenants"

_UNREADABLE = "__unreadable__"
_TABLES = re.compile(r"\b(?:FROM|JOIN|INTO|UPDATE)\s+((?:\w+(?:\s+(?:AS\s+)?\w+)?\s*,\s*)*\w+)", re.IGNORECASE)
_BOUND = re.compile(r":tenant_id\b")
_TEXT = (ast.Constant, ast.JoinedStr, ast.BinOp, ast.Name, ast.Attribute, ast.Subscript, ast.IfExp, ast.Dict)

# What a name may stand for; more than one where it is assigned more than once.
Meanings = dict[str, list[ast.expr]]


def tenants(house: House) -> Iterator[Finding]:
    """In the store, SQL that names a table with a tenant_id column binds ``:tenant_id``."""
    store = [module for module in house.modules if module.within(STORE) and not module.within(MIGRATIONS)]
    tables = {table for module in store if module.path == SCHEMA for table in tenant_tables(module.tree)}
    constants = {module.name: _meanings(_outside_functions(module.tree)) for module in store}
    for module in store:
        known = {**_imported(module.tree, constants), **constants[module.name]}
        for node in _outside_functions(module.tree):
            if isinstance(node, Function):
                yield from _Reader(module, tables, {**known, **_meanings(ast.walk(node))}).read(node)


def tenant_tables(schema: ast.Module) -> set[str]:
    """The tables whose definition says ``tenant_id``."""
    found = set()
    for node in ast.walk(schema):
        if isinstance(node, ast.Call) and last_name(node) == "Table":
            said = [part.value for part in ast.walk(node) if isinstance(part, ast.Constant)]
            if "tenant_id" in said:
                found.add(str(said[0]))
    return found


class _Reader:
    """Reads one function and what is nested in it."""

    def __init__(self, module: Module, tables: set[str], meanings: Meanings) -> None:
        self._path = module.path
        self._tables = tables | {_UNREADABLE}
        self._meanings = meanings

    def read(self, node: ast.AST, *, within_text: bool = False) -> Iterator[Finding]:
        """What is wrong at this node and below; a part of a text is judged with the whole of it."""
        if isinstance(node, Function) and (exemption := _exemption(node)) is not None:
            if not _has_reason(exemption):
                yield Finding(self._path, node.lineno, f"{node.name}: {EXEMPTION} wants a reason")
            return
        if isinstance(node, _TEXT) and not within_text:
            yield from self._judge(node)
        # What a name is given is judged where the name is used, with all that was added to it.
        given = isinstance(node, ast.Assign | ast.AnnAssign | ast.AugAssign) and bool(_targets(node))
        goes_on = given or isinstance(node, _TEXT) or (within_text and isinstance(node, ast.FormattedValue))
        said = docstring(node)
        for child in ast.iter_child_nodes(node):
            if not (isinstance(child, ast.Expr) and child.value is said):
                yield from self.read(child, within_text=goes_on)

    def _judge(self, node: ast.expr) -> Iterator[Finding]:
        for text in self._texts(node):
            if is_sql(text) and not _BOUND.search(text):
                named = self._tables.intersection(re.findall(r"\w+", " ".join(_TABLES.findall(text))))
                if named:
                    which = ", ".join(sorted(named)).replace(_UNREADABLE, "a table that cannot be read here")
                    yield Finding(self._path, node.lineno, f"SQL over {which} binds no :tenant_id")
                    return

    def _texts(self, node: ast.expr, seen: frozenset[str] = frozenset()) -> list[str]:
        """Every text that an expression may be."""
        match node:
            case ast.Constant(value=str(text)):
                return [text]
            case ast.JoinedStr(values=parts):
                return self._joined(parts, seen)
            case ast.BinOp(left=left, op=ast.Add(), right=right):
                return self._joined([left, right], seen)
            case ast.FormattedValue(value=inner) | ast.Subscript(value=inner) | ast.BinOp(left=inner, op=ast.Mod()):
                return self._texts(inner, seen)
            case ast.IfExp(body=one, orelse=other):
                return self._texts(one, seen) + self._texts(other, seen)
            case ast.Dict(values=values):
                return [text for value in values for text in self._texts(value, seen)]
            case ast.Call(func=ast.Attribute(value=inner)):
                return self._texts(inner, seen)
        name = last_name(node)
        if name in seen or isinstance(node, ast.Call):
            return []
        return [text for each in self._meanings.get(name, ()) for text in self._texts(each, seen | {name})]

    def _joined(self, parts: list[ast.expr], seen: frozenset[str]) -> list[str]:
        known = [self._texts(part, seen) or [_UNREADABLE] for part in parts]
        return ["".join(chosen) for chosen in itertools.product(*known)]


def _outside_functions(tree: ast.Module) -> Iterator[ast.AST]:
    """The nodes of a module and its classes; of a function, itself alone."""
    waiting: list[ast.AST] = list(tree.body)
    while waiting:
        node = waiting.pop(0)
        yield node
        if not isinstance(node, Function):
            waiting.extend(ast.iter_child_nodes(node))


def _meanings(nodes: Iterator[ast.AST]) -> Meanings:
    """What is assigned to names; what is added to one later is added to everything that it may be."""
    found: Meanings = {}
    for node in nodes:
        if isinstance(node, ast.Assign | ast.AnnAssign) and isinstance(node.value, _TEXT):
            for target in _targets(node):
                found.setdefault(target.id, []).append(node.value)
        elif isinstance(node, ast.AugAssign) and isinstance(node.target, ast.Name):
            so_far = found.get(node.target.id, [])
            found[node.target.id] = [ast.BinOp(text, ast.Add(), node.value) for text in so_far]
    return found


def _targets(node: ast.Assign | ast.AnnAssign | ast.AugAssign) -> list[ast.Name]:
    targets = node.targets if isinstance(node, ast.Assign) else [node.target]
    return [target for target in targets if isinstance(target, ast.Name)]


def _imported(tree: ast.Module, constants: dict[str, Meanings]) -> Meanings:
    """The store's constants that a module imports by name, or through their module."""
    found: Meanings = {}
    for node in ast.walk(tree):
        if isinstance(node, ast.ImportFrom):
            for alias in node.names:
                name = alias.asname or alias.name
                theirs = constants.get(node.module or "", {})
                if alias.name in theirs:
                    found[name] = theirs[alias.name]
                found.update(constants.get(f"{node.module}.{alias.name}", {}))
    return found


def _exemption(function: Function) -> ast.expr | None:
    return next((each for each in function.decorator_list if last_name(each) == EXEMPTION), None)


def _has_reason(decorator: ast.expr) -> bool:
    match decorator:
        case ast.Call(args=[ast.Constant(value=str(reason))]):
            return bool(reason.strip())
    return False
