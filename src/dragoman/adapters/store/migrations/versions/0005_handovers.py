"""Conversations that persons answer in; approvals that can be found when their time is up; whose word metadata is."""

import sqlalchemy as sa
from alembic import op

revision = "0005"
down_revision = "0004"
branch_labels = None
depends_on = None


def upgrade() -> None:
    """Make the change."""
    op.create_table(
        "handovers",
        *(sa.Column(name, sa.Text(), nullable=False) for name in ("id", "tenant_id", "conversation_id", "reason")),
        *(sa.Column(name, sa.BigInteger(), nullable=False) for name in ("requested_at", "due_at")),
        sa.Column("ended_at", sa.BigInteger(), nullable=True),
        sa.Column("ended_by", sa.Text(), nullable=True),
        sa.PrimaryKeyConstraint("id", name=op.f("pk_handovers")),
    )
    op.create_index("ix_handovers_tenant_id_handovers_requested_at", "handovers", ["tenant_id", "requested_at"])
    op.create_index("ix_handovers_conversation_id", "handovers", ["conversation_id"])
    op.create_index("ix_approvals_due", "approvals", ["state", "expires_at"])
    op.add_column("turns", sa.Column("vouched", sa.BigInteger(), nullable=True))
