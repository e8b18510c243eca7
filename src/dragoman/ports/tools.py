"""The port to tools that run on the server. Approval, limits and what is kept of a call belong to services."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Protocol

from dragoman.core.agents import Agent, Tool


class ToolError(Exception):
    """A call brought nothing. The text is for the model, and may reach a client: it holds no secret and no address."""


@dataclass(frozen=True, slots=True)
class Offer:
    """A tool as the model is offered it: `tool` has the name, the description and the schema that the model sees.

    `entry` is what of the agent's definition it comes from, `remote` how its server calls it, where that is another
    name. `writes` says that it may change something somewhere, as far as is known.
    """

    tool: Tool
    entry: Tool
    remote: str = ""
    writes: bool = False


@dataclass(frozen=True, slots=True)
class CallContext:
    """Around what a call is made; `metadata` is the user's message's."""

    agent: Agent
    conversation_id: str
    turn_id: str
    call_id: str
    metadata: Mapping[str, Any] | None
    allow_private: bool


class Tools(Protocol):
    """Every tool that a server can run for an agent."""

    async def offers(self, agent: Agent, *, allow_private: bool) -> Sequence[Offer]:
        """What of an agent's tools can be called now; a server that does not answer offers nothing."""
        ...

    async def call(self, offer: Offer, arguments: Mapping[str, Any], context: CallContext) -> str:
        """Make a call whose arguments fit the schema; what it brought, as text that a model is given, bounded in size.

        Raises:
            ToolError: it failed, took too long, or may not be reached.
        """
        ...

    def problem(self, offer: Offer, arguments: Any) -> str | None:
        """What is wrong with arguments by the tool's schema, in one sentence for the model; None where they fit."""
        ...
