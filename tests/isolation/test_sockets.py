"""The socket, by the codes of its errors: nobody gets into a chat of others, or learns that there is one."""

import json
from contextlib import suppress
from typing import Any, NamedTuple
from urllib.parse import urlencode

import pytest
from websockets.exceptions import ConnectionClosed
from websockets.sync.client import connect

from tests.isolation.asked import Asked, Told, leaks, masked
from tests.isolation.oracles import check_alike, foreign
from tests.isolation.rows import Ids
from tests.isolation.scene import Credential, Scene

CREDENTIALS = (
    "none",
    "garbage",
    "revoked",
    "expired",
    "other secret",
    "publishable",
    "other agent",
    "other publishable",
)


class Opened(NamedTuple):
    """A socket: what came over it before it took a message, and how it was closed, None where it stayed open."""

    frames: list[dict[str, Any]]
    code: int | None

    @property
    def events(self) -> list[str]:
        """What happened: the types of the frames, and the codes of errors."""
        return [frame.get("error_code", frame["event_type"]) for frame in self.frames]


def opened(credential: Credential, ids: Ids) -> Opened:
    """A socket to a chat as a user, up to the answer to a message that is none; it tells nothing of others."""
    somebody = credential.acting
    named = {"api_key": somebody.key, "visitor_token": somebody.visitor}
    query = urlencode({name: value for name, value in named.items() if value is not None})
    path = f"/ws/chat?{query}&user_id={ids.user}&chat_id={ids.conversation}"
    frames: list[dict[str, Any]] = []
    with connect(somebody.url.replace("http", "ws") + path, open_timeout=20) as socket:
        with suppress(ConnectionClosed):
            socket.send("{}")
        with suppress(ConnectionClosed):
            while not frames or frames[-1].get("error_code") != "INVALID_MESSAGE":
                frames.append(json.loads(socket.recv(timeout=20)))
        code = socket.close_code
    told = Told(0, (), json.dumps(frames).encode())
    assert leaks(told, credential.secrets, Asked("GET", path)) == [], credential.name
    return Opened(frames, code)


def alike(credential: Credential, ids: Ids) -> Any:
    """What a socket tells, without the ids that were named."""
    socket = opened(credential, ids)
    named = {"user": ids.user, "conversation": ids.conversation}
    return masked(Told(0, (), json.dumps(socket.frames).encode()), named), socket.code


def test_every_credential_is_here(scene: Scene) -> None:
    assert tuple(each.name for each in scene.credentials) == CREDENTIALS


@pytest.mark.parametrize("name", CREDENTIALS)
def test_a_socket_opens_for_the_own_chat_alone(scene: Scene, name: str) -> None:
    credential = next(each for each in scene.credentials if each.name == name)
    if credential.kind == "dead":
        refused = (["MISSING_PARAMETER"], 4400) if name == "none" else (["INVALID_API_KEY"], 4401)
        for ids in (credential.own.ids, *(each.ids for each in credential.others)):
            socket = opened(credential, ids)
            assert (socket.events, socket.code) == refused
        return
    own = opened(credential, credential.own.ids)
    assert own.events[0] == "connection_established"
    assert own.events[-1] == "INVALID_MESSAGE"
    assert own.code is None
    pairs = list(foreign(credential, ("conversation",)))
    assert pairs
    check_alike(credential, pairs, lambda ids: alike(credential, ids))
    for _, ids in pairs:
        socket = opened(credential, ids)
        assert (socket.events, socket.code) == (["CHAT_NOT_FOUND"], 4404)


@pytest.mark.parametrize("name", ["other secret", "publishable", "other agent", "other publishable"])
def test_a_socket_does_not_tell_which_users_there_are(scene: Scene, name: str) -> None:
    credential = next(each for each in scene.credentials if each.name == name)
    pairs = foreign(credential, ("user",))
    check_alike(credential, pairs, lambda ids: alike(credential, ids))
