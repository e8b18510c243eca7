"""Secrets of a tenant: written over the API and the command, and seen again nowhere."""

import aiohttp
import pytest

from tests.management.scene import PUBLISHABLE_KEY, Manager
from tests.support.server import ServerProcess

VALUE = "sk-the-shop-0123456789abcdef"
REPLACED = "sk-the-shop-fedcba9876543210"


async def put(acme: Manager, name: str, value: str = VALUE) -> int:
    return (await acme.ask("PUT", f"/secrets/{name}", {"value": value})).status


async def names(acme: Manager) -> set[str]:
    return {each["name"] for each in await acme.pages("/secrets?limit=2")}


async def test_a_secret_is_made_replaced_listed_by_name_and_deleted(acme: Manager) -> None:
    assert await put(acme, "shop_token") == 201
    assert await put(acme, "shop_token", REPLACED) == 204
    (listed,) = [each for each in await acme.pages("/secrets") if each["name"] == "shop_token"]
    assert set(listed) == {"name", "created_at"}
    (await acme.delete("/secrets/shop_token")).ok(204)
    (await acme.delete("/secrets/shop_token")).problem(404, "no such secret")
    assert "shop_token" not in await names(acme)


async def test_the_list_has_pages(acme: Manager) -> None:
    wanted = {f"paged-{number}" for number in range(5)}
    for name in wanted:
        assert await put(acme, name) == 201
    assert wanted <= await names(acme)


async def test_no_route_shows_one_secret(acme: Manager) -> None:
    assert await put(acme, "unseen") == 201
    told = await acme.get("/secrets/unseen")
    assert told.status == 405
    assert VALUE not in str(told.body)


@pytest.mark.parametrize("name", ["with%20space", ".hidden", "a" * 65, "caf%C3%A9", "-x"])
async def test_a_name_that_is_none_is_refused(acme: Manager, name: str) -> None:
    (await acme.ask("PUT", f"/secrets/{name}", {"value": VALUE})).problem(400, "name")


@pytest.mark.parametrize("value", ["with\r\nHost: evil", "", "ünïcode", " led", "x" * 8193, "nul\0nul"])
async def test_a_value_that_no_header_could_hold_is_refused_and_not_repeated(acme: Manager, value: str) -> None:
    detail = (await acme.ask("PUT", "/secrets/refused", {"value": value})).problem(400)
    assert not value or value not in detail
    assert "refused" not in await names(acme)


async def test_a_publishable_key_may_do_nothing_with_secrets(acme: Manager) -> None:
    widget = acme.with_key(PUBLISHABLE_KEY)
    assert await put(widget, "own") == 403
    (await widget.get("/secrets")).problem(403)


async def test_tenants_do_not_see_and_do_not_touch_each_others_secrets(acme: Manager) -> None:
    assert await put(acme, "mine") == 201
    assert "mine" not in await names(acme.other)
    (await acme.other.delete("/secrets/mine")).problem(404)
    assert await put(acme.other, "mine") == 201
    (await acme.other.delete("/secrets/mine")).ok(204)
    assert "mine" in await names(acme)


async def test_the_command_writes_lists_and_deletes_secrets_of_a_running_server(
    acme: Manager, server: ServerProcess
) -> None:
    told = server.run("secrets", "set", "commanded", "--tenant", "acme", given=f"{VALUE}\n")
    assert told.stdout == "created  secret acme/commanded\n"
    assert "commanded" in await names(acme)
    again = server.run("secrets", "set", "commanded", "--tenant", "acme", given=REPLACED)
    assert again.stdout == "updated  secret acme/commanded\n"
    assert "commanded" in server.run("secrets", "list", "--tenant", "acme").stdout
    assert server.run("secrets", "delete", "commanded", "--tenant", "acme").stdout == "deleted  secret acme/commanded\n"
    assert "commanded" not in await names(acme)
    nobody = server.run("secrets", "set", "x", "--tenant", "nobody", given=VALUE, check=False)
    assert (nobody.returncode, nobody.stdout) == (1, "")
    assert "no tenant 'nobody'" in nobody.stderr
    assert server.run("secrets", "set", "x", "--tenant", "acme", given="\n", check=False).returncode == 2


async def test_a_value_is_nowhere_to_be_found(
    acme: Manager, server: ServerProcess, session: aiohttp.ClientSession
) -> None:
    assert await put(acme, "hunted", REPLACED) == 201
    assert await put(acme, "hunted", VALUE) == 204
    answers = [str((await acme.get(path)).body) for path in ("/secrets", "/audit?limit=100", "/agents", "/tenant")]
    acts = [each for each in (await acme.get("/audit?limit=100")).ok()["data"] if each["subject"] == "hunted"]
    assert [each["action"] for each in acts] == ["secret.replaced", "secret.created"]
    (await acme.delete("/secrets/hunted")).ok(204)
    assert await put(acme, "hunted", VALUE) == 201
    async with session.get(f"{server.url}/metrics") as metrics:
        answers.append(await metrics.text())
    answers += [server.run("export").stdout, server.run("secrets", "list", "--tenant", "acme").stdout]
    answers.append(server.log_file.read_text())
    kept = b"".join(file.read_bytes() for file in server.data_dir.rglob("*") if file.is_file())
    assert b"hunted" in kept, "the secret itself is there"
    for value in (VALUE, REPLACED):
        assert value.encode() not in kept
        assert not any(value in answer for answer in answers)
