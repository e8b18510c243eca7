"""A scripted model server with faults to the byte, steered by the model's name. Knows nothing of Dragoman.

`python -m tests.support.upstream --port 0` prints `{"url": ...}` and serves; tests use `async with Upstream()`.
The name of the model is a list of directives, such as `tokens=64,delay=0.02` or `tokens=8,fault=reset`:

    tokens=N  delay=S  slow_first=S     how many tokens, seconds between them, seconds before the first
    echo  prompt  offered               answer with the last user message, or with the messages or the tools as JSON
    calls=N  rounds=M                   want N calls of the offered tools, in the first M answers to a user message
                                        (one); after them say `id=content` of each result, or what is said above
    obey                                call whatever offered tool the last message names, with the number it holds
    called=NAME  args                   call this instead; give the last user message as arguments, to the letter
    same_ids  no_ids                    number the calls of each answer from 1, or leave their ids out
    crlf  split                         end lines by CRLF; write in pieces of seven bytes
    json                                one whole answer, whatever `stream` says
    status=N  retry_after=S  times=N    refuse, always or the first N requests for this name
    stall_before  stall_within          say nothing at all, or nothing more
    reset  truncate                     break off after half of the deltas by RST, or by FIN within the body
    no_done  no_finish                  end the body without `[DONE]`, or without a finish reason either
    hold                                send all but the end of the body
    bad_utf8  bad_json  error           break the stream's content after half of the deltas
    huge_line  endless                  a line of 10 MB; tokens without end
"""

import argparse
import asyncio
import json
import re
import socket
import struct
import sys
import time
from collections import Counter, deque
from collections.abc import Iterator
from itertools import takewhile
from typing import Any, Self

DEFAULT_TOKENS = 16
HUGE_LINE_BYTES = 10_000_000
KEPT_BODIES = 2000


class Directives:
    """What one model's name asks of the server."""

    def __init__(self, model: str) -> None:
        self._values: dict[str, str] = {}
        for directive in model.split(","):
            name, _, value = directive.strip().partition("=")
            if name == "fault":
                name, value = value, ""
            self._values[name] = value

    def __contains__(self, name: str) -> bool:
        return name in self._values

    def text(self, name: str) -> str | None:
        """The value as it stands, or None where the directive is absent."""
        return self._values.get(name)

    def number(self, name: str, default: float = 0) -> float:
        """The value as a number."""
        return float(self._values.get(name, default))


def texts_of(directives: Directives, request: dict[str, Any], calling: bool) -> list[str]:
    """The pieces of the answer's text, the same for the same request."""
    messages = request["messages"]
    if "tokens" not in directives and calling:
        return []
    if "echo" in directives:
        said = [message["content"] for message in messages if message["role"] == "user"]
        return [said[-1]] if said else []
    if "prompt" in directives:
        return [json.dumps(messages)]
    if "offered" in directives:
        return [json.dumps(request.get("tools"))]
    if messages[-1]["role"] == "tool":
        results = list(takewhile(lambda message: message["role"] == "tool", reversed(messages)))[::-1]
        return ["; ".join(f"{result['tool_call_id']}={result['content']}" for result in results)]
    return [f"tok{number} " for number in range(int(directives.number("tokens", DEFAULT_TOKENS)))]


def calls_of(directives: Directives, request: dict[str, Any]) -> list[dict[str, Any]]:
    """The calls of the answer, each with an id of its own in the conversation unless the directives say otherwise."""
    called = directives.text("called")
    names = [called] if called else [tool["function"]["name"] for tool in request.get("tools") or []]
    messages = request["messages"]
    if "obey" in directives:
        names = [name for name in names if name in messages[-1]["content"]][:1]
        found = re.search(r"\d+", messages[-1]["content"])
        arguments = json.dumps({"order_id": found[0] if found else ""})
        return [
            {"id": f"call_{len(messages)}", "type": "function", "function": {"name": name, "arguments": arguments}}
            for name in names
        ]
    round_of = list(takewhile(lambda message: message["role"] != "user", reversed(messages)))
    if not names or sum("tool_calls" in message for message in round_of) >= directives.number("rounds", 1):
        return []
    earlier = 0 if "same_ids" in directives else sum(len(message.get("tool_calls", ())) for message in messages)
    calls = []
    for number in range(1, int(directives.number("calls")) + 1):
        said = messages[-1 - len(round_of)]["content"] if "args" in directives else json.dumps({"number": number})
        function = {"name": names[(number - 1) % len(names)], "arguments": said}
        id_of = {} if "no_ids" in directives else {"id": f"call_{earlier + number}"}
        calls.append({**id_of, "type": "function", "function": function})
    return calls


def pieces_of(calls: list[dict[str, Any]]) -> Iterator[dict[str, Any]]:
    """The deltas that calls are streamed in: what is called, then its arguments in two halves."""
    for index, call in enumerate(calls):
        arguments = call["function"]["arguments"]
        half = len(arguments) // 2
        yield {"tool_calls": [{**call, "index": index, "function": {**call["function"], "arguments": ""}}]}
        for piece in (arguments[:half], arguments[half:]):
            yield {"tool_calls": [{"index": index, "function": {"arguments": piece}}]}


def data_of(payload: Any) -> bytes:
    """One event whose data is the payload as JSON."""
    return b"data: " + json.dumps(payload, ensure_ascii=False).encode() + b"\n\n"


def chunk_of(model: str, delta: dict[str, Any], finish_reason: str | None = None) -> dict[str, Any]:
    """A chunk of an answer as OpenAI's servers send it."""
    choice = {"index": 0, "delta": delta, "logprobs": None, "finish_reason": finish_reason}
    return {
        "id": "chatcmpl-1",
        "object": "chat.completion.chunk",
        "created": 1_700_000_000,
        "model": model,
        "choices": [choice],
    }


class _Connection(asyncio.Protocol):
    """One connection of a client; requests on it are answered one after the other."""

    transport: asyncio.Transport

    def __init__(self, upstream: "Upstream") -> None:
        self._upstream = upstream
        self._received = bytearray()
        self._answering: asyncio.Task[None] | None = None
        self._model = ""
        self._writable = asyncio.Event()
        self._writable.set()
        self.lost = asyncio.Event()

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        assert isinstance(transport, asyncio.Transport)
        self.transport = transport
        self._upstream.connections.add(self)
        self._upstream.accepted += 1

    def data_received(self, data: bytes) -> None:
        self._received += data
        if self._answering is None:
            self._next_request()

    def eof_received(self) -> None:
        self._client_left()

    def connection_lost(self, error: Exception | None) -> None:
        self._upstream.connections.discard(self)
        self.lost.set()
        self._client_left()

    def pause_writing(self) -> None:
        self._writable.clear()

    def resume_writing(self) -> None:
        self._writable.set()

    def _client_left(self) -> None:
        if self._answering is not None:
            self._upstream.note_closing(self._model)
            self._answering.cancel()
            self._answering = None

    def _next_request(self) -> None:
        head, ended, _ = bytes(self._received).partition(b"\r\n\r\n")
        if not ended:
            return
        request_line, *lines = head.decode("latin-1").split("\r\n")
        headers = {name.lower(): value.strip() for name, _, value in (line.partition(":") for line in lines)}
        end = len(head) + 4 + int(headers.get("content-length", 0))
        if len(self._received) < end:
            return
        body = bytes(self._received[len(head) + 4 : end])
        del self._received[:end]
        method, path, _ = request_line.split(" ")
        if path.endswith("/chat/completions"):
            self._answering = asyncio.get_running_loop().create_task(self._complete(json.loads(body), headers))
        elif path == "/stats":
            self._send_json(200, self._upstream.stats())
        elif path == "/reset" and method == "POST":
            self._upstream.reset()
            self._send_json(200, {})
        else:
            self._send_json(404, {"error": {"message": f"no route {path}"}})

    def _send_json(self, status: int, content: Any, *headers: str) -> None:
        body = json.dumps(content).encode()
        lines = [f"HTTP/1.1 {status} -", "Content-Type: application/json", f"Content-Length: {len(body)}", *headers]
        self.transport.write("\r\n".join(lines).encode() + b"\r\n\r\n" + body)

    async def _complete(self, request: dict[str, Any], headers: dict[str, str]) -> None:
        self._model = request["model"]
        directives = Directives(self._model)
        asked = self._upstream.record(request, headers)
        if "stall_before" in directives:
            await asyncio.Event().wait()
        if "status" in directives and asked <= directives.number("times", float("inf")):
            retry_after = directives.text("retry_after")
            extra = [] if retry_after is None else [f"Retry-After: {retry_after}"]
            self._send_json(int(directives.number("status")), {"error": {"message": "refused by script"}}, *extra)
        elif "json" in directives:
            self._send_json(200, self._whole_answer(directives, request))
        else:
            await self._stream(directives, request)
        self._answering = None
        if self._received:
            self._next_request()

    def _whole_answer(self, directives: Directives, request: dict[str, Any]) -> dict[str, Any]:
        calls = calls_of(directives, request)
        texts = texts_of(directives, request, bool(calls))
        message: dict[str, Any] = {"role": "assistant", "content": "".join(texts)}
        if calls:
            message |= {"content": message["content"] or None, "tool_calls": calls}
        return {
            "object": "chat.completion",
            "model": self._model,
            "choices": [{"index": 0, "message": message, "finish_reason": "tool_calls" if calls else "stop"}],
            "usage": usage_of(request, len(texts) + len(calls)),
        }

    async def _stream(self, directives: Directives, request: dict[str, Any]) -> None:
        self.transport.write(
            b"HTTP/1.1 200 OK\r\nContent-Type: text/event-stream; charset=utf-8\r\nTransfer-Encoding: chunked\r\n\r\n"
        )
        calls = calls_of(directives, request)
        texts = texts_of(directives, request, bool(calls))
        deltas = [*({"content": text} for text in texts), *pieces_of(calls)]
        await self._send(directives, data_of(chunk_of(self._model, {"role": "assistant", "content": ""})))
        await asyncio.sleep(directives.number("slow_first"))
        half = len(deltas) // 2
        await self._send_deltas(directives, deltas[:half])
        if not await self._fault(directives, half):
            return
        await self._send_deltas(directives, deltas[half:])
        if "no_finish" not in directives:
            await self._send(directives, data_of(chunk_of(self._model, {}, "tool_calls" if calls else "stop")))
            if (request.get("stream_options") or {}).get("include_usage"):
                counted = usage_of(request, len(texts) + len(calls))
                usage = {**chunk_of(self._model, {}), "choices": [], "usage": counted}
                await self._send(directives, data_of(usage))
            if "no_done" not in directives:
                await self._send(directives, b"data: [DONE]\n\n")
        if "hold" in directives:
            await asyncio.Event().wait()
        self.transport.write(b"0\r\n\r\n")

    async def _send_deltas(self, directives: Directives, deltas: list[dict[str, Any]]) -> None:
        delay = directives.number("delay")
        for delta in deltas:
            await self._send(directives, data_of(chunk_of(self._model, delta)))
            if delay:
                await asyncio.sleep(delay)

    async def _fault(self, directives: Directives, sent: int) -> bool:
        """What goes wrong after half of the deltas; False where nothing can follow."""
        if "stall_within" in directives:
            await asyncio.Event().wait()
        if "reset" in directives or "truncate" in directives:
            # What is written before must arrive before the connection breaks.
            await asyncio.sleep(0.05)
            self._answering = None
            self._break_off(hard="reset" in directives)
            return False
        if "endless" in directives:
            while True:
                await self._send_deltas(directives, [{"content": f"tok{sent} "}])
                await asyncio.sleep(0)
                sent += 1
        for broken in self._broken_content(directives):
            await self._send(directives, broken)
        return True

    def _broken_content(self, directives: Directives) -> Iterator[bytes]:
        if "bad_utf8" in directives:
            yield data_of(chunk_of(self._model, {"content": "@"})).replace(b"@", b"\xff\xfe")
        if "bad_json" in directives:
            yield b'data: {"choices": [{"delta": {"content": \n\n'
        if "error" in directives:
            yield data_of({"error": {"message": "overloaded by script", "type": "server_error", "code": 503}})
        if "huge_line" in directives:
            yield data_of(chunk_of(self._model, {"content": "x" * HUGE_LINE_BYTES}))

    def _break_off(self, *, hard: bool) -> None:
        if not hard:
            self.transport.write(b'40\r\ndata: {"choices": [{"del')
            self.transport.close()
            return
        self.transport.get_extra_info("socket").setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
        self.transport.abort()

    async def _send(self, directives: Directives, frame: bytes) -> None:
        """Write one frame as a chunk of the body, as the directives cut it."""
        if "crlf" in directives:
            frame = frame.replace(b"\n", b"\r\n")
        for start in range(0, len(frame), 7) if "split" in directives else (0,):
            piece = frame[start : start + 7] if "split" in directives else frame
            await self._writable.wait()
            self.transport.write(b"%x\r\n%b\r\n" % (len(piece), piece))
            if "split" in directives:
                await asyncio.sleep(0)


def usage_of(request: dict[str, Any], completion_tokens: int) -> dict[str, int]:
    """The usage that the server claims: four characters of the prompt a token; a token a piece of text, and a call."""
    prompt_tokens = sum(len(message["content"] or "") for message in request["messages"]) // 4
    return {
        "prompt_tokens": prompt_tokens,
        "completion_tokens": completion_tokens,
        "total_tokens": prompt_tokens + completion_tokens,
    }


class Upstream:
    """The server and what it has seen. `closed` holds when clients left in mid-answer, in monotonic seconds."""

    def __init__(self, port: int = 0) -> None:
        self._port = port
        self._server: asyncio.Server | None = None
        self.connections: set[_Connection] = set()
        self.reset()

    async def __aenter__(self) -> Self:
        self._server = await asyncio.get_running_loop().create_server(
            lambda: _Connection(self), "127.0.0.1", self._port
        )
        self._port = self._server.sockets[0].getsockname()[1]
        return self

    async def __aexit__(self, *_: object) -> None:
        assert self._server is not None
        self._server.close()
        for connection in list(self.connections):
            connection.transport.abort()
        await asyncio.gather(*(connection.lost.wait() for connection in list(self.connections)))
        await self._server.wait_closed()

    @property
    def url(self) -> str:
        """The base URL as a manifest names it."""
        return f"http://127.0.0.1:{self._port}/v1"

    def reset(self) -> None:
        """Forget everything seen; connections stay."""
        self.requests = 0
        self.accepted = 0
        self.bodies: deque[dict[str, Any]] = deque(maxlen=KEPT_BODIES)
        self.headers: deque[dict[str, str]] = deque(maxlen=KEPT_BODIES)
        self.closed: list[dict[str, Any]] = []
        self._closing = asyncio.Event()
        self._asked: Counter[str] = Counter()

    def record(self, request: dict[str, Any], headers: dict[str, str]) -> int:
        """Note a request; how many there have been for its model, this one included."""
        self.requests += 1
        self.bodies.append(request)
        self.headers.append(headers)
        self._asked[request["model"]] += 1
        return self._asked[request["model"]]

    def note_closing(self, model: str) -> None:
        """Note that a client hung up in the middle of an answer."""
        self.closed.append({"model": model, "at": time.monotonic()})
        self._closing.set()

    async def next_closing(self) -> dict[str, Any]:
        """The latest closing, once there is one that no earlier call has waited for."""
        await self._closing.wait()
        self._closing.clear()
        return self.closed[-1]

    def stats(self) -> dict[str, Any]:
        """What `GET /stats` answers."""
        return {
            "requests": self.requests,
            "connections": self.accepted,
            "open": len(self.connections),
            "bodies": list(self.bodies),
            "closed": self.closed,
        }


async def _serve(port: int) -> None:
    async with Upstream(port) as upstream:
        sys.stdout.write(json.dumps({"url": upstream.url}) + "\n")
        sys.stdout.flush()
        await asyncio.Event().wait()


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description="A scripted model server with faults.")
    parser.add_argument("--port", type=int, default=0, help="0 takes a free one")
    asyncio.run(_serve(parser.parse_args().port))
