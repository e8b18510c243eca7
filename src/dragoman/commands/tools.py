"""`dragoman tools`: a whole OpenAPI document made into tools of an agent."""

from pathlib import Path
from typing import Annotated, Any

import typer

from dragoman.commands.asking import fail, operate

group = typer.Typer(help="Tools of agents.", no_args_is_help=True)

LARGEST = 20 << 20
SECONDS = 30


@group.callback()
def tools() -> None:
    """Tools of agents."""


@group.command("import")
def import_tools(
    source: Annotated[str, typer.Argument(metavar="OPENAPI", help="A file or an http(s) address: OpenAPI 3.0 or 3.1.")],
    agent: Annotated[
        str | None, typer.Option("--agent", help="Give the tools to this agent; else they are printed.")
    ] = None,
    tenant: Annotated[str | None, typer.Option("--tenant", help="Whose agent it is.")] = None,
    only: Annotated[list[str] | None, typer.Option("--only", help="An operationId; repeat for more.")] = None,
    base_url: Annotated[
        str | None, typer.Option("--base-url", help="Where requests go to, in place of servers.")
    ] = None,
    header: Annotated[
        list[str] | None,
        typer.Option(
            "--header", help="Such as Authorization=secret:NAME or 'Authorization=Bearer secret:NAME'; repeat."
        ),
    ] = None,
    dry_run: Annotated[bool, typer.Option("--dry-run", help="Change nothing: print the tools.")] = False,
) -> None:
    """Make tools of the operations that an OpenAPI document describes."""
    import json

    import yaml

    from dragoman.core.errors import Invalid
    from dragoman.services.openapi import header_of, read_document, tools_of

    is_address = source.startswith(("http://", "https://"))
    text = _fetched(source) if is_address else _read(source)
    try:
        headers = dict(header_of(each) for each in header or ())
        imported = tools_of(
            read_document(text),
            base_url=base_url,
            source=source if is_address else "",
            only=only or (),
            headers=headers,
        )
    except Invalid as error:
        fail(f"{source}: {error.message}", 2)
    for what, why in imported.left_out:
        typer.echo(f"left out  {what}: {' '.join(why.split())}", err=True)
    if not imported.tools:
        fail(f"{source}: nothing in it can be a tool")
    for tool in imported.tools:
        typer.echo(f"tool      {tool['name']}: {tool['method']} {tool['url']}", err=True)
    # Copied as they are told: what tools have in common would be printed once, and elsewhere as a reference to it.
    told = {"tools": json.loads(json.dumps(imported.tools))}
    spelled = yaml.safe_dump(told, sort_keys=False, allow_unicode=True, width=120)
    if agent is None or dry_run:
        typer.echo(spelled, nl=False)
        return
    _give(operate("tools_give", agent=agent, tenant=tenant, tools=imported.tools), spelled)


def _give(given: dict[str, Any], spelled: str) -> None:
    """Say what became of tools that an agent was to be given."""
    if given["managed"] == "manifest":
        typer.echo(f"note: a manifest made {given['agent']}; put these under its tools and apply it", err=True)
        typer.echo(spelled, nl=False)
    elif given["published"]:
        typer.echo(f"updated   agent {given['agent']}, version {given['version']}")
    elif given["draft"]:
        typer.echo(f"updated   the draft of agent {given['agent']}, which has other changes: publish it")
    else:
        typer.echo(f"unchanged agent {given['agent']}")


def _read(source: str) -> str:
    try:
        return Path(source).read_text(encoding="utf-8")
    except (OSError, UnicodeDecodeError) as error:
        fail(f"{source}: {getattr(error, 'strerror', None) or 'it is no UTF-8'}", 2)


def _fetched(address: str) -> str:
    """What stands at an address that the operator has named."""
    from urllib.error import URLError
    from urllib.request import build_opener

    try:
        with build_opener().open(address, timeout=SECONDS) as answer:
            data: bytes = answer.read(LARGEST + 1)
        if len(data) > LARGEST:
            fail(f"{address}: it has over {LARGEST} bytes")
        return data.decode()
    except UnicodeDecodeError:
        fail(f"{address}: it is no UTF-8")
    except (URLError, OSError, ValueError) as error:
        fail(f"{address}: {error}")
