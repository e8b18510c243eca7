"""docs/management.md: its commands run as they stand, and leave out no route."""

import os
import re
import shutil
import subprocess
from collections.abc import Iterator
from pathlib import Path

import pytest

from dragoman.management import DIALECT
from dragoman.web.openapi import operations
from tests.support.embeddings import HEARD, embedding
from tests.support.server import KEY, ServerProcess, manifest, scripted, serving

TEXT = (Path(__file__).parents[2] / "docs" / "management.md").read_text(encoding="utf-8")
BLOCKS = re.findall(r"```sh\n(.*?)```", TEXT, re.DOTALL)

SPEECH = Path(__file__).parents[1] / "data" / "speech" / "hours.webm"


@pytest.fixture(scope="module")
def server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[ServerProcess]:
    """A server with the agent that the page talks to."""
    with embedding() as vendor:
        agent = scripted(embedder=vendor.embedder, transcriber=vendor.transcriber)
        yield from serving(tmp_path_factory.mktemp("server"), manifest(agent))


def test_every_command_of_the_page_runs_as_it_stands(server: ServerProcess, tmp_path: Path) -> None:
    script = "set -euo pipefail\n" + "\necho\n".join(BLOCKS)
    shutil.copy(SPEECH, tmp_path / "question.webm")
    environment = {**os.environ, "URL": server.url, "KEY": KEY}
    done = subprocess.run(
        ["bash", "-c", script], cwd=tmp_path, env=environment, capture_output=True, text=True, timeout=60
    )
    assert done.returncode == 0, done.stdout[-500:] + done.stderr
    assert '"instructions":"You sell kindly."' in done.stdout
    assert '"role":"assistant"' in done.stdout
    assert "event: ready" in done.stdout
    assert f'"transcript":"{HEARD}"' in done.stdout
    assert (tmp_path / "recording.webm").read_bytes() == SPEECH.read_bytes()
    assert '"action":"conversation.deleted"' in done.stdout


def test_every_route_has_a_command() -> None:
    lines = [
        line for block in BLOCKS for line in block.splitlines() if line.startswith("manage ") or "$(manage" in line
    ]
    shown = []
    for line in lines:
        path = re.search(r"manage \"?(/[^\s\"?]*)", line)
        method = re.search(r"-X (\w+)", line)
        assert path is not None, line
        shown.append((method[1] if method else "GET", path[1]))
    for route, _ in operations(DIALECT):
        pattern = re.sub(r"{\w+}", "[^/]+", route.path_format.removeprefix("/manage/v1"))
        for method in route.methods or ():
            assert any(method == said and re.fullmatch(pattern, path) for said, path in shown), (method, pattern)


def test_every_action_of_the_audit_log_is_explained() -> None:
    source = Path(__file__).parents[2] / "src" / "dragoman"
    names = ("agents", "audit", "deployments", "operator", "people", "tenants")
    services = [source / "services" / f"{name}.py" for name in names]
    nouns = "agent|approval|document|deployment|handover|key|conversation|turn|tenant|manifest"
    said = set()
    for file in (*services, *(source / "management").glob("*.py")):
        said |= set(re.findall(rf'"((?:{nouns})\.[a-z_]+)"', file.read_text()))
    assert "agent.rolled_back" in said
    for action in said:
        assert f"`{action}`" in TEXT, action
