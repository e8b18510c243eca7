"""The processes of this machine, as the tests look at them."""

import asyncio
import time
from collections.abc import Callable
from pathlib import Path

SOON_SECONDS = 10.0


def children_of(parent: int, module: str) -> list[int]:
    """The processes that run a module, were started by another and are not dead."""
    found = []
    for folder in Path("/proc").glob("[0-9]*"):
        try:
            state, its_parent = (folder / "stat").read_text().rpartition(")")[2].split()[:2]
            command = (folder / "cmdline").read_text()
        except (FileNotFoundError, ProcessLookupError):
            continue
        if int(its_parent) == parent and state != "Z" and module in command:
            found.append(int(folder.name))
    return found


def is_dead(pid: int) -> bool:
    """Whether a process has ended."""
    try:
        return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0] == "Z"
    except (FileNotFoundError, ProcessLookupError):
        return True


def limit_of(pid: int, name: str) -> int:
    """A soft limit of a process; -1 where it has none."""
    [line] = [line for line in Path(f"/proc/{pid}/limits").read_text().splitlines() if line.startswith(name)]
    soft = line.removeprefix(name).split()[0]
    return -1 if soft == "unlimited" else int(soft)


def wait_until(happens: Callable[[], object]) -> None:
    """Wait until something is so."""
    deadline = time.monotonic() + SOON_SECONDS
    while not happens():
        assert time.monotonic() < deadline
        time.sleep(0.02)


async def soon(happens: Callable[[], object]) -> None:
    """Wait until something is so, while the loop goes on."""
    await asyncio.to_thread(wait_until, happens)
