"""How a small model is asked which tool to call: by itself, before it answers, bound to a grammar. Knows no process.

With tools in its prompt a model of this size answers a greeting with a call; asked only for a choice, with one example
of choosing none, it is right far more often: docs/decisions/0010.
"""

import json
import re
from collections.abc import Mapping, Sequence
from dataclasses import replace
from typing import Any

from dragoman.core.agents import ModelChoice, Tool
from dragoman.core.events import ToolCall
from dragoman.core.prompt import PromptMessage

ANSWER_TOKENS = 160
DESCRIPTION = 200
LONGEST_VALUE = 200
HISTORY = 4

_TYPES = ("string", "integer", "number", "boolean")
_WORD = re.compile(r"\w+")


def callable_here(tools: Sequence[Tool]) -> list[Tool]:
    """The tools that such a model can choose: those of the server, whose required arguments are plain values."""
    return [tool for tool in tools if tool.type != "client" and _required(tool) <= _plain(tool).keys()]


def question(choice: ModelChoice, prompt: Sequence[PromptMessage], tools: Sequence[Tool]) -> tuple[Any, ...]:
    """What the model is asked to choose one of these tools or none: the model, the prompt, its answer's schema."""
    lines = [f"- {tool.name}({', '.join(_plain(tool))}): {tool.description[:DESCRIPTION]}" for tool in tools]
    system = "\n".join(
        (
            "You decide which tool answers the user's last message.",
            "Tools:",
            *lines,
            "- none: everything else, such as greetings and general questions.",
            "Reply with JSON.",
        )
    )
    said = [message for message in prompt if message.role in ("user", "assistant") and message.content][-HISTORY:]
    while said and said[0].role != "user":
        said = said[1:]
    example = (PromptMessage("user", "Good morning"), PromptMessage("assistant", '{"tool": "none"}'))
    asked = (PromptMessage("system", system), *example, *(PromptMessage(each.role, each.content) for each in said))
    return replace(choice, temperature=0.0, max_tokens=ANSWER_TOKENS), asked, _schema(tools)


def chosen(text: str, prompt: Sequence[PromptMessage], tools: Sequence[Tool]) -> ToolCall | None:
    """The call that the model has chosen; None where it chose none, or made up an argument that nobody has said."""
    try:
        told = json.loads(text)
        tool = next(each for each in tools if each.name == told["tool"])
        arguments = {name: value for name, value in told.get("arguments", {}).items() if name in _plain(tool)}
    except (ValueError, TypeError, LookupError, AttributeError, StopIteration):
        return None
    said = {word for message in prompt if message.role == "user" for word in _WORD.findall(message.content.casefold())}
    for name in _required(tool):
        words = _WORD.findall(str(arguments.get(name, "")).casefold())
        if not words or (not isinstance(arguments[name], bool) and not said.intersection(words)):
            return None
    return ToolCall("", tool.name, json.dumps(arguments, ensure_ascii=False))


def _schema(tools: Sequence[Tool]) -> dict[str, Any]:
    calls = [
        {
            "type": "object",
            "properties": {
                "tool": {"const": tool.name},
                "arguments": {
                    "type": "object",
                    "properties": _plain(tool),
                    "required": sorted(_required(tool)),
                    "additionalProperties": False,
                },
            },
            "required": ["tool", "arguments"],
        }
        for tool in tools
    ]
    none = {"type": "object", "properties": {"tool": {"const": "none"}}, "required": ["tool"]}
    return {"anyOf": [*calls, none]}


def _plain(tool: Tool) -> dict[str, Mapping[str, Any]]:
    """The arguments that are plain values, each with the little of its schema that any grammar can be made of."""
    given = (tool.parameters or {}).get("properties")
    plain: dict[str, Mapping[str, Any]] = {}
    for name, schema in given.items() if isinstance(given, dict) else ():
        kind = schema.get("type") if isinstance(schema, dict) else None
        if kind in _TYPES:
            plain[name] = {"type": kind, **({"maxLength": LONGEST_VALUE} if kind == "string" else {})}
    return plain


def _required(tool: Tool) -> frozenset[str]:
    required = (tool.parameters or {}).get("required")
    return frozenset(required) if isinstance(required, list) else frozenset()
