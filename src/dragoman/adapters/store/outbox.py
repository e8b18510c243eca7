"""What endpoints are to be told, written in the transaction of what happened. Knows no HTTP and no schedule."""

import json
from collections.abc import Mapping, Sequence
from typing import Any

from dragoman.adapters.store.driver import Transaction
from dragoman.adapters.store.subscriptions import Subscription
from dragoman.core.ids import new_id
from dragoman.core.webhooks import wants

LISTENING = """SELECT id, events FROM endpoints WHERE tenant_id = :tenant_id AND state = 'active'
    AND (expires_at IS NULL OR expires_at > :now) ORDER BY created_at, id"""
ENTER = """INSERT INTO outbox (id, tenant_id, conversation_id, event, data, created_at)
    VALUES (:event_id, :tenant_id, :ordered_by, :event, :data, :now)"""
# Behind one that waits for its next attempt it need not be looked at before; from an endpoint that has just gone or
# been disabled, which a cache does not know yet, nothing is to come.
DELIVER = """INSERT INTO deliveries (id, tenant_id, endpoint_id, event_id, ordered_by, state, attempts,
        next_attempt_at, created_at)
    SELECT CAST(:id AS TEXT), tenant_id, id, CAST(:event_id AS TEXT), CAST(:ordered_by AS TEXT), 'pending', 0,
        COALESCE((SELECT MAX(next_attempt_at) FROM deliveries earlier WHERE earlier.endpoint_id = endpoints.id
            AND earlier.tenant_id = :tenant_id AND earlier.ordered_by = :ordered_by AND earlier.state = 'pending'
            AND earlier.next_attempt_at > :now), CAST(:now AS BIGINT)),
        CAST(:now AS BIGINT)
    FROM endpoints WHERE id = :endpoint_id AND tenant_id = :tenant_id AND state = 'active'"""


async def tell(
    transaction: Transaction,
    tenant_id: str,
    event: str,
    data: Mapping[str, Any],
    now: int,
    conversation_id: str | None = None,
) -> None:
    """Have every endpoint of a tenant that takes this event told of it, if the transaction commits.

    What is told of a conversation arrives in this order; the transaction holds the conversation's row by then.
    """
    listening = [endpoint for endpoint, events in await _listening(transaction, tenant_id, now) if wants(events, event)]
    if listening:
        await deliver(transaction, tenant_id, listening, event, data, now, conversation_id)


async def deliver(
    transaction: Transaction,
    tenant_id: str,
    endpoint_ids: Sequence[str],
    event: str,
    data: Mapping[str, Any],
    now: int,
    conversation_id: str | None = None,
) -> list[str]:
    """Enter an event and its delivery to each of these endpoints; the ids of the deliveries."""
    row = {
        "event_id": new_id(),
        "tenant_id": tenant_id,
        "ordered_by": conversation_id,
        "event": event,
        "data": json.dumps(data, ensure_ascii=False, separators=(",", ":")),
        "now": now,
    }
    await transaction.run(ENTER, row)
    rows = [{**row, "id": new_id(), "endpoint_id": endpoint_id} for endpoint_id in endpoint_ids]
    await transaction.many(DELIVER, rows)
    return [str(each["id"]) for each in rows]


async def _listening(transaction: Transaction, tenant_id: str, now: int) -> Sequence[Subscription]:
    known = transaction.subscriptions.of(tenant_id)
    if known is None:
        rows = await transaction.all(LISTENING, {"tenant_id": tenant_id, "now": now})
        known = [(str(row[0]), frozenset(json.loads(row[1]))) for row in rows]
        transaction.subscriptions.keep(tenant_id, known)
    return known
