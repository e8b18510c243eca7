"""Segments of turns that pause for calls, users that have come, tickets that are spent, usage by day."""

import sqlalchemy as sa
from alembic import op

revision = "0002"
down_revision = "0001"
branch_labels = None
depends_on = None


def upgrade() -> None:
    """Make the change."""
    op.add_column("turns", sa.Column("overrides", sa.Text(), nullable=True))
    op.create_index(op.f("ix_turns_tenant_id_turns_created_at"), "turns", ["tenant_id", "created_at"])
    op.create_index(
        "ix_turns_paused",
        "turns",
        ["conversation_id"],
        sqlite_where=sa.text("state = 'paused'"),
        postgresql_where=sa.text("state = 'paused'"),
    )
    op.add_column("tool_calls", sa.Column("result_id", sa.Text(), nullable=True))
    op.add_column("tool_calls", sa.Column("opened_id", sa.Text(), nullable=True))
    for table, column in (
        ("tool_calls", "turn_id"),
        ("idempotency", "turn_id"),
        ("outbox", "conversation_id"),
        ("deliveries", "event_id"),
    ):
        op.create_index(op.f(f"ix_{table}_{column}"), table, [column])
    op.execute(
        "INSERT INTO ledger (id, tenant_id, kind, amount, created_at) "
        "SELECT 'opening-' || id, id, 'grant', credits, created_at FROM tenants WHERE credits IS NOT NULL"
    )
    op.create_table(
        "users",
        sa.Column("tenant_id", sa.Text(), nullable=False),
        sa.Column("user_id", sa.Text(), nullable=False),
        sa.Column("created_at", sa.BigInteger(), nullable=False),
        sa.PrimaryKeyConstraint("tenant_id", "user_id", name=op.f("pk_users")),
        sqlite_with_rowid=False,
    )
    op.create_table(
        "spent_tickets",
        sa.Column("tenant_id", sa.Text(), nullable=False),
        sa.Column("id", sa.Text(), nullable=False),
        sa.Column("created_at", sa.BigInteger(), nullable=False),
        sa.PrimaryKeyConstraint("id", name=op.f("pk_spent_tickets")),
        sqlite_with_rowid=False,
    )
    op.create_index(op.f("ix_spent_tickets_created_at"), "spent_tickets", ["created_at"])
