"""Signatures, secrets and pauses as Standard Webhooks has them."""

from datetime import UTC, datetime

import pytest
from standardwebhooks.webhooks import Webhook

from dragoman.core.errors import Invalid
from dragoman.core.webhooks import (
    LONGEST_PAUSE,
    PAUSES,
    check_events,
    is_genuine,
    new_secret,
    retry_after,
    secret_bytes,
    signed,
)

NOW = 1_800_000_000
SECOND = 1_000_000
BODY = '{"event":"message.sent","data":{"message":"Grüße"}}'.encode()


def test_a_signature_is_that_of_the_library() -> None:
    secret = new_secret()
    headers = signed([secret], "evt_1", NOW, BODY)
    wanted = Webhook(secret).sign("evt_1", datetime.fromtimestamp(NOW, UTC), BODY.decode())
    assert headers == {"webhook-id": "evt_1", "webhook-timestamp": str(NOW), "webhook-signature": wanted}


def test_each_secret_signs_and_any_of_them_is_enough() -> None:
    old, new = new_secret(), new_secret()
    headers = signed([new, old], "evt_1", NOW, BODY)
    assert len(headers["webhook-signature"].split(" ")) == 2
    assert is_genuine(old, headers, BODY, NOW)
    assert is_genuine(new, headers, BODY, NOW)
    assert not is_genuine(new_secret(), headers, BODY, NOW)


@pytest.mark.parametrize(
    ("change", "body", "now"),
    [
        ({}, BODY + b" ", NOW),
        ({"webhook-id": "evt_2"}, BODY, NOW),
        ({"webhook-timestamp": str(NOW + 1)}, BODY, NOW),
        ({"webhook-timestamp": "soon"}, BODY, NOW),
        ({"webhook-signature": ""}, BODY, NOW),
        ({"webhook-signature": "v1,\xfc"}, BODY, NOW),
        ({}, BODY, NOW + 301),
        ({}, BODY, NOW - 301),
    ],
)
def test_what_was_changed_or_is_old_is_not_genuine(change: dict[str, str], body: bytes, now: int) -> None:
    secret = new_secret()
    assert not is_genuine(secret, {**signed([secret], "evt_1", NOW, BODY), **change}, body, now)
    assert is_genuine(secret, signed([secret], "evt_1", NOW, BODY), BODY, NOW + 299)


def test_a_new_secret_is_one_and_no_other_is_the_same() -> None:
    secret = new_secret()
    assert secret.startswith("whsec_")
    assert len(secret_bytes(secret)) == 32
    assert secret != new_secret()


@pytest.mark.parametrize(
    "text", ["", "whsec_", "whsec_c2hvcnQ=", "MfKQ9r8GKYqrTwjUPD8ILPZIo2LaLaSw", "whsec_" + "a" * 92]
)
def test_what_is_no_secret_is_refused(text: str) -> None:
    with pytest.raises(Invalid):
        secret_bytes(text)


def test_an_unknown_event_is_told_with_those_there_are() -> None:
    check_events(["message.sent", "credits.low"])
    with pytest.raises(Invalid, match=r"'message\.read'.*message\.received") as wrong:
        check_events(["message.sent", "message.read"])
    assert wrong.value.field == "events"


def test_the_schedule_lasts_three_days_and_never_gets_shorter() -> None:
    assert list(PAUSES) == sorted(PAUSES)
    assert sum(PAUSES) == (5 + 300 + 1800 + (2 + 5 + 10 + 14 + 20 + 24) * 3600) * SECOND


@pytest.mark.parametrize(
    ("text", "waits"),
    [
        (None, 0),
        ("", 0),
        ("soon", 0),
        ("-5", 0),
        ("120", 120 * SECOND),
        (" 120 ", 120 * SECOND),
        ("9" * 30, LONGEST_PAUSE),
        ("Fri, 15 Jan 2027 08:01:40 GMT", 100 * SECOND),
        ("Fri, 15 Jan 2027 07:00:00 GMT", 0),
        ("Fri, 15 Jan 2100 07:00:00 GMT", LONGEST_PAUSE),
    ],
)
def test_what_retry_after_asks_for(text: str | None, waits: int) -> None:
    assert retry_after(text, NOW * SECOND) == waits
