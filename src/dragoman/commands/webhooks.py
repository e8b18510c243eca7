"""`dragoman webhooks`: where events of a tenant go, and a terminal that they come to while it listens."""

import json
import signal
from typing import Annotated, Any

import typer

from dragoman.commands.asking import AsJson, Tenant, fail, operate, settings

group = typer.Typer(help="Where events of tenants go.", no_args_is_help=True)

# Well under the minute after which the server gives a terminal up that it has not heard of.
KEEP_SECONDS = 15.0


@group.command("list")
def list_webhooks(tenant: Tenant, as_json: AsJson = False) -> None:
    """List a tenant's webhooks."""
    found = operate("webhooks_list", tenant=tenant)
    if as_json:
        typer.echo(json.dumps(found))
        return
    for each in found:
        typer.echo(f"{each['id']}  {each['state']:<8}  {each['url']}  {', '.join(each['events']) or 'all events'}")


@group.command()
def listen(
    port: Annotated[int, typer.Option(min=0, max=65535, help="Port to listen on; 0 finds a free one.")] = 0,
    tenant: Annotated[str | None, typer.Option("--tenant", help="Only this tenant.")] = None,
    events: Annotated[str | None, typer.Option("--events", help="Which events, with commas; all unless said.")] = None,
) -> None:
    """Print every event of the running server as it is delivered, until Ctrl-C."""
    from dragoman.commands.listening import Listener
    from dragoman.core.errors import Invalid
    from dragoman.core.webhooks import check_events

    wanted = [each.strip() for each in events.split(",") if each.strip()] if events else []
    try:
        check_events(wanted)
    except Invalid as error:
        fail(error.message, 2)
    _check_served()
    # Also where a script has it run in the background, whose shell has it ignore SIGINT.
    for ending in (signal.SIGINT, signal.SIGTERM):
        signal.signal(ending, signal.default_int_handler)
    try:
        listener = Listener(port)
    except OSError as error:
        fail(f"cannot listen on 127.0.0.1:{port}: {error.strerror}")
    endpoints: list[dict[str, Any]] = []
    try:
        with listener:
            made = operate("webhooks_listen", port=listener.port, events=wanted, tenant=tenant)
            endpoints = [{"tenant": each["tenant"], "id": each["id"]} for each in made]
            listener.secrets |= {each["tenant"]: each["secret"] for each in made}
            of = ", ".join(each["tenant"] for each in made)
            typer.echo(f"Listening to events of {of} at 127.0.0.1:{listener.port}; Ctrl-C ends it.", err=True)
            while True:
                listener.wait(KEEP_SECONDS)
                operate("webhooks_keep", endpoints=endpoints)
    except KeyboardInterrupt:
        typer.echo("", err=True)
    finally:
        signal.signal(signal.SIGINT, signal.SIG_IGN)
        if endpoints:
            operate("webhooks_leave", endpoints=endpoints)


def _check_served() -> None:
    """Leave where there is nobody to deliver anything."""
    from dragoman.server.control import Refused, ask

    chosen = settings()
    if not chosen.on_sqlite:
        return
    try:
        ask(chosen.control_socket, "webhooks_keep", {"endpoints": []})
    except ConnectionError:
        fail("no server runs over this data dir; start one with: dragoman serve")
    except Refused as error:
        fail(str(error))
