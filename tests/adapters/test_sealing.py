"""What is sealed opens for its purpose alone."""

import pytest

from dragoman.adapters.sealing import Sealing
from dragoman.core.secrets import derive

KEY = derive(b"the server's secret", "tenant-secrets")
VALUE = "sk-ünïcode-0123456789"


def test_what_is_sealed_opens_again() -> None:
    sealing = Sealing(KEY)
    assert sealing.open(sealing.seal(VALUE, "a"), "a") == VALUE
    assert sealing.open(sealing.seal("", "a"), "a") == ""


def test_sealed_text_shows_nothing_and_is_never_the_same_twice() -> None:
    sealing = Sealing(KEY)
    one, other = sealing.seal(VALUE, "a"), sealing.seal(VALUE, "a")
    assert one != other
    assert VALUE.encode() not in one


@pytest.mark.parametrize("purpose", ["b", "", "aa"])
def test_another_purpose_does_not_open_it(purpose: str) -> None:
    sealing = Sealing(KEY)
    with pytest.raises(ValueError, match="another purpose"):
        sealing.open(sealing.seal(VALUE, "a"), purpose)


def test_another_secret_does_not_open_it() -> None:
    with pytest.raises(ValueError, match="another secret"):
        Sealing(derive(b"another", "tenant-secrets")).open(Sealing(KEY).seal(VALUE, "a"), "a")


def test_no_byte_can_be_changed_or_left_out() -> None:
    sealing = Sealing(KEY)
    sealed = sealing.seal(VALUE, "a")
    for at in range(len(sealed)):
        changed = bytes([*sealed[:at], sealed[at] ^ 1, *sealed[at + 1 :]])
        with pytest.raises(ValueError, match=r"^this was"):
            sealing.open(changed, "a")
        with pytest.raises(ValueError, match=r"^this was"):
            sealing.open(sealed[:at], "a")
