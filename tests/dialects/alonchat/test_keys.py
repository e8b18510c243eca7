"""S1: the life of an API key, from the command that makes it to the request that it no longer opens."""

import json

import pytest

from tests.dialects.scene import agent_id
from tests.support.client import Client
from tests.support.server import ServerProcess


async def status_with(client: Client, key: str) -> int:
    client.key = key
    async with client.s1(agent_id(), "Hello") as response:
        if response.status == 401:
            assert (await response.json())["error"]["code"] == "invalid_api_key"
        return int(response.status)


def kept(server: ServerProcess, name: str) -> list[dict[str, str | None]]:
    listed = json.loads(server.run("keys", "list", "--tenant", "acme", "--json").stdout)
    return [key for key in listed if key["name"] == name]


def create(server: ServerProcess, name: str, *options: str) -> str:
    return server.run("keys", "create", "--tenant", "acme", "--name", name, *options).stdout.strip()


@pytest.mark.requirement("S1-8")
async def test_a_key_is_shown_once_and_stored_as_a_hash(server: ServerProcess, client: Client) -> None:
    secret, publishable = (
        create(server, "shown"),
        create(server, "page", "--type", "publishable", "--agent", "support-agent"),
    )
    assert secret.startswith("sk_")
    assert publishable.startswith("pk_")
    assert await status_with(client, secret) == 200
    assert await status_with(client, publishable) == 200
    (listed,) = kept(server, "shown")
    assert listed["prefix"] == secret[:12]
    assert secret not in json.dumps(listed)
    assert secret not in server.run("export").stdout
    written = b"".join(file.read_bytes() for file in server.data_dir.iterdir() if file.is_file())
    assert secret.encode() not in written
    assert secret not in server.log_file.read_text()


@pytest.mark.requirement("S1-8")
async def test_a_rotated_key_goes_on_for_its_overlap_and_no_longer(server: ServerProcess, client: Client) -> None:
    first = create(server, "turning")
    second = server.run("keys", "rotate", "--tenant", "acme", "turning", "--overlap", "1h").stdout.strip()
    assert [await status_with(client, key) for key in (first, second)] == [200, 200]
    third = server.run("keys", "rotate", "--tenant", "acme", "turning", "--overlap", "0s").stdout.strip()
    assert [await status_with(client, key) for key in (second, third)] == [401, 200]


@pytest.mark.requirement("S1-8")
async def test_a_revoked_key_opens_nothing_from_then_on(server: ServerProcess, client: Client) -> None:
    key = create(server, "leaked")
    assert await status_with(client, key) == 200
    server.run("keys", "revoke", "--tenant", "acme", "leaked")
    assert await status_with(client, key) == 401


@pytest.mark.requirement("S1-8")
async def test_a_key_expires(server: ServerProcess, client: Client) -> None:
    late = "sk_test_acme_late_000000000000000000000"
    keys = [{"name": "late", "value": late, "expires_at": "2026-01-01T00:00:00Z"}]
    server.apply({"tenants": [{"id": "acme", "keys": keys}]})
    good = create(server, "good", "--expires-at", "2999-01-01T00:00:00Z")
    assert [await status_with(client, key) for key in (late, good)] == [401, 200]
