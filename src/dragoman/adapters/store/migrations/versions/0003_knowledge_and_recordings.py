"""Documents that are worked on in steps, chunks with their vectors and words, files, what an answer rests on.

No version before has kept a document, a chunk or an attachment: those tables are made anew.
"""

import sqlalchemy as sa
from alembic import op

revision = "0003"
down_revision = "0002"
branch_labels = None
depends_on = None


def upgrade() -> None:
    """Make the change."""
    op.add_column("messages", sa.Column("resolved", sa.BigInteger(), nullable=True))
    for table in ("chunks", "documents", "attachments"):
        op.drop_table(table)
    op.create_table(
        "documents",
        *(_text(name) for name in ("id", "tenant_id", "agent_id", "type", "title", "source", "content_hash")),
        *(_text(name) for name in ("state", "step")),
        sa.Column("error", sa.Text(), nullable=True),
        *(_whole(name) for name in ("revision", "done", "total", "attempts", "next_attempt_at")),
        sa.Column("owner", sa.BigInteger(), nullable=True),
        _text("managed"),
        *(_whole(name) for name in ("created_at", "updated_at")),
        sa.PrimaryKeyConstraint("id", name=op.f("pk_documents")),
    )
    op.create_table(
        "chunks",
        sa.Column("id", sa.BigInteger().with_variant(sa.Integer(), "sqlite"), nullable=False),
        *(_text(name) for name in ("tenant_id", "agent_id", "document_id")),
        *(_whole(name) for name in ("revision", "position")),
        *(_text(name) for name in ("title", "content", "content_hash", "embedder")),
        _whole("live"),
        sa.Column("vector", sa.LargeBinary(), nullable=False),
        sa.PrimaryKeyConstraint("id", name=op.f("pk_chunks")),
        sa.UniqueConstraint(
            "document_id", "revision", "position", name=op.f("uq_chunks_document_id_revision_position")
        ),
    )
    op.create_table(
        "knowledge",
        *(_text(name) for name in ("agent_id", "tenant_id")),
        *(_whole(name) for name in ("chunks", "removed")),
        sa.PrimaryKeyConstraint("agent_id", name=op.f("pk_knowledge")),
        sqlite_with_rowid=False,
    )
    op.create_table(
        "blobs",
        *(_text(name) for name in ("tenant_id", "sha256")),
        sa.Column("data", sa.LargeBinary(), nullable=False),
        _whole("created_at"),
        sa.PrimaryKeyConstraint("tenant_id", "sha256", name=op.f("pk_blobs")),
    )
    op.create_table(
        "attachments",
        *(_text(name) for name in ("id", "tenant_id", "conversation_id")),
        sa.Column("message_id", sa.Text(), nullable=True),
        *(_text(name) for name in ("name", "media_type")),
        _whole("size"),
        _text("sha256"),
        _whole("created_at"),
        sa.PrimaryKeyConstraint("id", name=op.f("pk_attachments")),
    )
    for table, columns in (
        ("documents", ["tenant_id", "agent_id"]),
        ("documents", ["state", "next_attempt_at"]),
        ("chunks", ["tenant_id", "agent_id", "live"]),
        ("chunks", ["tenant_id", "content_hash"]),
        ("attachments", ["conversation_id"]),
        ("attachments", ["message_id"]),
        ("attachments", ["tenant_id", "sha256"]),
    ):
        op.create_index(_index(table, columns), table, columns)
    if op.get_bind().dialect.name == "sqlite":
        op.execute(
            "CREATE VIRTUAL TABLE chunk_words USING fts5 "
            "(agent, content, tokenize = 'porter unicode61 remove_diacritics 2')"
        )
    else:
        op.execute(
            "CREATE TABLE chunk_words (chunk_id BIGINT PRIMARY KEY, tenant_id TEXT NOT NULL, agent_id TEXT NOT NULL, "
            "words TSVECTOR NOT NULL)"
        )
        op.execute("CREATE INDEX ix_chunk_words_words ON chunk_words USING gin (words)")
        op.execute("CREATE INDEX ix_chunk_words_agent_id ON chunk_words (agent_id)")


def _text(name: str) -> "sa.Column[str]":
    return sa.Column(name, sa.Text(), nullable=False)


def _whole(name: str) -> "sa.Column[int]":
    return sa.Column(name, sa.BigInteger(), nullable=False)


def _index(table: str, columns: list[str]) -> str:
    first, *others = columns
    return op.f("_".join((f"ix_{table}_{first}", *(f"{table}_{name}" for name in others))))
