"""A shop on a real local server, whose orders tools can look up and whose money they can pay back."""

import contextlib
import json
import threading
from collections.abc import Iterator
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any

TOKEN = "Bearer shop-token-0123456789"
ORDERS = {"1234": "shipped on Monday, arrives on Thursday", "9": "see below"}


@dataclass
class Shop:
    """Where it is, what it was asked, and what stands in its notes."""

    url: str
    asked: list[tuple[str, str, Any]] = field(default_factory=list)
    note: str = ""

    @property
    def order_status(self) -> dict[str, Any]:
        """The tool that reads, as a manifest has it."""
        return {
            "type": "http",
            "name": "order_status",
            "description": "Look up the status of an order by its number.",
            "url": f"{self.url}/orders/{{order_id}}",
            "headers": {"Authorization": {"secret": "shop_token"}},
            "response": ["order_id", "status", "note"],
            "parameters": {
                "type": "object",
                "properties": {"order_id": {"type": "string", "description": "The number of the order"}},
                "required": ["order_id"],
            },
        }

    @property
    def refund(self) -> dict[str, Any]:
        """The tool that writes."""
        return {
            "type": "http",
            "name": "refund",
            "description": "Pay the price of an order back.",
            "method": "POST",
            "url": f"{self.url}/refunds",
            "headers": {"Authorization": {"secret": "shop_token"}},
            "parameters": {
                "type": "object",
                "properties": {"order_id": {"type": "string"}},
                "required": ["order_id"],
            },
        }


@contextlib.contextmanager
def shop() -> Iterator[Shop]:
    """A shop that is open."""
    open_shop = Shop("")

    class Handler(BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            self._answer(None)

        def do_POST(self) -> None:
            self._answer(json.loads(self.rfile.read(int(self.headers["Content-Length"]))))

        def _answer(self, body: Any) -> None:
            open_shop.asked.append((self.command, self.path, body))
            order = self.path.partition("?")[0].removeprefix("/orders/")
            known = ORDERS.get(order)
            if self.headers["Authorization"] != TOKEN:
                told: tuple[int, Any] = (401, {"error": "who are you?"})
            elif self.path == "/refunds":
                told = (200, {"refunded": body["order_id"]})
            elif known is None:
                told = (404, {"error": "there is no such order"})
            else:
                told = (200, {"order_id": order, "status": known, "note": open_shop.note, "margin": "0.41"})
            status, answer = told
            text = json.dumps(answer).encode()
            self.send_response(status)
            self.send_header("Content-Type", "application/json")
            self.send_header("Content-Length", str(len(text)))
            self.end_headers()
            self.wfile.write(text)

        def log_message(self, format: str, *args: Any) -> None:
            pass

    server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    open_shop.url = f"http://127.0.0.1:{server.server_address[1]}"
    threading.Thread(target=server.serve_forever, daemon=True).start()
    yield open_shop
    server.shutdown()
    server.server_close()
