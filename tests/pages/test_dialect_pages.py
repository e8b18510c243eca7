"""The examples of docs/dialects, run in order as a reader would beside the demo: only host and ids are filled in."""

import itertools
import json
import re
import subprocess
import sys
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest

from tests.dialects.across.tongues import ask, rendered
from tests.support.node import module
from tests.support.server import KEY, ServerProcess, scripted

ROOT = Path(__file__).parents[2]
PAGES = sorted((ROOT / "docs" / "dialects").glob("*.md"))
APPLIED = re.compile(r"dragoman apply (\S+)")
ID = re.compile(r"\b(conv|call|msg|turn)_[0-9A-Za-z]+")
BLOCK = re.compile(r"^```(\w+)\n(.*?)^```$", re.DOTALL | re.MULTILINE)
WEATHER = {
    "type": "client",
    "name": "get_weather",
    "description": "Current weather at a place",
    "parameters": {"type": "object", "properties": {"location": {"type": "string"}}, "required": ["location"]},
}
DEMO = scripted(
    "Support Agent",
    {"when": "weather", "tool_calls": [{"name": "get_weather", "arguments": {"location": "Tokyo"}}]},
    {"text": "We are open from Monday to Saturday, 9 AM to 6 PM."},
    public=True,
    allow_client_conversation_ids=True,
    allow_system_prompt=True,
    tools=[WEATHER],
    deployments=[{"channel": "voice", "region": "us-east-1"}],
)


@dataclass(frozen=True)
class Example:
    """A block of a page, with the JSON that the page shows after it, if any; a manifest has the name of a file."""

    language: str
    text: str
    shown: Any = None
    saved_as: str = ""


@pytest.fixture(scope="module")
def demo(tmp_path_factory: pytest.TempPathFactory) -> Iterator[ServerProcess]:
    """A server as `make run` leaves it, but that its agent has a script; its folder is where a reader stands."""
    process = ServerProcess(tmp_path_factory.mktemp("demo"))
    keys = [{"name": "demo", "type": "secret", "value": KEY}]
    tenant = {"id": "demo", "name": "Demo", "plan": "enterprise", "default_agent": "support-agent"}
    process.apply({"tenants": [{**tenant, "keys": keys, "agents": [DEMO]}]})
    with process:
        (process.data_dir / "demo.keys").write_text(f"demo={KEY}\n")
        commands = process.folder / ".venv" / "bin"
        commands.parent.mkdir()
        commands.symlink_to(Path(sys.executable).parent)
        (process.folder / "tests").symlink_to(ROOT / "tests")
        yield process


def examples_of(page: Path) -> list[Example]:
    """The blocks of a page that are to be run."""
    found: list[Example] = []
    text = page.read_text(encoding="utf-8")
    blocks = [*BLOCK.finditer(text), None]
    for block, following in itertools.pairwise(blocks):
        assert block is not None
        language, body = block.groups()
        at_once = following is not None and not text[block.end() : following.start()].strip()
        if language == "yaml" and following is not None and (applied := APPLIED.search(following[2])):
            found.append(Example(language, body, saved_as=applied[1]))
        elif language in ("sh", "js"):
            shown = shape_of(following[2]) if following is not None and at_once and following[1] == "json" else None
            found.append(Example(language, body, shown))
    return found


def shape_of(shown: str) -> Any:
    """The fields of a printed answer; None where something is left out of it."""
    try:
        return fields_of(json.loads(shown))
    except json.JSONDecodeError:
        return None


def fields_of(value: Any) -> Any:
    """Every field of an object, in order, and those of its objects."""
    return {name: fields_of(held) for name, held in value.items()} if isinstance(value, dict) else ...


def filled_in(server: ServerProcess) -> dict[str, str]:
    """What stands where a page leaves an id open."""
    agent = ask(server.url, "GET", "/manage/v1/agents").body["data"][0]["id"]
    told = ask(server.url, "POST", f"/v1/agents/{agent}/chat", {"message": "Hello"}).body
    conversation, chat = rendered(told["conversation_id"])
    listed = ask(server.url, "GET", f"/manage/v1/conversations/{conversation}").body
    turn = listed["messages"][0]["turn_id"]
    return {
        "conv_...": conversation,
        "agent_...": agent,
        "msg_...": told["message_id"],
        "turn_...": turn,
        "CHAT-ID": chat,
    }


@pytest.mark.requirement("X-5")
@pytest.mark.parametrize("page", PAGES, ids=lambda page: page.stem)
def test_the_examples_of_a_page_run_in_order_and_print_what_it_shows(demo: ServerProcess, page: Path) -> None:
    ids = filled_in(demo)
    environment = {**demo.environment, "TERM": "dumb"}
    examples = examples_of(page)
    assert {example.language for example in examples} >= {"sh", "js"}
    for example in examples:
        text = example.text.replace("http://127.0.0.1:8000", demo.url)
        text = text.replace("ws://127.0.0.1:8000", demo.url.replace("http", "ws"))
        for left_open, known in ids.items():
            text = text.replace(left_open, known)
        if example.language == "yaml":
            (demo.folder / example.saved_as).write_text(text)
            continue
        printed, environment = run(example.language, text, demo.folder, environment)
        check(example, printed)
        ids |= {f"{found[1]}_...": found[0] for found in ID.finditer(printed)}


def run(language: str, text: str, folder: Path, environment: dict[str, str]) -> tuple[str, dict[str, str]]:
    """What a block prints, and the variables that it leaves to the next one."""
    left = folder / "left.env"
    if language == "js":
        command = [*module(text)]
    else:
        command = ["bash", "-c", f"set -euo pipefail; set -a\n{text}\nenv -0 > {left}"]
    done = subprocess.run(command, cwd=folder, env=environment, capture_output=True, timeout=40)
    assert done.returncode == 0, f"{text}\n{done.stdout.decode()}\n{done.stderr.decode()}"
    if language == "sh":
        pairs = left.read_bytes().decode().rstrip("\0").split("\0")
        environment = dict(pair.split("=", 1) for pair in pairs)
    return done.stdout.decode(), environment


def check(example: Example, printed: str) -> None:
    """Hold what was printed against what the page shows, and against a failure that has no status."""
    values = values_in(printed)
    for told in values:
        assert not told.get("error"), f"{example.text}\n{printed}"
        assert "error_code" not in told, f"{example.text}\n{printed}"
        assert not ("code" in told and "details" in told), f"{example.text}\n{printed}"
    if example.shown is not None:
        assert fields_of(values[-1]) == example.shown, f"{example.text}\n{printed}"


def values_in(printed: str) -> list[dict[str, Any]]:
    """Every JSON object that begins a line, or follows another one directly."""
    decoder, found = json.JSONDecoder(), []
    for line in printed.splitlines():
        rest = line.removeprefix("data: ").strip()
        while rest.startswith("{"):
            value, end = decoder.raw_decode(rest)
            found.append(value)
            rest = rest[end:]
    return found
