"""The control socket: an operator's commands to the server that holds the database file. Knows no verb's meaning.

One JSON line each way: `{"verb", "arguments"}`, then `{"result"}` or `{"error": {"message"}}`.
"""

import asyncio
import contextlib
import os
import socket
from collections.abc import AsyncIterator, Iterator
from pathlib import Path
from typing import Any

import msgspec
import structlog

from dragoman.core.errors import DragomanError
from dragoman.services.operator import Operator

LONGEST_LINE = 16 * 1024 * 1024
# The kernel takes socket names of this many bytes.
LONGEST_NAME = 100

_log = structlog.get_logger(__name__)


class Refused(Exception):
    """The server did not do it; the text is for the operator."""


@contextlib.contextmanager
def _short_name(path: Path) -> Iterator[str]:
    """A name for a socket that fits the kernel's bound, however deep the data dir lies."""
    name = str(path)
    if len(os.fsencode(name)) <= LONGEST_NAME:
        yield name
        return
    directory = os.open(path.parent, os.O_RDONLY | os.O_DIRECTORY)
    try:
        yield f"/proc/self/fd/{directory}/{path.name}"
    finally:
        os.close(directory)


@contextlib.contextmanager
def _bound(path: Path) -> Iterator[socket.socket]:
    """A socket that has the name, for this user alone; the name goes when the block ends."""
    path.unlink(missing_ok=True)
    with socket.socket(socket.AF_UNIX, socket.SOCK_STREAM) as bound:
        with _short_name(path) as name:
            bound.bind(name)
        path.chmod(0o600)
        try:
            yield bound
        finally:
            path.unlink(missing_ok=True)


@contextlib.asynccontextmanager
async def listening(path: Path, operator: Operator) -> AsyncIterator[None]:
    """Serve the socket, which only this user may open, while the block runs."""

    async def serve(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        try:
            line = await reader.readline()
            asked = msgspec.json.decode(line, type=dict[str, Any])
            try:
                told: dict[str, Any] = {"result": await operator.do(asked["verb"], asked["arguments"])}
            except DragomanError as error:
                told = {"error": {"message": error.message}}
            writer.write(msgspec.json.encode(told) + b"\n")
            await writer.drain()
        except Exception:
            _log.exception("control_failed")
        finally:
            writer.close()

    with _bound(path) as bound:
        server = await asyncio.start_unix_server(serve, sock=bound, limit=LONGEST_LINE)
        try:
            yield
        finally:
            server.close()


def ask(path: Path, verb: str, arguments: dict[str, Any]) -> Any:
    """Have the running server do a verb.

    Raises:
        ConnectionError: no server listens there.
        Refused: it could not be done.
    """
    with socket.socket(socket.AF_UNIX, socket.SOCK_STREAM) as connection:
        try:
            with _short_name(path) as name:
                connection.connect(name)
        except OSError as error:
            raise ConnectionError(str(error)) from error
        connection.sendall(msgspec.json.encode({"verb": verb, "arguments": arguments}) + b"\n")
        with connection.makefile("rb") as answers:
            line = answers.readline()
    told = msgspec.json.decode(line, type=dict[str, Any]) if line else {"error": {"message": "the server went away"}}
    if "error" in told:
        raise Refused(told["error"]["message"])
    return told["result"]
