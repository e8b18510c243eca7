"""Every tool that a server can run, by its type; `ports.tools.Tools`. Knows no approval and no turn."""

import asyncio
import functools
import itertools
import json
from collections.abc import Mapping, Sequence
from dataclasses import replace
from typing import TYPE_CHECKING, Any

import structlog

from dragoman.adapters.tools.builtin import BuiltinTools
from dragoman.adapters.tools.http import HttpTools
from dragoman.adapters.tools.mcp import McpTools
from dragoman.core.agents import Agent, Tool
from dragoman.ports.tools import CallContext, Offer

if TYPE_CHECKING:
    import jsonschema_rs

LARGEST_ARGUMENTS = 32_768
LONGEST_PROBLEM = 300
MOST_PROBLEMS = 3
LARGEST_PATTERN = 1 << 20
LONGEST_NAME = 64

_log = structlog.get_logger(__name__)


class ToolRegistry:
    """Offers, checks and calls the tools of agents."""

    def __init__(self, http: HttpTools, mcp: McpTools, builtin: BuiltinTools) -> None:
        self._http = http
        self._mcp = mcp
        self._builtin = builtin

    async def offers(self, agent: Agent, *, allow_private: bool) -> Sequence[Offer]:
        found = await asyncio.gather(
            *(self._offers(agent, tool, allow_private) for tool in agent.definition.server_tools)
        )
        # Names that the owner chose stay; what servers call theirs makes way.
        taken = {tool.name for tool in agent.definition.tools if tool.type != "mcp"}
        named = []
        for offer in (each for offers in found for each in offers):
            if offer.entry.type == "mcp":
                name = _free(offer.tool.name, taken)
                taken.add(name)
                offer = replace(offer, tool=replace(offer.tool, name=name))
            named.append(offer)
        return named

    async def call(self, offer: Offer, arguments: Mapping[str, Any], context: CallContext) -> str:
        return await self._of(offer.entry).call(offer, arguments, context)

    def problem(self, offer: Offer, arguments: Any) -> str | None:
        if not isinstance(arguments, dict):
            return "The arguments are no JSON object"
        try:
            text = json.dumps(arguments)
        except (ValueError, TypeError, RecursionError):
            return "The arguments are no JSON, or nested too deep"
        if len(text) > LARGEST_ARGUMENTS:
            return f"The arguments have over {LARGEST_ARGUMENTS} characters of JSON"
        validator = _validator(json.dumps(offer.tool.parameters or {}, sort_keys=True))
        if validator is None:
            return None
        try:
            wrong = [_told(error) for error in itertools.islice(validator.iter_errors(arguments), MOST_PROBLEMS)]
        except ValueError:
            return "The arguments are nested too deep"
        return f"The arguments do not fit: {'; '.join(wrong)}" if wrong else None

    async def _offers(self, agent: Agent, tool: Tool, allow_private: bool) -> Sequence[Offer]:
        if tool.type == "mcp":
            return await self._mcp.offers(tool, agent.tenant_id, allow_private=allow_private)
        return (self._http if tool.type == "http" else self._builtin).offers(tool)

    def _of(self, tool: Tool) -> HttpTools | McpTools | BuiltinTools:
        return self._http if tool.type == "http" else self._mcp if tool.type == "mcp" else self._builtin


def _free(name: str, taken: set[str]) -> str:
    """A name as it is, else with the first number that makes it free."""
    copies, free = 1, name
    while free in taken:
        copies += 1
        ending = f"_{copies}"
        free = f"{name[: LONGEST_NAME - len(ending)]}{ending}"
    return free


def _nowhere(address: str) -> Any:
    """Schemas are whole: nothing is fetched for one."""
    raise ValueError(f"{address} is not in this schema")


@functools.lru_cache(maxsize=1024)
def _validator(schema: str) -> "jsonschema_rs.Validator | None":
    """What checks arguments by a schema, in time linear in their size; None where a server's cannot be used so."""
    import jsonschema_rs

    try:
        # Whatever the patterns are, none of them goes back and tries again.
        options = jsonschema_rs.RegexOptions(size_limit=LARGEST_PATTERN)
        return jsonschema_rs.validator_for(json.loads(schema), pattern_options=options, retriever=_nowhere)
    except (ValueError, TypeError, RecursionError) as error:
        _log.warning("tool_schema_unusable", error=str(error)[:LONGEST_PROBLEM])
        return None


def _told(error: "jsonschema_rs.ValidationError") -> str:
    at = ".".join(str(step) for step in error.instance_path)
    message = error.message if len(error.message) <= LONGEST_PROBLEM else f"{error.message[:LONGEST_PROBLEM]}..."
    return f"{at}: {message}" if at else message
