"""X-5: what a reader of a document types is answered as the document promises; only host, key and ids are ours."""

import json
import os
import subprocess
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from tests.documents.examples import Example, examples_of
from tests.support.node import module
from tests.support.server import KEY, ServerProcess, manifest, scripted

FOLDER = Path(os.environ["DRAGOMAN_DOCUMENTS"])
DOCUMENTS = sorted(FOLDER.glob("0*.txt"))
EXAMPLES = {document.name[:3]: examples_of(document) for document in DOCUMENTS}
AGENT = "123e4567-e89b-12d3-a456-426614174000"
DEPLOYMENT = "456e7890-e89b-12d3-a456-426614174001"
HOSTS = (
    "https://api.aloochat.ai",
    "https://api.alonchat.com",
    "https://PLATFORM-URL-PLACEHOLDER",
    "http://localhost:8000",
    "https://your-domain.com",
)
# What stands around a script: the names that a document takes as given, and a look at what it has left behind.
BEFORE = """
const agentId = {agent}, apiKey = {key}, conversationId = {conversation};
const formDataOfBefore = new FormData();
formDataOfBefore.append("agent_key", "agent:{uuid}:voice:us-east-1");
formDataOfBefore.append("query", "Tell me about your services");
"""
AFTER = """
const left = typeof conversations !== "undefined" ? conversations
    : typeof conversation !== "undefined" ? conversation
    : response.bodyUsed ? null : JSON.parse(await response.text());
console.log("\\n" + JSON.stringify({ status: response.status, left }));
"""
SOCKET = """
const types = [];
const ended = new Promise((resolve, reject) => {
    ws.onerror = () => reject(new Error("the socket failed"));
    ws.onmessage = message => {
        const frame = JSON.parse(message.data);
        types.push(frame.event_type);
        if (frame.event_type === "message_stream_ended") resolve();
    };
});
await new Promise(resolve => { ws.onopen = resolve });
%s
await ended;
ws.close();
console.log(JSON.stringify(types));
"""


@pytest.fixture(scope="module")
def documented(tmp_path_factory: pytest.TempPathFactory) -> Iterator[ServerProcess]:
    """A server with the agent that the documents talk to."""
    agent = scripted(
        "Support Agent",
        {"text": "We are open from Monday to Friday, 9 AM to 6 PM."},
        id=AGENT,
        public=True,
        allow_client_conversation_ids=True,
        deployments=[{"id": DEPLOYMENT, "channel": "voice", "region": "us-east-1"}],
    )
    process = ServerProcess(tmp_path_factory.mktemp("documented"))
    process.apply(manifest(agent, default_agent="support-agent"))
    with process:
        yield process


@pytest.fixture(scope="module")
def ours(documented: ServerProcess) -> Callable[[str], str]:
    """Puts host, key and ids of ours into an example."""
    agent = "agent_" + AGENT.replace("-", "")
    began = json.loads(
        command(f"""curl -s {documented.url}/v1/agents/{agent}/chat -H "Authorization: Bearer {KEY}" \
            -d '{{"message": "Hello"}}'""")
    )
    chat = json.loads(
        command(f"""curl -s {documented.url}/api/v1/chats/ -H "X-API-Key: {KEY}" -d '{{"user_id": "user123"}}'""")
    )

    def put(text: str) -> str:
        for host in HOSTS:
            text = text.replace(host, documented.url)
        text = text.replace("ws://localhost:8000", documented.url.replace("http", "ws"))
        text = text.replace("fetch('/api/", f"fetch('{documented.url}/api/")
        for key in ("YOUR_API_TOKEN", "YOUR_API_KEY", "your-tenant-api-key"):
            text = text.replace(key, KEY)
        text = text.replace("{agent_id}", agent).replace("agents/{id}", f"agents/{agent}")
        text = text.replace("conv_abc123", began["conversation_id"]).replace("your-chat-id", chat["id"])
        return text.replace("agent-slug", "support-agent")

    return put


def command(text: str) -> str:
    """What a command in a shell prints."""
    done = subprocess.run(["bash", "-c", text], capture_output=True, check=True, timeout=30)
    return done.stdout.decode()


def script(text: str, conversation: str) -> str:
    """What a script prints, in a module of its own."""
    quoted = {name: json.dumps(value) for name, value in (("agent", AGENT), ("key", KEY))}
    before = BEFORE.replace("{uuid}", AGENT).replace("{conversation}", json.dumps(conversation))
    for name, value in quoted.items():
        before = before.replace(f"{{{name}}}", value)
    if "formData" in text and "new FormData" not in text:
        before += "const formData = formDataOfBefore;\n"
    done = subprocess.run(module(before + text), capture_output=True, timeout=30)
    assert done.returncode == 0, done.stderr.decode()
    return done.stdout.decode()


def frames(printed: str) -> list[Any]:
    """The data of server-sent events."""
    lines = [line.removeprefix("data: ") for line in printed.split("\n") if line.startswith("data: ")]
    return [line if line == "[DONE]" else json.loads(line) for line in lines]


def left(printed: str) -> dict[str, Any]:
    """What a script's last line tells of it."""
    told: dict[str, Any] = json.loads(printed.strip().split("\n")[-1])
    return told


@pytest.mark.requirement("X-5")
def test_every_document_is_there_with_its_examples() -> None:
    found = {name: [example.kind for example in examples] for name, examples in EXAMPLES.items()}
    assert found == {
        "000": ["curl", "curl", "javascript", "curl", "javascript", "curl", "javascript", "curl", "javascript"],
        "001": ["curl", "javascript", "javascript", "javascript"],
        "002": ["curl", "curl", "curl", "curl"],
        "003": ["curl", "javascript", "javascript"],
        "004": ["curl", "curl", "javascript"],
    }


S0_CONVERSATION = {"id", "agent_id", "deployment_id", "title", "created_at", "updated_at"}
S0_ANSWER = ["conversation_id", "agent_response_text", "response_time_ms", "was_resolved"]
S4_ANSWER = ["id", "role", "content", "tool_calls", "conversation_id", "created_at"]


@pytest.mark.requirement("X-5")
def test_s0_commands(ours: Callable[[str], str]) -> None:
    credential, created, listed, answered, streamed = printed_by(ours, "000")
    assert json.loads(credential)["statusCode"] == 404
    conversation = json.loads(created)
    assert set(conversation) == S0_CONVERSATION
    assert (conversation["agent_id"], conversation["deployment_id"]) == (AGENT, DEPLOYMENT)
    assert conversation["title"] == "Customer Support Chat"
    assert conversation["id"] in [each["id"] for each in json.loads(listed)]
    answer = json.loads(answered)
    assert list(answer) == S0_ANSWER
    assert answer["was_resolved"] is True
    types = [frame["type"] for frame in frames(streamed)]
    assert (types[0], types[-1]) == ("start", "end")
    assert set(types[1:-1]) == {"agent_text_chunk"}


@pytest.mark.requirement("X-5")
def test_s0_scripts(ours: Callable[[str], str]) -> None:
    created, listed, answered, streamed = (left(each) for each in scripts_of(ours, "000"))
    assert created["status"] == 201
    assert set(created["left"]) == S0_CONVERSATION
    assert listed["status"] == 200
    assert isinstance(listed["left"], list)
    assert list(answered["left"]) == S0_ANSWER
    assert streamed == {"status": 200, "left": None}


@pytest.mark.requirement("X-5")
def test_s1_commands_and_scripts(ours: Callable[[str], str]) -> None:
    [answered] = printed_by(ours, "001")
    documented = ["response", "conversation_id", "message_id", "confidence", "model", "sources", "credits_used"]
    assert list(json.loads(answered)) == documented
    told, streamed, read = scripts_of(ours, "001")
    assert told.startswith("We are open")
    names = [line for line in streamed.split("\n") if line.startswith("event: ")]
    assert names[0] == "event: text"
    assert names[-2:] == ["event: sources", "event: done"]
    assert list(left(read)["left"]) == ["id", "agent_id", "created_at", "messages"]


@pytest.mark.requirement("X-5")
def test_s2_commands(ours: Callable[[str], str]) -> None:
    first, following, story, streamed = printed_by(ours, "002")
    for answered in (first, following):
        told = json.loads(answered)
        assert told["error"] is None
        assert list(told["data"]) == ["response", "conversationId", "metadata"]
    for each in (story, streamed):
        *chunks, done = frames(each)
        assert done == "[DONE]"
        assert "".join(chunk["chunk"] for chunk in chunks).startswith("We are open")


@pytest.mark.requirement("X-5")
def test_s3_a_chat_and_its_socket(ours: Callable[[str], str]) -> None:
    [created] = printed_by(ours, "003")
    assert json.loads(created)["user_id"] == "user123"
    connect, send = (ours(example.text) for example in EXAMPLES["003"] if example.kind == "javascript")
    types = json.loads(script(connect + SOCKET % send, ""))
    assert [types[0], *types[-1:]] == ["connection_established", "message_stream_ended"]
    wanted = ["message_received", "message_stream_started", "message_stream_token", "message_stream_ended"]
    assert [each for each in dict.fromkeys(types) if each in wanted] == wanted


@pytest.mark.requirement("X-5")
def test_s4_commands_and_scripts(ours: Callable[[str], str]) -> None:
    for answered in printed_by(ours, "004"):
        told = json.loads(answered)
        assert list(told) == S4_ANSWER
        assert (told["role"], told["tool_calls"]) == ("assistant", None)
    [streamed] = scripts_of(ours, "004")
    assert streamed.startswith("We are open from Monday to Friday, 9 AM to 6 PM.")


def printed_by(ours: Callable[[str], str], document: str) -> list[str]:
    return [command(ours(example.text)) for example in of_kind(document, "curl")]


def scripts_of(ours: Callable[[str], str], document: str) -> list[str]:
    conversation = ours("conv_abc123")
    return [script(ours(example.text) + AFTER, conversation) for example in of_kind(document, "javascript")]


def of_kind(document: str, kind: str) -> list[Example]:
    return [example for example in EXAMPLES[document] if example.kind == kind]
