"""Canary secrets (RELIABILITY row 34): in no log, metric, error or answer, however a request goes wrong."""

import json
import re
from collections.abc import Iterator
from pathlib import Path

import aiohttp
import pytest
from websockets.exceptions import InvalidStatus
from websockets.sync.client import connect

from dragoman.management import DIALECT as MANAGEMENT
from tests.dialects.across.tongues import ask
from tests.support.server import ServerProcess, manifest, scripted, upstream_agent

SECRET_KEY = "sk_canary_secret_key_0000000000000000"
PAGE_KEY = "pk_canary_page_key_000000000000000000"
UPSTREAM_KEY = "canary-upstream-key-0123456789"
PEPPER = "canary pepper, long enough for everything"
WRONG_KEY = "sk_canary_that_opens_nothing_000000000"
GONE = "http://127.0.0.1:9/v1"
AGENT = "123e4567-e89b-12d3-a456-426614174000"


@pytest.fixture
def guarded(tmp_path: Path) -> Iterator[ServerProcess]:
    """A server with a canary in every secret that it has, which logs all that it can."""
    process = ServerProcess(
        tmp_path,
        DRAGOMAN_SECRET=PEPPER,
        DRAGOMAN_LOG_LEVEL="debug",
        UPSTREAM_API_KEY=UPSTREAM_KEY,
        DRAGOMAN_ADMIN_PASSWORD="canary-admin-password",
    )
    away = upstream_agent(GONE, "m", "Away Agent")
    away["model"]["api_key_env"] = "UPSTREAM_API_KEY"
    keys = [
        {"name": "backend", "type": "secret", "value": SECRET_KEY},
        {"name": "page", "type": "publishable", "value": PAGE_KEY, "agents": ["support-agent"], "origins": ["*"]},
    ]
    process.apply(manifest(scripted("Support Agent", id=AGENT), away, keys=keys, default_agent="support-agent"))
    with process:
        yield process


async def everything_that_goes_wrong(server: ServerProcess) -> list[str]:
    """What a session of good and bad requests was answered, headers included."""
    told: list[str] = []
    credentials = [
        {"Authorization": f"Bearer {value}", "x-api-token": value, "X-API-Key": value}
        for value in (SECRET_KEY, PAGE_KEY, WRONG_KEY)
    ]
    paths = [
        "/v1/api/chat/support-agent",
        "/v1/api/chat/away-agent",
        f"/v1/agents/{AGENT}/chat",
        "/api/v1/chat/agent/chat",
        "/api/v1/chats/",
        f"/api/agents/{AGENT}/chat",
        f"/v1/nothing?key={SECRET_KEY}",
        f"/nothing/{WRONG_KEY}",
        *(re.sub(r"\{\w+}", "x", route.path) for route in MANAGEMENT.router.routes),
    ]
    async with aiohttp.ClientSession() as session:
        for headers in credentials:
            for path in paths:
                for method, body in (("GET", b""), ("POST", b'{"message": "Hello"}'), ("POST", b"{"), ("PATCH", b"[")):
                    async with session.request(method, server.url + path, data=body, headers=headers) as response:
                        told.append(f"{response.headers} {await response.text()}")
    return told


async def test_no_secret_is_in_an_answer_a_log_or_a_metric(guarded: ServerProcess) -> None:
    told = await everything_that_goes_wrong(guarded)
    chat = ask(guarded.url, "POST", "/api/v1/chats/", {"user_id": "me"}, key=SECRET_KEY).body["id"]
    address = guarded.url.replace("http", "ws") + "/ws/chat"
    for query in (
        f"?api_key={SECRET_KEY}&user_id=me&chat_id={chat}",
        f"?api_key={WRONG_KEY}&user_id=me&chat_id={chat}",
        f"?api_key={PAGE_KEY}&chat_id={chat}",
        f"?ticket={WRONG_KEY}",
    ):
        with connect(address + query, open_timeout=20) as socket:
            told.append(str(socket.recv(timeout=20)))
    with pytest.raises(InvalidStatus):
        connect(f"{guarded.url.replace('http', 'ws')}/ws/other?api_key={SECRET_KEY}", open_timeout=20)
    async with aiohttp.ClientSession() as session, session.get(f"{guarded.url}/metrics") as response:
        told.append(await response.text())
    told.append(guarded.run("export").stdout)
    told.append(guarded.run("keys", "list", "--tenant", "acme", "--json").stdout)
    guarded.stop()
    told.append(guarded.log_file.read_text())
    assert json.dumps("model_failed") in told[-1], "the model server that is away was never asked"
    for secret in (SECRET_KEY, PAGE_KEY, UPSTREAM_KEY, PEPPER, WRONG_KEY, "canary-admin-password"):
        assert [each[:400] for each in told if secret in each] == [], secret


async def test_a_key_is_shown_where_it_is_made_and_nowhere_after(guarded: ServerProcess) -> None:
    made = ask(guarded.url, "POST", "/manage/v1/keys", {"name": "ci"}, key=SECRET_KEY).body
    value = made["value"]
    later = [
        json.dumps(ask(guarded.url, "GET", path, key=SECRET_KEY).body)
        for path in ("/manage/v1/keys", "/manage/v1/audit", "/manage/v1/tenant", "/manage/v1/usage")
    ]
    guarded.stop()
    later.append(guarded.log_file.read_text())
    later.append((guarded.data_dir / "dragoman.db").read_bytes().decode(errors="replace"))
    assert [each[:200] for each in later if value in each] == []
