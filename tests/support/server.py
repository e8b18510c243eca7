"""Dragoman as its operator runs it: the real command in a process of its own, killed and started again at will."""

import atexit
import json
import os
import shutil
import signal
import subprocess
import sys
import tempfile
import time
import urllib.error
import urllib.request
from collections.abc import Iterator
from functools import cache
from pathlib import Path
from types import TracebackType
from typing import Any, Self

from dragoman.adapters.store.migrate import migrate_sqlite

KEY = "sk_test_acme_backend_0000000000000000"
OTHER_KEY = "sk_test_other_backend_000000000000000"
COMMAND = (sys.executable, "-m", "dragoman.cli")
SECRET = "a secret of tests, long enough for everything"


@cache
def migrated() -> Path:
    """A database file with the schema and nothing in it, which takes longer to make than to copy."""
    folder = Path(tempfile.mkdtemp(prefix="dragoman-migrated-"))
    atexit.register(shutil.rmtree, folder)
    file = folder / "dragoman.db"
    migrate_sqlite(file)
    return file


class ServerProcess:
    """A server over a data dir. `database_url` None means SQLite in that dir; `settings` are further variables."""

    def __init__(self, folder: Path, *, database_url: str | None = None, **settings: str) -> None:
        self.folder = folder
        self.data_dir = folder / "var"
        self.url = ""
        self.process: subprocess.Popen[bytes] | None = None
        self.environment = {
            **{name: value for name, value in os.environ.items() if not name.startswith("DRAGOMAN_")},
            "DRAGOMAN_DATA_DIR": str(self.data_dir),
            "DRAGOMAN_SECRET": SECRET,
            "DRAGOMAN_LOG_FORMAT": "json",
            **({"DRAGOMAN_DATABASE_URL": database_url} if database_url else {}),
            **settings,
        }
        if database_url:
            self.run("migrate")

    def __enter__(self) -> Self:
        return self.start()

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, at: TracebackType | None) -> None:
        self.stop()

    @property
    def log_file(self) -> Path:
        """What the server has logged, over all its lives."""
        return self.folder / "server.log"

    def run(self, *arguments: str, check: bool = True, given: str = "") -> subprocess.CompletedProcess[str]:
        """Run a `dragoman` command with this server's settings; `given` stands on its standard input."""
        done = subprocess.run(
            [*COMMAND, *arguments], env=self.environment, input=given, capture_output=True, text=True, timeout=60
        )
        if check and done.returncode:
            raise AssertionError(f"dragoman {' '.join(arguments)} exited {done.returncode}: {done.stderr}")
        return done

    def apply(self, manifest: dict[str, Any]) -> dict[str, Any]:
        """Bring the store to a manifest; what `apply --json` prints. A database file that is not there is copied."""
        if not self.data_dir.exists() and "DRAGOMAN_DATABASE_URL" not in self.environment:
            self.data_dir.mkdir(mode=0o700)
            shutil.copy(migrated(), self.data_dir)
        file = self.folder / "manifest.yaml"
        file.write_text(json.dumps(manifest))
        told: dict[str, Any] = json.loads(self.run("apply", "--json", str(file)).stdout)
        return told

    def start(self, *arguments: str, port: int = 0, timeout: float = 30) -> Self:
        """Start to serve and wait until it is ready."""
        offset = self.log_file.stat().st_size if self.log_file.exists() else 0
        with self.log_file.open("ab") as log:
            self.process = subprocess.Popen(
                [*COMMAND, "serve", "--port", str(port), *arguments], env=self.environment, stdout=log, stderr=log
            )
        end = time.monotonic() + timeout
        while time.monotonic() < end:
            if self.process.poll() is not None:
                raise AssertionError(f"the server exited {self.process.returncode}: {self.log_since(offset)}")
            for line in self.log_since(offset).splitlines():
                if '"event":"serving"' in line:
                    self.url = json.loads(line)["address"]
            if self.url and self.is_ready():
                return self
            time.sleep(0.02)
        raise AssertionError(f"the server was not ready within {timeout} s: {self.log_since(offset)}")

    def check_log(self) -> None:
        """Nothing may have surprised the server."""
        log = self.log_file.read_text()
        assert '"event":"unforeseen"' not in log
        assert '"level":"error"' not in log

    def log_since(self, offset: int) -> str:
        """What was logged after this many bytes."""
        with self.log_file.open("rb") as log:
            log.seek(offset)
            return log.read().decode(errors="replace")

    def is_ready(self) -> bool:
        """Whether /readyz says 200."""
        try:
            with urllib.request.urlopen(f"{self.url}/readyz", timeout=5) as response:
                return bool(response.status == 200)
        except (urllib.error.URLError, OSError):
            return False

    @property
    def pid(self) -> int:
        """The process that serves."""
        if self.process is None:
            raise AssertionError("the server was not started")
        return self.process.pid

    def kill9(self) -> None:
        """Pull the plug."""
        if self.process is not None:
            self.process.kill()
            self.process.wait()
        self.url = ""

    def stop(self, timeout: float = 40) -> int:
        """SIGTERM, and the exit status."""
        if self.process is None:
            return 0
        if self.process.poll() is None:
            self.process.send_signal(signal.SIGTERM)
        status = self.process.wait(timeout)
        self.url = ""
        return status


def serving(folder: Path, manifest: dict[str, Any], **settings: str) -> Iterator[ServerProcess]:
    """A server of these tenants, for a fixture; nothing that tests send it may surprise it."""
    server = ServerProcess(folder, **settings)
    server.apply(manifest)
    with server:
        yield server
    server.check_log()


def manifest(*agents: dict[str, Any], **tenant: Any) -> dict[str, Any]:
    """A manifest of tenant `acme` with these agents and one key, and of tenant `other` with a key and one agent."""
    return {
        "models": [{"name": "priced", "credits_per_turn": 5}],
        "tenants": [
            {
                "id": "acme",
                "name": "Acme",
                "plan": "enterprise",
                "keys": [{"name": "backend", "type": "secret", "value": KEY}],
                "agents": list(agents),
                **tenant,
            },
            {
                "id": "other",
                "name": "Other",
                "plan": "enterprise",
                "keys": [{"name": "backend", "type": "secret", "value": OTHER_KEY}],
                "agents": [scripted("Other Agent")],
            },
        ],
    }


def scripted(name: str = "Support Agent", *script: Any, **agent: Any) -> dict[str, Any]:
    """An agent that answers from a script."""
    return {"name": name, "model": {"provider": "scripted", "script": list(script)}, **agent}


def upstream_agent(url: str, model: str, name: str = "Support Agent", **agent: Any) -> dict[str, Any]:
    """An agent whose answers come from a model server; `model` holds the directives of tests.support.upstream."""
    return {"name": name, "model": {"provider": "openai", "name": model, "base_url": url}, **agent}
