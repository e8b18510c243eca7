"""Endpoints of webhooks, deliveries in their order with each attempt, and the balance at which credits are low.

No version before has kept an endpoint, an event or a delivery: those tables are made anew.
"""

import sqlalchemy as sa
from alembic import op

revision = "0004"
down_revision = "0003"
branch_labels = None
depends_on = None

PENDING = sa.text("state = 'pending'")
LEASED = sa.text("lease_owner IS NOT NULL")


def upgrade() -> None:
    """Make the change."""
    op.add_column("tenants", sa.Column("low_at", sa.BigInteger(), nullable=True))
    op.execute(
        "UPDATE tenants SET low_at = (SELECT CAST(COALESCE(SUM(amount), 0) AS BIGINT) / 10 FROM ledger "
        "WHERE ledger.tenant_id = tenants.id AND kind = 'grant') WHERE credits IS NOT NULL"
    )
    for table in ("endpoints", "outbox", "deliveries"):
        op.drop_table(table)
    op.create_table(
        "endpoints",
        *(_text(name) for name in ("id", "tenant_id", "url", "events", "state", "managed")),
        _whole("given"),
        sa.Column("sealed_secret", sa.LargeBinary(), nullable=False),
        sa.Column("old_secret", sa.LargeBinary(), nullable=True),
        *(_whole(name, null=True) for name in ("old_until", "expires_at")),
        *(_whole(name) for name in ("created_at", "updated_at")),
        sa.PrimaryKeyConstraint("id", name=op.f("pk_endpoints")),
        sa.UniqueConstraint("tenant_id", "url", name=op.f("uq_endpoints_tenant_id_url")),
    )
    op.create_table(
        "outbox",
        *(_text(name) for name in ("id", "tenant_id")),
        _text("conversation_id", null=True),
        *(_text(name) for name in ("event", "data")),
        _whole("created_at"),
        sa.PrimaryKeyConstraint("id", name=op.f("pk_outbox")),
    )
    op.create_table(
        "deliveries",
        sa.Column("position", sa.BigInteger().with_variant(sa.Integer(), "sqlite"), nullable=False),
        *(_text(name) for name in ("id", "tenant_id", "endpoint_id", "event_id")),
        _text("ordered_by", null=True),
        _text("state"),
        _whole("attempts"),
        *(_whole(name, null=True) for name in ("next_attempt_at", "lease_owner", "leased_until")),
        _whole("created_at"),
        _whole("finished_at", null=True),
        sa.PrimaryKeyConstraint("position", name=op.f("pk_deliveries")),
        sa.UniqueConstraint("id", name=op.f("uq_deliveries_id")),
        sa.UniqueConstraint("endpoint_id", "event_id", name=op.f("uq_deliveries_endpoint_id_event_id")),
    )
    op.create_table(
        "delivery_attempts",
        _text("delivery_id"),
        _whole("number"),
        _text("tenant_id"),
        *(_whole(name) for name in ("at", "duration")),
        _whole("status", null=True),
        *(_text(name, null=True) for name in ("answer", "error")),
        sa.PrimaryKeyConstraint("delivery_id", "number", name=op.f("pk_delivery_attempts")),
        sqlite_with_rowid=False,
    )
    for table, columns in (
        ("outbox", ["created_at"]),
        ("outbox", ["conversation_id"]),
        ("deliveries", ["event_id"]),
        ("deliveries", ["endpoint_id", "created_at"]),
        ("deliveries", ["finished_at"]),
    ):
        op.create_index(_index(table, columns), table, columns)
    for name, columns, where in (
        ("ix_deliveries_due", ["endpoint_id", "next_attempt_at"], PENDING),
        ("ix_deliveries_order", ["endpoint_id", "ordered_by", "position"], PENDING),
        ("ix_deliveries_leased", ["lease_owner"], LEASED),
    ):
        op.create_index(name, "deliveries", columns, sqlite_where=where, postgresql_where=where)


def _text(name: str, *, null: bool = False) -> "sa.Column[str]":
    return sa.Column(name, sa.Text(), nullable=null)


def _whole(name: str, *, null: bool = False) -> "sa.Column[int]":
    return sa.Column(name, sa.BigInteger(), nullable=null)


def _index(table: str, columns: list[str]) -> str:
    first, *others = columns
    return op.f("_".join((f"ix_{table}_{first}", *(f"{table}_{name}" for name in others))))
