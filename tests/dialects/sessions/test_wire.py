"""S3's wire code by itself: golden transcripts of frames, the event ids in them, errors.

``UPDATE_GOLDEN=1 pytest tests/dialects/sessions/test_wire.py`` writes the transcripts anew; read the difference.
"""

import inspect
import json
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from dragoman.core import errors as core
from dragoman.core.conversations import Turn
from dragoman.core.errors import DragomanError
from dragoman.core.events import TextDelta, TurnCompleted, TurnEvent, TurnStarted
from dragoman.dialects.sessions import errors, wire
from dragoman.dialects.sessions.asyncapi import asyncapi
from dragoman.server.requests import known_cursor
from dragoman.server.sockets import unseen
from tests.dialects.test_golden import SCRIPTS, compare, turn

HERE = Path(__file__).parent
TURN = Turn(
    id="01890a5d-ac96-774b-bcce-b302099a8057",
    tenant_id="acme",
    conversation_id="01890a5d-ac96-774b-bcce-b302099a8058",
    agent_id="01890a5d-ac96-774b-bcce-b302099a8050",
    state="completed",
    epoch=1,
    message_id="01890a5d-ac96-774b-bcce-b302099a8051",
    answer_id="01890a5d-ac96-774b-bcce-b302099a8059",
    answer_number=2,
    model="gpt-5.2",
    created_at=1769162400000000,
)


def frames(events: list[TurnEvent], epoch: int = 1, first: int = 1) -> list[str]:
    encoder = wire.Frames(TURN)
    return [frame for at, event in enumerate(events, start=first) for frame in encoder(epoch, at, event)]


@pytest.mark.requirement("S3-10", "S3-11")
@pytest.mark.parametrize("script", SCRIPTS)
def test_the_frames_of_a_turn_are_what_they_were(script: str) -> None:
    made = "".join(f"{frame}\n" for frame in frames(turn(script)))
    compare(HERE / "transcripts" / f"{script}.jsonl", made.encode())


def test_no_transcript_is_left_over() -> None:
    assert {file.name for file in (HERE / "transcripts").iterdir()} == {f"{script}.jsonl" for script in SCRIPTS}


@pytest.mark.requirement("S3-17", "S3-10")
@given(
    st.lists(st.text(min_size=1, max_size=8), max_size=12),
    st.integers(1, 3),
    st.integers(1, 40),
    st.data(),
)
def test_after_any_frame_the_rest_is_what_was_not_seen(texts: list[str], epoch: int, first: int, data: Any) -> None:
    started = TurnStarted(TURN.id, TURN.conversation_id, TURN.answer_id, 2, TURN.created_at)
    events = [started, *map(TextDelta, texts), TurnCompleted("m", 1, 1, 1, TURN.created_at)]
    whole = frames(events, epoch, first)
    assert "".join(json.loads(frame).get("token", "") for frame in whole) == "".join(texts)
    at = data.draw(st.integers(0, len(whole) - 1))
    cursor = known_cursor(json.loads(whole[at])["event_id"])
    assert cursor is not None
    encoder = wire.Frames(TURN)
    rest = [
        frame
        for sequence, event in enumerate(events, start=first)
        for frame in unseen(encoder(epoch, sequence, event), cursor, epoch, sequence)
    ]
    assert rest == whole[at + 1 :]


def error_of(kind: type[DragomanError]) -> DragomanError:
    """An error of a kind, whatever it is made of."""
    takes = list(inspect.signature(kind).parameters.values())
    needed = [
        each for each in takes if each.default is inspect.Parameter.empty and each.kind is each.POSITIONAL_OR_KEYWORD
    ]
    return kind(*(5 if each.annotation is int else "user_id" for each in needed))


def kinds_of(kind: type[DragomanError]) -> list[type[DragomanError]]:
    return [kind, *(below for each in kind.__subclasses__() for below in kinds_of(each))]


@pytest.mark.requirement("S3-12", "S3-13")
@pytest.mark.parametrize("kind", kinds_of(DragomanError), ids=lambda kind: kind.__name__)
def test_every_error_has_a_code_and_a_fix(kind: type[DragomanError]) -> None:
    error = error_of(kind)
    body, fields = errors.body(error), errors.frame_fields(error)
    assert list(body) == ["code", "message", "details"]
    assert list(fields) == ["error_code", "message", "details"]
    assert body["details"]["suggestion"] == errors.SUGGESTIONS[body["code"]]
    assert fields["details"]["suggestion"] == errors.SUGGESTIONS[fields["error_code"]]
    assert body["message"]
    assert errors.refusal_code(error) >= 1000


@pytest.mark.requirement("S3-12")
def test_the_codes_that_close_are_the_documented_ones() -> None:
    documented = {
        "INVALID_API_KEY": 4401,
        "CHAT_NOT_FOUND": 4404,
        "MISSING_PARAMETER": 4400,
        "CONNECTION_TIMEOUT": 4408,
        "FORBIDDEN": 4403,
        "CONNECTION_LIMIT_EXCEEDED": 4429,
    }
    assert {**errors.CLOSE_CODES, **documented} == errors.CLOSE_CODES
    staying = ("RATE_LIMIT_EXCEEDED", "INTERNAL_ERROR", "INVALID_MESSAGE", "INSUFFICIENT_CREDITS", "RESUME_GAP")
    assert not set(staying) & set(errors.CLOSE_CODES)
    assert set(errors.SUGGESTIONS) == {*errors.CODES.values(), *errors.SOCKET_CODES.values()}


@pytest.mark.requirement("S3-12")
@pytest.mark.parametrize(
    ("error", "code"),
    [
        (core.Conflict(), "RATE_LIMIT_EXCEEDED"),
        (core.RateLimited(1), "RATE_LIMIT_EXCEEDED"),
        (core.ModelFailed(), "INTERNAL_ERROR"),
        (core.Unavailable(), "SERVICE_UNAVAILABLE"),
        (DragomanError(), "INTERNAL_ERROR"),
    ],
)
def test_what_may_happen_to_a_message_leaves_the_socket_open(error: DragomanError, code: str) -> None:
    assert errors.frame_fields(error)["error_code"] == code
    assert errors.close_code(error) is None


def test_the_asyncapi_document_refers_to_what_it_has() -> None:
    document = asyncapi()
    text = json.dumps(document)
    for reference in {part.split('"')[0] for part in text.split('"$ref": "#/')[1:]}:
        found: Any = document
        for name in reference.split("/"):
            found = found[name]
    assert document["channels"]["chat"]["address"] == "/ws/chat"
    assert document["asyncapi"].startswith("3.0")
    assert len(document["operations"]["sendFrames"]["messages"]) == 7
