"""The documentation as a running server has it, and one of its examples run as it stands there."""

import json
import os
import re
import socket
import subprocess
import urllib.request
from collections.abc import Iterator
from html import unescape
from pathlib import Path
from urllib.parse import urlsplit

import pytest

from dragoman.web.routes import ASSETS
from tests.support.server import KEY, ServerProcess, manifest, scripted


@pytest.fixture(scope="module")
def server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[ServerProcess]:
    process = ServerProcess(tmp_path_factory.mktemp("server"))
    process.apply(manifest(scripted(slug="support-agent")))
    with process:
        yield process


def text(server: ServerProcess, path: str) -> str:
    with urllib.request.urlopen(server.url + path, timeout=10) as response:
        assert response.status == 200
        return response.read().decode()


def test_the_index_leads_to_every_page_and_document(server: ServerProcess) -> None:
    links = set(re.findall(r'href="(/docs/[^"#]+)"', text(server, "/docs")))
    assert {"/docs/slug", "/docs/alonchat", "/docs/assets/docs.css"} <= links
    for link in links:
        within = text(server, link)
        for further in set(re.findall(r'href="(/docs/[^"#]+\.json)"', within)):
            document = json.loads(text(server, further))
            assert document.get("openapi", "3.1.0") == "3.1.0"
            assert document.get("asyncapi", "3.0.0") == "3.0.0"


def test_a_head_is_the_answer_without_its_body(server: ServerProcess) -> None:
    pages = ("/docs", "/docs/", "/docs/slug", "/docs/slug/openapi.json", "/docs/sessions/asyncapi.json", "/docs/nobody")
    paths = ("/livez", "/livez/", "/readyz", "/metrics", *pages, *(f"/docs/assets/{name}" for name in ASSETS))
    for path in paths:
        told = []
        for method in ("GET", "HEAD"):
            # Closed by the server at the end, so that whatever it has sent is read.
            with socket.create_connection((urlsplit(server.url).hostname, urlsplit(server.url).port), 10) as line:
                line.sendall(f"{method} {path} HTTP/1.1\r\nHost: here\r\nConnection: close\r\n\r\n".encode())
                head, _, body = line.makefile("rb").read().partition(b"\r\n\r\n")
            assert bool(body) == (method == "GET"), path
            status, *headers = head.decode().lower().split("\r\n")
            changing = ("date:", "x-request-id:", *(["content-length:"] if path == "/metrics" else []))
            told.append((status, [each for each in headers if not each.startswith(changing)]))
        assert told[0] == told[1]
        assert told[0][0].endswith("404 not found" if path == "/docs/nobody" else "200 ok")


def test_the_curl_line_of_a_page_runs_as_it_stands(server: ServerProcess) -> None:
    shown = re.search(r'<pre class="whole">(.*?)</pre>', text(server, "/docs/slug"), re.DOTALL)
    assert shown is not None
    command = unescape(shown[1])
    assert command.startswith(f"curl -X POST {server.url}/v1/api/chat/support-agent")
    environment = {**os.environ, "KEY": KEY}
    done = subprocess.run(["sh", "-c", command], capture_output=True, check=True, env=environment, timeout=20)
    assert json.loads(done.stdout)["error"] is None


def test_the_assets_are_part_of_the_package() -> None:
    import dragoman.web

    folder = Path(dragoman.web.__file__).parent / "assets"
    assert {file.name for file in folder.iterdir()} == {"docs.css", "mark.svg"}
