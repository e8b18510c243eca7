"""What `dragoman ingest` does: sources given to an agent and followed to their end. Knows no step's inside."""

import asyncio
import contextlib
import sys
import time
from collections.abc import AsyncIterator, Awaitable, Callable, Coroutine, Sequence
from pathlib import Path
from types import TracebackType
from typing import Any, NamedTuple

from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TaskID, TextColumn, TimeElapsedColumn

from dragoman.core.conversations import title_from
from dragoman.core.text import can_be_kept
from dragoman.server.control import ask
from dragoman.settings import Settings

LOOK_SECONDS = 0.25
# So long a server that shares the database may take to begin; then the work is done here.
PATIENCE_SECONDS = 5.0
LONGEST_TITLE = 200

Shown = dict[str, Any]
Do = Callable[..., Awaitable[Any]]
Work = Callable[[], Coroutine[Any, Any, None]]

OPEN = ("queued", "working")
GONE = {"state": "failed", "error": "it was deleted meanwhile"}


class WrongSource(Exception):
    """A source is none; the text says why."""


class Offer(NamedTuple):
    """Something to know: `source` is a text, the address of a website, or the absolute path of a file."""

    type: str
    title: str
    source: str


def offers_of(sources: Sequence[str], title: str | None) -> list[Offer]:
    """What is given on the command line: paths of files, addresses, and ``-`` for what stands on standard input.

    Raises:
        WrongSource
    """
    if title is not None and len(sources) > 1:
        raise WrongSource("--title is for one source")
    if sources.count("-") > 1:
        raise WrongSource("- is there twice, and standard input can be read once")
    offers = [_offer(source, title) for source in sources]
    for source, offer in zip(sources, offers, strict=True):
        if not can_be_kept(list(offer)):
            raise WrongSource(f"{source!r}: names and text must be UTF-8 without U+0000")
    return offers


def _offer(source: str, title: str | None) -> Offer:
    if source == "-":
        try:
            text = sys.stdin.buffer.read().decode()
        except UnicodeDecodeError as error:
            raise WrongSource("-: standard input is not UTF-8") from error
        if not text.strip():
            raise WrongSource("-: standard input is empty")
        return Offer("text", title or title_from(text), text)
    if source.startswith(("http://", "https://")):
        return Offer("website", title or source[:LONGEST_TITLE], source)
    path = Path(source).absolute()
    if path.is_dir():
        raise WrongSource(f"{source}: is a directory; name the files in it")
    if not path.is_file():
        raise WrongSource(f"{source}: there is no such file")
    kind = "table" if path.suffix.lower() in (".csv", ".tsv") else "file"
    return Offer(kind, title or path.name[-LONGEST_TITLE:], str(path))


async def ingest(
    settings: Settings, agent: str, tenant: str | None, offers: Sequence[Offer], *, wait: bool
) -> Sequence[Shown]:
    """Have an agent know what is offered; how far each is in the end, or at once where it is not waited for.

    A server that runs does the work; where none does, it is done here.

    Raises:
        DragomanError, Refused: there is no such agent, or there are several.
        StoreUnusable, SettingsError, OSError: the database cannot be opened.
    """
    wanted = {"agent": agent, "tenant": tenant, "offers": [each._asdict() for each in offers]}
    if settings.on_sqlite:

        async def asked(verb: str, **arguments: Any) -> Any:
            return await asyncio.to_thread(ask, settings.control_socket, verb, arguments)

        with contextlib.suppress(ConnectionError):  # no server runs: the file is ours to open
            given = await asked("ingest", **wanted)
            return await _followed(asked, given) if wait else given
    async with opened(settings) as (do, work):
        given = await do("ingest", **wanted)
        return await _followed(do, given, work, 0.0 if settings.on_sqlite else PATIENCE_SECONDS) if wait else given


@contextlib.asynccontextmanager
async def opened(settings: Settings) -> AsyncIterator[tuple[Do, Work]]:
    """The store, opened here: an operator's verbs, and what works on what they queue until it is cancelled."""
    from dragoman import telemetry
    from dragoman.adapters.store import open_store
    from dragoman.app import make_evaluation, make_ingestion, make_operator, make_vendors

    telemetry.configure("warning", settings.log_format)
    store = await open_store(settings.database)
    async with contextlib.AsyncExitStack() as stack:
        stack.push_async_callback(store.close)
        vendors = make_vendors(settings, stack)
        ingestion = make_ingestion(store, vendors)
        operator, _ = make_operator(settings, store, ingestion.wake, make_evaluation(settings, store, vendors))

        async def do(verb: str, **arguments: Any) -> Any:
            return await operator.do(verb, arguments)

        yield do, ingestion.run_for_ever


@contextlib.asynccontextmanager
async def asking(settings: Settings) -> AsyncIterator[Do]:
    """An operator's verbs: done by the server that runs, else here, where what is queued is then worked on too."""
    if settings.on_sqlite:

        async def asked(verb: str, **arguments: Any) -> Any:
            return await asyncio.to_thread(ask, settings.control_socket, verb, arguments)

        running = False
        with contextlib.suppress(ConnectionError):
            await asked("documents", tenant="", ids=[])
            running = True
        if running:
            yield asked
            return
    async with opened(settings) as (do, work):
        working = asyncio.create_task(work())
        try:
            yield do
        finally:
            working.cancel()
            await asyncio.gather(working, return_exceptions=True)


async def _followed(do: Do, given: Sequence[Shown], work: Work | None = None, patience: float = 0.0) -> Sequence[Shown]:
    """Show how far documents are until all have come to an end; `work` begins where nobody else has in time."""
    shown, begins = given, time.monotonic() + patience
    working: asyncio.Task[None] | None = None
    with Steps() as steps:
        try:
            while waiting := [each for each in shown if each["state"] in OPEN]:
                steps.show(shown)
                nobody = all(each["state"] == "queued" for each in waiting)
                if work is not None and working is None and nobody and time.monotonic() >= begins:
                    working = asyncio.create_task(work())
                await asyncio.sleep(LOOK_SECONDS)
                ids = [each["id"] for each in waiting]
                told = {each["id"]: each for each in await do("documents", tenant=waiting[0]["tenant"], ids=ids)}
                shown = [told.get(each["id"], {**each, **GONE}) if each["state"] in OPEN else each for each in shown]
            steps.show(shown)
        finally:
            if working is not None:
                # What is left is others', and durable: whoever comes next goes on with it.
                working.cancel()
                await asyncio.gather(working, return_exceptions=True)
    return shown


class Steps:
    """A bar for each document, on stderr; off a terminal, a line for each step."""

    def __init__(self) -> None:
        console = Console(stderr=True)
        self._plain = not console.is_terminal
        self._progress = Progress(
            TextColumn("{task.description}", markup=False),
            TextColumn("{task.fields[step]}", markup=False),
            BarColumn(),
            MofNCompleteColumn(),
            TimeElapsedColumn(),
            console=console,
            disable=self._plain,
        )
        self._tasks: dict[int, TaskID] = {}
        self._told: dict[int, str] = {}

    def __enter__(self) -> "Steps":
        self._progress.start()
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, at: TracebackType | None) -> None:
        self._progress.stop()

    def show(self, documents: Sequence[Shown]) -> None:
        """Show how far documents are, always the same ones in the same order."""
        for at, document in enumerate(documents):
            step = document["step"] if document["state"] in OPEN else document["state"]
            said = f"{step}: {document['error']}" if document["state"] == "queued" and document["error"] else step
            if self._plain:
                if self._told.get(at) != said:
                    self._told[at] = said
                    sys.stderr.write(f"{document['title']}  {said}\n")
                continue
            if at not in self._tasks:
                self._tasks[at] = self._progress.add_task(document["title"], step=said, total=None)
            done, total = document.get("done", 0), document.get("total") or None
            self._progress.update(self._tasks[at], step=said, completed=done, total=total)
