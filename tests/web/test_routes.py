"""The routes under /docs over an app of their own: what is served, with which headers, and what is not."""

import json
from typing import Any

import pytest

from dragoman.server.routing import DialectApp
from dragoman.web.routes import docs
from tests.web.scene import DOCUMENTED


async def get(path: str, host: str = "chat.example", public_url: str = "") -> tuple[int, dict[str, str], bytes]:
    """Status, headers and body of an answer."""
    scope = {
        "type": "http",
        "asgi": {"version": "3.0"},
        "http_version": "1.1",
        "method": "GET",
        "scheme": "https",
        "path": path,
        "raw_path": path.encode(),
        "query_string": b"",
        "headers": [(b"host", host.encode("latin-1"))],
    }
    sent: list[dict[str, Any]] = []

    async def receive() -> dict[str, Any]:
        return {"type": "http.request", "body": b"", "more_body": False}

    async def send(message: Any) -> None:
        sent.append(message)

    await DialectApp((), docs(DOCUMENTED, public_url))(scope, receive, send)
    headers = {name.decode(): value.decode() for name, value in sent[0]["headers"]}
    return sent[0]["status"], headers, b"".join(message.get("body", b"") for message in sent)


@pytest.mark.parametrize(
    ("path", "kind"),
    [
        ("/docs", "text/html; charset=utf-8"),
        ("/docs/", "text/html; charset=utf-8"),
        *((f"/docs/{each.name}", "text/html; charset=utf-8") for each in DOCUMENTED),
        *((f"/docs/{each.name}/openapi.json", "application/json") for each in DOCUMENTED),
        ("/docs/slug/", "text/html; charset=utf-8"),
        ("/docs/sample/asyncapi.json", "application/json"),
        ("/docs/assets/docs.css", "text/css; charset=utf-8"),
        ("/docs/assets/mark.svg", "image/svg+xml"),
    ],
)
async def test_it_is_there_and_may_load_only_what_is_here(path: str, kind: str) -> None:
    status, headers, body = await get(path)
    assert (status, headers["content-type"]) == (200, kind)
    assert body
    policy = headers["content-security-policy"].split("; ")
    assert policy[0] == "default-src 'none'"
    assert all(part.split(" ", 1)[1] in ("'none'", "'self'") for part in policy)
    assert not any(part.startswith("script-src") for part in policy)
    assert headers["x-content-type-options"] == "nosniff"


@pytest.mark.parametrize(
    "path",
    [
        "/docs/nobody",
        "/docs/nobody/openapi.json",
        "/docs/slug/asyncapi.json",
        "/docs/assets/routes.py",
        "/docs/assets/../routes.py",
        "/docs/assets",
    ],
)
async def test_what_is_not_there_is_404(path: str) -> None:
    status, headers, body = await get(path)
    assert (status, headers["content-type"]) == (404, "application/problem+json")
    assert json.loads(body)["status"] == 404


async def test_the_documents_name_the_server_that_was_asked() -> None:
    assert json.loads((await get("/docs/slug/openapi.json"))[2])["servers"] == [{"url": "https://chat.example"}]
    asked = await get("/docs/slug/openapi.json", public_url="https://public.example/")
    assert json.loads(asked[2])["servers"] == [{"url": "https://public.example"}]
    socket = json.loads((await get("/docs/sample/asyncapi.json", "[::1]:8000"))[2])
    assert socket["servers"] == {"here": {"host": "[::1]:8000", "protocol": "wss"}}


@pytest.mark.parametrize("host", ['"><script>alert(1)</script>', "a b", "", "a/b", "a:b:c", "user@host"])
async def test_a_host_that_is_none_is_not_repeated(host: str) -> None:
    page = (await get("/docs/slug", host))[2]
    assert b"https://localhost/v1/api/chat/support-agent" in page
    assert b"<script" not in page
