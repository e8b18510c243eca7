"""Tools of MCP servers, by the official SDK over streamable HTTP. Knows no other kind of tool.

The SDK is imported when the first server is asked: it takes a while, and many never need it.
"""

import asyncio
import importlib
import json
import re
import time
from collections import deque
from collections.abc import AsyncIterator, Collection, Mapping, Sequence
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

import structlog

from dragoman.adapters.egress import Egress
from dragoman.adapters.guard import OffLimits
from dragoman.adapters.tools.http import OFF_LIMITS, headers_of, leave_wanted
from dragoman.adapters.tools.showing import LONGEST_ERROR, MOST_BYTES, TOO_LARGE, bounded, compact, loggable
from dragoman.core.agents import Tool
from dragoman.ports.egress import Bounds
from dragoman.ports.secrets import SecretReader
from dragoman.ports.tools import CallContext, Offer, ToolError

if TYPE_CHECKING:
    import httpx2
    from mcp.client.client import Client
    from mcp_types import CallToolResult
    from mcp_types import Tool as RemoteTool

LISTING_SECONDS = 5.0
REMEMBERED_SECONDS = 300.0
FORGIVEN_SECONDS = 30.0
MOST_PAGES = 20
MOST_SERVERS = 1_000
LONGEST_DESCRIPTION = 1_024
LARGEST_SCHEMA = 16_384

_UNFIT = re.compile(r"[^A-Za-z0-9_-]+")

_log = structlog.get_logger(__name__)


@dataclass(frozen=True, slots=True)
class _Listed:
    """What a server was known to offer, until when; nothing where it did not answer."""

    until: float
    offers: tuple[Offer, ...]


@dataclass(slots=True)
class _Seen:
    """What a session comes to know that its errors do not tell: the secrets that it sends, its latest answers."""

    secrets: list[str] = field(default_factory=list)
    answers: "deque[httpx2.Response]" = field(default_factory=lambda: deque(maxlen=8))

    @property
    def is_too_much(self) -> bool:
        """Whether an answer went on beyond what is read of it."""
        return any(answer.num_bytes_downloaded >= MOST_BYTES for answer in self.answers)

    async def note(self, answer: "httpx2.Response") -> None:
        """Remember an answer, whose body is yet to come."""
        self.answers.append(answer)


class McpTools:
    """Lists and calls the tools of servers. Each call has a session of its own: none is left open between turns."""

    def __init__(self, egress: Egress, secrets: SecretReader) -> None:
        self._egress = egress
        self._secrets = secrets
        self._listed: dict[tuple[str, str, str, bool], _Listed] = {}

    async def offers(self, tool: Tool, tenant_id: str, *, allow_private: bool) -> Sequence[Offer]:
        """The tools that the owner allows of a server, in the owner's order; none of one that does not answer."""
        known_by = (tenant_id, tool.url, json.dumps([tool.headers, tool.allow], sort_keys=True), allow_private)
        known = self._listed.get(known_by)
        if known is None or known.until < time.monotonic():
            known = await self._list(tool, tenant_id, allow_private)
            if len(self._listed) >= MOST_SERVERS:
                self._listed.clear()
            self._listed[known_by] = known
        # The definition may have been published anew meanwhile, with other bounds.
        return [Offer(each.tool, tool, each.remote, each.writes) for each in known.offers]

    async def call(self, offer: Offer, arguments: Mapping[str, Any], context: CallContext) -> str:
        """What a call brought; see `ports.tools.Tools.call`."""
        tool, tenant_id, seen = offer.entry, context.agent.tenant_id, _Seen()
        try:
            async with asyncio.timeout(tool.timeout):
                async with self._session(tool, tenant_id, context.allow_private, tool.timeout, seen) as client:
                    result = await client.call_tool(offer.remote, dict(arguments))
        except ToolError:
            raise
        except Exception as error:
            # The SDK tells failures in many ways, and in groups of them.
            if not isinstance(error, TimeoutError):
                _warn(tool, tenant_id, error, seen, context.allow_private)
            raise ToolError(_failure(tool, error, seen)) from error
        text = bounded(_text(result), seen.secrets)
        if result.is_error:
            raise ToolError(f"The tool failed: {bounded(text, (), LONGEST_ERROR)}")
        return text

    async def _list(self, tool: Tool, tenant_id: str, allow_private: bool) -> _Listed:
        seen = _Seen()
        try:
            async with asyncio.timeout(LISTING_SECONDS):
                async with self._session(tool, tenant_id, allow_private, LISTING_SECONDS, seen) as client:
                    found = await _tools_of(client, tool.allow)
        except Exception as error:
            _warn(tool, tenant_id, error, seen, allow_private)
            return _Listed(time.monotonic() + FORGIVEN_SECONDS, ())
        if missing := [name for name in tool.allow if name not in found]:
            _log.warning("tools_not_offered", tenant_id=tenant_id, url=loggable(tool.url), tools=missing[:20])
        offers = [_offer(tool, found[name], seen.secrets) for name in dict.fromkeys(tool.allow) if name in found]
        return _Listed(time.monotonic() + REMEMBERED_SECONDS, tuple(each for each in offers if each))

    @asynccontextmanager
    async def _session(
        self, tool: Tool, tenant_id: str, allow_private: bool, seconds: float, seen: _Seen
    ) -> "AsyncIterator[Client]":
        """A session with a tool's server; `seen` is told of it.

        Raises:
            ToolError: a secret is not there.
            Exception: whatever the SDK raises.
        """
        await asyncio.to_thread(_import)
        from mcp.client.client import Client
        from mcp.client.streamable_http import streamable_http_client

        from dragoman.adapters.tools.transport import guarded_client

        headers, secrets = await headers_of(self._secrets, tenant_id, tool.headers or {}, {})
        seen.secrets += secrets
        # A second more: whoever waits gives up first, and knows why.
        bounds = Bounds(body_bytes=MOST_BYTES, seconds=seconds + 1)
        async with guarded_client(
            self._egress, allow_private=allow_private, bounds=bounds, headers=headers
        ) as http_client:
            http_client.event_hooks = {"response": [seen.note]}
            transport = streamable_http_client(tool.url, http_client=http_client, max_sse_event_size=MOST_BYTES)
            async with Client(transport, read_timeout_seconds=bounds.seconds, cache=None) as client:
                # The SDK would judge results by a schema of the server's, with patterns that can take for ever.
                vars(client.session)["validate_tool_result"] = _unjudged
                yield client


def _import() -> None:
    """Import what a session needs, away from the loop."""
    for name in ("mcp.client.client", "mcp.client.streamable_http", "dragoman.adapters.tools.transport"):
        importlib.import_module(name)


async def _unjudged(name: str, result: Any) -> None:
    """Any result will do: a model reads it."""


async def _tools_of(client: "Client", allowed: Sequence[str]) -> "dict[str, RemoteTool]":
    """Those of a server's tools that are allowed."""
    found: dict[str, RemoteTool] = {}
    cursor: str | None = None
    for _ in range(MOST_PAGES):
        page = await client.list_tools(cursor=cursor)
        found |= {each.name: each for each in page.tools if each.name in allowed}
        cursor = page.next_cursor
        if cursor is None or len(found) == len(set(allowed)):
            break
    return found


def _offer(tool: Tool, remote: "RemoteTool", secrets: Collection[str]) -> Offer | None:
    schema = {**remote.input_schema, "type": "object"}
    if len(compact(schema)) > LARGEST_SCHEMA:
        _log.warning("tool_schema_too_large", url=loggable(tool.url), tool=remote.name[:100])
        return None
    hints = remote.annotations
    writes = hints is not None and (hints.read_only_hint is False or hints.destructive_hint is True)
    description = bounded(remote.description or remote.title or "", secrets, LONGEST_DESCRIPTION)
    return Offer(Tool("mcp", spelled(remote.name), description, schema), tool, remote.name, writes)


def spelled(name: str) -> str:
    """A tool's name as models take it: 1 to 64 letters, digits, underscores and hyphens."""
    return _UNFIT.sub("_", name).strip("_")[:64] or "tool"


def _text(result: "CallToolResult") -> str:
    """What a result says; what is no text is named."""
    said = []
    has_text = False
    for part in result.content:
        match part.type:
            case "text":
                said.append(part.text)
                has_text = has_text or bool(part.text.strip())
            case "image" | "audio":
                said.append(f"({part.type} of type {part.mime_type[:100]}, which cannot be shown)")
            case "resource_link":
                said.append(f"(a link: {part.name[:200]} {str(part.uri)[:1000]})")
            case "resource":
                text = getattr(part.resource, "text", None)
                said.append(text if text is not None else f"(a file: {str(part.resource.uri)[:1000]})")
    if not has_text and result.structured_content is not None:
        said.append(compact(result.structured_content))
    return "\n".join(said) or "(no content)"


def _failure(tool: Tool, error: BaseException, seen: _Seen) -> str:
    """What a model is told of a call that failed."""
    if seen.is_too_much:
        return TOO_LARGE
    if isinstance(error, TimeoutError):
        return f"The tool's server did not answer within {tool.timeout:g} s"
    if isinstance(_first(error).__cause__, OffLimits):
        return OFF_LIMITS
    return "The tool's server could not be reached, or broke off"


def _warn(tool: Tool, tenant_id: str, error: BaseException, seen: _Seen, allow_private: bool) -> None:
    error = _first(error)
    said = TOO_LARGE if seen.is_too_much else f"{type(error).__name__}: {error}"
    why = f"{loggable(bounded(said, seen.secrets))}{leave_wanted(error.__cause__, allow_private)}"
    _log.warning("tool_server_failed", tenant_id=tenant_id, url=loggable(tool.url), error=why)


def _first(error: BaseException) -> BaseException:
    """An error, the first one of a group."""
    while isinstance(error, BaseExceptionGroup):
        error = error.exceptions[0]
    return error
