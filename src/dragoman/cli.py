"""The `dragoman` command: parses, calls, prints. What is heavy is imported by the command that uses it."""

import asyncio
import json
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Annotated, Any

import typer

from dragoman.commands import secrets, tools, webhooks
from dragoman.commands.asking import AsJson, Group, Tenant, fail, operate, settings
from dragoman.settings import SettingsError

app = typer.Typer(
    cls=Group,
    help="One server that speaks five published Chat APIs over one durable core.",
    no_args_is_help=True,
    pretty_exceptions_enable=False,
    context_settings={"help_option_names": ["-h", "--help"]},
)
keys = typer.Typer(help="Credentials of a tenant.", no_args_is_help=True)
models = typer.Typer(help="Weights of the models that come along.", no_args_is_help=True)
app.add_typer(keys, name="keys", cls=Group)
app.add_typer(models, name="models", cls=Group)
app.add_typer(secrets.group, name="secrets", cls=Group)
app.add_typer(tools.group, name="tools", cls=Group)
app.add_typer(webhooks.group, name="webhooks", cls=Group)


@app.command()
def serve(
    host: Annotated[str | None, typer.Option(help="Address to listen on.")] = None,
    port: Annotated[int | None, typer.Option(min=0, max=65535, help="Port to listen on; 0 finds a free one.")] = None,
    workers: Annotated[int | None, typer.Option(min=1, help="Processes that serve.")] = None,
    demo: Annotated[bool, typer.Option("--demo", help="Make the demo tenant and agent first.")] = False,
) -> None:
    """Run the server."""
    from dragoman import telemetry
    from dragoman.ports.store import StoreUnusable
    from dragoman.serve import run

    given = {"host": host, "port": port, "workers": workers}
    chosen = settings().model_copy(update={name: value for name, value in given.items() if value is not None})
    telemetry.configure(chosen.log_level, chosen.log_format)
    try:
        run(chosen, demo=demo)
    except (SettingsError, StoreUnusable, OSError) as error:
        fail(str(error))
    except KeyboardInterrupt:
        fail("stopped before it had started")


@app.command()
def apply(
    files: Annotated[list[Path], typer.Argument(exists=True, dir_okay=False, help="Manifests, in order.")],
    as_json: AsJson = False,
    dry_run: Annotated[bool, typer.Option("--dry-run", help="Only say what would change.")] = False,
) -> None:
    """Bring tenants, keys and agents to what manifests say."""
    done = operate("apply", texts=[_manifest(file) for file in files], dry_run=dry_run)
    for note in done.pop("notes"):
        typer.echo(f"note: {note}", err=True)
    secrets_made = done.pop("webhooks")
    if as_json:
        typer.echo(json.dumps({**done, "webhooks": secrets_made} if secrets_made else done))
        return
    for outcome in ("created", "updated", "unchanged"):
        for what in done[outcome]:
            typer.echo(f"{outcome:<9}  {what}")
    for key in done["keys"]:
        if "value" in key:
            typer.echo(f"key {key['tenant']}/{key['name']}, shown this once: {key['value']}")
    for each in secrets_made:
        typer.echo(f"webhook {each['tenant']} {each['url']}, its secret shown this once: {each['secret']}")


@app.command()
def export(
    tenant: Annotated[str | None, typer.Option("--tenant", help="Only this tenant.")] = None,
) -> None:
    """Print the manifest of what is there, secrets left out."""
    typer.echo(operate("export", tenant=tenant), nl=False)


@app.command()
def ingest(
    agent: Annotated[str, typer.Argument(help="The agent: its slug, its id, or tenant/slug.")],
    sources: Annotated[
        list[str],
        typer.Argument(metavar="SOURCE", help="Files, http(s) addresses, or - for text on standard input."),
    ],
    tenant: Annotated[str | None, typer.Option("--tenant", help="Whose agent it is.")] = None,
    title: Annotated[str | None, typer.Option("--title", help="What the one source is called.")] = None,
    wait: Annotated[bool, typer.Option("--wait/--no-wait", help="Wait until all of it is known.")] = True,
) -> None:
    """Give an agent something to know."""
    from dragoman.core.errors import DragomanError
    from dragoman.core.ids import prefixed
    from dragoman.ingest import WrongSource, offers_of
    from dragoman.ingest import ingest as given
    from dragoman.ports.store import StoreUnusable
    from dragoman.server.control import Refused

    chosen = settings()
    try:
        found = asyncio.run(given(chosen, agent, tenant, offers_of(sources, title), wait=wait))
    except WrongSource as error:
        fail(str(error), 2)
    except (Refused, DragomanError, StoreUnusable, SettingsError, OSError) as error:
        fail(str(error))
    except KeyboardInterrupt:
        fail("stopped; what is queued stays queued", 130)
    for each in found:
        if each["state"] in ("failed", "refused"):
            typer.echo(f"dragoman: {each['title']}: {' '.join(each['error'].split())}", err=True)
        else:
            typer.echo(f"{each['state']:<7}  {prefixed('doc', each['id'])}  {each['title']}")
    if any(each["state"] in ("failed", "refused") for each in found):
        raise typer.Exit(1)


@app.command("eval")
def evaluate(
    agent: Annotated[str, typer.Argument(help="The agent: its slug, its id, or tenant/slug.")],
    file: Annotated[Path, typer.Argument(exists=True, dir_okay=False, help="Questions, a JSON object a line.")],
    tenant: Annotated[str | None, typer.Option("--tenant", help="Whose agent it is.")] = None,
    half: Annotated[str, typer.Option(help="all, tuning or held-back.")] = "all",
    plot: Annotated[Path | None, typer.Option(help="Draw the reliability diagram into this PNG.")] = None,
    answers: Annotated[bool, typer.Option("--answers/--no-answers", help="Have the model answer.")] = True,
    as_json: AsJson = False,
) -> None:
    """Ask an agent questions whose answers are known: accuracy, recall, calibration."""
    from dragoman import evaluate as asking
    from dragoman.core.calibration import report
    from dragoman.core.errors import DragomanError
    from dragoman.ports.store import StoreUnusable
    from dragoman.server.control import Refused

    if plot is not None and not answers:
        fail("--plot draws answers: leave --no-answers out", 2)
    try:
        asked = asking.read_questions(file, half)
        everything, least = asyncio.run(asking.evaluate(settings(), agent, tenant, asked, answered=answers))
    except asking.QuestionsUnusable as error:
        fail(str(error), 2)
    except (Refused, DragomanError, StoreUnusable, SettingsError, OSError) as error:
        fail(str(error))
    found = report(everything, least)
    if as_json:
        typer.echo(asking.document(found, everything, answered=answers))
    else:
        typer.echo(asking.table(found, least, answered=answers))
    if plot is not None:
        asking.plot(found.bins, plot)


def _manifest(file: Path) -> tuple[str, str, str]:
    """A manifest's name, its text, and the folder that its paths are taken from."""
    try:
        return str(file), file.read_text(encoding="utf-8"), str(file.resolve().parent)
    except UnicodeDecodeError:
        fail(f"{file} is no text in UTF-8")
    except OSError as error:
        fail(f"{file} cannot be read: {error.strerror}")


def _spelled(read: Callable[[str], int], text: str) -> None:
    """Leave with the status of wrong usage where an argument cannot be read."""
    from dragoman.core.errors import Invalid

    try:
        read(text)
    except Invalid as error:
        fail(error.message, 2)


@keys.command("create")
def create_key(
    tenant: Tenant,
    name: Annotated[str, typer.Option(help="What the key is called.")],
    type: Annotated[str, typer.Option(help="secret or publishable.")] = "secret",
    agent: Annotated[list[str] | None, typer.Option(help="An agent that it may reach; repeat for more.")] = None,
    origin: Annotated[list[str] | None, typer.Option(help="An origin that it may be used from; repeat.")] = None,
    expires_at: Annotated[str | None, typer.Option(help="Such as 2027-01-01T00:00:00Z.")] = None,
) -> None:
    """Make a key; its value is printed this once."""
    from dragoman.services.access import time_us

    if type not in ("secret", "publishable"):
        raise typer.BadParameter(f"{type!r} is neither secret nor publishable", param_hint="--type")
    if expires_at is not None:
        _spelled(time_us, expires_at)
    made = operate(
        "keys_create",
        tenant=tenant,
        name=name,
        type=type,
        agents=agent or [],
        origins=origin or [],
        expires_at=expires_at,
    )
    typer.echo(made["value"])


@keys.command("list")
def list_keys(tenant: Tenant, as_json: AsJson = False) -> None:
    """List a tenant's keys by their prefixes."""
    found = operate("keys_list", tenant=tenant)
    if as_json:
        typer.echo(json.dumps(found))
        return
    columns = ("name", "type", "prefix", "state", "expires_at", "last_used_at")
    rows = [columns, *([str(key[column] or "-") for column in columns] for key in found)]
    widths = [max(len(row[index]) for row in rows) for index in range(len(columns))]
    for row in rows:
        typer.echo("  ".join(cell.ljust(width) for cell, width in zip(row, widths, strict=True)).rstrip())


@keys.command("rotate")
def rotate_key(
    tenant: Tenant,
    name: Annotated[str, typer.Argument(help="The key's name.")],
    overlap: Annotated[str, typer.Option(help="How long the old one goes on: 90s, 15m, 24h, 7d.")] = "24h",
) -> None:
    """Make a new value for a key; it is printed this once."""
    from dragoman.services.access import span_us

    _spelled(span_us, overlap)
    typer.echo(operate("keys_rotate", tenant=tenant, name=name, overlap=overlap)["value"])


@keys.command("revoke")
def revoke_key(tenant: Tenant, name: Annotated[str, typer.Argument(help="The key's name.")]) -> None:
    """Close a key for good."""
    operate("keys_revoke", tenant=tenant, name=name)
    typer.echo(f"revoked  key {tenant}/{name}")


@app.command()
def usage(
    tenant: Annotated[str | None, typer.Option("--tenant", help="Only this tenant.")] = None,
    start: Annotated[str | None, typer.Option("--from", help="The first UTC day; 30 days ago unless said.")] = None,
    end: Annotated[str | None, typer.Option("--to", help="The last UTC day; today unless said.")] = None,
    by: Annotated[str, typer.Option("--by", help="Any of day, agent, key, model, with commas.")] = "day",
    as_json: AsJson = False,
) -> None:
    """Show what turns have used: tokens and credits."""
    from dragoman.core.errors import Invalid
    from dragoman.services.usage import groups_of, span_us

    try:
        span_us(start, end)
        groups = groups_of(by)
    except Invalid as error:
        fail(error.message, 2)
    reports = operate("usage", tenant=tenant, start=start, end=end, by=by)
    if as_json:
        typer.echo(json.dumps(reports))
        return
    for report in reports:
        _show_usage(report, groups)


def _show_usage(report: dict[str, Any], groups: Sequence[str]) -> None:
    """Print a tenant's report as a table, whole also where it is wider than the terminal."""
    from rich.console import Console
    from rich.table import Table

    numbers = ("turns", "prompt_tokens", "completion_tokens", "credits")
    balance = "not metered" if report["credits"] is None else f"{report['credits']:,} credits left"
    table = Table(title=f"{report['tenant']}, {report['from']} to {report['to']}, {balance}", title_justify="left")
    for group in groups:
        table.add_column(group, overflow="fold")
    for number in numbers:
        table.add_column(number.replace("_", " "), justify="right", no_wrap=True)
    for row in report["rows"]:
        table.add_row(*[row[group] or "-" for group in groups], *[f"{row[number]:,}" for number in numbers])
    table.add_section()
    labels = ["total", *[""] * (len(groups) - 1)] if groups else []
    table.add_row(*labels, *[f"{report['total'][number]:,}" for number in numbers])
    console = Console()
    console.print(table, width=None if console.is_terminal else 200)


@app.command()
def migrate() -> None:
    """Bring the database schema to this version."""
    from dragoman.adapters.store import migrate as bring_up
    from dragoman.ports.store import StoreUnusable

    chosen = settings()
    try:
        before, after = asyncio.run(bring_up(chosen.database))
    except (StoreUnusable, OSError) as error:
        fail(str(error))
    typer.echo(f"unchanged  schema {after}" if before == after else f"updated  schema {before or 'none'} to {after}")


@models.command("pull")
def pull_models(
    names: Annotated[
        list[str] | None, typer.Argument(help="chat, embedder, transcriber or names of weights; chat and embedder.")
    ] = None,
) -> None:
    """Fetch weights into the models dir, with their checksums."""
    from dragoman.adapters.models import weights
    from dragoman.terminal import Bars

    wanted: Sequence[str] = names or ("chat", "embedder")
    try:
        with Bars() as bars:
            weights.pull(wanted, settings().models_dir, bars)
    except weights.WeightsError as error:
        fail(str(error))
    except KeyboardInterrupt:
        fail("stopped; nothing unfinished was kept", 130)


@app.command()
def chat(
    agent: Annotated[str, typer.Argument(help="The agent's slug.")],
    url: Annotated[str | None, typer.Option(help="The server; this machine's where not given.")] = None,
    key: Annotated[
        str | None, typer.Option(envvar="DRAGOMAN_KEY", help="A secret key; the demo's where not given.")
    ] = None,
) -> None:
    """Chat with an agent in the terminal."""
    from dragoman.terminal import ChatFailed, talk

    chosen = settings()
    kept = chosen.data_dir / "demo.keys"
    if key is None and kept.exists():
        key = kept.read_text().strip().partition("=")[2]
    if key is None:
        fail("no key: give one with --key or DRAGOMAN_KEY", 2)
    try:
        talk(url or chosen.public_url or f"http://{chosen.host}:{chosen.port}", key, agent)
    except ChatFailed as error:
        fail(str(error))


@app.command()
def doctor() -> None:
    """Check settings, database, models, disk and clock; say what to do about each fault."""
    from dragoman.doctor import examine

    found = asyncio.run(examine(settings()))
    for check in found:
        typer.echo(f"{'ok  ' if check.good else 'FAIL'}  {check.what}: {check.finding}")
    if not all(check.good for check in found):
        raise typer.Exit(1)


def main() -> None:
    """The entry point."""
    app(prog_name="dragoman")


if __name__ == "__main__":
    main()
