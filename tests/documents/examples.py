"""Finds the cURL and JavaScript examples in a document's plain text. Knows no contract.

A page that was saved as text has lost its boxes: a command ends where its quotes and continuation lines end, a script
where no further line would still make a program.
"""

import json
import re
import shlex
import subprocess
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

from tests.support.node import NODE

SCRIPT_STARTS = re.compile(r"(const|let|var) \w+ = |ws\.send\(")
LONGEST_SCRIPT = 40
# Which of several texts are programs; `await` may stand at the top, as in a module.
JUDGE = """
const good = text => {
    try { new Function("return async () => {" + text + "\\n}"); return true } catch { return false }
}
const texts = JSON.parse(require("fs").readFileSync(0, "utf8"))
console.log(JSON.stringify(texts.map(good)))
"""
# What a saved page runs on with behind the quote that ends a command.
NEXT_HEADING = re.compile(r"(?<=')[A-Z][A-Za-z ]*$")
PROSE = re.compile(r"\s*(\w+|\w+:)?\s*")


@dataclass(frozen=True)
class Example:
    """One example; `line` is where it begins in its document, counted from 1."""

    document: str
    line: int
    kind: Literal["curl", "javascript"]
    text: str


def examples_of(document: Path) -> list[Example]:
    """Every example of a document, in order."""
    lines = document.read_text(encoding="utf-8").splitlines()
    found: list[Example] = []
    at = 0
    while at < len(lines):
        kind: Literal["curl", "javascript"]
        if lines[at].strip().startswith("curl "):
            kind, length = "curl", _command_length(lines[at:])
        elif SCRIPT_STARTS.match(lines[at].strip()):
            kind, length = "javascript", _script_length(lines[at:])
        else:
            at += 1
            continue
        text = NEXT_HEADING.sub("", "\n".join(lines[at : at + length]).strip())
        found.append(Example(document.name, at + 1, kind, text))
        at += length
    return found


def _command_length(lines: list[str]) -> int:
    """How many lines a shell command goes on for: while quotes are open, or a backslash says so."""
    for length in range(1, len(lines) + 1):
        if lines[length - 1].rstrip().endswith("\\"):
            continue
        try:
            shlex.split("\n".join(lines[:length]))
        except ValueError:
            continue
        return length
    raise AssertionError(f"a command without an end: {lines[0]!r}")


def _script_length(lines: list[str]) -> int:
    """How many lines still make a program; what follows and would be one too by chance, a lone word, is prose."""
    candidates = [
        length for length in range(1, min(LONGEST_SCRIPT, len(lines)) + 1) if not PROSE.fullmatch(lines[length - 1])
    ]
    texts = json.dumps(["\n".join(lines[:length]) for length in candidates])
    judged = subprocess.run([NODE, "-e", JUDGE], input=texts.encode(), capture_output=True, check=True, timeout=20)
    programs = [length for length, good in zip(candidates, json.loads(judged.stdout), strict=True) if good]
    if not programs:
        raise AssertionError(f"a script without an end: {lines[0]!r}")
    return programs[-1]
