"""What files say, kept once for each tenant under its hash. Knows no use of it."""

import hashlib

from dragoman.adapters.store.driver import Transaction

KEEP = """INSERT INTO blobs (tenant_id, sha256, data, created_at) VALUES (:tenant_id, :digest, :data, :now)
    ON CONFLICT DO NOTHING"""
DATA = "SELECT data FROM blobs WHERE tenant_id = :tenant_id AND sha256 = :digest"
SWEEP = """DELETE FROM blobs WHERE tenant_id = :tenant_id AND sha256 = :digest
    AND NOT EXISTS (SELECT 1 FROM attachments WHERE tenant_id = :tenant_id AND sha256 = :digest)
    AND NOT EXISTS (SELECT 1 FROM documents WHERE tenant_id = :tenant_id AND content_hash = :digest)"""


async def keep(transaction: Transaction, tenant_id: str, data: bytes, now: int) -> str:
    """Keep what a file says; its hash."""
    sha256 = hashlib.sha256(data).hexdigest()
    await transaction.run(KEEP, {"tenant_id": tenant_id, "digest": sha256, "data": data, "now": now})
    return sha256


async def data(transaction: Transaction, tenant_id: str, sha256: str) -> bytes | None:
    """What the file of this hash says."""
    row = await transaction.one(DATA, {"tenant_id": tenant_id, "digest": sha256})
    return bytes(row[0]) if row else None


async def sweep(transaction: Transaction, tenant_id: str, sha256: str) -> None:
    """Forget a file that nothing refers to any more."""
    await transaction.run(SWEEP, {"tenant_id": tenant_id, "digest": sha256})
