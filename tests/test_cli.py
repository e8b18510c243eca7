"""The command as an operator types it, in processes of its own: what it prints, how it exits, what it changes."""

import json
import os
import shutil
import subprocess
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import pytest
import yaml

from dragoman.adapters.models.weights import locked
from dragoman.adapters.store.migrate import HEAD
from tests.support.server import COMMAND, KEY, ServerProcess, manifest, scripted

COMMANDS = (
    (),
    ("serve",),
    ("apply",),
    ("export",),
    ("keys",),
    ("keys", "create"),
    ("keys", "list"),
    ("keys", "rotate"),
    ("keys", "revoke"),
    ("secrets",),
    ("secrets", "set"),
    ("secrets", "list"),
    ("secrets", "delete"),
    ("tools",),
    ("tools", "import"),
    ("ingest",),
    ("usage",),
    ("migrate",),
    ("models",),
    ("models", "pull"),
    ("webhooks",),
    ("webhooks", "list"),
    ("webhooks", "listen"),
    ("chat",),
    ("doctor",),
)
FOLLOWS_WITHIN = 3.0

Run = Callable[..., subprocess.CompletedProcess[str]]


@pytest.fixture
def place(tmp_path: Path) -> ServerProcess:
    """A data dir of its own, with nothing in it and no server."""
    return ServerProcess(tmp_path)


@pytest.fixture
def run(place: ServerProcess) -> Run:
    """A command in that place; the test looks at how it went."""
    return lambda *arguments: place.run(*map(str, arguments), check=False)


def write(folder: Path, whole: dict[str, Any], name: str = "manifest.yaml") -> Path:
    file = folder / name
    file.write_text(yaml.safe_dump(whole))
    return file


def failed(done: subprocess.CompletedProcess[str], *told: str) -> None:
    """It failed with one clear line."""
    assert done.returncode == 1
    assert done.stdout == ""
    assert done.stderr.startswith("dragoman: ")
    assert done.stderr.count("\n") == 1
    for each in told:
        assert each in done.stderr


def keys_of(place: ServerProcess) -> dict[str, str]:
    """The state of each key of `acme`."""
    listed = json.loads(place.run("keys", "list", "--tenant", "acme", "--json").stdout)
    return {f"{key['name']} {key['prefix']}": key["state"] for key in listed}


@pytest.mark.parametrize("command", COMMANDS, ids=" ".join)
def test_every_command_explains_itself(command: tuple[str, ...]) -> None:
    done = subprocess.run([*COMMAND, *command, "--help"], capture_output=True, text=True, timeout=30)
    assert done.returncode == 0
    assert f"Usage: dragoman{''.join(f' {word}' for word in command)}" in done.stdout
    assert done.stderr == ""


@pytest.mark.parametrize(
    "arguments",
    [
        (),
        ("keys",),
        ("webhooks",),
        ("apply", "nowhere.yaml"),
        ("apply",),
        ("appply",),
        ("serve", "--port", "http"),
        ("serve", "--port", "65536"),
        ("export", "--tennant", "acme"),
        ("keys", "create", "--name", "ci"),
        ("keys", "create", "--tenant", "acme", "--name", "ci", "--type", "public"),
        ("keys", "create", "--tenant", "acme", "--name", "ci", "--expires-at", "yesterday"),
        ("keys", "create", "--tenant", "acme", "--name", "ci", "--expires-at", ""),
        ("keys", "create", "--tenant", "acme", "--name", "ci", "--expires-at", "2099-01-01"),
        ("keys", "rotate", "--tenant", "acme"),
        ("keys", "rotate", "--tenant", "acme", "ci", "--overlap", "soon"),
    ],
    ids=" ".join,
)
def test_wrong_usage_exits_2_and_says_so(run: Run, place: ServerProcess, arguments: tuple[str, ...]) -> None:
    done = run(*arguments)
    assert done.returncode == 2
    assert done.stdout == ""
    assert done.stderr
    assert not place.data_dir.exists()


def test_apply_tells_what_it_did_in_the_documented_shape(place: ServerProcess) -> None:
    whole = manifest(scripted(deployments=[{"channel": "voice", "region": "eu"}]))
    whole["tenants"][0]["keys"].append({"name": "ci", "type": "secret"})
    told = place.apply(whole)
    value = told["keys"][1].pop("value")
    assert len(value) >= 32
    assert value.startswith("sk_")
    keys = [
        {"tenant": "acme", "name": "backend", "type": "secret"},
        {"tenant": "acme", "name": "ci", "type": "secret"},
        {"tenant": "other", "name": "backend", "type": "secret"},
    ]
    everything = [
        "price priced",
        "tenant acme",
        "agent acme/support-agent",
        "deployment acme/support-agent/voice/eu",
        "key acme/backend",
        "key acme/ci",
        "tenant other",
        "agent other/other-agent",
        "key other/backend",
    ]
    assert told == {"created": everything, "updated": [], "unchanged": [], "keys": keys}
    assert place.apply(whole) == {"created": [], "updated": [], "unchanged": everything, "keys": keys}
    whole["tenants"][0] |= {"name": "ACME", "default_agent": "support-agent"}
    whole["tenants"][1]["default_agent"] = "other-agent"
    assert place.apply(whole)["updated"] == ["tenant acme", "tenant other"]
    assert place.apply(whole)["updated"] == []


def test_apply_says_of_a_file_that_is_no_text_which_one_it_is(run: Run, tmp_path: Path) -> None:
    (tmp_path / "picture.yaml").write_bytes(b"\x89PNG\r\n\x1a\n\xff")
    failed(run("apply", tmp_path / "picture.yaml"), str(tmp_path / "picture.yaml"), "no text")


def test_apply_prints_what_changed_and_a_made_key_once(place: ServerProcess, run: Run) -> None:
    file = write(place.folder, {"tenants": [{"id": "acme", "keys": [{"name": "ci"}]}]})
    first, second = run("apply", file), run("apply", file)
    assert first.stdout.startswith("created    tenant acme\ncreated    key acme/ci\nkey acme/ci, shown this once: sk_")
    assert second.stdout == "unchanged  tenant acme\nunchanged  key acme/ci\n"
    assert first.stderr == second.stderr == ""


def test_an_export_makes_the_same_state_elsewhere(place: ServerProcess, run: Run, tmp_path: Path) -> None:
    folder = Path(__file__).parent / "services"
    shutil.copytree(folder, tmp_path / "given", ignore=shutil.ignore_patterns("*.py", "__pycache__"))
    assert run("apply", tmp_path / "given" / "whole.yaml").returncode == 0
    exported = run("export").stdout
    assert "sk_test_hotel" not in exported
    assert "whsec" not in exported
    (tmp_path / "elsewhere").mkdir()
    elsewhere = ServerProcess(tmp_path / "elsewhere")
    told = elsewhere.apply(yaml.safe_load(exported))
    assert [key["name"] for key in told["keys"] if "value" in key] == ["server", "page", "nightly", "import"]
    assert elsewhere.run("export").stdout == exported
    assert elsewhere.apply(yaml.safe_load(exported))["updated"] == []


def test_keys_live_their_lives_with_no_server_running(place: ServerProcess, run: Run) -> None:
    place.apply(manifest(scripted()))
    made = run("keys", "create", "--tenant", "acme", "--name", "ci", "--expires-at", "2099-01-01T00:00:00Z")
    value = made.stdout.strip()
    assert made.returncode == 0
    assert value.startswith("sk_")
    failed(run("keys", "create", "--tenant", "acme", "--name", "ci"), "'ci'")
    failed(run("keys", "revoke", "--tenant", "acme", "nothing"), "no key named 'nothing'")
    listed = run("keys", "list", "--tenant", "acme").stdout.splitlines()
    assert listed[0].split() == ["name", "type", "prefix", "state", "expires_at", "last_used_at"]
    assert listed[2].split() == ["ci", "secret", value[:12], "active", "2099-01-01T00:00:00Z", "-"]
    assert value not in "".join(listed)
    rotated = run("keys", "rotate", "--tenant", "acme", "ci", "--overlap", "0s").stdout.strip()
    assert run("keys", "revoke", "--tenant", "acme", "backend").stdout == "revoked  key acme/backend\n"
    assert keys_of(place) == {
        f"backend {KEY[:12]}": "revoked",
        f"ci {value[:12]}": "expired",
        f"ci {rotated[:12]}": "active",
    }


@pytest.mark.parametrize(
    ("told", "options"),
    [
        ("name: takes 1 to 200 characters", ("--name", "")),
        ("name: takes 1 to 200 characters", ("--name", "x" * 201)),
        ("a time to come", ("--name", "x", "--expires-at", "2020-01-01T00:00:00Z")),
        ("before the year 9999", ("--name", "x", "--expires-at", "9999-12-31T23:59:59-14:00")),
        ("a publishable key names those", ("--name", "x", "--type", "publishable")),
        ("agents[0]: there is no agent 'other-agent'", ("--name", "x", "--agent", "other-agent")),
        ("agents[1]: there is no agent ''", ("--name", "x", "--agent", "support-agent", "--agent", "")),
        ("origins[0]: 'shop.example' is no origin", ("--name", "x", "--origin", "shop.example")),
    ],
)
def test_a_key_that_breaks_a_rule_is_not_made(
    place: ServerProcess, run: Run, told: str, options: Sequence[str]
) -> None:
    place.apply(manifest(scripted()))
    failed(run("keys", "create", "--tenant", "acme", *options), told)
    assert list(keys_of(place)) == [f"backend {KEY[:12]}"]


@pytest.mark.parametrize(
    ("setting", "value", "told"),
    [
        ("PORT", "http", "valid integer"),
        ("LOG_LEVEL", "loud", "'debug', 'info', 'warning' or 'error'"),
        ("WORKERS", "2", "takes 1"),
    ],
)
def test_a_wrong_setting_stops_the_start_in_one_line(
    place: ServerProcess, run: Run, setting: str, value: str, told: str
) -> None:
    place.environment[f"DRAGOMAN_{setting}"] = value
    failed(run("serve"), f"DRAGOMAN_{setting} is ", value, told)


def test_a_file_gives_settings_to_every_command(place: ServerProcess, run: Run, tmp_path: Path) -> None:
    elsewhere = tmp_path / "elsewhere"
    (tmp_path / "dragoman.toml").write_text(f"data_dir = {json.dumps(str(elsewhere))}\nlog_level = 'debug'\n")
    place.environment["DRAGOMAN_CONFIG"] = str(tmp_path / "dragoman.toml")
    place.apply(manifest())
    assert (place.data_dir / "dragoman.db").exists(), "the environment wins"
    assert not elsewhere.exists()
    del place.environment["DRAGOMAN_DATA_DIR"]
    assert yaml.safe_load(run("export").stdout)["tenants"] == []
    assert (elsewhere / "dragoman.db").exists()


def test_doctor_says_what_is_wrong_and_exits_accordingly(place: ServerProcess, run: Run, tmp_path: Path) -> None:
    place.environment["DRAGOMAN_MODELS_DIR"] = str(tmp_path / "no-models")
    place.environment["DRAGOMAN_REDIS_URL"] = "redis://localhost"
    sick = run("doctor")
    assert sick.returncode == 1
    faults = [line for line in sick.stdout.splitlines() if line.startswith("FAIL")]
    assert [line.split(":")[0] for line in faults] == [
        "FAIL  weights of the chat",
        "FAIL  weights of the embedder",
        "FAIL  redis",
    ]
    assert "run: dragoman models pull chat" in faults[0]
    assert "ok    weights of the transcriber: not there yet" in sick.stdout
    assert not place.data_dir.exists(), "it only looks"


def test_doctor_exits_0_when_nothing_is_wrong(place: ServerProcess, run: Run, tmp_path: Path) -> None:
    for weights in locked():
        for file in weights.files:
            there = tmp_path / "models" / weights.folder / file.name
            there.parent.mkdir(parents=True, exist_ok=True)
            there.touch()
            os.truncate(there, file.bytes)  # holes: it takes no room
    place.environment["DRAGOMAN_MODELS_DIR"] = str(tmp_path / "models")
    well = run("doctor")
    assert well.returncode == 0, well.stdout
    assert all(line.startswith("ok    ") for line in well.stdout.splitlines())


def test_migrate_tells_what_it_did_and_refuses_damage(place: ServerProcess, run: Run) -> None:
    assert run("migrate").stdout == f"updated  schema none to {HEAD}\n"
    assert run("migrate").stdout == f"unchanged  schema {HEAD}\n"
    database = place.data_dir / "dragoman.db"
    database.write_bytes(b"overwritten " * 1000)
    for command in (("migrate",), ("export",), ("serve",)):
        failed(run(*command), "dragoman.db is damaged", "restore it from a backup")
    assert run("doctor").returncode == 1


def test_chat_without_a_key_or_a_server_says_what_to_do(place: ServerProcess, run: Run) -> None:
    keyless = run("chat", "support-agent")
    assert keyless.returncode == 2
    assert "--key" in keyless.stderr
    done = subprocess.run(
        [*COMMAND, "chat", "support-agent", "--key", KEY, "--url", "http://127.0.0.1:1"],
        env=place.environment,
        input="Hello\n",
        capture_output=True,
        text=True,
        timeout=30,
    )
    failed(done, "cannot be reached")


def test_a_data_dir_that_cannot_be_made_is_one_line(place: ServerProcess, run: Run, tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    place.environment["DRAGOMAN_DATA_DIR"] = os.fspath(tmp_path / "file" / "var")
    for command in (("serve",), ("export",), ("migrate",)):
        failed(run(*command), str(tmp_path / "file"), "DRAGOMAN_DATA_DIR")
    assert "FAIL  disk" in run("doctor").stdout
