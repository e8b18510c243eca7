"""The composition root: settings into adapters, services, the app and its life. The only file that names every part."""

import asyncio
import contextlib
import functools
from collections.abc import AsyncIterator, Callable, Coroutine, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import structlog

from dragoman.adapters.egress import Egress
from dragoman.adapters.embedders.embedded import EmbeddedEmbedder
from dragoman.adapters.embedders.openai import OpenAIEmbedder
from dragoman.adapters.embedders.registry import EmbedderRegistry
from dragoman.adapters.guard import target
from dragoman.adapters.limits.memory import MemoryLimiter, MemorySlots
from dragoman.adapters.models import scripted
from dragoman.adapters.models.embedded import EmbeddedModels
from dragoman.adapters.models.openai import OpenAIModels
from dragoman.adapters.models.registry import ModelRegistry
from dragoman.adapters.models.scripted import ScriptedModels
from dragoman.adapters.models.turnstile import Turnstile
from dragoman.adapters.pages import GuardedPages
from dragoman.adapters.parsing.process import ChildParsers
from dragoman.adapters.sealing import Sealing
from dragoman.adapters.store import open_store
from dragoman.adapters.tools.builtin import BuiltinTools
from dragoman.adapters.tools.http import HttpTools
from dragoman.adapters.tools.mcp import McpTools
from dragoman.adapters.tools.registry import ToolRegistry
from dragoman.adapters.transcribers.embedded import EmbeddedTranscribers
from dragoman.adapters.transcribers.examiner import Examiner
from dragoman.adapters.transcribers.openai import OpenAITranscribers
from dragoman.adapters.transcribers.registry import TranscriberRegistry
from dragoman.core.agents import Agent, ModelChoice
from dragoman.core.knowledge import Passage
from dragoman.core.secrets import derive
from dragoman.ports.models import ModelError
from dragoman.ports.store import Store
from dragoman.server.control import listening
from dragoman.server.services import Services
from dragoman.server.sockets import OpenSockets
from dragoman.services.access import Access
from dragoman.services.agents import Agents
from dragoman.services.attempts import Attempts
from dragoman.services.audit import Audit, Keys
from dragoman.services.conversations import Conversations
from dragoman.services.delivery import Deliverer
from dragoman.services.deployments import Deployments
from dragoman.services.evaluation import Evaluation
from dragoman.services.grounding import Grounding
from dragoman.services.handover import Desk
from dragoman.services.ingestion import Ingestion
from dragoman.services.knowledge import Knowledge
from dragoman.services.live import Live
from dragoman.services.manifest import Manifests
from dragoman.services.metering import Metering
from dragoman.services.operator import Operator
from dragoman.services.people import People
from dragoman.services.recovery import Recovery
from dragoman.services.retrieval import Retrieval
from dragoman.services.search import Search
from dragoman.services.secrets import Secrets
from dragoman.services.tenants import Tenants
from dragoman.services.tickets import Tickets
from dragoman.services.toolbox import Toolbox
from dragoman.services.transcription import Transcription
from dragoman.services.turn import TurnRunner
from dragoman.services.usage import Usage
from dragoman.services.webhooks import Webhooks
from dragoman.settings import Settings

# What the web needs takes longer to import than all else: the operator's commands, which answer nobody, go without.
if TYPE_CHECKING:
    from starlette.types import ASGIApp

    from dragoman.server.errors import Dialect

_log = structlog.get_logger(__name__)


def dialects() -> "Sequence[Dialect]":
    """Every contract that is spoken here."""
    from dragoman.dialects import agents, alonchat, aloochat, sessions, slug

    return (aloochat.DIALECT, alonchat.DIALECT, slug.DIALECT, sessions.DIALECT, agents.DIALECT)


def make_app(services: Services, public_url: str = "") -> "ASGIApp":
    """The app over its services: every dialect at its own paths, our own API under /manage/v1, what they are at /docs.

    `public_url` is the address that clients see, where the operator has said it.
    """
    from dragoman import management
    from dragoman.server import health
    from dragoman.server.cors import ContractCors
    from dragoman.server.observe import Observed
    from dragoman.server.routing import DialectApp
    from dragoman.web.routes import docs

    spoken = dialects()
    documented = docs((*spoken, management.DIALECT), public_url)
    app = DialectApp(spoken, management.router, health.router, documented)
    app.state.services = services
    return Observed(ContractCors(app, spoken))


def check_model(choice: ModelChoice) -> None:
    """Whether a provider can use a choice.

    Raises:
        ValueError: it cannot; the text says why.
    """
    if choice.provider == "scripted":
        scripted.check_script(choice.script)


def make_operator(
    settings: Settings, store: Store, wake: Callable[[], None] = lambda: None, evaluation: Evaluation | None = None
) -> tuple[Operator, Access]:
    """The operator of a store, and the access whose cache follows what it changes.

    `wake` is called when there are documents to work on; without an `evaluation` no agent can be asked.
    """
    secret = settings.secret_bytes()
    keys = (derive(secret, "api-keys"), derive(secret, "visitor-tokens"))
    access, rehearsal = Access(store, *keys), store.rehearsal()
    unheard = Knowledge(rehearsal, lambda: None)
    rehearsing_webhooks = make_webhooks(settings, rehearsal)
    rehearsing = Manifests(rehearsal, Access(rehearsal, *keys), unheard, check_model, rehearsing_webhooks)
    audit, knowledge = Audit(store), Knowledge(store, wake)
    webhooks = make_webhooks(settings, store)
    manifests = Manifests(store, access, knowledge, check_model, webhooks)
    secrets, agents_of_tenants = make_secrets(settings, store), Agents(store, check_model)
    operator = Operator(
        Keys(access, audit),
        manifests,
        rehearsing,
        Usage(store),
        audit,
        knowledge,
        secrets,
        agents_of_tenants,
        webhooks,
        evaluation,
    )
    return operator, access


def make_secrets(settings: Settings, store: Store) -> Secrets:
    """Secrets of tenants, sealed under a key that only this use has."""
    return Secrets(store, Sealing(derive(settings.secret_bytes(), "tenant-secrets")), Audit(store))


def make_webhooks(settings: Settings, store: Store, wake: Callable[[], None] = lambda: None) -> Webhooks:
    """Where events of tenants go to; `wake` is called when something is due."""
    return Webhooks(store, make_webhook_sealing(settings), Audit(store), target, wake)


def make_webhook_sealing(settings: Settings) -> Sealing:
    """What seals the secrets that deliveries are signed with, under a key that only this use has."""
    return Sealing(derive(settings.secret_bytes(), "webhook-secrets"))


@dataclass(frozen=True, slots=True)
class Vendors:
    """What services ask for work that is done by others."""

    models: ModelRegistry
    embedded: EmbeddedModels
    embedders: EmbedderRegistry
    transcribers: TranscriberRegistry
    parsers: ChildParsers
    pages: GuardedPages
    egress: Egress


def make_vendors(settings: Settings, stack: contextlib.AsyncExitStack) -> Vendors:
    """Every vendor's adapter; each lets go of what it holds when the stack ends."""
    turnstile, examiner, egress = Turnstile(), Examiner(), Egress()
    embedded = EmbeddedModels(settings.models_dir, OpenAIModels(force_close=True), turnstile)
    vendors = Vendors(
        models=ModelRegistry({"openai": OpenAIModels(), "embedded": embedded, "scripted": ScriptedModels()}),
        embedded=embedded,
        embedders=EmbedderRegistry({"embedded": EmbeddedEmbedder(settings.models_dir), "openai": OpenAIEmbedder()}),
        transcribers=TranscriberRegistry(
            {
                "embedded": EmbeddedTranscribers(settings.models_dir, examiner, turnstile),
                "openai": OpenAITranscribers(examiner),
            }
        ),
        parsers=ChildParsers(),
        pages=GuardedPages(egress),
        egress=egress,
    )
    for each in (vendors.models, vendors.embedders, vendors.transcribers, vendors.parsers, egress):
        stack.push_async_callback(each.close)
    return vendors


def make_evaluation(settings: Settings, store: Store, vendors: Vendors) -> Evaluation:
    """What asks agents apart from any conversation."""
    attempts = Attempts(vendors.models, settings.model_first_token_timeout, settings.model_idle_timeout)
    return Evaluation(store, Retrieval(store.passages, vendors.embedders), attempts)


def make_ingestion(store: Store, vendors: Vendors) -> Ingestion:
    """What works on documents."""
    return Ingestion(store, vendors.parsers, vendors.pages, vendors.embedders)


def make_tools(settings: Settings, store: Store, vendors: Vendors) -> ToolRegistry:
    """What runs the tools of agents."""
    retrieval, secrets = Retrieval(store.passages, vendors.embedders), make_secrets(settings, store)

    async def find(agent: Agent, question: str) -> Sequence[Passage]:
        return (await retrieval.find(agent, question)).passages if agent.knows else ()

    return ToolRegistry(HttpTools(vendors.egress, secrets), McpTools(vendors.egress, secrets), BuiltinTools(find))


@contextlib.asynccontextmanager
async def running(settings: Settings) -> AsyncIterator[tuple[Services, Operator]]:
    """Everything behind the app, recovered and at work while the block runs.

    Raises:
        StoreUnusable, SettingsError: it cannot start as it is.
    """
    store = await open_store(settings.database)
    async with contextlib.AsyncExitStack() as stack:
        stack.push_async_callback(store.close)
        vendors = make_vendors(settings, stack)
        ingestion = make_ingestion(store, vendors)
        evaluation = make_evaluation(settings, store, vendors)
        operator, access = make_operator(settings, store, ingestion.wake, evaluation)
        live = Live(store)
        attempts = Attempts(vendors.models, settings.model_first_token_timeout, settings.model_idle_timeout)
        grounding = Grounding(Retrieval(store.passages, vendors.embedders))
        hear = Transcription(vendors.transcribers).heard
        limiter, desk = MemoryLimiter(store.limits), Desk(store)
        toolbox = Toolbox(store, make_tools(settings, store, vendors), limiter)
        turns = TurnRunner(store, live, attempts, grounding, toolbox, desk, hear, settings.turn_timeout)
        deliverer = Deliverer(store, vendors.egress, make_webhook_sealing(settings))
        recovery = Recovery(store, live, settings.resume_window)
        # Done before anything is served: a turn that says `running` has a live owner.
        await recovery.sweep()
        await recovery.prune()
        stack.push_async_callback(access.note_use)
        await stack.enter_async_context(
            _at_work(live.flush_for_ever, recovery.run_for_ever, access.note_use_for_ever, ingestion.run_for_ever)
        )
        if settings.on_sqlite:
            await stack.enter_async_context(listening(settings.control_socket, operator))
        if await _uses_embedded(store):
            await stack.enter_async_context(_at_work(functools.partial(_warm, vendors.embedded)))
        metering = Metering(store, limiter)
        audit = Audit(store)
        sockets = OpenSockets(store.keys)
        await stack.enter_async_context(_at_work(sockets.check_for_ever, deliverer.run_for_ever))
        yield (
            Services(
                store=store,
                access=access,
                metering=metering,
                slots=MemorySlots(),
                sockets=sockets,
                tickets=Tickets(store, derive(settings.secret_bytes(), "tickets")),
                turns=turns,
                conversations=Conversations(store, turns.stop),
                agents=Agents(store, check_model),
                deployments=Deployments(store),
                keys=Keys(access, audit),
                search=Search(store),
                tenants=Tenants(store, audit),
                knowledge=Knowledge(store, ingestion.wake),
                usage=Usage(store),
                audit=audit,
                people=People(store, turns, desk, audit),
                secrets=make_secrets(settings, store),
                webhooks=make_webhooks(settings, store, deliverer.wake),
            ),
            operator,
        )


@contextlib.asynccontextmanager
async def _at_work(*jobs: Callable[[], Coroutine[Any, Any, object]]) -> AsyncIterator[None]:
    """Run background jobs while the block runs."""
    tasks = [asyncio.create_task(job()) for job in jobs]
    try:
        yield
    finally:
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)


async def _warm(embedded: EmbeddedModels) -> None:
    """Load the model before the first turn asks for it; where it cannot be, that turn will say so too."""
    try:
        await embedded.warm()
    except ModelError as error:
        _log.warning("embedded_model_not_loaded", error=str(error))


async def _uses_embedded(store: Store) -> bool:
    for tenant in await store.tenants.all():
        for agent, _ in await store.agents.definitions(tenant.id):
            if agent.definition.model.provider == "embedded":
                return True
    return False
