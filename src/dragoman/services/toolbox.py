"""The calls of a turn: what its model is offered, which calls are made here, which wait for a person or a client.

What a model wants is judged before anything is done: only offered tools, arguments that fit, bounds of use, a person's
yes where a tool writes. What a tool brings is data, and leads to nothing but another question to the model. Knows no
wire and no vendor.
"""

import asyncio
import json
import re
from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import Any

import structlog

from dragoman.core.agents import Tool
from dragoman.core.clock import now_us
from dragoman.core.errors import Unavailable
from dragoman.core.events import ApprovalWanted, StepStarted, ToolCall, ToolCallReady, ToolCallStarted, ToolResult
from dragoman.core.ids import new_id, prefixed
from dragoman.core.limits import MINUTE, Window
from dragoman.core.prompt import CallingMessage, PromptMessage, ResultMessage, results_budget, with_tools_note
from dragoman.core.text import keepable
from dragoman.ports.limits import Limiter
from dragoman.ports.models import ModelError
from dragoman.ports.store import Store
from dragoman.ports.tools import CallContext, Offer, ToolError, Tools
from dragoman.ports.turns import Begun, Call, Step
from dragoman.services.runs import Run

_CALL_ID = re.compile(r"[\x21-\x7e]{1,200}")
_SECOND = 1_000_000
KEEP_PAUSES = (0.2, 0.5, 1.0, 2.0)
# The tool that is made here: it changes what becomes of the conversation.
HANDOVER = ("builtin", "handover")

_log = structlog.get_logger(__name__)


@dataclass(slots=True)
class Offered:
    """What a segment's model may call: tools of the client and of the server, by name; how often it has."""

    client: Mapping[str, Tool]
    server: Mapping[str, Offer]
    allow_private: bool = False
    any_server: bool = False
    steps: int = 1
    used: Counter[str] = field(default_factory=Counter)

    @property
    def tools(self) -> tuple[Tool, ...]:
        """As the model sees them."""
        return (*self.client.values(), *(offer.tool for offer in self.server.values()))


@dataclass(slots=True)
class _Made:
    """What came of one call."""

    call: Call
    content: str
    failed: bool


class Toolbox:
    """Makes calls for turns."""

    def __init__(self, store: Store, tools: Tools, limiter: Limiter) -> None:
        self._store = store
        self._tools = tools
        self._limiter = limiter

    async def offered(self, begun: Begun) -> Offered:
        """What the model of a segment may call now; what its turn has called before counts."""
        agent = begun.agent
        client = {tool.name: tool for tool in agent.definition.client_tools}
        if not agent.definition.server_tools:
            return Offered(client, {})
        tenant = await self._store.tenants.get(agent.tenant_id)
        allow_private = tenant is not None and tenant.allow_private
        offers = await self._tools.offers(agent, allow_private=allow_private)
        server = {offer.tool.name: offer for offer in offers if offer.tool.name not in client}
        offered = Offered(client, server, allow_private, any_server=True)
        for message in reversed(begun.prompt):
            if message.role == "user":
                break
            if isinstance(message, CallingMessage):
                offered.steps += 1
                offered.used.update(call.name for call in message.calls if call.name in server)
        for call in begun.approved:
            # It is counted when it is made.
            offered.used[call.call.name] -= 1
        if offered.steps >= agent.definition.max_steps:
            offered.client, offered.server = {}, {}
        return offered

    def sift(self, run: Run, offered: Offered) -> None:
        """Leave of the calls that the model wants those of tools that it was offered.

        Where that is nothing at all, calls of what has gone, such as a server's that is down, are told to it as failed.

        Raises:
            ModelError: there were no others, it has said nothing, and there is no tool that it could take instead.
        """
        known = [call for call in run.called if call.name in offered.client or call.name in offered.server]
        if len(known) == len(run.called):
            return
        _log.warning("unknown_tools_called", turn_id=run.begun.turn.id, tenant_id=run.begun.turn.tenant_id)
        if not known and not run.text and not run.held:
            if offered.any_server and offered.steps < run.begun.agent.definition.max_steps:
                return
            run.called.clear()
            raise ModelError("the model called nothing but tools that it was not offered")
        run.called[:] = known

    async def make_approved(self, run: Run, offered: Offered, prompt: Sequence[PromptMessage]) -> list[PromptMessage]:
        """Make the calls that a person has said yes to, once that is durable; the prompt with what they brought."""
        await asyncio.shield(run.durable)
        made = await self._make(run, offered, run.begun.approved)
        brought = {each.call.call.id: each.content for each in made}
        return [
            replace(message, content=_cut(run, brought[message.call_id], len(brought)))
            if isinstance(message, ResultMessage) and message.call_id in brought
            else message
            for message in prompt
        ]

    def noted(self, prompt: Sequence[PromptMessage], offered: Offered) -> Sequence[PromptMessage]:
        """The prompt with word that results are data, where there are some and tools of the server."""
        told = offered.any_server and any(isinstance(message, ResultMessage) for message in prompt)
        return with_tools_note(prompt) if told else prompt

    async def step(self, run: Run, offered: Offered, prompt: Sequence[PromptMessage]) -> Sequence[PromptMessage] | None:
        """Do what the model wants done; what it is asked next, or None where the turn waits for somebody or is done.

        Raises:
            Fenced: the turn is no longer ours.
        """
        await asyncio.shield(run.durable)
        said, calls = run.said, await self._named(run, offered)
        run.called.clear()
        if any(_hands_over(offered, each) for each in calls):
            # Nothing is to wait in a conversation that a person has.
            calls = [each for each in calls if each.state == "running"]
        waiting = [each for each in calls if each.state != "running"]
        if len(waiting) == len(calls):
            run.waits = calls
            self._tell(run, waiting)
            return None
        # Once stored, it is known after any crash what may have been done.
        turn, now = run.begun.turn, now_us()
        ends = now + int(run.begun.agent.definition.approval_timeout * _SECOND)
        if waiting:
            run.kept = True
            step = Step(turn, turn.answer_id, run.text, calls, True, ends, now)
        else:
            step = Step(turn, new_id(), "", calls, False, ends, now)
        number = await self._store.turns.call(step)
        if not waiting:
            run.log.append([StepStarted(number)])
        made = await self._make(run, offered, calls)
        if waiting:
            run.waits = waiting
            self._tell(run, waiting)
            return None
        offered.steps += 1
        run.begin_step()
        if offered.steps >= run.begun.agent.definition.max_steps:
            offered.client, offered.server = {}, {}
        results = [ResultMessage("tool", _cut(run, each.content, len(made)), each.call.call.id) for each in made]
        wanted = tuple(each.call for each in calls)
        return (*prompt, CallingMessage("assistant", said, wanted), *results)

    async def _named(self, run: Run, offered: Offered) -> list[Call]:
        """The calls that the model wants, each under an id new to the conversation, and what is to become of it."""
        turn = run.begun.turn
        ids = [call.id for call in run.called if _CALL_ID.fullmatch(call.id)]
        taken = set(await self._store.turns.known_calls(turn.tenant_id, turn.conversation_id, ids))
        named = []
        for call in run.called:
            call_id = call.id if call.id in ids and call.id not in taken else prefixed("call", new_id())
            taken.add(call_id)
            renamed = ToolCall(call_id, call.name, call.arguments)
            if call.name in offered.client:
                named.append(Call(renamed, "open"))
            elif call.name in offered.server and self._waits(offered, renamed):
                named.append(Call(renamed, "waiting"))
            else:
                named.append(Call(renamed, "running", new_id()))
        return named

    def _waits(self, offered: Offered, call: ToolCall) -> bool:
        """Whether a call of the server's waits for a yes; what would fail anyway asks nobody."""
        return _wants_approval(offered.server[call.name]) and self._problem(offered, call) is None

    def _tell(self, run: Run, waiting: Sequence[Call]) -> None:
        """Log what the turn waits for."""
        run.log.append(
            [
                ToolCallReady(*each.call) if each.state == "open" else ApprovalWanted(each.call.id, each.call.name)
                for each in waiting
            ]
        )

    async def _make(self, run: Run, offered: Offered, calls: Sequence[Call]) -> list[_Made]:
        """Make the running ones of these calls side by side, and store what they bring."""
        running = [each for each in calls if each.state == "running"]
        run.log.append([ToolCallStarted(each.call.id, each.call.name) for each in running])
        made = await asyncio.gather(*(self._call(run, offered, each) for each in running))
        results = [(each.call, each.content) for each in made]
        await self._keep(run, results)
        run.log.append([ToolResult(each.call.call.id, each.call.call.name, each.failed) for each in made])
        run.tooled = True
        return list(made)

    async def _keep(self, run: Run, results: Sequence[tuple[Call, str]]) -> None:
        """Store what calls have brought; a database that is away for a moment is waited for."""
        for pause in KEEP_PAUSES:
            try:
                return await self._store.turns.keep_results(run.begun.turn, results, now_us())
            except Unavailable:
                await asyncio.sleep(pause)
        return await self._store.turns.keep_results(run.begun.turn, results, now_us())

    async def _call(self, run: Run, offered: Offered, call: Call) -> _Made:
        turn, name = run.begun.turn, call.call.name
        told = {"tool": name, "turn_id": turn.id, "tenant_id": turn.tenant_id}
        try:
            offer = offered.server.get(name)
            if offer is None:
                raise ToolError("This tool cannot be used now")
            if problem := self._problem(offered, call.call):
                raise ToolError(problem)
            await self._count(run, offered, offer)
            if _hands_over(offered, call):
                run.handover = "called"
                return _Made(call, '{"status": "a person has been asked to take over"}', False)
            context = CallContext(
                agent=run.begun.agent,
                conversation_id=turn.conversation_id,
                turn_id=turn.id,
                call_id=call.call.id,
                metadata=run.begun.metadata,
                allow_private=offered.allow_private,
            )
            async with asyncio.timeout(offer.entry.timeout):
                content = await self._tools.call(offer, json.loads(call.call.arguments or "{}"), context)
            _log.info("tool_called", **told)
            return _Made(call, keepable(content), False)
        except ToolError as error:
            said = str(error)
        except TimeoutError:
            said = "The tool took too long"
        except Exception:
            _log.exception("tool_broke", **told)
            said = "The tool failed"
        # What follows the colon may be what a user has said, or what the tool answered.
        _log.warning("tool_failed", error=said.partition(":")[0], **told)
        return _Made(call, json.dumps({"error": keepable(said)}, ensure_ascii=False), True)

    def _problem(self, offered: Offered, call: ToolCall) -> str | None:
        """What is wrong with a call's arguments."""
        try:
            arguments: Any = json.loads(call.arguments or "{}")
        except (ValueError, RecursionError):
            return "The arguments are no JSON"
        return self._tools.problem(offered.server[call.name], arguments)

    async def _count(self, run: Run, offered: Offered, offer: Offer) -> None:
        """Count a call against the tool's bounds.

        Raises:
            ToolError: it has been called too often.
        """
        name, entry = offer.tool.name, offer.entry
        offered.used[name] += 1
        if offered.used[name] > entry.per_turn:
            raise ToolError(f"This tool may be called {entry.per_turn} times in one turn: answer with what there is")
        if entry.per_minute is not None:
            window = Window(f"tool:{run.begun.agent.id}:{name}", entry.per_minute, MINUTE)
            admission = await self._limiter.take(run.begun.turn.tenant_id, [window], now_us())
            if admission.refused:
                raise ToolError(f"This tool may be called {entry.per_minute} times a minute: try again later")


def _hands_over(offered: Offered, call: Call) -> bool:
    offer = offered.server.get(call.call.name)
    return offer is not None and (offer.entry.type, offer.entry.name) == HANDOVER


def _wants_approval(offer: Offer) -> bool:
    return offer.entry.approval == "always" or (offer.entry.approval == "auto" and offer.writes)


def _cut(run: Run, content: str, results: int) -> str:
    """As much of a result as the model's window holds of so many."""
    most = results_budget(run.begun.agent.definition.model) // max(1, results)
    return content if len(content) <= most else f"{content[:most]} ... (cut)"
