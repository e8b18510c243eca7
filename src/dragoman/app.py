"""The composition root: settings into adapters, services, the app and its life. The only file that names every part."""

import asyncio
import contextlib
import functools
from collections.abc import AsyncIterator, Callable, Coroutine, Sequence
from typing import Any

import structlog
from starlette.types import ASGIApp

from dragoman.adapters.models import scripted
from dragoman.adapters.models.embedded import EmbeddedModels
from dragoman.adapters.models.openai import OpenAIModels
from dragoman.adapters.models.registry import ModelRegistry
from dragoman.adapters.models.scripted import ScriptedModels
from dragoman.adapters.store import open_store
from dragoman.core.agents import ModelChoice
from dragoman.core.secrets import derive
from dragoman.dialects import alonchat, slug
from dragoman.management import routes as management
from dragoman.ports.models import ModelError
from dragoman.ports.store import Store
from dragoman.server import health
from dragoman.server.control import listening
from dragoman.server.cors import ContractCors
from dragoman.server.errors import Dialect
from dragoman.server.observe import Observed
from dragoman.server.routing import DialectApp
from dragoman.server.services import Services
from dragoman.services.access import Access
from dragoman.services.attempts import Attempts
from dragoman.services.conversations import Conversations
from dragoman.services.live import Live
from dragoman.services.manifest import Manifests
from dragoman.services.operator import Operator
from dragoman.services.recovery import Recovery
from dragoman.services.turn import TurnRunner
from dragoman.settings import Settings

_log = structlog.get_logger(__name__)

DIALECTS: Sequence[Dialect] = (alonchat.DIALECT, slug.DIALECT)


def make_app(services: Services) -> ASGIApp:
    """The app over its services: every dialect at its own paths, our own API under /manage/v1."""
    app = DialectApp(DIALECTS, management.router, health.router)
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
    pepper = derive(settings.secret_bytes(), "api-keys")
    access, rehearsal = Access(store, pepper), store.rehearsal()
    rehearsing = Manifests(rehearsal, Access(rehearsal, pepper), check_model)
    return Operator(access, Manifests(store, access, check_model), rehearsing), access


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
        yield Services(store, access, turns, Conversations(store)), operator


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
