"""The composition root: settings into adapters, services, the app and its life. The only file that names every part."""

import asyncio
import contextlib
import functools
from collections.abc import AsyncIterator, Callable, Coroutine, Sequence
from typing import Any

import structlog
from starlette.types import ASGIApp

from dragoman import management
from dragoman.adapters.limits.memory import MemoryLimiter, MemorySlots
from dragoman.adapters.models import scripted
from dragoman.adapters.models.embedded import EmbeddedModels
from dragoman.adapters.models.openai import OpenAIModels
from dragoman.adapters.models.registry import ModelRegistry
from dragoman.adapters.models.scripted import ScriptedModels
from dragoman.adapters.store import open_store
from dragoman.core.agents import ModelChoice
from dragoman.core.secrets import derive
from dragoman.dialects import agents, alonchat, aloochat, sessions, slug
from dragoman.ports.models import ModelError
from dragoman.ports.store import Store
from dragoman.server import health
from dragoman.server.control import listening
from dragoman.server.cors import ContractCors
from dragoman.server.errors import Dialect
from dragoman.server.observe import Observed
from dragoman.server.routing import DialectApp
from dragoman.server.services import Services
from dragoman.server.sockets import OpenSockets
from dragoman.services.access import Access
from dragoman.services.agents import Agents
from dragoman.services.attempts import Attempts
from dragoman.services.audit import Audit, Keys
from dragoman.services.conversations import Conversations
from dragoman.services.deployments import Deployments
from dragoman.services.live import Live
from dragoman.services.manifest import Manifests
from dragoman.services.metering import Metering
from dragoman.services.operator import Operator
from dragoman.services.recovery import Recovery
from dragoman.services.search import Search
from dragoman.services.tenants import Tenants
from dragoman.services.tickets import Tickets
from dragoman.services.turn import TurnRunner
from dragoman.services.usage import Usage
from dragoman.settings import Settings
from dragoman.web.routes import docs

_log = structlog.get_logger(__name__)

DIALECTS: Sequence[Dialect] = (
    aloochat.DIALECT,
    alonchat.DIALECT,
    slug.DIALECT,
    sessions.DIALECT,
    agents.DIALECT,
)


def make_app(services: Services, public_url: str = "") -> ASGIApp:
    """The app over its services: every dialect at its own paths, our own API under /manage/v1, what they are at /docs.

    `public_url` is the address that clients see, where the operator has said it.
    """
    documented = docs((*DIALECTS, management.DIALECT), public_url)
    app = DialectApp(DIALECTS, management.router, health.router, documented)
    app.state.services = services
    return Observed(ContractCors(app, DIALECTS))


def check_model(choice: ModelChoice) -> None:
    """Whether a provider can use a choice.

    Raises:
        ValueError: it cannot; the text says why.
    """
    if choice.provider == "scripted":
        scripted.check_script(choice.script)


def make_operator(settings: Settings, store: Store) -> tuple[Operator, Access]:
    """The operator of a store, and the access whose cache follows what it changes."""
    secret = settings.secret_bytes()
    keys = (derive(secret, "api-keys"), derive(secret, "visitor-tokens"))
    access, rehearsal = Access(store, *keys), store.rehearsal()
    rehearsing = Manifests(rehearsal, Access(rehearsal, *keys), check_model)
    audit = Audit(store)
    manifests = Manifests(store, access, check_model)
    return Operator(Keys(access, audit), manifests, rehearsing, Usage(store), audit), access


@contextlib.asynccontextmanager
async def running(settings: Settings) -> AsyncIterator[tuple[Services, Operator]]:
    """Everything behind the app, recovered and at work while the block runs.

    Raises:
        StoreUnusable, SettingsError: it cannot start as it is.
    """
    store = await open_store(settings.database)
    embedded = EmbeddedModels(settings.models_dir, OpenAIModels(force_close=True))
    models = ModelRegistry({"openai": OpenAIModels(), "embedded": embedded, "scripted": ScriptedModels()})
    async with contextlib.AsyncExitStack() as stack:
        stack.push_async_callback(store.close)
        stack.push_async_callback(models.close)
        operator, access = make_operator(settings, store)
        live = Live(store)
        attempts = Attempts(models, settings.model_first_token_timeout, settings.model_idle_timeout)
        turns = TurnRunner(store, live, attempts, settings.turn_timeout)
        recovery = Recovery(store, live, settings.resume_window)
        # Done before anything is served: a turn that says `running` has a live owner.
        await recovery.sweep()
        await recovery.prune()
        stack.push_async_callback(access.note_use)
        await stack.enter_async_context(_at_work(live.flush_for_ever, recovery.run_for_ever, access.note_use_for_ever))
        if settings.on_sqlite:
            await stack.enter_async_context(listening(settings.control_socket, operator))
        if await _uses_embedded(store):
            await stack.enter_async_context(_at_work(functools.partial(_warm, embedded)))
        metering = Metering(store, MemoryLimiter(store.limits))
        audit = Audit(store)
        sockets = OpenSockets(store.keys)
        await stack.enter_async_context(_at_work(sockets.check_for_ever))
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
                usage=Usage(store),
                audit=audit,
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
