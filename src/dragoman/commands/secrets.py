"""`dragoman secrets`: secrets of a tenant, written and deleted; a value is never an argument and never printed."""

import json
import sys
from typing import Annotated

import typer

from dragoman.commands.asking import AsJson, Tenant, fail, operate

group = typer.Typer(help="Secrets of a tenant, which its tools use by name.", no_args_is_help=True)

Name = Annotated[str, typer.Argument(help="What the secret is called.")]


@group.command("set")
def set_secret(tenant: Tenant, name: Name) -> None:
    """Keep a secret; its value is read from standard input, on a terminal asked for unseen."""
    if sys.stdin.isatty():
        value = typer.prompt(f"Value of {name}", hide_input=True)
    else:
        try:
            value = sys.stdin.buffer.read().decode().rstrip("\r\n")
        except UnicodeDecodeError:
            fail("the value is not UTF-8", 2)
    if not value:
        fail("no value: give it on standard input", 2)
    made = operate("secrets_set", tenant=tenant, name=name, value=value)
    typer.echo(f"{'created' if made else 'updated'}  secret {tenant}/{name}")


@group.command("list")
def list_secrets(tenant: Tenant, as_json: AsJson = False) -> None:
    """List a tenant's secrets by their names."""
    found = operate("secrets_list", tenant=tenant)
    if as_json:
        typer.echo(json.dumps(found))
        return
    for each in found:
        typer.echo(f"{each['created_at']}  {each['name']}")


@group.command("delete")
def delete_secret(tenant: Tenant, name: Name) -> None:
    """Forget a secret; tools that use it fail from then on."""
    operate("secrets_delete", tenant=tenant, name=name)
    typer.echo(f"deleted  secret {tenant}/{name}")
