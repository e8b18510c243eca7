"""Which addresses may be asked for, as people write them and as redirects lead to them."""

from collections.abc import AsyncIterator

import pytest
from yarl import URL

from dragoman.adapters import guard
from dragoman.adapters.egress import Egress
from dragoman.adapters.guard import redirected, target
from dragoman.core.addresses import may_reach
from dragoman.ports.egress import Bounds, Unfetchable
from tests.faults.hostile import luring, names, reachable


@pytest.fixture
async def egress() -> AsyncIterator[Egress]:
    egress = Egress(Bounds(seconds=5), names)
    yield egress
    await egress.close()


NEVER = [
    "169.254.169.254",
    "[fd00:ec2::254]",
    "[fe80::1]",
    "224.0.0.1",
    "[ff02::1]",
    "0.0.0.0",
    "[::]",
    "100.100.100.200",
]


@pytest.mark.parametrize("host", [*NEVER, "255.255.255.255", "[::ffff:169.254.169.254]", "[64:ff9b::a9fe:a9fe]"])
async def test_what_is_never_a_service_is_not_reached_even_where_private_addresses_are(
    egress: Egress, host: str
) -> None:
    with pytest.raises(Unfetchable, match="may not be reached"):
        await egress.request("GET", f"http://{host}/", allow_private=True)


async def test_a_redirect_to_metadata_is_not_followed_even_where_private_addresses_are(
    egress: Egress, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(guard, "may_reach", reachable)
    async with luring() as lure:
        lure.to = "http://169.254.169.254/latest/meta-data/"
        with pytest.raises(Unfetchable, match=r"169\.254\.169\.254 may not be reached"):
            await egress.request("GET", lure.at, allow_private=True)
        assert lure.asked == 1


@pytest.mark.parametrize(
    "address",
    ["8.8.8.8", "93.184.215.14", "2606:4700::1111", "::ffff:8.8.8.8", "64:ff9b::808:808", "172.32.0.1", "100.128.0.1"],
)
def test_public_addresses_may_be_reached(address: str) -> None:
    assert may_reach(address, allow_private=False)


@pytest.mark.parametrize(
    "address", ["10.1.2.3", "192.168.1.1", "172.16.0.1", "100.64.0.1", "127.0.0.1", "::1", "fd12::1"]
)
def test_private_addresses_may_be_reached_by_grant_alone(address: str) -> None:
    assert may_reach(address, allow_private=True)
    assert not may_reach(address, allow_private=False)


def test_addresses_as_people_write_them_are_taken() -> None:
    for url in (
        "https://example.com",
        "HTTP://Example.com:8080/a?b=c#d",
        "https://bücher.example/größe",
        "http://1e100.net/",
    ):
        assert target(url, allow_private=False).host


def test_a_redirect_is_judged_and_never_leads_from_https_to_http() -> None:
    secure = URL("https://example.com/a/b")
    assert str(redirected(secure, "../c", allow_private=False)) == "https://example.com/c"
    assert str(redirected(secure, "//example.org/", allow_private=False)) == "https://example.org/"
    assert str(redirected(URL("http://example.com/"), "https://example.com/", allow_private=False))
    with pytest.raises(Unfetchable, match="https to http"):
        redirected(secure, "http://example.com/", allow_private=False)
    with pytest.raises(Unfetchable):
        redirected(secure, "http://[", allow_private=False)
