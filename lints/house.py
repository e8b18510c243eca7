"""What lints look at: the modules of the product, parsed once, and every file that is or could be committed."""

import ast
import subprocess
from collections.abc import Iterator
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path

Function = ast.FunctionDef | ast.AsyncFunctionDef
_SCOPES = (ast.FunctionDef, ast.AsyncFunctionDef, ast.Lambda, ast.ClassDef)
_DOCUMENTED = (ast.Module, ast.ClassDef, ast.FunctionDef, ast.AsyncFunctionDef)


@dataclass(frozen=True, slots=True)
class Finding:
    """One place that breaks a rule; `path` is relative to the repository."""

    path: str
    line: int
    message: str

    def __str__(self) -> str:
        return f"{self.path}:{self.line}: {self.message}"


@dataclass(frozen=True, slots=True)
class Module:
    """A parsed module; `path` is relative to the repository."""

    path: str
    text: str
    tree: ast.Module

    @property
    def name(self) -> str:
        """The dotted name by which it is imported."""
        return self.path.removeprefix("src/").removesuffix(".py").removesuffix("/__init__").replace("/", ".")

    def within(self, folder: str) -> bool:
        """Whether the module is in this folder of the product, such as ``adapters/store``."""
        return self.path.startswith(f"src/dragoman/{folder}/")


class House:
    """A repository."""

    def __init__(self, root: Path) -> None:
        self.root = root

    @cached_property
    def modules(self) -> tuple[Module, ...]:
        """Every module under ``src/dragoman``, by path."""
        found = []
        for path in sorted((self.root / "src" / "dragoman").rglob("*.py")):
            text = path.read_text(encoding="utf-8")
            found.append(Module(path.relative_to(self.root).as_posix(), text, ast.parse(text)))
        return tuple(found)

    def texts(self) -> Iterator[tuple[str, str]]:
        """Path and text of each file that git tracks or would add; what is not UTF-8 is left out."""
        command = ["git", "ls-files", "-z", "--cached", "--others", "--exclude-standard"]
        listed = subprocess.run(command, cwd=self.root, check=True, capture_output=True, text=True).stdout
        for name in sorted({*listed.split("\0")} - {""}):
            path = self.root / name
            if not path.is_file():
                continue
            try:
                yield name, path.read_text(encoding="utf-8")
            except UnicodeDecodeError:
                continue


def functions(tree: ast.AST) -> Iterator[Function]:
    """Every function and method, nested ones too."""
    for node in ast.walk(tree):
        if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef):
            yield node


def in_scope(body: list[ast.stmt]) -> Iterator[ast.AST]:
    """Every node that runs with these statements: what nested functions and classes hold is left out."""
    waiting: list[ast.AST] = list(body)
    while waiting:
        node = waiting.pop()
        yield node
        if not isinstance(node, _SCOPES):
            waiting.extend(ast.iter_child_nodes(node))


def docstring(node: ast.AST) -> ast.Constant | None:
    """The node of the docstring, where there is one."""
    if isinstance(node, _DOCUMENTED) and node.body:
        first = node.body[0]
        if isinstance(first, ast.Expr) and isinstance(first.value, ast.Constant) and isinstance(first.value.value, str):
            return first.value
    return None


def last_name(node: ast.expr) -> str:
    """What a name, an attribute or a call of one is called at its end; empty for anything else."""
    if isinstance(node, ast.Call):
        return last_name(node.func)
    if isinstance(node, ast.Attribute):
        return node.attr
    return node.id if isinstance(node, ast.Name) else ""
