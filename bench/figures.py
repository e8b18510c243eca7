"""The figures: what load each is made of, in which order the servers take it, and what is computed from it.

A round gives every server its share in turn, so that what disturbs the machine disturbs all alike; a figure is the
median of its rounds. Knows no process' inside and no way to print.
"""

import contextlib
import json
import time
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path
from statistics import median, quantiles

from msgspec.structs import replace

from bench import dialects, processes, retrieval
from bench.history import prompt_tokens, seed
from bench.load import Done, Job
from bench.processes import (
    FIRST,
    HELD,
    IDLE_TENANTS,
    KEY,
    PACED,
    SOCKETS_A_TENANT,
    STREAMED,
    BenchFailed,
    Load,
    Program,
)

TOKENS = {STREAMED: 64, PACED: 64, FIRST: 4, HELD: 20}
LENGTHS = (10, 1_000, 10_000)
WINDOW_TOKENS = 8192
SETTLE_SECONDS = 1.0
QUESTION = "What are your business hours, and are you open on Sundays?"


@dataclass(frozen=True, slots=True)
class Effort:
    """How much is measured: the rounds, and what each round has of turns (or clients)."""

    rounds: int
    streamed_turns: int
    paced_turns_a_client: int
    first_turns: int
    history_copies: int
    history_turns: int
    memory_rounds: int
    dialect_turns: int
    streamed_clients: int = 32
    paced_clients: int = 100
    held_streams: int = 200

    def pieces(self, figure: str) -> int:
        """How many pieces of work a figure is made of."""
        if figure in ("memory", "sockets", "retrieval"):
            return self.memory_rounds
        return self.rounds * {"streamed": 2, "paced": 2, "first": 3, "history": len(LENGTHS), "dialects": 5}[figure]


FULL = Effort(5, 1600, 2, 200, 4, 60, 3, 1600)
QUICK = Effort(3, 512, 1, 40, 2, 16, 1, 320)


@dataclass(frozen=True, slots=True)
class Series:
    """One quantity of one server, a value a round."""

    values: tuple[float, ...]

    @property
    def middle(self) -> float:
        """The median."""
        return median(self.values)


Figure = dict[str, Series]
Step = Callable[[], None]


class Bench:
    """The programs of a run and the figures that are measured on them; `step` is called after each piece of work."""

    def __init__(self, folder: Path, effort: Effort, step: Step) -> None:
        self.folder = folder
        self.effort = effort
        self.step = step
        self._open = contextlib.ExitStack()

    def __enter__(self) -> "Bench":
        with contextlib.ExitStack() as opening:
            self.upstream: Program = opening.enter_context(processes.upstream(self.folder))
            self.load: Load = opening.enter_context(processes.load(self.folder))
            self._open = opening.pop_all()
        return self

    def __exit__(self, *failure: object) -> None:
        self._open.close()

    def streamed(self, dragoman: Program, floor: Program) -> Figure:
        """CPU of a streamed turn in milliseconds, and turns a second, 32 clients without a pace."""
        effort = self.effort
        job = _turns(STREAMED, effort.streamed_turns, effort.streamed_clients)
        servers = {"dragoman": dragoman, "floor": floor}
        self._warm(servers.values(), _turns(STREAMED, 4 * effort.streamed_clients, effort.streamed_clients))
        cpu: dict[str, list[float]] = {name: [] for name in servers}
        rate: dict[str, list[float]] = {name: [] for name in servers}
        for _ in range(effort.rounds):
            for name, server in servers.items():
                seconds, done = self._cpu(server, job)
                cpu[name].append(seconds * 1e3 / job.turns)
                rate[name].append(job.turns / done.seconds)
        return _series(
            cpu_ms=cpu["dragoman"], floor_cpu_ms=cpu["floor"], rate=rate["dragoman"], floor_rate=rate["floor"]
        )

    def paced(self, dragoman: Program, floor: Program) -> Figure:
        """CPU of a token in microseconds, its share of the turn included: 100 clients, 20 ms between tokens."""
        effort = self.effort
        servers = {"dragoman": dragoman, "floor": floor}
        turns = effort.paced_turns_a_client * effort.paced_clients
        # Clients begin at moments of their own, or their tokens would come in step and be read together.
        job = _turns(PACED, turns, effort.paced_clients, spread=0.31)
        self._warm(servers.values(), _turns(STREAMED, effort.paced_clients, effort.paced_clients))
        cpu: dict[str, list[float]] = {name: [] for name in servers}
        for _ in range(effort.rounds):
            for name, server in servers.items():
                seconds, _done = self._cpu(server, job)
                cpu[name].append(seconds * 1e6 / (turns * TOKENS[PACED]))
        return _series(cpu_us=cpu["dragoman"], floor_cpu_us=cpu["floor"])

    def first(self, dragoman: Program, floor: Program) -> Figure:
        """How much later than straight from the model the first token comes, in milliseconds; one client."""
        turns = self.effort.first_turns
        direct = _direct(FIRST, turns)
        through = _turns(FIRST, turns, 1)
        self._warm([dragoman, floor], _turns(FIRST, 10, 1))
        found: dict[str, list[float]] = {name: [] for name in ("p50", "p99", "floor_p50", "floor_p99")}
        for _ in range(self.effort.rounds):
            straight = self._run(self.upstream, direct).first_ms
            ours = self._run(dragoman, through).first_ms
            floors = self._run(floor, through).first_ms
            found["p50"].append(median(ours) - median(straight))
            found["p99"].append(_p99(ours) - _p99(straight))
            found["floor_p50"].append(median(floors) - median(straight))
            found["floor_p99"].append(_p99(floors) - _p99(straight))
        return _series(**found)

    def history(self, data: Path) -> Figure:
        """CPU of a turn in milliseconds, one client, by how many messages its conversation has; `data` is idle.

        Raises:
            BenchFailed: long conversations did not fill the model's window, so there is nothing to compare.
        """
        effort = self.effort
        conversations = seed(data, STREAMED, LENGTHS, effort.history_copies)
        jobs = {
            length: _turns(STREAMED, effort.history_turns, 1, conversations=conversations[length]) for length in LENGTHS
        }
        cpu: dict[int, list[float]] = {length: [] for length in LENGTHS}
        with processes.dragoman(data) as server:
            self._warm([server], _turns(STREAMED, 50, 1))
            for _ in range(effort.rounds):
                for length, job in jobs.items():
                    seconds, _done = self._cpu(server, job)
                    cpu[length].append(seconds * 1e3 / job.turns)
        for length in LENGTHS[1:]:
            if (read := prompt_tokens(data, conversations[length])) < WINDOW_TOKENS / 2:
                raise BenchFailed(f"the model was given {read} tokens of a conversation of {length} messages")
        return _series(**{f"cpu_ms_{length}": values for length, values in cpu.items()})

    def memory(self, data: Path) -> Figure:
        """Private memory of an open stream in kB: 200 at once on a server that is fresh each time."""
        effort = self.effort
        kilobytes: list[float] = []
        for _ in range(effort.memory_rounds):
            with processes.dragoman(data) as server:
                self._warm([server], _turns(STREAMED, 64, 1))
                before = server.private_bytes()
                self.load.begin(server.port, _turns(HELD, effort.held_streams, effort.held_streams, spread=0.5))
                time.sleep(SETTLE_SECONDS)
                kilobytes.append((server.private_bytes() - before) / effort.held_streams / 1000)
                self.load.end()
            self.step()
        return _series(kb=kilobytes)

    def dialects(self, data: Path) -> Figure:
        """CPU of a streamed turn in milliseconds in each contract, side by side, by the dialect's name."""
        effort = self.effort
        with processes.dragoman(data) as server:
            jobs = dialects.jobs(server, effort.dialect_turns, effort.streamed_clients, TOKENS[STREAMED])
            for job in jobs.values():
                self.load.run(server.port, replace(job, turns=2 * effort.streamed_clients))
            cpu: dict[str, list[float]] = {name: [] for name in jobs}
            for _ in range(effort.rounds):
                for name, job in jobs.items():
                    seconds, _done = self._cpu(server, job)
                    cpu[name].append(seconds * 1e3 / job.turns)
        return _series(**cpu)

    def sockets(self, data: Path) -> Figure:
        """Private memory of an idle socket in kB: 2,000 of them at once on a server that is fresh each time."""
        kilobytes: list[float] = []
        for _ in range(self.effort.memory_rounds):
            with processes.dragoman(data) as server:
                paths = dialects.idle_sockets(server, IDLE_TENANTS, SOCKETS_A_TENANT)
                before = server.private_bytes()
                self.load.begin(server.port, Job("", {}, [""], 0, 0, clients=len(paths), sockets=paths))
                time.sleep(SETTLE_SECONDS)
                kilobytes.append((server.private_bytes() - before) / len(paths) / 1000)
                self.load.end()
            self.step()
        return _series(kb=kilobytes)

    def retrieval(self, data: Path) -> Figure:
        """Milliseconds to find what an agent of 20,000 chunks knows about a question, and the store's part of them."""
        rounds = retrieval.ask(data.parent, self.effort.memory_rounds, self.step)
        return _series(
            p50=[median(asked.find_ms) for asked in rounds],
            p99=[_p99(asked.find_ms) for asked in rounds],
            store_p50=[median(asked.store_ms) for asked in rounds],
            store_p99=[_p99(asked.store_ms) for asked in rounds],
        )

    def _cpu(self, server: Program, job: Job) -> tuple[float, Done]:
        before = server.cpu_seconds()
        done = self._run(server, job)
        return server.cpu_seconds() - before, done

    def _run(self, server: Program, job: Job) -> Done:
        done = self.load.run(server.port, job)
        self.step()
        return done

    def _warm(self, servers: Iterable[Program], job: Job) -> None:
        for server in servers:
            self.load.run(server.port, job)


def _turns(
    model: str, turns: int, clients: int, *, spread: float = 0.0, conversations: Sequence[str | None] = (None,)
) -> Job:
    bodies = [{"message": QUESTION, "stream": True, "conversationId": known} for known in conversations]
    return Job(
        path=f"/v1/api/chat/{model}",
        headers={"Authorization": f"Bearer {KEY}"},
        bodies=[json.dumps(body) for body in bodies],
        turns=turns,
        frames=TOKENS[model] + 1,
        clients=clients,
        spread=spread,
    )


def _direct(model: str, turns: int) -> Job:
    body = {"model": model, "stream": True, "messages": [{"role": "user", "content": QUESTION}]}
    # Beside the tokens: the finish, the usage, and [DONE].
    return Job("/v1/chat/completions", {"Authorization": f"Bearer {KEY}"}, [json.dumps(body)], turns, TOKENS[model] + 3)


def _p99(values: Sequence[float]) -> float:
    return quantiles(values, n=100, method="inclusive")[98]


def _series(**values: Sequence[float]) -> Figure:
    return {name: Series(tuple(found)) for name, found in values.items()}
