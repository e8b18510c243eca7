"""Deliveries over real connections: signed, in order, by the schedule, whatever a receiver does. The clock is ours."""

import asyncio
import functools
import json
import subprocess
import time
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from standardwebhooks.webhooks import Webhook

from dragoman.adapters.egress import Egress
from dragoman.adapters.guard import target
from dragoman.adapters.sealing import Sealing
from dragoman.adapters.store import SqlStore, open_store
from dragoman.adapters.store.driver import Transaction
from dragoman.adapters.store.outbox import tell
from dragoman.core.clock import now_us
from dragoman.core.ids import prefixed
from dragoman.core.tenants import Tenant
from dragoman.core.webhooks import PAUSES, Delivery, DeliveryState, Endpoint
from dragoman.services import delivery
from dragoman.services.audit import Audit
from dragoman.services.delivery import Deliverer
from dragoman.services.webhooks import Webhooks
from tests.support.node import NODE, packages
from tests.support.receiver import Received, Receiver

SECOND = 1_000_000
HOUR = 3600 * SECOND
SEALING = Sealing(bytes(32))
LIBRARY = Path(__file__).parents[1] / "support" / "standardwebhooks"
VERIFY = """
const { Webhook } = require("standardwebhooks")
const { secret, headers, body } = JSON.parse(require("fs").readFileSync(0, "utf8"))
try {
    process.stdout.write(new Webhook(secret).verify(body, headers).event)
} catch {
    process.exit(1)
}
"""


class Clock:
    """A clock that goes as a real one does, and can be set forward."""

    def __init__(self, behind: int = 0) -> None:
        self.ahead = -behind

    def __call__(self) -> int:
        return now_us() + self.ahead


class Scene:
    """A tenant, its webhooks, and what sends to them."""

    def __init__(self, store: SqlStore, clock: Clock, egress: Egress) -> None:
        self.store = store
        self.clock = clock
        self.told = 0
        self.webhooks = Webhooks(store, SEALING, Audit(store), target)
        self.deliverer = Deliverer(store, egress, SEALING, clock)

    async def endpoint(self, receiver: Receiver) -> tuple[Endpoint, str]:
        return await self.webhooks.create("acme", "operator", f"{receiver.url}/hook", ())

    async def tell(self, count: int, conversation: str | None = None) -> None:
        for _ in range(count):
            data = {"number": self.told, **({"conversation": conversation} if conversation else {})}

            async def job(transaction: Transaction, data: dict[str, Any] = data) -> None:
                await tell(transaction, "acme", "message.sent", data, self.clock(), conversation)

            await self.store._database.write(job)
            self.told += 1

    async def deliveries(self, endpoint: Endpoint, state: DeliveryState | None = None) -> list[Delivery]:
        return list(await self.store.deliveries.page("acme", endpoint.id, state, 100, None))

    async def one(self, endpoint: Endpoint) -> Delivery:
        (found,) = await self.deliveries(endpoint)
        return found

    @asynccontextmanager
    async def at_work(self) -> AsyncIterator[None]:
        task = asyncio.create_task(self.deliverer.run_for_ever())
        try:
            yield
        finally:
            task.cancel()
            await asyncio.gather(task, return_exceptions=True)


@pytest.fixture
def clock() -> Clock:
    return Clock()


@pytest.fixture
async def store(tmp_path: Path) -> AsyncIterator[SqlStore]:
    opened = await open_store(f"sqlite:///{tmp_path / 'dragoman.db'}")
    yield opened
    await opened.close()


@pytest.fixture
async def scene(store: SqlStore, clock: Clock) -> AsyncIterator[Scene]:
    await store.tenants.put(Tenant("acme", "Acme", allow_private=True), now_us())
    egress = Egress()
    yield Scene(store, clock, egress)
    await egress.close()


@pytest.fixture
async def receiver() -> AsyncIterator[Receiver]:
    async with Receiver() as made:
        yield made


def verified(secret: str, received: Received) -> Any:
    return Webhook(secret).verify(received.body, dict(received.headers))


def numbers(received: list[Received]) -> list[int]:
    return [each.json["data"]["number"] for each in received]


async def test_a_delivery_is_signed_and_its_answer_is_kept(scene: Scene, receiver: Receiver) -> None:
    endpoint, secret = await scene.endpoint(receiver)
    await scene.tell(1)
    await scene.deliverer.work_off()
    (received,) = receiver.received
    assert verified(secret, received) == {"event": "message.sent", "data": {"number": 0}}
    assert received.path == "/hook"
    assert received.headers["content-type"] == "application/json"
    found = await scene.one(endpoint)
    assert found.state == "delivered"
    (attempt,) = found.attempts
    assert (attempt.status, attempt.answer, attempt.error) == (200, "told", None)
    assert attempt.duration > 0


async def test_the_library_for_javascript_verifies_a_delivery(scene: Scene, receiver: Receiver, tmp_path: Path) -> None:
    _, secret = await scene.endpoint(receiver)
    await scene.tell(1)
    await scene.deliverer.work_off()
    (received,) = receiver.received
    await asyncio.to_thread(packages, tmp_path, LIBRARY)
    (tmp_path / "verify.cjs").write_text(VERIFY)
    for body, status in ((received.body.decode(), 0), (received.body.decode() + " ", 1)):
        told = json.dumps({"secret": secret, "headers": dict(received.headers), "body": body})
        verify = functools.partial(subprocess.run, input=told, capture_output=True, text=True, timeout=30)
        done = await asyncio.to_thread(verify, [NODE, "verify.cjs"], cwd=tmp_path)
        assert done.returncode == status, done.stderr
        assert (done.stdout == "message.sent") == (status == 0)


async def test_a_rotated_secret_and_the_one_before_both_verify_until_the_overlap_ends(
    scene: Scene, receiver: Receiver
) -> None:
    endpoint, old = await scene.endpoint(receiver)
    _, new = await scene.webhooks.rotate("acme", "operator", endpoint.id)
    await scene.tell(1)
    await scene.deliverer.work_off()
    assert verified(old, receiver.received[0]) == verified(new, receiver.received[0])
    assert len(receiver.received[0].headers["webhook-signature"].split(" ")) == 2
    scene.clock.ahead = 25 * HOUR
    await scene.tell(1)
    await scene.deliverer.work_off()
    assert len(receiver.received[1].headers["webhook-signature"].split(" ")) == 1


async def test_a_receiver_that_was_down_for_an_hour_gets_everything_in_order(scene: Scene, receiver: Receiver) -> None:
    # By the schedule, and with a look a minute, the attempt that comes after the hour is within 2 h 45 min: by now.
    scene.clock.ahead = -sum(PAUSES[:4]) - 10 * 60 * SECOND
    endpoint, secret = await scene.endpoint(receiver)
    await receiver.shut()
    for minute in range(60):
        await scene.tell(1, f"conversation {minute % 3}")
        await scene.deliverer.work_off()
        scene.clock.ahead += 60 * SECOND
    waiting = await scene.deliveries(endpoint, "pending")
    assert len(waiting) == 60
    await receiver.open()
    scene.clock.ahead = 0
    await scene.deliverer.work_off()
    assert sorted(each.id for each in receiver.received) == sorted(prefixed("evt", each.event_id) for each in waiting)
    for conversation in range(3):
        of_it = [each for each in receiver.received if each.json["data"]["conversation"][-1] == str(conversation)]
        assert numbers(of_it) == list(range(conversation, 60, 3))
    for each in receiver.received:
        assert verified(secret, each)["event"] == "message.sent"
    assert {each.state for each in await scene.deliveries(endpoint)} == {"delivered"}


async def test_events_of_a_conversation_arrive_in_order_and_once_each(scene: Scene, receiver: Receiver) -> None:
    await scene.endpoint(receiver)
    receiver.answers = [500, 200, "break", 200, 503]
    await scene.tell(5, "one")
    for _ in range(4):
        await scene.deliverer.work_off()
        scene.clock.ahead += 6 * SECOND
    assert numbers(receiver.received) == [0, 0, 1, 1, 2, 2, 3, 4]
    by_number = {number: {each.id for each in receiver.received if numbers([each]) == [number]} for number in range(5)}
    assert {len(ids) for ids in by_number.values()} == {1}


async def test_a_failure_is_tried_again_by_the_schedule_and_parked_at_its_end(scene: Scene, receiver: Receiver) -> None:
    endpoint, _ = await scene.endpoint(receiver)
    receiver.answer = 500
    await scene.tell(2, "one")
    for made, pause in enumerate(PAUSES, start=1):
        await scene.deliverer.work_off()
        assert len(receiver.received) == made
        scene.clock.ahead += pause - 2 * SECOND
        await scene.deliverer.work_off()
        assert len(receiver.received) == made
        scene.clock.ahead += 2 * SECOND
    receiver.answers, receiver.answer = [500], 200
    await scene.deliverer.work_off()
    assert numbers(receiver.received) == [0] * 10 + [1]
    newer, older = await scene.deliveries(endpoint)
    assert (older.state, newer.state) == ("failed", "delivered")
    assert [each.status for each in older.attempts] == [500] * 10
    await scene.webhooks.replay("acme", "operator", older.id)
    await scene.deliverer.work_off()
    assert receiver.received[-1].id == receiver.received[0].id
    assert [each.state for each in await scene.deliveries(endpoint)] == ["delivered", "delivered"]


async def test_410_disables_the_endpoint_and_parks_the_rest_until_it_is_enabled(
    scene: Scene, receiver: Receiver
) -> None:
    endpoint, _ = await scene.endpoint(receiver)
    receiver.answers = [410]
    await scene.tell(3, "one")
    await scene.deliverer.work_off()
    assert len(receiver.received) == 1
    assert (await scene.webhooks.get("acme", endpoint.id)).state == "disabled"
    assert [each.state for each in await scene.deliveries(endpoint)] == ["failed"] * 3
    await scene.tell(1, "one")
    assert len(await scene.deliveries(endpoint)) == 3
    await scene.webhooks.enable("acme", "operator", endpoint.id)
    assert await scene.webhooks.replay_all("acme", "operator", endpoint.id, 0, now_us(), "failed") == 3
    await scene.deliverer.work_off()
    assert numbers(receiver.received) == [0, 0, 1, 2]


@pytest.mark.parametrize(
    ("status", "told", "waits"),
    [
        (429, "3600", HOUR),
        (503, "3600", HOUR),
        (429, "999999999", 24 * HOUR),
        (429, "1", PAUSES[0]),
        (429, "soon", PAUSES[0]),
        (500, "3600", PAUSES[0]),
    ],
)
async def test_retry_after_is_kept_to_up_to_a_day(
    scene: Scene, receiver: Receiver, status: int, told: str, waits: int
) -> None:
    endpoint, _ = await scene.endpoint(receiver)
    receiver.answer, receiver.headers = status, {"Retry-After": told}
    await scene.tell(1)
    began = scene.clock()
    await scene.deliverer.work_off()
    found = await scene.one(endpoint)
    assert found.next_attempt_at is not None
    assert waits <= found.next_attempt_at - began < waits + 10 * SECOND


async def test_a_redirect_is_a_failure_and_never_followed(scene: Scene, receiver: Receiver) -> None:
    endpoint, _ = await scene.endpoint(receiver)
    async with Receiver() as elsewhere:
        receiver.answer, receiver.headers = 301, {"Location": f"{elsewhere.url}/hook"}
        await scene.tell(1)
        await scene.deliverer.work_off()
        assert elsewhere.received == []
    found = await scene.one(endpoint)
    assert (found.state, found.attempts[0].status) == ("pending", 301)


async def test_of_an_endless_answer_the_beginning_is_kept_and_little_is_read(scene: Scene, receiver: Receiver) -> None:
    endpoint, _ = await scene.endpoint(receiver)
    receiver.answer = "huge"
    await scene.tell(1)
    await scene.deliverer.work_off()
    found = await scene.one(endpoint)
    assert found.state == "delivered"
    assert found.attempts[0].answer == "x" * 4096
    # What the two kernels hold in their buffers has left the receiver, and was never read.
    assert receiver.sent < 16 << 20


@pytest.mark.parametrize("answer", ["hang", "drip"])
async def test_no_whole_answer_in_time_is_a_failure(
    scene: Scene, receiver: Receiver, monkeypatch: pytest.MonkeyPatch, answer: str
) -> None:
    monkeypatch.setattr(delivery, "BOUNDS", replace(delivery.BOUNDS, seconds=0.5))
    endpoint, _ = await scene.endpoint(receiver)
    receiver.answer = answer
    await scene.tell(1)
    await scene.deliverer.work_off()
    found = await scene.one(endpoint)
    assert found.state == "pending"
    assert "within 0.5 s" in (found.attempts[0].error or "")
    assert found.attempts[0].status is None


def test_an_attempt_takes_15_seconds_and_64_kb_at_the_most() -> None:
    assert (delivery.BOUNDS.body_bytes, delivery.BOUNDS.seconds) == (65536, 15.0)


@pytest.mark.parametrize("answer", [301, 410, 429, "drip", "huge", "hang", "break"])
async def test_a_bad_endpoint_delays_the_others_by_a_second_at_the_most(
    scene: Scene, receiver: Receiver, answer: str | int
) -> None:
    await scene.endpoint(receiver)
    count = 40

    async def timed() -> float:
        began, before = time.monotonic(), len(receiver.received)
        for number in range(count):
            await scene.tell(1, f"conversation {number % 20}")
        await receiver.count(before + count)
        return time.monotonic() - began

    async with scene.at_work(), Receiver() as bad:
        alone = await timed()
        bad.answer, bad.headers = answer, {"Retry-After": "60"}
        await scene.endpoint(bad)
        assert await timed() - alone < 1.0
        await bad.count(1)


async def test_what_may_not_be_reached_is_not_and_says_so(scene: Scene, receiver: Receiver) -> None:
    endpoint, _ = await scene.endpoint(receiver)
    await scene.store.tenants.put(Tenant("acme", "Acme", allow_private=False), now_us())
    await scene.tell(1)
    await scene.deliverer.work_off()
    assert receiver.received == []
    found = await scene.one(endpoint)
    assert "may not be reached" in (found.attempts[0].error or "")


async def test_a_secret_that_cannot_be_read_any_more_parks_with_a_reason(scene: Scene, receiver: Receiver) -> None:
    endpoint, _ = await scene.endpoint(receiver)
    await scene.store.endpoints.rotate("acme", endpoint.id, b"sealed elsewhere", 0, now_us())
    await scene.tell(1)
    await scene.deliverer.work_off()
    found = await scene.one(endpoint)
    assert found.state == "failed"
    assert "rotate" in (found.attempts[0].error or "")
    _, new = await scene.webhooks.rotate("acme", "operator", endpoint.id)
    await scene.tell(1)
    await scene.deliverer.work_off()
    (received,) = receiver.received
    assert verified(new, received)


async def test_what_is_under_way_when_the_work_ends_is_made_again(scene: Scene, receiver: Receiver) -> None:
    await scene.endpoint(receiver)
    receiver.answers = ["hang"]
    await scene.tell(1, "one")
    async with scene.at_work():
        await receiver.count(1)
    await scene.store.deliveries.release([], scene.clock() + 2 * delivery.LEASE_US)
    await scene.deliverer.work_off()
    assert [each.id for each in receiver.received] == [receiver.received[0].id] * 2
