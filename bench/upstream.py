"""A model server that answers from a script, as cheaply as it can: ``bench-64-20ms`` is 64 tokens, 20 ms apart.

Knows nothing of who asks. Without a pace all tokens are written at once, each by a write of its own.
The usage it reports counts a token for each four bytes of the request.
"""

import argparse
import asyncio
import functools
import re
from collections.abc import Sequence
from typing import cast

import msgspec
import uvloop

_NAME = re.compile(r"bench-(\d+)(?:-(\d+)ms)?")
_LENGTH = re.compile(rb"\r\ncontent-length: *(\d+)", re.IGNORECASE)
_HEAD = (
    b"HTTP/1.1 200 OK\r\ncontent-type: text/event-stream; charset=utf-8\r\n"
    b"cache-control: no-cache\r\ntransfer-encoding: chunked\r\n\r\n"
)
_DONE = b"e\r\ndata: [DONE]\n\n\r\n0\r\n\r\n"
_REFUSAL = b"HTTP/1.1 400 Bad Request\r\ncontent-length: 0\r\nconnection: close\r\n\r\n"
_WORDS = (" the", " model", " answers", " in", " words", " of", " usual", " length")


class _Asked(msgspec.Struct):
    model: str


_decode = msgspec.json.Decoder(_Asked).decode


class Script:
    """What a model name stands for: the writes of one answer, and the seconds between tokens."""

    def __init__(self, model: str) -> None:
        parts = _NAME.fullmatch(model)
        if parts is None:
            raise ValueError(f"{model} is not a model of this server")
        tokens = int(parts[1])
        self.pace = int(parts[2] or 0) / 1000
        self.writes = [_frame(_chunk(model, _WORDS[i % len(_WORDS)], None)) for i in range(tokens)]
        self._tokens = tokens
        self._last = _chunk(model, None, "stop")

    def end(self, prompt_tokens: int) -> bytes:
        """What follows the tokens: the finish, the usage, and the end of the stream."""
        total = prompt_tokens + self._tokens
        usage = {"prompt_tokens": prompt_tokens, "completion_tokens": self._tokens, "total_tokens": total}
        return _frame(self._last) + _frame({**self._last, "choices": [], "usage": usage}) + _DONE


_script = functools.cache(Script)


def _chunk(model: str, content: str | None, finish_reason: str | None) -> dict[str, object]:
    return {
        "id": "chatcmpl-BVxq0Gm2bTnCzLr8sYdKe5WfHuPa1",
        "object": "chat.completion.chunk",
        "created": 1760000000,
        "model": model,
        "service_tier": "default",
        "system_fingerprint": "fp_5d58a6052a",
        "choices": [
            {
                "index": 0,
                "delta": {} if content is None else {"content": content},
                "logprobs": None,
                "finish_reason": finish_reason,
            }
        ],
    }


def _frame(chunk: dict[str, object]) -> bytes:
    return _http(b"data: " + msgspec.json.encode(chunk) + b"\n\n")


def _http(data: bytes) -> bytes:
    return b"%x\r\n%b\r\n" % (len(data), data)


class Upstream(asyncio.Protocol):
    """One connection of a client: a request is answered when its body is whole."""

    def __init__(self) -> None:
        self.received = b""
        self.loop = asyncio.get_running_loop()
        self.timer: asyncio.TimerHandle | None = None

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        """Keep the way back."""
        self.transport = cast("asyncio.Transport", transport)

    def connection_lost(self, error: Exception | None) -> None:
        """Write no more tokens to somebody who left."""
        if self.timer is not None:
            self.timer.cancel()

    def data_received(self, data: bytes) -> None:
        """Collect a request; answer it once it is whole."""
        self.received += data
        head_end = self.received.find(b"\r\n\r\n")
        if head_end < 0:
            return
        length = _LENGTH.search(self.received, 0, head_end)
        body_end = head_end + 4 + (int(length[1]) if length else 0)
        if len(self.received) < body_end:
            return
        body, self.received = self.received[head_end + 4 : body_end], self.received[body_end:]
        try:
            self.answer(_decode(body).model, len(body) // 4)
        except ValueError:
            self.transport.write(_REFUSAL)
            self.transport.close()

    def answer(self, model: str, prompt_tokens: int) -> None:
        """Begin the answer of this model."""
        script = _script(model)
        end = script.end(prompt_tokens)
        self.transport.write(_HEAD)
        if script.pace:
            self.write_next(script, end, 0, self.loop.time())
            return
        for write in script.writes:
            self.transport.write(write)
        self.transport.write(end)

    def write_next(self, script: Script, end: bytes, position: int, due: float) -> None:
        """Write one token and set the time of the next; `due` is when this one was."""
        if position == len(script.writes):
            self.timer = None
            self.transport.write(end)
            return
        self.transport.write(script.writes[position])
        due += script.pace
        self.timer = self.loop.call_at(due, self.write_next, script, end, position + 1, due)


async def _serve(port: int) -> None:
    server = await asyncio.get_running_loop().create_server(Upstream, "127.0.0.1", port, backlog=1024)
    await server.serve_forever()


def main(arguments: Sequence[str] | None = None) -> None:
    """Serve until terminated."""
    parser = argparse.ArgumentParser(prog="python -m bench.upstream", description="A scripted model server.")
    parser.add_argument("--port", type=int, required=True)
    uvloop.run(_serve(parser.parse_args(arguments).port))


if __name__ == "__main__":
    main()
