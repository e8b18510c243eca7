"""`dragoman ingest`: by a server that runs and without one, what it prints, how it exits, what agents know then."""

import json
import subprocess
import urllib.request
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import yaml

from dragoman.core.ids import prefixed
from tests.support.embeddings import Embeddings, embedding
from tests.support.postgres import TemporaryPostgres
from tests.support.server import COMMAND, KEY, ServerProcess, manifest, scripted
from tests.test_cli import failed

RETURNS = "# Returns\n\nGoods may be sent back for 30 days.\n"
NO_PDF = b"%PDF-1.7\n" + b"nothing of a document " * 20


@pytest.fixture(scope="module")
def embeddings() -> Iterator[Embeddings]:
    with embedding() as served:
        yield served


@pytest.fixture
def place(tmp_path: Path, embeddings: Embeddings) -> ServerProcess:
    """A data dir with an agent in it, and no server."""
    process = ServerProcess(tmp_path)
    process.apply(tenants(embeddings))
    return process


@pytest.fixture(scope="module")
def served(tmp_path_factory: pytest.TempPathFactory, embeddings: Embeddings) -> Iterator[ServerProcess]:
    """The same with a server."""
    process = ServerProcess(tmp_path_factory.mktemp("server"))
    process.apply(tenants(embeddings))
    with process:
        yield process
    process.check_log()


def tenants(embeddings: Embeddings) -> dict[str, Any]:
    """Tenant `acme` with an agent of its own name, and one that `other` has too."""
    knowing = {"embedder": embeddings.embedder}
    return manifest(scripted("Support Agent", **knowing), scripted("Other Agent", **knowing))


def write(folder: Path, name: str, content: str | bytes) -> str:
    file = folder / name
    file.write_bytes(content if isinstance(content, bytes) else content.encode())
    return str(file)


def ingest(place: ServerProcess, *arguments: str, said: str = "") -> subprocess.CompletedProcess[str]:
    """The command with this on standard input; the test looks at how it went."""
    return subprocess.run(
        [*COMMAND, "ingest", *arguments],
        env=place.environment,
        cwd=place.folder,
        input=said,
        capture_output=True,
        text=True,
        timeout=60,
    )


def printed(done: subprocess.CompletedProcess[str]) -> list[list[str]]:
    """State, id and title of each document that a good run has printed."""
    assert done.returncode == 0, done.stderr
    return [line.split(maxsplit=2) for line in done.stdout.splitlines()]


def documents(server: ServerProcess, agent: str = "support-agent") -> list[dict[str, Any]]:
    """What an agent was given, by the management API, newest first."""
    url = f"{server.url}/manage/v1/agents/{agent}/documents?limit=100"
    request = urllib.request.Request(url, headers={"Authorization": f"Bearer {KEY}"})
    with urllib.request.urlopen(request, timeout=10) as response:
        found: list[dict[str, Any]] = json.load(response)["data"]
        return found


def test_a_running_server_takes_files_and_text_and_tells_when_they_are_known(
    served: ServerProcess, tmp_path: Path
) -> None:
    write(served.folder, "returns.md", RETURNS)
    prices = write(tmp_path, "prices.csv", "item,price\nlamp,40 EUR\n")
    done = ingest(served, "support-agent", "returns.md", prices, "-", said="Cars stand behind\nthe house.")
    told = printed(done)
    assert [state for state, _, _ in told] == ["ready"] * 3
    assert [title for _, _, title in told] == ["returns.md", "prices.csv", "Cars stand behind the house."]
    known = {each["id"]: each for each in documents(served)}
    assert [known[id]["type"] for _, id, _ in told] == ["file", "table", "text"]
    assert {known[id]["managed"] for _, id, _ in told} == {"api"}
    # Off a terminal the bars are lines, one for each step that was seen.
    lines = done.stderr.splitlines()
    for title in ("returns.md", "prices.csv", "Cars stand behind the house."):
        assert f"{title}  ready" in lines


def test_without_a_server_the_work_is_done_at_once(
    place: ServerProcess, embeddings: Embeddings, tmp_path: Path
) -> None:
    returns = write(tmp_path, "returns.md", RETURNS)
    ((state, id, title),) = printed(ingest(place, "support-agent", returns, "--title", "Returns policy"))
    assert (state, title) == ("ready", "Returns policy")
    assert any("sent back for 30 days" in text for text in embeddings.texts)
    with place:
        (known,) = documents(place)
    assert (known["id"], known["state"], known["title"]) == (id, "ready", "Returns policy")


def test_the_same_source_again_takes_the_place_of_what_it_was(
    served: ServerProcess, embeddings: Embeddings, tmp_path: Path
) -> None:
    file = write(tmp_path, "again.md", "First words.")
    (first,) = printed(ingest(served, "support-agent", file))
    embedded = len(embeddings.texts)
    assert printed(ingest(served, "support-agent", file)) == [first]
    assert embeddings.texts[embedded:] == []
    write(tmp_path, "again.md", "Other words.")
    assert printed(ingest(served, "support-agent", file)) == [first]
    assert any("Other words." in text for text in embeddings.texts[embedded:])
    assert [each["title"] for each in documents(served)].count("again.md") == 1


@pytest.mark.parametrize("running", [True, False])
def test_one_that_cannot_be_read_says_why_and_the_others_are_taken(
    request: pytest.FixtureRequest, tmp_path: Path, running: bool
) -> None:
    place: ServerProcess = request.getfixturevalue("served" if running else "place")
    sources = [
        write(tmp_path, "broken.pdf", NO_PDF),
        write(tmp_path, "good.md", RETURNS),
        write(tmp_path, "picture.png", b"\x89PNG\r\n\x1a\n\0\0"),
    ]
    done = ingest(place, "support-agent", *sources)
    assert done.returncode == 1
    assert [line.split()[::2] for line in done.stdout.splitlines()] == [["ready", "good.md"]]
    said = [line for line in done.stderr.splitlines() if line.startswith("dragoman: ")]
    assert [line.split(": ")[1] for line in said] == ["broken.pdf", "picture.png"]
    assert all(line.split(": ", 2)[2] for line in said)
    assert "upload PDF" in said[1]
    # Where it is named again, it is tried again.
    assert ingest(place, "support-agent", sources[0]).returncode == 1


def test_what_is_no_source_is_wrong_usage(place: ServerProcess, tmp_path: Path) -> None:
    file = write(tmp_path, "good.md", RETURNS)
    for told, *arguments in (
        ("is a directory; name the files in it", str(tmp_path)),
        ("there is no such file", str(tmp_path / "nothing.md")),
        ("--title is for one source", file, file, "--title", "Two"),
        ("standard input is empty", "-"),
        ("- is there twice", "-", "-"),
        ("must be UTF-8 without U+0000", write(tmp_path, "name-\udcff.md", RETURNS)),
        ("must be UTF-8 without U+0000", file, "--title", "half \udcff"),
    ):
        done = ingest(place, "support-agent", *arguments)
        assert (done.returncode, done.stdout) == (2, "")
        assert len(done.stderr.splitlines()) == 1
        assert told in done.stderr


@pytest.mark.parametrize("running", [True, False])
def test_an_agent_is_named_so_that_it_is_one(request: pytest.FixtureRequest, tmp_path: Path, running: bool) -> None:
    place: ServerProcess = request.getfixturevalue("served" if running else "place")
    file = write(tmp_path, "named.md", RETURNS)
    failed(ingest(place, "nobody", file), "no tenant has an agent 'nobody'")
    failed(ingest(place, "support-agent", file, "--tenant", "other"), "tenant 'other' has no agent 'support-agent'")
    failed(ingest(place, "other-agent", file), "say which: acme/other-agent, other/other-agent")
    (by_path,) = printed(ingest(place, "acme/other-agent", file))
    (by_tenant,) = printed(ingest(place, "other-agent", file, "--tenant", "acme"))
    assert by_path == by_tenant
    (tenant,) = yaml.safe_load(place.run("export", "--tenant", "acme").stdout)["tenants"]
    id = next(agent["id"] for agent in tenant["agents"] if agent["slug"] == "other-agent")
    assert printed(ingest(place, id, file)) == printed(ingest(place, prefixed("agent", id), file)) == [by_path]


def test_what_is_not_waited_for_is_queued_for_the_server(place: ServerProcess, tmp_path: Path) -> None:
    ((state, _, _),) = printed(ingest(place, "support-agent", write(tmp_path, "later.md", RETURNS), "--no-wait"))
    assert state == "queued"
    with place:
        assert printed(ingest(place, "support-agent", str(tmp_path / "later.md")))[0][0] == "ready"


def test_on_postgresql_it_is_done_by_whoever_is_there(
    postgres: TemporaryPostgres, tmp_path: Path, embeddings: Embeddings
) -> None:
    place = ServerProcess(tmp_path, database_url=postgres.database())
    place.apply(tenants(embeddings))
    file = write(tmp_path, "alone.md", RETURNS)
    assert printed(ingest(place, "support-agent", file))[0][0] == "ready"
    with place:
        write(tmp_path, "alone.md", "Words for a server.")
        assert printed(ingest(place, "support-agent", file))[0][0] == "ready"
        assert '"event":"document_ready"' in place.log_file.read_text()


def test_what_is_ingested_is_in_the_audit_log(served: ServerProcess, tmp_path: Path) -> None:
    ((_, id, _),) = printed(ingest(served, "support-agent", write(tmp_path, "noted.md", RETURNS)))
    request = urllib.request.Request(f"{served.url}/manage/v1/audit", headers={"Authorization": f"Bearer {KEY}"})
    with urllib.request.urlopen(request, timeout=10) as response:
        (entry,) = (each for each in json.load(response)["data"] if each["subject"] == id)
    assert (entry["actor"], entry["action"], entry["detail"]["title"]) == ("operator", "document.created", "noted.md")
