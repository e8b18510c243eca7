"""The demo as its first user meets it: it answers from its handbook, over every contract, on the embedded models."""

import json
import re
import subprocess
from collections.abc import Iterator
from pathlib import Path
from typing import NamedTuple

import aiohttp
import pytest
import yaml

from dragoman.serve import DEMO
from tests.support.chats import Chats
from tests.support.client import Client, frames_of
from tests.support.server import COMMAND, ServerProcess

pytestmark = pytest.mark.alone


class Case(NamedTuple):
    """A question to the demo: the type and title of the source that holds the answer, and what the answer says."""

    question: str
    type: str
    title: str
    says: str


QUESTIONS = (
    Case("What are your business hours?", "qa", "Business Hours", "Monday-Saturday, 9AM to 6PM"),
    Case("Who are the owners of the shop?", "qa", "The owners", "Quill"),
    Case("How much do you charge for express delivery?", "file", "Handbook", "9.50"),
    Case("How long is a gift card valid?", "file", "Handbook", "three years"),
    Case("How long is the guarantee on a cast iron pan?", "file", "Handbook", "25 years"),
    Case("Do you send parcels to Switzerland?", "file", "Handbook", "Yes"),
    Case("On which day are knives sharpened?", "file", "Handbook", "Wednesday"),
    Case("From what amount is shipping free?", "file", "Handbook", "50 euros"),
    Case("What does it cost to have a present wrapped?", "file", "Handbook", "3 euros"),
    Case("My parcel arrived broken, what should I do?", "file", "Handbook", "48 hours"),
)
OFF_TOPIC = ("What is the capital of Mongolia?", "Who is the president of France?", "How tall is Mount Everest?")
(AGENT,) = yaml.safe_load(DEMO.read_text())["tenants"][0]["agents"]


@pytest.fixture(scope="module")
def demo(tmp_path_factory: pytest.TempPathFactory) -> Iterator[ServerProcess]:
    server = ServerProcess(tmp_path_factory.mktemp("demo"))
    del server.environment["DRAGOMAN_SECRET"]  # made by itself, as on a laptop
    server.environment["DRAGOMAN_MODEL_FIRST_TOKEN_TIMEOUT"] = "120"
    server.start("--demo", timeout=90)
    yield server
    assert server.stop() == 0


def key_of(demo: ServerProcess) -> str:
    return (demo.data_dir / "demo.keys").read_text().strip().partition("=")[2]


def agent_id_of(demo: ServerProcess) -> str:
    found = re.search(r"agent_[0-9a-f]{32}", demo.log_file.read_text())
    assert found is not None, "the server did not print the demo agent's id"
    return found[0]


@pytest.mark.parametrize("case", QUESTIONS, ids=lambda case: case.question)
async def test_the_demo_answers_from_what_it_was_given_and_names_it(demo: ServerProcess, case: Case) -> None:
    async with aiohttp.ClientSession() as session:
        client = Client(session, demo.url, key=key_of(demo))
        async with client.s1(agent_id_of(demo), case.question) as response:
            told = await response.json()
            assert response.status == 200, told
    assert (told["sources"][0]["type"], told["sources"][0]["title"]) == (case.type, case.title)
    assert case.says in told["response"]
    assert 3 * AGENT["min_confidence"] < told["confidence"] <= 1


@pytest.mark.parametrize("question", OFF_TOPIC)
async def test_the_demo_says_that_it_does_not_know_what_its_handbook_is_not_about(
    demo: ServerProcess, question: str
) -> None:
    async with aiohttp.ClientSession() as session:
        client = Client(session, demo.url, key=key_of(demo))
        async with client.s1(agent_id_of(demo), question) as response:
            told = await response.json()
    assert (told["response"], told["sources"]) == (AGENT["fallback"], [])
    assert told["confidence"] < AGENT["min_confidence"]


def test_a_demo_without_weights_says_what_it_does_not_know_and_reads_it_when_they_are_there(tmp_path: Path) -> None:
    server = ServerProcess(tmp_path)
    found = dict(server.environment)
    server.environment["DRAGOMAN_MODELS_DIR"] = str(tmp_path / "no-models")
    try:
        server.start("--demo")
        told = server.log_file.read_text()
        assert "The demo agent has read 0 of 4 documents." in told
        assert "The demo agent does not know 'Handbook': The embedder could not be used." in told
        assert server.stop() == 0
        server.environment = found
        server.start("--demo", timeout=90)
        assert "The demo agent has read 4 of 4 documents." in server.log_file.read_text()
    finally:
        assert server.stop() == 0


async def test_the_demo_answers_from_the_embedded_model_over_s2(demo: ServerProcess) -> None:
    async with aiohttp.ClientSession() as session:
        client = Client(session, demo.url, key=key_of(demo))
        data = await client.say("How much do you charge for express delivery?")
        assert "9.50" in data["response"]
        assert data["metadata"]["tokens"] > 20
        again = await client.say("And abroad?", data["conversationId"])
        assert again["conversationId"] == data["conversationId"]
        said = await client.history(data["conversationId"])
        assert [message["role"] for message in said] == ["user", "assistant"] * 2


async def test_the_demo_streams_from_the_embedded_model_over_s1(demo: ServerProcess) -> None:
    async with aiohttp.ClientSession() as session:
        client = Client(session, demo.url, key=key_of(demo))
        async with client.s1(agent_id_of(demo), "How long does shipping take?", stream=True) as response:
            assert response.status == 200
            frames = [frame async for frame in frames_of(response)]
    pieces = [frame.json["content"] for frame in frames if frame.event == "text"]
    assert len(pieces) > 3
    assert [frame.event for frame in frames[len(pieces) :]] == ["sources", "done"]
    done = frames[-1].json
    assert done["response"] == "".join(pieces)
    assert done["model"] == "qwen2.5-coder-0.5b-instruct"
    assert done["credits_used"] == 1


def test_every_command_that_the_demo_prints_is_answered(demo: ServerProcess) -> None:
    printed = re.findall(r"^  (S\d)  (curl (?:.*\\\n)*.*)$", demo.log_file.read_text(), re.MULTILINE)
    assert [contract for contract, _ in printed] == ["S0", "S1", "S2", "S3", "S4"]
    answered = {
        contract: subprocess.run(["bash", "-c", command], capture_output=True, text=True, timeout=120).stdout
        for contract, command in printed
    }
    assert "9" in json.loads(answered["S0"])["agent_response_text"]
    assert "9" in json.loads(answered["S1"])["response"]
    assert "9" in json.loads(answered["S2"])["data"]["response"]
    assert json.loads(answered["S3"])["user_id"] == "me"
    done = json.loads(answered["S4"].strip().split("\n")[-1].removeprefix("data: "))
    assert (done["type"], done["message"]["role"]) == ("done", "assistant")


def test_an_export_of_the_demo_can_be_applied_from_anywhere(demo: ServerProcess, tmp_path: Path) -> None:
    exported = tmp_path / "exported.yaml"
    exported.write_text(demo.run("export").stdout)
    told = json.loads(demo.run("apply", "--json", "--dry-run", str(exported)).stdout)
    assert (told["created"], told["updated"]) == ([], [])
    assert "document demo/support-agent/Handbook" in told["unchanged"]


async def test_a_message_that_the_demos_model_cannot_read_is_refused_and_says_how_much_it_can(
    demo: ServerProcess,
) -> None:
    async with aiohttp.ClientSession() as session:
        client = Client(session, demo.url, key=key_of(demo))
        async with client.s2("Word " * 20_000) as response:
            told = (await response.json())["error"]
            assert (response.status, told["name"]) == (400, "ValidationError")
        assert "100,000 bytes" in told["message"]
        assert 25_000 < int(re.findall(r"([\d,]+) fit", told["message"])[0].replace(",", "")) < 4 * 8192
        chats = Chats(session, demo.url, key_of(demo))
        line = await chats.open(await chats.create())
        await line.say("Word " * 10_000)
        assert (await line.until("error"))[-1]["error_code"] == "INVALID_MESSAGE"
        assert (await line.exchange("What are your business hours?"))[-1]["content"].startswith("Monday")
        await line.leave()


def test_the_demo_can_be_talked_to_in_a_terminal(demo: ServerProcess) -> None:
    told = subprocess.run(
        [*COMMAND, "chat", "support-agent", "--url", demo.url],
        input="Do you take returns?\n",
        env=demo.environment,
        capture_output=True,
        text=True,
        timeout=120,
    )
    assert told.returncode == 0, told.stderr
    assert len(told.stdout.strip()) > 3


def test_the_demos_files_are_for_its_user_alone(demo: ServerProcess) -> None:
    for name in ("demo.keys", "control.sock", "secret"):
        assert (demo.data_dir / name).stat().st_mode & 0o077 == 0, name
    assert demo.data_dir.stat().st_mode & 0o077 == 0
