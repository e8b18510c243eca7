"""`dragoman webhooks` beside a running server, and the receiver that docs/webhooks.md shows."""

import json
import re
import signal
import socket
import subprocess
import sys
import urllib.request
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from tests.support.server import COMMAND, KEY, ServerProcess, manifest, scripted
from tests.test_cli import failed

PAGE = Path(__file__).parents[1] / "docs" / "webhooks.md"
SECRET = "whsec_MfKQ9r8GKYqrTwjUPD8ILPZIo2LaLaSw"


@pytest.fixture(scope="module")
def served(tmp_path_factory: pytest.TempPathFactory) -> Iterator[ServerProcess]:
    process = ServerProcess(tmp_path_factory.mktemp("server"))
    process.apply(manifest(scripted("Support Agent", {"text": "Hi there"})))
    with process:
        yield process
    process.check_log()


def say(server: ServerProcess, message: str) -> None:
    headers = {"Authorization": f"Bearer {KEY}", "Content-Type": "application/json"}
    body = json.dumps({"message": message}).encode()
    request = urllib.request.Request(f"{server.url}/v1/api/chat/support-agent", body, headers)
    with urllib.request.urlopen(request, timeout=10) as response:
        assert response.status == 200


def listening(server: ServerProcess, *arguments: str) -> "subprocess.Popen[str]":
    """The command, once it listens."""
    command = [*COMMAND, "webhooks", "listen", *arguments]
    pipe = subprocess.PIPE
    started = subprocess.Popen(command, env=server.environment, stdout=pipe, stderr=pipe, text=True)
    assert started.stderr is not None
    assert started.stderr.readline().startswith("Listening to events of ")
    return started


def told(printed: str) -> list[tuple[str, str, str, Any]]:
    """The event, the tenant, whether it was verified and the body of each delivery that was printed."""
    pattern = r"^\d\d:\d\d:\d\d  (\S+)  (\S+)  (verified|NOT VERIFIED)  evt_[0-9a-f]{32}\n(.*?^})$"
    found = re.findall(pattern, printed, re.MULTILINE | re.DOTALL)
    return [(event, tenant, good, json.loads(body)) for event, tenant, good, body in found]


def webhooks(server: ServerProcess, tenant: str = "acme") -> list[dict[str, Any]]:
    found: list[dict[str, Any]] = json.loads(server.run("webhooks", "list", "--tenant", tenant, "--json").stdout)
    return found


def lines_of(process: "subprocess.Popen[str]", count: int) -> str:
    """What the command has printed up to the end of so many deliveries."""
    assert process.stdout is not None
    printed = ""
    while len(told(printed)) < count:
        line = process.stdout.readline()
        assert line, printed
        printed += line
    return printed


@pytest.mark.parametrize("end", [signal.SIGINT, signal.SIGTERM])
def test_listening_prints_each_event_and_leaves_nothing_behind(served: ServerProcess, end: signal.Signals) -> None:
    process = listening(served, "--events", "message.received,message.sent")
    assert [each["managed"] for each in webhooks(served)] == ["listen"]
    assert [each["managed"] for each in webhooks(served, "other")] == ["listen"]
    say(served, "Hello")
    received, sent = told(lines_of(process, 2))
    assert received[:3] == ("message.received", "acme", "verified")
    assert received[3]["data"]["message"] == "Hello"
    assert sent[0] == "message.sent"
    assert "webhooks" not in served.run("export").stdout
    process.send_signal(end)
    assert process.wait(10) == 0
    process.communicate()
    assert webhooks(served) == webhooks(served, "other") == []


def test_listening_to_one_tenant_leaves_the_others(served: ServerProcess) -> None:
    process = listening(served, "--tenant", "other")
    assert webhooks(served) == []
    assert len(webhooks(served, "other")) == 1
    process.send_signal(signal.SIGINT)
    assert process.wait(10) == 0
    process.communicate()


def test_what_cannot_be_listened_to_is_one_line(served: ServerProcess, tmp_path: Path) -> None:
    failed(served.run("webhooks", "listen", "--tenant", "nobody", check=False), "nobody")
    wrong = served.run("webhooks", "listen", "--events", "message.read", check=False)
    assert wrong.returncode == 2
    assert "message.received" in wrong.stderr
    with socket.create_server(("127.0.0.1", 0)) as taken:
        port = str(taken.getsockname()[1])
        failed(served.run("webhooks", "listen", "--port", port, check=False), port)
    nowhere = ServerProcess(tmp_path)
    nowhere.apply(manifest(scripted()))
    failed(nowhere.run("webhooks", "listen", check=False), "no server runs")


def test_a_tenants_webhooks_are_listed_and_a_made_secret_is_shown_once(served: ServerProcess) -> None:
    url = "https://hooks.example.com/listed"
    file = served.folder / "webhooks.json"
    file.write_text(json.dumps({"tenants": [{"id": "acme", "name": "Acme", "webhooks": [{"url": url}]}]}))
    first = served.run("apply", str(file)).stdout
    assert re.search(rf"webhook acme {url}, its secret shown this once: whsec_\S{{44}}\n", first)
    assert "whsec_" not in served.run("apply", str(file)).stdout
    listed = served.run("webhooks", "list", "--tenant", "acme").stdout
    assert re.fullmatch(rf"wh_[0-9a-f]{{32}}  active    {url}  all events\n", listed)
    assert "whsec_" not in listed


def test_a_dry_run_tells_of_webhooks_and_makes_none(served: ServerProcess) -> None:
    webhooks = [{"url": "http://127.0.0.1:9/hook"}]
    file = served.folder / "dry.json"
    tenant = {"id": "dry", "webhooks": webhooks, "egress": {"allow_private": True}}
    file.write_text(json.dumps({"tenants": [tenant]}))
    told = json.loads(served.run("apply", "--json", "--dry-run", str(file)).stdout)
    assert told["created"] == ["tenant dry", "webhook dry/http://127.0.0.1:9/hook"]
    assert "webhooks" not in told
    failed(served.run("export", "--tenant", "dry", check=False), "no tenant 'dry'")


def test_the_receiver_of_the_page_verifies_what_comes(tmp_path: Path) -> None:
    (text,) = re.findall(r"```python\n(.*?)```", PAGE.read_text(encoding="utf-8"), re.DOTALL)
    with socket.create_server(("127.0.0.1", 0)) as free:
        port = free.getsockname()[1]
    script = text.replace("9000", str(port))
    assert script != text
    receiver = subprocess.Popen([sys.executable, "-c", script], stdout=subprocess.PIPE, text=True)
    try:
        assert receiver.stdout is not None
        server = ServerProcess(tmp_path)
        hook = {"url": f"http://127.0.0.1:{port}/", "secret": SECRET, "events": ["message.received"]}
        wrong = {**hook, "url": f"http://127.0.0.1:{port}/wrong", "secret": "whsec_" + "b" * 32}
        server.apply(manifest(scripted(), webhooks=[hook, wrong], egress={"allow_private": True}))
        with server:
            say(server, "Hello")
            printed = sorted(receiver.stdout.readline() for _ in range(2))
        assert printed[0].startswith("NOT VERIFIED {")
        assert printed[1].startswith('verified {"event":"message.received"')
    finally:
        receiver.kill()
        receiver.communicate()


def test_every_event_is_on_the_page() -> None:
    from dragoman.core.webhooks import EVENTS, PAUSES, TEST_EVENT

    text = PAGE.read_text(encoding="utf-8")
    rows = re.findall(r"^\| `([a-z.]+)` \|", text, re.MULTILINE)
    assert rows == [*EVENTS, TEST_EVENT]
    assert len(PAUSES) == 9
