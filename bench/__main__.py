"""``python -m bench``: measures Dragoman beside its floor, prints a table, writes ``bench/results/latest.json``."""

import contextlib
import json
import tempfile
from pathlib import Path
from typing import Annotated

import typer
from rich.console import Console
from rich.progress import BarColumn, Progress, TextColumn, TimeElapsedColumn

from bench import processes, report
from bench.figures import FULL, QUICK, Bench, Effort, Figure
from bench.processes import BenchFailed

FIGURES = ("streamed", "paced", "first", "history", "memory", "sockets", "dialects", "retrieval")
RESULT = Path(__file__).with_name("results") / "latest.json"


def run(
    quick: Annotated[
        bool, typer.Option("--quick", envvar="BENCH_QUICK", help="Fewer turns: under 45 s, and noisier.")
    ] = False,
    only: Annotated[
        str, typer.Option(help=f"Figures to measure, of {','.join(FIGURES)}; nothing is written.")
    ] = ",".join(FIGURES),
) -> None:
    """Measure Dragoman and its floor side by side: CPU, first tokens, memory. Takes up to five minutes."""
    wanted = [name.strip() for name in only.split(",")]
    if unknown := sorted(set(wanted) - set(FIGURES)):
        raise typer.BadParameter(f"no such figure: {', '.join(unknown)}", param_hint="--only")
    try:
        found = _measure(QUICK if quick else FULL, wanted)
    except BenchFailed as error:
        Console(stderr=True).print(f"The bench failed: {error}", style="red", markup=False)
        raise typer.Exit(1) from error
    Console().print(report.table(found))
    if set(wanted) == set(FIGURES):
        RESULT.parent.mkdir(exist_ok=True)
        RESULT.write_text(json.dumps(report.document(found), indent=2) + "\n")


def _measure(effort: Effort, wanted: list[str]) -> dict[str, Figure]:
    found: dict[str, Figure] = {}
    with contextlib.ExitStack() as stack:
        folder = Path(stack.enter_context(tempfile.TemporaryDirectory(prefix="dragoman-bench-")))
        columns = TextColumn("{task.description}"), BarColumn(), TimeElapsedColumn()
        progress = stack.enter_context(Progress(*columns, console=Console(stderr=True), transient=True))
        total = sum(effort.pieces(name) for name in wanted)
        task = progress.add_task("starting", total=total)
        bench = stack.enter_context(Bench(folder, effort, lambda: progress.advance(task)))

        data = processes.install(folder, bench.upstream)
        alone = {
            "history": bench.history,
            "memory": bench.memory,
            "sockets": bench.sockets,
            "dialects": bench.dialects,
            "retrieval": bench.retrieval,
        }
        beside = {"streamed": bench.streamed, "paced": bench.paced, "first": bench.first}
        if both := [name for name in wanted if name in beside]:
            with processes.dragoman(data) as dragoman, processes.floor(folder, bench.upstream) as floor:
                for name in both:
                    progress.update(task, description=name)
                    found[name] = beside[name](dragoman, floor)
        for name in wanted:
            if name in alone:
                progress.update(task, description=name)
                found[name] = alone[name](data)
    return found


if __name__ == "__main__":
    typer.run(run)
