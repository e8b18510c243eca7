"""Tools of type http: one request to an address that a tenant named. Knows no approval and no turn's limits."""

import asyncio
import re
from collections.abc import Collection, Mapping, Sequence
from typing import Any

import msgspec
import structlog

from dragoman.adapters.guard import OffLimits
from dragoman.adapters.tools.showing import LONGEST_ERROR, MOST_BYTES, bounded, loggable, shown
from dragoman.core.agents import Tool
from dragoman.core.templates import METADATA, Unfillable, fill_json, fill_text, fill_url, placeholders
from dragoman.ports.egress import Answer, Bounds, Unfetchable, WayOut
from dragoman.ports.secrets import SecretReader
from dragoman.ports.tools import CallContext, Offer, ToolError

READING = ("GET", "HEAD")
NO_PARAMETERS: Mapping[str, Any] = {"type": "object", "properties": {}}

# What the log keeps of a failure ends at its first colon.
OFF_LIMITS = "The tool's server has an address that may not be reached from here, as it is not public"

_DEFAULTS: Mapping[str, str] = {"accept": "application/json, text/*;q=0.8, */*;q=0.1"}
# What a header can hold; a line end in it would begin another one.
_HEADER_VALUE = re.compile(r"[\x20-\x7e\xa0-\xff]*")

_log = structlog.get_logger(__name__)


class HttpTools:
    """Makes the requests of http tools."""

    def __init__(self, egress: WayOut, secrets: SecretReader) -> None:
        self._egress = egress
        self._secrets = secrets

    def offers(self, tool: Tool) -> Sequence[Offer]:
        """The tool as a model sees it."""
        seen = Tool("http", tool.name, tool.description, dict(tool.parameters or NO_PARAMETERS))
        return [Offer(seen, tool, writes=tool.method not in READING)]

    async def call(self, offer: Offer, arguments: Mapping[str, Any], context: CallContext) -> str:
        """What the request brought; see `ports.tools.Tools.call`."""
        tool = offer.entry
        # Metadata is the client's: no argument of a model passes for it.
        values = {name: each for name, each in arguments.items() if not name.startswith(METADATA)}
        values |= {f"{METADATA}{name}": each for name, each in (context.metadata or {}).items()}
        headers, used = await headers_of(self._secrets, context.agent.tenant_id, tool.headers or {}, values)
        left = _left(tool, arguments)
        try:
            url = fill_url(tool.url, tool.query or {}, values, left if tool.method in READING else {})
        except Unfillable as error:
            raise ToolError(f"The arguments do not make an address: {error}") from error
        body = None if tool.method in READING else _body(tool, values, left)
        headers = {**_DEFAULTS, **({"content-type": "application/json"} if body is not None else {}), **headers}
        try:
            answer = await self._egress.request(
                tool.method,
                url,
                allow_private=context.allow_private,
                headers=headers,
                body=body,
                bounds=Bounds(body_bytes=MOST_BYTES, seconds=tool.timeout),
                cut=True,
            )
        except Unfetchable as error:
            why = f"{loggable(bounded(str(error), used))}{leave_wanted(error, context.allow_private)}"
            _log.warning("tool_unreachable", tool=tool.name, tenant_id=context.agent.tenant_id, error=why)
            if isinstance(error, OffLimits):
                raise ToolError(OFF_LIMITS) from error
            late = isinstance(error.__cause__, TimeoutError)
            what = f"did not answer within {tool.timeout:g} s" if late else "could not be reached, or broke off"
            raise ToolError(f"The tool's server {what}") from error
        # A long page takes a while to strip, and others wait.
        return await asyncio.to_thread(_told, tool, answer, used)


def leave_wanted(error: BaseException | None, allow_private: bool) -> str:
    """What an operator may do about an address, for the log; empty where that is nothing."""
    if allow_private or not isinstance(error, OffLimits):
        return ""
    return "; private ones are reached where the tenant's manifest says egress: {allow_private: true}"


def _told(tool: Tool, answer: Answer, secrets: Collection[str]) -> str:
    if answer.status >= 400:
        try:
            said = shown(answer.body, answer.headers, answer.media_type)
        except ToolError:
            said = answer.body.decode(errors="replace")
        raise ToolError(f"The tool answered with status {answer.status}: {bounded(said, secrets, LONGEST_ERROR)}")
    if tool.method == "HEAD":
        return f"(status {answer.status})"
    return bounded(shown(answer.body, answer.headers, answer.media_type, tool.response), secrets)


def _body(tool: Tool, values: Mapping[str, Any], left: Mapping[str, Any]) -> bytes | None:
    if tool.body is not None:
        return msgspec.json.encode(fill_json(tool.body, values))
    # A DELETE without anything to say has no body, which some servers would refuse.
    return msgspec.json.encode(left) if left or tool.method != "DELETE" else None


def _left(tool: Tool, arguments: Mapping[str, Any]) -> dict[str, Any]:
    """The arguments that no template takes: of a request without a body they stand in the query, else in the body."""
    taken = placeholders([tool.url, tool.query or {}, tool.headers or {}])
    return {name: value for name, value in arguments.items() if name not in taken}


async def headers_of(
    secrets: SecretReader, tenant_id: str, headers: Mapping[str, Any], values: Mapping[str, Any]
) -> tuple[dict[str, str], Collection[str]]:
    """Headers as they are sent, by names in lower case, and the secrets in them.

    One whose placeholder is absent is left out.

    Raises:
        ToolError: a secret is not there, or a value cannot stand in a header.
    """
    sent: dict[str, str] = {}
    used: list[str] = []
    for name, told in headers.items():
        if isinstance(told, Mapping):
            value = await secrets.open_(tenant_id, str(told["secret"]))
            if value is None:
                _log.warning("tool_secret_missing", tenant_id=tenant_id, secret=told["secret"])
                raise ToolError("The tool is not set up: a secret that it needs is not there")
            used.append(value)
            sent[name.lower()] = f"{told.get('prefix', '')}{value}"
            continue
        filled = fill_text(told, values)
        if filled is None:
            continue
        if not _HEADER_VALUE.fullmatch(filled):
            raise ToolError("An argument holds characters that no header can")
        sent[name.lower()] = filled
    return sent, used
