"""Sockets without a network: what is written in which order, once for all, and when it ends."""

import asyncio
from types import SimpleNamespace
from typing import Any

import pytest

from dragoman.core.commands import Cursor
from dragoman.core.errors import DragomanError, Unauthenticated, Unavailable
from dragoman.core.events import TextDelta, TurnCompleted, TurnStarted
from dragoman.core.tenants import ApiKey, Principal
from dragoman.server import sockets
from dragoman.server.sockets import BROKEN, MOST_BEHIND, MOST_OWN, TOO_SLOW, Encoded, OpenSockets, Socket
from dragoman.services.live import TurnLog
from dragoman.services.runs import Run

PRINCIPAL = Principal("acme", "key", "secret")


class Peer:
    """The other side: it reads, it does not for a while, or it is gone."""

    def __init__(self) -> None:
        self.told: list[Any] = []
        self.reads = asyncio.Event()
        self.reads.set()
        self.gone = False

    async def send(self, message: Any) -> None:
        await self.reads.wait()
        if self.gone:
            raise ConnectionError
        self.told += message["texts"] if "texts" in message else [message.get("text", message.get("code"))]


def socket_of(peer: Peer) -> Socket:
    def spell(error: DragomanError) -> tuple[str, int | None]:
        return error.message, 4401 if isinstance(error, Unauthenticated) else None

    return Socket(peer.send, PRINCIPAL, spell)


def run_of(name: str, on_disconnect: str = "continue") -> Run:
    """A segment that runs, of which nothing has come."""
    turn = SimpleNamespace(id=name, answer_id=f"answer to {name}")
    agent = SimpleNamespace(definition=SimpleNamespace(on_disconnect=on_disconnect))
    begun: Any = SimpleNamespace(turn=turn, agent=agent)
    return Run(begun, TurnLog("acme", name), 0)


def say(run: Run, *texts: str) -> None:
    run.log.append([TextDelta(text) for text in texts])


def close(run: Run) -> None:
    run.ending = "done"
    run.log.append([TurnCompleted("m", 1, 1, 1, 1)])


made: list[str] = []


@pytest.fixture(autouse=True)
def nothing_made() -> None:
    made.clear()


def encoder(epoch: int, sequence: int, event: Any) -> list[str]:
    """Two frames of what begins, one of each text, none of what ends."""
    texts = {TextDelta: 1, TurnStarted: 2}.get(type(event), 0)
    frames = [f"{sequence}.{number}" for number in range(texts)]
    made.extend(frames)
    return frames


async def test_frames_are_written_in_order_and_made_once_for_all() -> None:
    peers = [Peer() for _ in range(3)]
    opened = [socket_of(peer) for peer in peers]
    run = run_of("turn")
    encoded = Encoded(run, encoder)
    for each in opened[:2]:
        each.start()
        each.follow(encoded)
    run.log.append([TurnStarted("turn", "c", "m", 1, 1)])
    say(run, "a", "b")
    opened[0].tell("own")
    opened[2].follow(encoded)
    opened[2].start()
    say(run, "c")
    close(run)
    assert peers[0].told == ["1.0", "1.1", "2.0", "3.0", "own", "4.0"]
    assert peers[1].told == peers[2].told == ["1.0", "1.1", "2.0", "3.0", "4.0"]
    assert made == ["1.0", "1.1", "2.0", "3.0", "4.0"]
    assert run.log.listeners == []
    for each in opened:
        each.end()


async def test_segments_follow_one_another_and_a_cursor_passes_over_what_was_seen() -> None:
    peer, first, second = Peer(), run_of("first"), run_of("second")
    opened = socket_of(peer)
    first.log.number_from(2, 7)
    opened.follow(Encoded(first, encoder), Cursor("first", 2, 7, 1))
    opened.follow(Encoded(second, encoder))
    assert opened.follows("answer to second")
    opened.start()
    say(second, "early")
    assert peer.told == []
    first.log.append([TurnStarted("first", "c", "m", 1, 1)])
    close(first)
    assert peer.told == ["7.1", "1.0"]
    assert not opened.follows("answer to first")
    opened.end()
    assert second.log.listeners == []


async def test_who_does_not_read_is_let_go_when_too_much_waits() -> None:
    peer = Peer()
    opened = socket_of(peer)
    opened.start()
    peer.reads.clear()
    runs = [run_of(f"turn {number}") for number in range(MOST_BEHIND + 2)]
    for run in runs:
        opened.follow(Encoded(run, encoder))
        say(run, "a")
    assert opened.closing
    assert all(run.log.listeners == [] for run in runs)
    peer.reads.set()
    await asyncio.sleep(0.01)
    assert peer.told == ["1.0", TOO_SLOW]
    opened.end()


async def test_errors_that_are_not_read_are_not_kept_without_end() -> None:
    peer = Peer()
    opened = socket_of(peer)
    opened.start()
    peer.reads.clear()
    for number in range(10 * MOST_OWN):
        opened.say(Unavailable(str(number)))
    assert opened.closing
    peer.reads.set()
    await asyncio.sleep(0.01)
    assert peer.told[-1] == TOO_SLOW
    assert len(peer.told) < MOST_OWN + 5
    opened.end()


async def test_an_error_that_closes_is_told_first_and_nothing_after_it() -> None:
    peer, run = Peer(), run_of("turn", "cancel")
    opened = socket_of(peer)
    opened.follow(Encoded(run, encoder))
    opened.start()
    opened.say(Unauthenticated("closed"))
    say(run, "too late")
    opened.tell("too late")
    opened.follow(Encoded(run_of("another"), encoder))
    assert peer.told == ["closed", 4401]
    assert run.ending == "stopped", "its last watcher left"
    opened.end()


async def test_a_peer_that_is_gone_ends_the_writing() -> None:
    peer, run = Peer(), run_of("turn")
    opened = socket_of(peer)
    opened.start()
    opened.follow(Encoded(run, encoder))
    peer.gone = True
    say(run, "a", "b")
    say(run, "c")
    assert peer.told == []
    opened.end()
    assert run.log.listeners == []


async def test_a_frame_that_cannot_be_made_closes_its_socket_and_no_turn() -> None:
    def fails(epoch: int, sequence: int, event: Any) -> list[str]:
        raise ValueError("no such frame")

    peer, run = Peer(), run_of("turn")
    opened = socket_of(peer)
    opened.start()
    opened.follow(Encoded(run, fails))
    say(run, "a")
    close(run)
    assert peer.told == [BROKEN]
    assert run.log.closed
    opened.end()


class Keys:
    """Keys of which all but these are closed."""

    def __init__(self, *good: str) -> None:
        self.good = good

    async def all(self, tenant_id: str) -> list[ApiKey]:
        return [ApiKey(key, tenant_id, key, "secret", "sk", 0) for key in self.good]


async def test_sockets_end_with_their_keys_and_a_store_that_is_away_ends_none(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(sockets, "CHECK_SECONDS", 0.01)
    keys: Any = Keys("key")
    peer, register = Peer(), OpenSockets(keys)
    opened = socket_of(peer)
    opened.start()
    register.add(opened)
    checking = asyncio.create_task(register.check_for_ever())
    await asyncio.sleep(0.05)
    monkeypatch.setattr(Keys, "all", None)
    await asyncio.sleep(0.05)
    assert peer.told == []
    monkeypatch.undo()
    monkeypatch.setattr(sockets, "CHECK_SECONDS", 0.01)
    keys.good = ()
    await asyncio.sleep(0.05)
    assert peer.told == ["This key is no longer good", 4401]
    checking.cancel()
    register.remove(opened)
    opened.end()
