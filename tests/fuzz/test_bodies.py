"""Bodies byte by byte, forms, streams and sockets: what no schema can say, and what a client can send all the same."""

import json
from typing import Any

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from websockets.sync.client import connect

from dragoman.core.ids import parse_id
from tests.dialects.segments import LETTERS, parsed
from tests.fuzz.documents import BODIES, CASES_OF_A_TENANT, check_error, tenants_of
from tests.fuzz.scene import USER, Pool, key_of
from tests.isolation.asked import Asked, Told, ask, fresh
from tests.support.server import ServerProcess

checked = settings(
    max_examples=BODIES,
    deadline=None,
    derandomize=True,
    database=None,
    suppress_health_check=list(HealthCheck),
)
# What a request is answered whose credential is good and whose path is there.
ANSWERS = {200, 201, 400, 404, 409, 413, 415}
BOUNDARY = b"a-boundary"
FORM = f"multipart/form-data; boundary={BOUNDARY.decode()}"
FIELDS = ("agent_key", "query", "messages", "conversation_id", "audio", "audio_file", "unknown")
FILES = (b"a.wav", b"", b"\xff", b'a"b', b"../a", b"\xc3\xa9.mp3")
ODD = (
    *(b"", b"\0", b"\r\n", b"\n", b"\r", b'"', b"\\", b"--", BOUNDARY, b"--" + BOUNDARY, b"--" + BOUNDARY + b"--"),
    *(b"\xff", b"\xed\xa0\x80", b"\xf0\x9f\x98\x80", b"{", b"[", b"}", b"]", b",", b":", b"\\u0000", b"\\ud800"),
    *(b"1e999", b"null", b"%00", b"%", b"&", b"=", b";", b"x" * 5000, b"[" * 5000),
)
TEXTS = st.text(LETTERS.filter(lambda letter: letter != "\0"), min_size=1, max_size=40).filter(str.strip)


@pytest.fixture(scope="module")
def pools(server: ServerProcess) -> list[Pool]:
    return [Pool(server.url, tenant) for tenant in tenants_of("bodies", BODIES)]


@pytest.fixture(scope="module")
def pool(pools: list[Pool]) -> Pool:
    return pools[0]


def sent(pool: Pool, document: str, path: str, body: bytes, content_type: str, method: str = "POST") -> Told:
    """The answer to a body as it is: one that the document has for it."""
    told = ask(pool.url, Asked(method, path, [*pool.headers.items(), ("Content-Type", content_type)], body))
    assert told.status in ANSWERS, told.text
    if told.status >= 400:
        check_error(document, told.json)
    return told


@st.composite
def broken(draw: st.DrawFn, whole: bytes) -> bytes:
    """Bytes of which some are cut out, doubled or something else."""
    for _ in range(draw(st.integers(0, 4))):
        start = draw(st.integers(0, len(whole)))
        end = draw(st.integers(start, min(len(whole), start + 12)))
        instead = draw(st.sampled_from(ODD) | st.binary(max_size=4) | st.just(whole[:start]))
        whole = whole[:start] + instead + whole[end:]
    return whole[: draw(st.integers(0, len(whole)))] if draw(st.integers(0, 4)) == 4 else whole


@st.composite
def parts(draw: st.DrawFn, good: dict[str, bytes]) -> bytes:
    """A part of a form, near enough to a good one to be read on."""
    name = draw(st.sampled_from(FIELDS))
    value = draw(st.just(good.get(name, b"text")) | st.sampled_from(ODD) | st.binary(max_size=30))
    disposition = b'form-data; name="%b"' % draw(st.just(name.encode()) | st.sampled_from(ODD))
    if draw(st.integers(0, 4)) == 4:
        disposition += b'; filename="%b"' % draw(st.sampled_from(FILES))
    lines = [b"Content-Disposition: " + draw(st.just(disposition) | st.sampled_from(ODD))]
    lines += [b"X-%d: %b" % (at, draw(st.sampled_from(ODD))) for at in range(draw(st.integers(0, 2)))]
    return b"--" + BOUNDARY + b"\r\n" + b"\r\n".join(lines) + b"\r\n\r\n" + value + b"\r\n"


@pytest.mark.parametrize("way", ["chat", "stream"])
def test_whatever_a_form_is_made_of_it_is_answered_or_refused(pool: Pool, way: str) -> None:
    key = f"agent:{pool.agent}:voice:eu".encode()
    good = {"agent_key": key, "query": b"Hello", "messages": b'[{"role":"user","content":"Hi"}]'}
    first = b'--%b\r\nContent-Disposition: form-data; name="agent_key"\r\n\r\n%b\r\n' % (BOUNDARY, key)
    types = st.sampled_from([FORM] * 12 + ["multipart/form-data", f"{FORM}x", FORM + "y" * 300, "multipart/mixed", ""])
    seen = set()

    @given(st.lists(parts(good), max_size=5).map(b"".join), types, st.booleans(), st.data())
    @checked
    def each(more: bytes, content_type: str, whole: bool, data: st.DataObject) -> None:
        form = first + more + b"--" + BOUNDARY + b"--\r\n"
        body = form if whole else data.draw(broken(form))
        seen.add(sent(pool, "aloochat", f"/api/v1/chat/agent/{way}", body, content_type).status)

    each()
    assert {200, 400, 415} <= seen


def test_whatever_a_urlencoded_form_holds_it_is_answered_or_refused(pool: Pool) -> None:
    good = f"agent_key=agent%3A{pool.agent}%3Avoice%3Aeu&query=Hello+there".encode()
    seen = set()

    @given(broken(good))
    @checked
    def each(body: bytes) -> None:
        told = sent(pool, "aloochat", "/api/v1/chat/agent/chat", body, "application/x-www-form-urlencoded")
        seen.add(told.status)

    each()
    assert {200, 400} <= seen


def good_json(document: str, pool: Pool) -> tuple[str, str, dict[str, Any]]:
    """A request with a JSON body: method, path and body."""
    match document:
        case "aloochat":
            body = {"agent_key": f"agent:{pool.agent}:voice:eu", "query": "Hello", "messages": "[]"}
            return "POST", "/api/v1/chat/agent/chat", body
        case "alonchat":
            body = {"message": "Hello", "metadata": {"a": [1, {"b": None}]}, "stream": False}
            return "POST", f"/v1/agents/{pool.agent}/chat", body
        case "slug":
            return "POST", "/v1/api/chat/talker", {"message": "Hello", "stream": False, "conversationId": None}
        case "sessions":
            return "POST", "/api/v1/chats", {"user_id": USER, "title": "A chat", "metadata": {"plan": "pro"}}
        case "agents":
            return "POST", "/api/agents/talker/chat", {"message": "Hello", "context": {"a": 1}, "metadata": {"b": [2]}}
    return "PATCH", "/manage/v1/tenant", {"name": "Bodies", "default_agent": "talker"}


@pytest.mark.parametrize("document", ["aloochat", "alonchat", "slug", "sessions", "agents", "management"])
def test_whatever_bytes_a_json_body_has_it_is_answered_or_refused(pools: list[Pool], document: str) -> None:
    method, path, good = good_json(document, pools[0])
    seen: list[int] = []

    @given(broken(json.dumps(good).encode()))
    @checked
    def each(body: bytes) -> None:
        pool = pools[0] if document != "sessions" else pools[len(seen) // CASES_OF_A_TENANT]
        seen.append(sent(pool, document, path, body, "application/json", method).status)

    each()
    assert {200, 201} & set(seen)
    assert 400 in seen


def streamed(pool: Pool, document: str, text: str) -> str:
    """What a stream of an agent that repeats what is said says to a text."""
    key = f"agent:{pool.echo}:voice:eu"
    path, body, field = {
        "aloochat": ("/api/v1/chat/agent/stream", {"agent_key": key, "query": text}, "content"),
        "alonchat": (f"/v1/agents/{pool.echo}/chat", {"message": text, "stream": True}, "content"),
        "slug": ("/v1/api/chat/echo", {"message": text, "stream": True}, "chunk"),
        "agents": ("/api/agents/echo/chat", {"message": text, "stream": True}, "content"),
    }[document]
    headers = [*pool.headers.items(), ("Content-Type", "application/json"), ("Idempotency-Key", fresh())]
    told = ask(pool.url, Asked("POST", path, headers, json.dumps(body).encode()))
    assert told.status == 200, told.text
    assert (told.header("Content-Type") or "").startswith("text/event-stream")
    frames = [json.loads(frame.data) for frame in parsed(told.body) if frame.data != "[DONE]"]
    said = [frame for frame in frames if frame.get("type", "chunk") in ("chunk", "text", "delta", "agent_text_chunk")]
    return "".join(frame[field] for frame in said)


@pytest.mark.parametrize("document", ["aloochat", "alonchat", "slug", "agents"])
def test_whatever_is_said_a_stream_repeats_it_to_the_letter(pool: Pool, document: str) -> None:
    @given(TEXTS)
    @checked
    def each(text: str) -> None:
        assert streamed(pool, document, text) == f"You said: {text}"

    each()


def as_frame(body: bytes) -> str | bytes:
    """What a socket sends as text where it is any, else as bytes."""
    try:
        return body.decode()
    except UnicodeDecodeError:
        return body


def test_whatever_comes_over_a_socket_it_is_answered_and_the_socket_stays(pool: Pool) -> None:
    chat = parse_id("conv", pool.conversation())
    query = f"api_key={key_of(pool.tenant)}&user_id={USER}&chat_id={chat}"
    address = f"{pool.url.replace('http', 'ws')}/ws/chat?{query}"
    good = json.dumps({"content": "Hello", "metadata": {"a": [1]}})

    # Ten messages a second are taken from a connection.
    @given(st.lists(broken(good.encode()), min_size=1, max_size=4))
    @checked
    def each(bodies: list[bytes]) -> None:
        with connect(address, open_timeout=20) as socket:
            for body in bodies:
                socket.send(as_frame(body))
            socket.send('{"content": "the end"}')
            ended = errors = 0
            while ended + errors < len(bodies) + 1:
                frame = json.loads(socket.recv(timeout=20))
                ended += frame["event_type"] == "message_stream_ended"
                if frame["event_type"] == "error":
                    errors += 1
                    assert frame["error_code"] == "INVALID_MESSAGE", frame
            assert ended >= 1

    each()
