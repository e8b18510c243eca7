"""The programs of a run, each in a process of its own: how they are started, watched, weighed and ended.

CPU and memory are read from the kernel, for a process and all that descend from it. Knows no figure.
"""

import contextlib
import os
import shutil
import socket
import subprocess
import sys
import time
import urllib.error
import urllib.request
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

import msgspec
import yaml

from bench.load import Done, Failed, Job, Opened, Report

KEY = "sk_bench_side_by_side_0000000000000000"
TENANT = "bench"
STREAMED, PACED, FIRST, HELD = "bench-64", "bench-64-20ms", "bench-4-5ms", "bench-20-250ms"
MODELS = (STREAMED, PACED, FIRST, HELD)
# An agent that sees next to nothing of its conversation: what turns cost does not grow with what was said before.
FORGETFUL = "forgetful"
AGENT_ID = "bbbbbbbb-0000-4000-8000-000000000001"
UNLIMITED = 100_000_000
# A tenant holds fifty sockets open at the most, so idle ones take several.
IDLE_TENANTS = tuple(f"idle-{number}" for number in range(40))
SOCKETS_A_TENANT = 50
START_SECONDS = 30
STOP_SECONDS = 30


class BenchFailed(Exception):
    """The run cannot give honest figures; the text says what broke."""


class Program:
    """A process that was started here. `log` is where its standard error goes."""

    def __init__(self, process: subprocess.Popen[bytes], port: int, log: Path) -> None:
        self.process = process
        self.port = port
        self.log = log

    @property
    def url(self) -> str:
        """Where it listens."""
        return f"http://127.0.0.1:{self.port}"

    def cpu_seconds(self) -> float:
        """CPU time that its family has used, all threads and both user and system time."""
        # The id of another process' CPU clock, as clock_getcpuclockid(3) makes it.
        return sum(time.clock_gettime((~pid << 3) | 2) for pid in _family(self.process.pid))

    def private_bytes(self) -> int:
        """Memory that only its family has: private pages, clean and dirty."""
        total = 0
        for pid in _family(self.process.pid):
            for line in Path(f"/proc/{pid}/smaps_rollup").read_text().splitlines():
                if line.startswith(("Private_Clean:", "Private_Dirty:")):
                    total += int(line.split()[1]) * 1024
        return total

    def wait_ready(self, path: str | None) -> None:
        """Wait until it takes connections, and until `path` answers 200 where one is given.

        Raises:
            BenchFailed: it ended, or is not ready in time.
        """
        deadline = time.monotonic() + START_SECONDS
        while time.monotonic() < deadline:
            if self.process.poll() is not None:
                raise BenchFailed(f"a server ended with status {self.process.returncode}: {self.tail()}")
            with contextlib.suppress(OSError, urllib.error.URLError):
                if path is None:
                    socket.create_connection(("127.0.0.1", self.port), timeout=1).close()
                    return
                with urllib.request.urlopen(self.url + path, timeout=2):
                    return
            time.sleep(0.02)
        raise BenchFailed(f"a server was not ready within {START_SECONDS} s: {self.tail()}")

    def tail(self) -> str:
        """The last lines of its log."""
        return "\n".join(self.log.read_text(errors="replace").splitlines()[-15:])


class Load:
    """The load generator, and the way to give it jobs."""

    def __init__(self, process: subprocess.Popen[bytes], log: Path) -> None:
        self._process = process
        self._log = log
        self._decode: msgspec.json.Decoder[Any] = msgspec.json.Decoder(Report)

    def begin(self, port: int, job: Job) -> None:
        """Give it a job and come back once each client has the first frame of its first answer."""
        assert self._process.stdin is not None
        self._process.stdin.write(msgspec.json.encode(msgspec.structs.replace(job, port=port)) + b"\n")
        self._process.stdin.flush()
        if not isinstance(self._next(), Opened):
            raise BenchFailed("a job ended before its clients had begun")

    def end(self) -> Done:
        """Wait until the job is done.

        Raises:
            BenchFailed: a turn of it failed.
        """
        report = self._next()
        if not isinstance(report, Done):
            raise BenchFailed("the load generator is out of step")
        return report

    def run(self, port: int, job: Job) -> Done:
        """Do a job from its begin to its end."""
        self.begin(port, job)
        return self.end()

    def _next(self) -> Report:
        assert self._process.stdout is not None
        line = self._process.stdout.readline()
        if not line:
            raise BenchFailed(f"the load generator ended: {self._log.read_text(errors='replace')[-2000:]}")
        report: Report = self._decode.decode(line)
        if isinstance(report, Failed):
            raise BenchFailed(f"a turn failed: {report.reason}")
        return report


@contextlib.contextmanager
def load(folder: Path) -> Iterator[Load]:
    """The load generator, until the block ends."""
    log = folder / "load.log"
    with _process(["-m", "bench.load"], log, piped=True) as process:
        yield Load(process, log)


@contextlib.contextmanager
def upstream(folder: Path) -> Iterator[Program]:
    """The scripted model server, until the block ends."""
    port = _free_port()
    with _process(["-m", "bench.upstream", f"--port={port}"], folder / "upstream.log") as process:
        program = Program(process, port, folder / "upstream.log")
        program.wait_ready(None)
        yield program


@contextlib.contextmanager
def floor(folder: Path, model: Program) -> Iterator[Program]:
    """The floor on a fresh database, until the block ends."""
    port = _free_port()
    arguments = ["-m", "bench.floor", f"--port={port}", f"--upstream={model.url}/v1", f"--key={KEY}"]
    arguments.append(f"--database={folder / 'floor.db'}")
    with _process(arguments, folder / "floor.log") as process:
        program = Program(process, port, folder / "floor.log")
        program.wait_ready(None)
        yield program


def install(folder: Path, model: Program) -> Path:
    """A data directory of Dragoman with the tenant, the key and the agents of the bench, made as a user would.

    Raises:
        BenchFailed: `dragoman apply` refused.
    """
    data = folder / "data"
    shutil.rmtree(data, ignore_errors=True)
    manifest = folder / "manifest.yaml"
    manifest.write_text(yaml.safe_dump(_manifest(f"{model.url}/v1"), sort_keys=False))
    command = [*_dragoman(), "apply", str(manifest)]
    applied = subprocess.run(command, env=_environment(data), capture_output=True, text=True, check=False)
    if applied.returncode:
        raise BenchFailed(f"dragoman apply failed with status {applied.returncode}: {applied.stderr[-2000:]}")
    return data


@contextlib.contextmanager
def dragoman(data: Path) -> Iterator[Program]:
    """Dragoman on a data directory, as `dragoman serve` with its logs on, until the block ends."""
    port = _free_port()
    log = data.parent / "dragoman.log"
    with _process([*_dragoman()[1:], "serve", f"--port={port}"], log, environment=_environment(data)) as process:
        program = Program(process, port, log)
        program.wait_ready("/readyz")
        yield program


def _dragoman() -> list[str]:
    return [sys.executable, str(Path(sys.executable).with_name("dragoman"))]


def _environment(data: Path) -> Mapping[str, str]:
    inherited = {name: value for name, value in os.environ.items() if not name.startswith("DRAGOMAN_")}
    return inherited | {"DRAGOMAN_DATA_DIR": str(data), "DRAGOMAN_LOG_LEVEL": "info"}


def _manifest(model_url: str) -> dict[str, Any]:
    agents = [
        {"name": name, "slug": name, "model": {"provider": "openai", "name": name, "base_url": model_url}}
        for name in MODELS
    ]
    model = {"provider": "openai", "name": STREAMED, "base_url": model_url, "context_tokens": 256, "max_tokens": 200}
    agents.append({"id": AGENT_ID, "name": FORGETFUL, "slug": FORGETFUL, "model": model})
    buckets = dict.fromkeys(("chat_per_minute", "stream_per_minute", "manage_per_minute"), UNLIMITED)
    tenants = [_tenant(TENANT, {"value": KEY, "limits": buckets}, agents, FORGETFUL)]
    for name in IDLE_TENANTS:
        quiet = {"name": "Quiet", "slug": "quiet", "model": {"provider": "scripted"}}
        tenants.append(_tenant(name, {"value": idle_key(name)}, [quiet], "quiet"))
    return {"tenants": tenants}


def idle_key(tenant: str) -> str:
    """The key of a tenant whose sockets say nothing."""
    return f"sk_bench_{tenant}_00000000000000000000000"


def _tenant(name: str, key: Mapping[str, Any], agents: Sequence[Mapping[str, Any]], default: str) -> dict[str, Any]:
    return {
        "id": name,
        "name": name,
        "plan": "enterprise",
        "limits": {"per_minute": UNLIMITED},
        "default_agent": default,
        "keys": [{"name": "load", "type": "secret", **key}],
        "agents": list(agents),
    }


@contextlib.contextmanager
def _process(
    arguments: Sequence[str], log: Path, *, environment: Mapping[str, str] | None = None, piped: bool = False
) -> Iterator[subprocess.Popen[bytes]]:
    pipe = subprocess.PIPE if piped else subprocess.DEVNULL
    with log.open("wb") as errors:
        process = subprocess.Popen(
            [sys.executable, *arguments], stdin=pipe, stdout=pipe, stderr=errors, env=environment
        )
    try:
        yield process
    finally:
        process.terminate()
        try:
            process.wait(STOP_SECONDS)
        except subprocess.TimeoutExpired:
            process.kill()
            process.wait()


def _family(pid: int) -> list[int]:
    children = Path(f"/proc/{pid}/task/{pid}/children").read_text().split()
    return [pid, *(member for child in children for member in _family(int(child)))]


def _free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])
