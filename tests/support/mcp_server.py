"""A real MCP server of the official SDK, in a process of its own: ``python -m tests.support.mcp_server``.

It prints the address that it serves.
"""

import asyncio
import socket
import subprocess
import sys
from types import TracebackType
from typing import Any, Self

LONG_NAME = "find.the/closest shop with a name that is far longer than any model would ever take it to be"


class McpServer:
    """The server as tests start it; `url` is where it serves."""

    def __init__(self) -> None:
        self._process: subprocess.Popen[str] | None = None
        self.url = ""

    def __enter__(self) -> Self:
        self._process = subprocess.Popen(
            [sys.executable, "-m", "tests.support.mcp_server"],
            stdout=subprocess.PIPE,
            stderr=subprocess.DEVNULL,
            text=True,
        )
        assert self._process.stdout is not None
        self.url = self._process.stdout.readline().strip()
        assert self.url, "the server did not start"
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, at: TracebackType | None) -> None:
        if self._process is not None:
            self._process.kill()
            self._process.communicate()


def make_server() -> Any:
    """A shop's tools, good and bad."""
    from mcp.server.mcpserver import Context, MCPServer
    from mcp.server.mcpserver.exceptions import ToolError
    from mcp_types import ImageContent, TextContent, ToolAnnotations

    server = MCPServer("shop")

    @server.tool(description="Status of an order", annotations=ToolAnnotations(read_only_hint=True))
    def order_status(order_id: str) -> str:
        return f"Order {order_id} is shipped"

    @server.tool(description="Cancels an order", annotations=ToolAnnotations(destructive_hint=True))
    def cancel_order(order_id: str) -> str:
        return f"Order {order_id} is cancelled"

    @server.tool(description="Adds a note", annotations=ToolAnnotations(read_only_hint=False))
    def add_note(note: str) -> str:
        return note

    @server.tool(description="d" * 5_000, name=LONG_NAME)
    def find_shop(town: str = "") -> dict[str, str]:
        return {"shop": f"in {town}"}

    @server.tool()
    def picture() -> list[Any]:
        return [
            TextContent(type="text", text="Here it is"),
            ImageContent(type="image", data="aGk=", mime_type="image/png"),
        ]

    @server.tool()
    def fails() -> str:
        raise ToolError("no such order; the shelf is empty")

    @server.tool()
    async def slow() -> str:
        await asyncio.sleep(30)
        return "late"

    @server.tool()
    def long() -> str:
        return "x" * 50_000

    @server.tool()
    def huge() -> str:
        return "x" * 5_000_000

    @server.tool()
    async def who(context: Context) -> str:
        headers = context.headers or {}
        return f"{headers.get('authorization')}"

    return server


def main() -> None:
    """Serve until the process is killed."""
    import uvicorn

    bound = socket.socket()
    bound.bind(("127.0.0.1", 0))
    bound.listen(64)
    sys.stdout.write(f"http://127.0.0.1:{bound.getsockname()[1]}/mcp\n")
    sys.stdout.flush()
    app = make_server().streamable_http_app()
    uvicorn.Server(uvicorn.Config(app, log_level="warning")).run(sockets=[bound])


if __name__ == "__main__":
    main()
