"""docs/knowledge.md: its commands run as they stand, its manifest is one, its bounds are those of the code."""

import re
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from dragoman.adapters import egress, pages
from dragoman.adapters.parsing import csvtable, pdf, process, sections
from dragoman.services import ingestion, knowledge, manifest
from tests.support.embeddings import embedding
from tests.support.server import KEY, ServerProcess, scripted, serving
from tests.support.server import manifest as tenants

TEXT = (Path(__file__).parents[2] / "docs" / "knowledge.md").read_text(encoding="utf-8")


def blocks(kind: str) -> list[str]:
    return re.findall(rf"```{kind}\n(.*?)```", TEXT, re.DOTALL)


@pytest.fixture(scope="module")
def server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[ServerProcess]:
    """A server with the agent that the page talks to."""
    with embedding() as vendor:
        agent = scripted("Support Agent", {"text": "Behind the house."}, embedder=vendor.embedder)
        yield from serving(tmp_path_factory.mktemp("server"), tenants(agent))


def test_every_command_of_the_page_runs_as_it_stands(server: ServerProcess, tmp_path: Path) -> None:
    commands = tmp_path / ".venv" / "bin"
    commands.parent.mkdir()
    commands.symlink_to(Path(sys.executable).parent)
    environment = {**server.environment, "URL": server.url, "KEY": KEY}
    script = "set -euo pipefail\n" + "\necho\n".join(blocks("sh"))
    done = subprocess.run(
        ["bash", "-c", script], cwd=tmp_path, env=environment, capture_output=True, text=True, timeout=60
    )
    assert done.returncode == 0, done.stdout[-500:] + done.stderr
    for title in ("returns.md", "prices.csv", "Parking"):
        assert re.search(rf"^ready    doc_[0-9a-f]{{32}}  {title}$", done.stdout, re.MULTILINE)
    assert "event: ready" in done.stdout
    assert '"title":"Parking"' in done.stdout.splitlines()[-1]


def test_the_manifest_of_the_page_is_one() -> None:
    (text,) = blocks("yaml")
    (agent,) = manifest.read(text).tenants[0].agents
    assert [each.type for each in agent.knowledge] == ["qa", "text", "website"]


def test_the_bounds_of_the_page_are_those_of_the_code() -> None:
    pauses = [ingestion.FIRST_PAUSE_US * 4**attempt // 1_000_000 for attempt in range(ingestion.TRIES - 1)]
    bounds = egress.Bounds()
    for told in (
        f"{knowledge.FILE_CAP >> 20} MiB; a file of text {sections.MAX_CHARACTERS:,} characters",
        f"{knowledge.TEXT_CAP:,} characters",
        f"{pdf.MAX_PAGES:,} pages",
        f"{csvtable.MAX_ROWS:,} rows of {csvtable.MAX_COLUMNS:,} columns",
        f"{pages.MAX_PAGES} pages, of {bounds.body_bytes >> 20} MiB each, {bounds.seconds:.0f} s for each",
        f"{pages.MAX_SITEMAPS} sitemaps",
        f"{process.SECONDS_PER_DOCUMENT:.0f} s and 1 GiB",
        f"{', '.join(f'{pause} s' for pause in pauses[:-1])} and {pauses[-1]} s",
    ):
        assert told in TEXT, told
