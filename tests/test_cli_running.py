"""The command beside a running server: what it changes there, how fast, and who may ask for it."""

import json
import subprocess
import time
import urllib.error
import urllib.request
from collections.abc import Iterator
from pathlib import Path

import pytest
import yaml

from tests.support.postgres import TemporaryPostgres
from tests.support.server import COMMAND, KEY, ServerProcess, manifest, scripted
from tests.test_cli import failed, write

FOLLOWS_WITHIN = 3.0


@pytest.fixture(scope="module")
def served(tmp_path_factory: pytest.TempPathFactory) -> Iterator[ServerProcess]:
    """A server, with the tenants of every test of this module."""
    process = ServerProcess(tmp_path_factory.mktemp("server"))
    process.apply(manifest(scripted()))
    with process:
        yield process


def asked(server: ServerProcess, key: str) -> int:
    """The status that a request with this key gets."""
    request = urllib.request.Request(
        f"{server.url}/v1/api/chat/support-agent",
        json.dumps({"message": "Hello"}).encode(),
        {"Authorization": f"Bearer {key}", "Content-Type": "application/json"},
    )
    try:
        with urllib.request.urlopen(request, timeout=10) as response:
            return int(response.status)
    except urllib.error.HTTPError as error:
        with error:
            return error.code


def follows(server: ServerProcess, key: str, status: int) -> bool:
    """Whether the server comes to answer so within its time."""
    end = time.monotonic() + FOLLOWS_WITHIN
    while time.monotonic() < end:
        if asked(server, key) == status:
            return True
        time.sleep(0.05)
    return False


def test_a_dry_run_tells_the_same_and_changes_nothing(served: ServerProcess) -> None:
    keys = [{"name": "ci"}]
    whole = {"tenants": [{"id": "dry", "keys": keys, "agents": [scripted()], "default_agent": "support-agent"}]}
    file = write(served.folder, whole)
    before = served.run("export").stdout
    rehearsed = json.loads(served.run("apply", "--json", "--dry-run", str(file)).stdout)
    assert rehearsed["created"] == ["tenant dry", "agent dry/support-agent", "key dry/ci"]
    assert served.run("export").stdout == before
    done = json.loads(served.run("apply", "--json", str(file)).stdout)
    assert done["keys"][0].pop("value")
    assert rehearsed == done


def test_nothing_of_several_files_is_applied_when_one_is_wrong(served: ServerProcess) -> None:
    good = write(served.folder, {"tenants": [{"id": "good"}]}, "good.yaml")
    bad = write(served.folder, {"tenants": [{"id": "bad", "agents": [{"name": "A"}, {"name": "B", "modle": 1}]}]})
    done = served.run("apply", str(good), str(bad), check=False)
    failed(done, f"{bad}: tenants[0].agents[1].modle: there is no such key")
    failed(served.run("export", "--tenant", "good", check=False), "no tenant 'good'")


def test_what_cannot_be_applied_is_one_line(served: ServerProcess) -> None:
    wrong_script = {"name": "A", "model": {"provider": "scripted", "script": [{"tex": 1}]}}
    for tenant, told in (
        ({"agents": [wrong_script]}, "tenants[0].agents[0].model"),
        ({"default_agent": "nobody"}, "'nobody' is no agent"),
        ({"keys": [{"name": "thief", "value": KEY}]}, "'thief' is in use by another key"),
        ({"keys": [{"name": "page", "origins": ["*", "shop.example"]}]}, "keys[0].origins[1]: 'shop.example'"),
    ):
        file = write(served.folder, {"tenants": [{"id": "third", **tenant}]})
        failed(served.run("apply", str(file), check=False), told)


def test_an_export_of_one_tenant_holds_no_other(served: ServerProcess) -> None:
    (tenant,) = yaml.safe_load(served.run("export", "--tenant", "other").stdout)["tenants"]
    assert tenant["id"] == "other"
    failed(served.run("export", "--tenant", "nobody", check=False), "no tenant 'nobody'")


def test_a_running_server_tells_why_it_cannot_do_it(served: ServerProcess) -> None:
    for told, *arguments in (
        ("no tenant 'nobody'", "create", "--tenant", "nobody", "--name", "ci"),
        ("has a key named 'backend'", "create", "--tenant", "acme", "--name", "backend"),
        ("a publishable key names", "create", "--tenant", "acme", "--name", "x", "--type", "publishable"),
        ("origins[0]: ''", "create", "--tenant", "acme", "--name", "x", "--origin", ""),
    ):
        failed(served.run("keys", *arguments, check=False), told)


def test_a_running_server_follows_what_keys_do(served: ServerProcess) -> None:
    value = served.run("keys", "create", "--tenant", "acme", "--name", "ci").stdout.strip()
    assert follows(served, value, 200)
    rotated = served.run("keys", "rotate", "--tenant", "acme", "ci").stdout.strip()
    assert follows(served, rotated, 200)
    assert asked(served, value) == 200, "the overlap keeps the old key working"
    again = served.run("keys", "rotate", "--tenant", "acme", "ci", "--overlap", "0s").stdout.strip()
    assert follows(served, value, 401)
    assert follows(served, rotated, 401)
    assert follows(served, again, 200)
    served.run("keys", "revoke", "--tenant", "acme", "ci")
    assert follows(served, again, 401)
    assert asked(served, KEY) == 200
    listed = json.loads(served.run("keys", "list", "--tenant", "acme", "--json").stdout)
    assert listed[0]["last_used_at"] is not None


def test_a_running_server_follows_what_apply_does(served: ServerProcess) -> None:
    values = [f"sk_test_acme_applied_{number:032}" for number in range(2)]
    keys = [
        {"name": "applied", "value": values[0]},
        {"name": "late", "value": values[1], "expires_at": "2020-01-01T00:00:00Z"},
    ]
    assert served.apply({"tenants": [{"id": "acme", "keys": keys}]})["updated"] == ["tenant acme"]
    assert follows(served, values[0], 200)
    assert asked(served, values[1]) == 401, "an expired key opens nothing"
    keys[1]["expires_at"] = "2099-01-01T00:00:00Z"
    served.apply({"tenants": [{"id": "acme", "keys": keys}]})
    assert follows(served, values[1], 200)


def test_a_revoked_key_stays_revoked_until_it_is_rotated(served: ServerProcess) -> None:
    value = "sk_test_acme_revoked_00000000000000000"
    whole = {"tenants": [{"id": "acme", "keys": [{"name": "gone", "value": value}]}]}
    served.apply(whole)
    assert follows(served, value, 200)
    served.run("keys", "revoke", "--tenant", "acme", "gone")
    served.apply(whole)
    assert follows(served, value, 401)
    rotated = served.run("keys", "rotate", "--tenant", "acme", "gone").stdout.strip()
    assert follows(served, rotated, 200)
    served.apply(whole)
    assert asked(served, rotated) == 200
    assert asked(served, value) == 401, "the revoked value itself never comes back"


def test_a_second_server_on_the_same_data_is_refused(served: ServerProcess) -> None:
    failed(served.run("serve", "--port", "0", check=False), "in use by another Dragoman process", str(served.pid))
    assert asked(served, KEY) == 200


def test_the_control_socket_is_for_this_user_alone(served: ServerProcess) -> None:
    assert (served.data_dir / "control.sock").stat().st_mode & 0o777 == 0o600


def test_commands_reach_a_server_however_deep_its_data_lies(tmp_path: Path) -> None:
    folder = tmp_path / ("d" * 100) / ("e" * 100)
    folder.mkdir(parents=True)
    with ServerProcess(folder) as server:
        assert server.apply(manifest(scripted()))["created"]
        assert asked(server, KEY) == 200


def test_a_running_server_on_postgres_follows_by_itself(postgres: TemporaryPostgres, tmp_path: Path) -> None:
    server = ServerProcess(tmp_path, database_url=postgres.database())
    server.apply(manifest(scripted()))
    with server:
        assert asked(server, KEY) == 200
        server.run("keys", "revoke", "--tenant", "acme", "backend")
        assert follows(server, KEY, 401)


def test_the_demo_keeps_its_key_for_this_user_alone(tmp_path: Path) -> None:
    server = ServerProcess(tmp_path, DRAGOMAN_MODELS_DIR=str(tmp_path / "no-models"))
    kept = server.data_dir / "demo.keys"
    try:
        server.start("--demo")
        key = kept.read_text().strip().removeprefix("demo=")
        assert kept.stat().st_mode & 0o777 == 0o600
        assert key in server.log_file.read_text()
        assert server.stop() == 0
        server.start("--demo")
        assert kept.read_text() == f"demo={key}\n", "a second start keeps the key"
        served_agents = yaml.safe_load(server.run("export").stdout)["tenants"][0]["agents"]
        assert [agent["slug"] for agent in served_agents] == ["support-agent"]
        assert asked(server, key) != 401
    finally:
        server.stop()


def test_a_chat_goes_on_in_one_conversation(served: ServerProcess) -> None:
    done = subprocess.run(
        [*COMMAND, "chat", "support-agent", "--key", KEY, "--url", served.url],
        env=served.environment,
        input="Hello\n\nAgain\n",
        capture_output=True,
        text=True,
        timeout=30,
    )
    assert done.returncode == 0, done.stderr
    assert done.stdout == "You said: Hello\nYou said: Again\n\n"


def test_a_port_that_is_taken_stops_the_start_with_one_line_that_names_it(
    served: ServerProcess, tmp_path: Path
) -> None:
    port = served.url.rpartition(":")[2]
    told = ServerProcess(tmp_path).run("serve", "--port", port, check=False)
    assert told.returncode == 1
    assert told.stderr.splitlines()[-1].startswith(f"dragoman: cannot listen on 127.0.0.1:{port} ")
