"""Tools that come along: a clock, a calculator, a search in what the agent knows. They change nothing anywhere."""

import ast
import asyncio
import math
import operator
from collections.abc import Awaitable, Callable, Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Any
from zoneinfo import ZoneInfo

from dragoman.adapters.tools.showing import bounded
from dragoman.core.agents import Agent, Tool
from dragoman.core.errors import Unavailable
from dragoman.core.knowledge import Passage
from dragoman.ports.embedders import EmbedderError
from dragoman.ports.tools import CallContext, Offer, ToolError

Find = Callable[[Agent, str], Awaitable[Sequence[Passage]]]

LONGEST_EXPRESSION = 500
MOST_NODES = 200
DEEPEST = 40
# Larger numbers are nobody's, and take long.
LARGEST = 10.0**60

_UNARY: Mapping[type, Callable[[Any], Any]] = {ast.UAdd: operator.pos, ast.USub: operator.neg}
_BINARY: Mapping[type, Callable[[Any, Any], Any]] = {
    ast.Add: operator.add,
    ast.Sub: operator.sub,
    ast.Mult: operator.mul,
    ast.Div: operator.truediv,
    ast.FloorDiv: operator.floordiv,
    ast.Mod: operator.mod,
}
_FUNCTIONS: Mapping[str, Callable[..., Any]] = {
    "abs": abs,
    "ceil": math.ceil,
    "exp": math.exp,
    "floor": math.floor,
    "ln": math.log,
    "log10": math.log10,
    "max": max,
    "min": min,
    "round": round,
    "sqrt": math.sqrt,
}
_CONSTANTS = {"pi": math.pi, "e": math.e}


@dataclass(frozen=True, slots=True)
class _Told:
    """What a model is told of a builtin."""

    description: str
    properties: Mapping[str, Any]
    required: Sequence[str] = ()

    def tool(self, entry: Tool) -> Tool:
        schema = {"type": "object", "properties": dict(self.properties), "additionalProperties": False}
        schema |= {"required": list(self.required)} if self.required else {}
        return Tool("builtin", entry.name, entry.description or self.description, schema)


_TOLD: Mapping[str, _Told] = {
    "clock": _Told(
        "The date and the time, in UTC or in a time zone.",
        {"time_zone": {"type": "string", "maxLength": 64, "description": "An IANA name, such as Europe/Berlin."}},
    ),
    "calculator": _Told(
        "Works out an arithmetic expression exactly: + - * / // % **, brackets, "
        f"{', '.join(_FUNCTIONS)}, pi and e. Percentages are written as a division by 100.",
        {"expression": {"type": "string", "maxLength": LONGEST_EXPRESSION, "description": "Such as (3 + 4.5) * 2."}},
        ("expression",),
    ),
    "knowledge": _Told(
        "Searches the documents that this assistant was given.",
        {"question": {"type": "string", "maxLength": 1000, "description": "What is to be found, in full words."}},
        ("question",),
    ),
    "handover": _Told(
        "Hands the conversation over to a person. Use it when the user asks for a person, or cannot be helped here.",
        {"reason": {"type": "string", "maxLength": 500, "description": "Why, in a sentence."}},
    ),
}


class BuiltinTools:
    """Answers calls of the tools that come along. `find` finds passages of what an agent knows."""

    def __init__(self, find: Find) -> None:
        self._find = find

    def offers(self, tool: Tool) -> Sequence[Offer]:
        """The tool as a model sees it; none that this version does not know."""
        told = _TOLD.get(tool.name)
        return [Offer(told.tool(tool), tool)] if told else []

    async def call(self, offer: Offer, arguments: Mapping[str, Any], context: CallContext) -> str:
        """What a call brought; see `ports.tools.Tools.call`."""
        match offer.entry.name:
            case "clock":
                # A zone that was never asked for is read from the disk.
                return await asyncio.to_thread(now_in, arguments.get("time_zone", "UTC"))
            case "calculator":
                return calculated(arguments["expression"])
            case "knowledge":
                return await self._found(context.agent, arguments["question"])
        raise ToolError("This tool cannot be called here")

    async def _found(self, agent: Agent, question: str) -> str:
        try:
            return _numbered(await self._find(agent, question))
        except (EmbedderError, Unavailable) as error:
            raise ToolError("The documents cannot be searched now") from error


def now_in(zone: str) -> str:
    """The time in a zone, with the day of the week and the difference to UTC.

    Raises:
        ToolError: there is no such zone.
    """
    try:
        now = datetime.now(UTC).astimezone(ZoneInfo(zone))
    except (OSError, ValueError, KeyError) as error:
        raise ToolError("There is no such time zone; it takes an IANA name, such as Europe/Berlin") from error
    return f"{now:%A}, {now.isoformat(timespec='seconds')} ({zone})"


def calculated(expression: str) -> str:
    """The value of an arithmetic expression.

    Raises:
        ToolError: it is none, is too large, or has no value.
    """
    if len(expression) > LONGEST_EXPRESSION:
        raise ToolError(f"The expression has over {LONGEST_EXPRESSION} characters")
    try:
        tree = ast.parse(expression.strip().replace("^", "**"), mode="eval")
        if sum(1 for _ in ast.walk(tree)) > MOST_NODES:
            raise ToolError("The expression is too long")
        value = _value(tree.body, 0)
        return str(value) if isinstance(value, int) else f"{value:.15g}"
    except (SyntaxError, ValueError, TypeError, RecursionError, MemoryError) as error:
        raise ToolError("That is no arithmetic expression, or it has no value") from error
    except (ZeroDivisionError, OverflowError) as error:
        raise ToolError("It divides by zero, or becomes too large") from error


def _value(node: ast.expr, depth: int) -> int | float:
    if depth > DEEPEST:
        raise ToolError("The expression is nested too deep")
    value: Any
    match node:
        case ast.Constant(value=int() | float() as value) if not isinstance(value, bool):
            pass
        case ast.Name(id=name) if name in _CONSTANTS:
            value = _CONSTANTS[name]
        case ast.UnaryOp(op=kind, operand=operand) if type(kind) in _UNARY:
            value = _UNARY[type(kind)](_value(operand, depth + 1))
        case ast.BinOp(left=left, op=ast.Pow(), right=right):
            value = _power(_value(left, depth + 1), _value(right, depth + 1))
        case ast.BinOp(left=left, op=kind, right=right) if type(kind) in _BINARY:
            value = _BINARY[type(kind)](_value(left, depth + 1), _value(right, depth + 1))
        case ast.Call(func=ast.Name(id=name), args=given, keywords=[]) if name in _FUNCTIONS:
            value = _FUNCTIONS[name](*(_value(each, depth + 1) for each in given))
        case _:
            raise ToolError("The expression holds what is no arithmetic")
    if isinstance(value, complex) or not -LARGEST <= value <= LARGEST:
        raise OverflowError
    found: int | float = value
    return found


def _power(base: float, exponent: float) -> Any:
    # A float's power is quick whatever it is: what would be too large is found before whole numbers are multiplied.
    if abs(float(base)) > 1 and abs(float(base)) ** float(exponent) > LARGEST:
        raise OverflowError
    return base**exponent


def _numbered(passages: Sequence[Passage]) -> str:
    if not passages:
        return "(nothing was found)"
    told = [
        f"[{number}] {' - '.join(filter(None, (each.title, each.heading)))}\n{each.text}"
        for number, each in enumerate(passages, 1)
    ]
    return bounded("\n\n".join(told))
