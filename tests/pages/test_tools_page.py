"""The small run of docs/tools.md, and docs/handover.md after it, in one terminal as a reader would."""

import re
import socket
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.support.server import ServerProcess

DOCS = Path(__file__).parents[2] / "docs"
BLOCK = re.compile(r"^```(\w+)\n(.*?)^```$", re.DOTALL | re.MULTILINE)
PORT = "9101"


def blocks(page: str, language: str, until: str | None = None) -> list[str]:
    """The blocks of a page that are in this language, up to a heading."""
    text = (DOCS / page).read_text(encoding="utf-8")
    if until is not None:
        assert until in text
        text = text.partition(until)[0]
    return [body for spoken, body in BLOCK.findall(text) if spoken == language]


@pytest.fixture
def reader(tmp_path: Path) -> Iterator[ServerProcess]:
    """A server that knows nobody yet, and the folder that a reader stands in, with the shop at work."""
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port = str(probe.getsockname()[1])
    (shop,), (manifest, *_) = blocks("tools.md", "python"), blocks("tools.md", "yaml")
    (tmp_path / "shop.py").write_text(shop.replace(PORT, port))
    (tmp_path / "shop.yaml").write_text(manifest.replace(PORT, port))
    (tmp_path / ".venv").mkdir()
    (tmp_path / ".venv" / "bin").symlink_to(Path(sys.executable).parent)
    server = ServerProcess(tmp_path)
    with (
        subprocess.Popen([sys.executable, "shop.py"], cwd=tmp_path, stderr=subprocess.DEVNULL) as selling,
        server,
    ):
        yield server
        selling.kill()
    server.check_log()


def test_an_agent_reads_asks_a_person_and_is_relieved_by_one(reader: ServerProcess) -> None:
    run = blocks("tools.md", "sh", until="\n## One request: `http`")
    script = "\n".join((*run, "echo ======", *blocks("handover.md", "sh")))
    environment = {**reader.environment, "URL": reader.url}
    command = ["bash", "-euo", "pipefail", "-c", script]
    done = subprocess.run(command, cwd=reader.folder, env=environment, capture_output=True, text=True, timeout=60)
    assert done.returncode == 0, done.stderr
    small, _, people = done.stdout.partition("======\n")
    for said in ("Your kettle is packed.", '"state":"pending"', '"decided_by":"Mona"', "\nYour order is cancelled."):
        assert said in small, small
    assert '"state":"denied"' in people
    assert '"content":"Yes, this is Mona."' in people
    assert '"ended_by":"Mona"' in people
