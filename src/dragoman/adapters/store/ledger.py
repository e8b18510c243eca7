"""Credits: a tenant's balance and the ledger whose sum it is. Knows no plan and no model.

Every change of a balance has its row in the same transaction: a grant, what is reserved for a turn, and how that was
settled, which gives back what the turn did not use. A tenant whose balance is NULL is not metered and has no rows.
"""

from dragoman.adapters.store.driver import Transaction
from dragoman.adapters.store.outbox import tell
from dragoman.core.clock import iso
from dragoman.core.errors import NoCredits
from dragoman.core.ids import new_id

RESERVE = """UPDATE tenants SET credits = credits - :price WHERE id = :tenant_id AND credits IS NOT NULL
    RETURNING credits, low_at"""
# What a grant raises, or lowers, is told again when it has become low.
WATCH = "UPDATE tenants SET low_at = :low_at WHERE id = :tenant_id"
GIVE = "UPDATE tenants SET credits = COALESCE(credits, 0) + :amount WHERE id = :tenant_id"
GIVE_BACK = "UPDATE tenants SET credits = credits + :amount WHERE id = :tenant_id AND credits IS NOT NULL"
ENTER = """INSERT INTO ledger (id, tenant_id, turn_id, kind, amount, created_at)
    VALUES (:id, :tenant_id, :turn_id, :kind, :amount, :now)"""
GRANTED = "SELECT COALESCE(SUM(amount), 0) FROM ledger WHERE tenant_id = :tenant_id AND kind = 'grant'"
RESERVED = """SELECT COALESCE(SUM(CASE kind WHEN 'reserve' THEN -amount ELSE 0 END), 0)
        - COALESCE(SUM(CASE kind WHEN 'settle' THEN amount ELSE 0 END), 0)
    FROM ledger WHERE turn_id = :turn_id AND tenant_id = :tenant_id"""

# A balance is low at a tenth of what was ever granted.
LOW_PART = 10


async def grant(transaction: Transaction, tenant_id: str, total: int, now: int) -> bool:
    """Bring what a tenant was ever granted to `total` credits; whether that changed anything."""
    row = await transaction.one(GRANTED, {"tenant_id": tenant_id})
    amount = total - (int(row[0]) if row else 0)
    await transaction.run(GIVE, {"tenant_id": tenant_id, "amount": amount})
    if amount:
        await _enter(transaction, tenant_id, None, "grant", amount, now)
        await transaction.run(WATCH, {"tenant_id": tenant_id, "low_at": total // LOW_PART})
    return bool(amount)


async def reserve(transaction: Transaction, tenant_id: str, turn_id: str, price: int, now: int) -> int:
    """Set a turn's price aside; what was, in credits: nothing where the tenant is not metered.

    Raises:
        NoCredits: the balance does not cover it.
    """
    if not price:
        return 0
    row = await transaction.one(RESERVE, {"tenant_id": tenant_id, "price": price})
    if row is None:
        return 0
    if row[0] < 0:
        raise NoCredits("No credits left: the balance does not cover this turn")
    await _enter(transaction, tenant_id, turn_id, "reserve", -price, now)
    if row[1] is not None and row[0] <= row[1]:
        await _tell_low(transaction, tenant_id, row[0], now)
    return price


async def settle(transaction: Transaction, tenant_id: str, turn_id: str, reserved: int, used: int, now: int) -> None:
    """Close a reservation: what was not used goes back."""
    if not reserved:
        return
    if back := reserved - used:
        await transaction.run(GIVE_BACK, {"tenant_id": tenant_id, "amount": back})
    await _enter(transaction, tenant_id, turn_id, "settle", back, now)


async def refund(transaction: Transaction, tenant_id: str, turn_id: str, charged: int, now: int) -> None:
    """Give back what is reserved for a turn whose owner died, but for what it was charged before."""
    row = await transaction.one(RESERVED, {"tenant_id": tenant_id, "turn_id": turn_id})
    # A pause may have been charged while the tenant was not metered yet: then nothing is reserved.
    await settle(transaction, tenant_id, turn_id, max(0, (int(row[0]) if row else 0) - charged), 0, now)


async def _tell_low(transaction: Transaction, tenant_id: str, left: int, now: int) -> None:
    """Tell that the balance is low, once until more is granted."""
    granted = await transaction.one(GRANTED, {"tenant_id": tenant_id})
    await transaction.run(WATCH, {"tenant_id": tenant_id, "low_at": None})
    data = {"credits": left, "granted": int(granted[0]) if granted else 0, "created_at": iso(now)}
    await tell(transaction, tenant_id, "credits.low", data, now)


async def _enter(
    transaction: Transaction, tenant_id: str, turn_id: str | None, kind: str, amount: int, now: int
) -> None:
    row = {"id": new_id(), "tenant_id": tenant_id, "turn_id": turn_id, "kind": kind, "amount": amount, "now": now}
    await transaction.run(ENTER, row)
