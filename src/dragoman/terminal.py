"""What the command shows in a terminal: progress bars, and a chat that streams. Talks to a server over HTTP alone."""

import http.client
import json
import sys
from collections.abc import Iterator
from types import TracebackType
from typing import Any
from urllib.parse import quote, urlsplit

from rich.console import Console
from rich.progress import BarColumn, Progress, TaskID, TaskProgressColumn, TextColumn, TimeRemainingColumn

TIMEOUT = 330.0


class Bars:
    """A progress bar for each name, on stderr; off a terminal, a line for each tenth.

    The bytes are those of fetching and of writing together, so what is shown is their share and not their number.
    """

    def __init__(self) -> None:
        console = Console(stderr=True)
        self._plain = not console.is_terminal
        self._progress = Progress(
            TextColumn("{task.description}"),
            BarColumn(),
            TaskProgressColumn(),
            TimeRemainingColumn(),
            console=console,
            disable=self._plain,
        )
        self._tasks: dict[str, TaskID] = {}
        self._told: dict[str, int] = {}

    def __enter__(self) -> "Bars":
        self._progress.start()
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, at: TracebackType | None) -> None:
        self._progress.stop()

    def __call__(self, name: str, done_bytes: int, total_bytes: int) -> None:
        """Show how far one of them is."""
        if name not in self._tasks:
            self._tasks[name] = self._progress.add_task(name, total=total_bytes)
        self._progress.update(self._tasks[name], completed=done_bytes, total=total_bytes)
        tenths = 10 * done_bytes // total_bytes if total_bytes else 10
        if self._plain and tenths > self._told.get(name, 0):
            self._told[name] = tenths
            sys.stderr.write(f"{name}  {tenths * 10} %\n")


class ChatFailed(Exception):
    """The chat cannot begin or go on; the text says why."""


def talk(url: str, key: str, agent: str) -> None:
    """Read messages from the terminal and print answers as they come, until the input ends.

    Raises:
        ChatFailed: the server cannot be reached or refuses.
    """
    conversation: str | None = None
    while True:
        try:
            text = input("> " if sys.stdin.isatty() else "")
        except (EOFError, KeyboardInterrupt):
            sys.stdout.write("\n")
            return
        if not text.strip():
            continue
        conversation = _exchange(url, key, agent, text, conversation)


def _exchange(url: str, key: str, agent: str, text: str, conversation: str | None) -> str | None:
    parts = urlsplit(url)
    kind = http.client.HTTPSConnection if parts.scheme == "https" else http.client.HTTPConnection
    connection = kind(parts.hostname or "127.0.0.1", parts.port, timeout=TIMEOUT)
    body = {"message": text, "stream": True, "conversationId": conversation}
    headers = {"Authorization": f"Bearer {key}", "Content-Type": "application/json"}
    try:
        connection.request("POST", f"{parts.path}/v1/api/chat/{quote(agent, safe='')}", json.dumps(body), headers)
        response = connection.getresponse()
        if response.status != 200:
            raise ChatFailed(_error(response.read()))
        for frame in _frames(response):
            if "error" in frame:
                raise ChatFailed(frame["error"]["message"])
            sys.stdout.write(frame["chunk"])
            sys.stdout.flush()
        sys.stdout.write("\n")
        return response.headers.get("X-Conversation-Id")
    except (OSError, http.client.HTTPException) as error:
        raise ChatFailed(
            f"{url} cannot be reached ({error}); is the server running? Start it with: make run"
        ) from error
    finally:
        connection.close()


def _frames(response: http.client.HTTPResponse) -> Iterator[dict[str, Any]]:
    for line in response:
        data = line.strip().removeprefix(b"data: ")
        if data == b"[DONE]":
            return
        if line.startswith(b"data: "):
            yield json.loads(data)


def _error(body: bytes) -> str:
    try:
        return str(json.loads(body)["error"]["message"])
    except (ValueError, KeyError, TypeError):
        return "the server answered with an error"
