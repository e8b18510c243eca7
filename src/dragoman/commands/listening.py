"""A receiver of webhooks on this machine that prints what comes. Knows no server and no command."""

import json
import sys
import threading
import time
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from types import TracebackType
from typing import Any, Self

import typer

from dragoman.core.webhooks import is_genuine

LONGEST_BODY = 16 << 20


class Listener:
    """Listens on 127.0.0.1 from when it is made, and answers within the block.

    The path of a delivery names its tenant; `secrets` has the secret that signs each tenant's.

    Raises (when made):
        OSError: the port cannot be had.
    """

    def __init__(self, port: int) -> None:
        self.secrets: dict[str, str] = {}
        self._printing = threading.Lock()
        self._server = _Server(("127.0.0.1", port), _Handler)
        self._server.listener = self
        self.port: int = self._server.server_address[1]
        self._thread = threading.Thread(target=self._server.serve_forever, kwargs={"poll_interval": 0.1})

    def __enter__(self) -> Self:
        self._thread.start()
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, at: TracebackType | None) -> None:
        self._server.shutdown()
        self._thread.join()
        self._server.server_close()

    def wait(self, seconds: float) -> None:
        """Go on listening for a while."""
        self._thread.join(seconds)

    def show(self, tenant: str, headers: dict[str, str], body: bytes) -> None:
        """Print a delivery."""
        genuine = is_genuine(self.secrets[tenant], headers, body, int(time.time())) if tenant in self.secrets else False
        try:
            told: Any = json.loads(body)
        except ValueError:
            told = body.decode(errors="replace")
        event = told.get("event", "?") if isinstance(told, dict) else "?"
        signed = "verified" if genuine else "NOT VERIFIED"
        with self._printing:
            typer.echo(f"{time.strftime('%H:%M:%S')}  {event}  {tenant}  {signed}  {headers.get('webhook-id', '')}")
            if sys.stdout.isatty():
                from rich import print_json

                print_json(data=told)
            else:
                typer.echo(json.dumps(told, indent=2, ensure_ascii=False))
            sys.stdout.flush()


class _Server(ThreadingHTTPServer):
    daemon_threads = True
    listener: Listener


class _Handler(BaseHTTPRequestHandler):
    server: _Server

    def do_POST(self) -> None:
        """A delivery."""
        length = self.headers.get("Content-Length", "")
        if not length.isdigit() or int(length) > LONGEST_BODY:
            self.send_error(413)
            return
        body = self.rfile.read(int(length))
        headers = {name.lower(): value for name, value in self.headers.items()}
        self.server.listener.show(self.path.strip("/"), headers, body)
        self.send_response(204)
        self.end_headers()

    def log_message(self, format: str, *arguments: Any) -> None:
        """What comes is printed as it is; that it came need not be said too."""
