"""What every command shares: the settings, the operator's verbs, and how a failure is said. Knows no command."""

import asyncio
import contextlib
import sys
from typing import Annotated, Any, NoReturn

import typer
from typer.core import TyperGroup

from dragoman.settings import Settings, SettingsError, load

Tenant = Annotated[str, typer.Option("--tenant", help="The tenant's id.")]
AsJson = Annotated[bool, typer.Option("--json", help="Print one JSON value.")]


class Group(TyperGroup):
    """Commands of which one is to be named: without one the help is on stderr, as all wrong usage is told there."""

    def parse_args(self, ctx: Any, args: list[str]) -> list[str]:
        """Read what was typed."""
        with contextlib.nullcontext() if args else contextlib.redirect_stdout(sys.stderr):
            return super().parse_args(ctx, args)


def fail(message: str, status: int = 1) -> NoReturn:
    """Say what went wrong in one line and leave."""
    typer.echo(f"dragoman: {' '.join(message.split())}", err=True)
    raise typer.Exit(status)


def settings() -> Settings:
    """The settings, or one line about the wrong one."""
    try:
        return load()
    except SettingsError as error:
        fail(str(error))


def operate(verb: str, **arguments: Any) -> Any:
    """Have an operator's verb done: by the running server where one holds the database file, else here."""
    from dragoman.core.errors import DragomanError
    from dragoman.ports.store import StoreUnusable
    from dragoman.server.control import Refused, ask

    chosen = settings()
    try:
        if chosen.on_sqlite:
            try:
                return ask(chosen.control_socket, verb, arguments)
            except ConnectionError:
                pass  # no server runs: the file is ours to open
        return asyncio.run(_operate_here(chosen, verb, arguments))
    except (Refused, DragomanError, StoreUnusable, SettingsError, OSError) as error:
        fail(str(error))


async def _operate_here(chosen: Settings, verb: str, arguments: dict[str, Any]) -> Any:
    from dragoman.adapters.store import open_store
    from dragoman.app import make_operator

    store = await open_store(chosen.database)
    try:
        operator, _ = make_operator(chosen, store)
        return await operator.do(verb, arguments)
    finally:
        await store.close()
