"""Every table, for migrations alone: queries are plain SQL beside the functions that use them.

Columns are TEXT (JSON too), BIGINT (times in microseconds since the epoch, truth values as 0 and 1), DOUBLE and BLOB.
"""

from typing import Any

from sqlalchemy import (
    BigInteger,
    Column,
    Double,
    Index,
    Integer,
    LargeBinary,
    MetaData,
    PrimaryKeyConstraint,
    Table,
    Text,
    UniqueConstraint,
    text,
)

metadata = MetaData(
    naming_convention={
        "pk": "pk_%(table_name)s",
        "uq": "uq_%(table_name)s_%(column_0_N_name)s",
        "ix": "ix_%(column_0_N_label)s",
    }
)


def _text(name: str, *, null: bool = False) -> Column[Any]:
    return Column(name, Text, nullable=null)


def _whole(name: str, *, null: bool = False) -> Column[Any]:
    return Column(name, BigInteger, nullable=null)


def _key(*names: str) -> PrimaryKeyConstraint:
    return PrimaryKeyConstraint(*names)


# `low_at` is the balance at which it is told that credits are low, until then: NULL once that has been told.
tenants = Table(
    "tenants",
    metadata,
    *(_text("id"), _text("name"), _text("plan"), _whole("credits", null=True), _whole("per_minute", null=True)),
    *(_whole("per_day", null=True), _text("default_agent_id", null=True), _whole("allow_private")),
    *(_whole("created_at"), _whole("updated_at"), _whole("low_at", null=True), _key("id")),
)

prices = Table("prices", metadata, _text("model"), _whole("credits_per_turn"), _key("model"))

api_keys = Table(
    "api_keys",
    metadata,
    *(_text("id"), _text("tenant_id"), _text("name"), _text("type"), _text("prefix"), _text("digest")),
    *(_text("agents"), _text("origins"), _text("limits"), _whole("created_at"), _whole("expires_at", null=True)),
    *(_whole("revoked_at", null=True), _whole("last_used_at", null=True), _key("id"), UniqueConstraint("digest")),
    Index(None, "tenant_id", "name"),
)

agents = Table(
    "agents",
    metadata,
    *(_text("id"), _text("tenant_id"), _text("slug"), _text("name"), _whole("version"), _text("draft", null=True)),
    *(_text("managed"), _whole("public"), _whole("created_at"), _whole("updated_at"), _whole("deleted_at", null=True)),
    *(_key("id"), UniqueConstraint("tenant_id", "slug")),
)

agent_versions = Table(
    "agent_versions",
    metadata,
    *(_text("agent_id"), _whole("version"), _text("tenant_id"), _text("definition"), _whole("created_at")),
    _key("agent_id", "version"),
    sqlite_with_rowid=False,
)

# The integer that an agent's messages are numbered by, in a row of its own: it changes with every turn.
agent_counters = Table(
    "agent_counters",
    metadata,
    *(_text("agent_id"), _text("tenant_id"), _whole("last_number"), _key("agent_id")),
    sqlite_with_rowid=False,
)

deployments = Table(
    "deployments",
    metadata,
    *(_text("id"), _text("tenant_id"), _text("agent_id"), _text("channel"), _text("region"), _whole("created_at")),
    *(_key("id"), UniqueConstraint("agent_id", "channel", "region")),
)

conversations = Table(
    "conversations",
    metadata,
    *(_text("id"), _text("tenant_id"), _text("agent_id"), _text("deployment_id", null=True)),
    *(_text("client_id", null=True), _text("user_id", null=True), _text("visitor_id", null=True), _text("title")),
    *(_text("metadata", null=True), _text("context", null=True), _text("status"), _whole("archived_at", null=True)),
    *(_whole("created_at"), _whole("updated_at"), _whole("last_message_at", null=True), _key("id")),
    Index("ix_conversations_listed", "tenant_id", "created_at"),
    Index(
        "ix_conversations_client",
        "tenant_id",
        "client_id",
        unique=True,
        sqlite_where=text("client_id IS NOT NULL"),
        postgresql_where=text("client_id IS NOT NULL"),
    ),
    Index(
        "ix_conversations_user",
        "tenant_id",
        "user_id",
        "created_at",
        sqlite_where=text("user_id IS NOT NULL"),
        postgresql_where=text("user_id IS NOT NULL"),
    ),
    sqlite_with_rowid=False,
)

# `in_prompt` is 0 for what later prompts leave out: a question that got no answer, an answer that was replaced.
messages = Table(
    "messages",
    metadata,
    *(_text("id"), _text("tenant_id"), _text("conversation_id"), _text("agent_id"), _text("turn_id", null=True)),
    *(_whole("number"), _text("role"), _text("content", null=True), _text("tool_calls", null=True)),
    *(_text("tool_call_id", null=True), _text("metadata", null=True), _text("sources", null=True)),
    *(Column("confidence", Double), _whole("resolved", null=True), _whole("agent_version", null=True)),
    *(_whole("in_prompt"), _whole("created_at")),
    *(_key("id"), UniqueConstraint("conversation_id", "number"), UniqueConstraint("agent_id", "number")),
)

turns = Table(
    "turns",
    metadata,
    *(_text("id"), _text("tenant_id"), _text("conversation_id"), _text("agent_id"), _whole("agent_version")),
    *(_text("key_id", null=True), _text("state"), _whole("epoch"), _whole("owner"), _text("message_id")),
    *(_text("answer_id"), _whole("answer_number"), _text("model"), _whole("prompt_tokens")),
    *(_whole("completion_tokens"), _whole("credits"), _text("error", null=True), _whole("created_at")),
    *(_whole("finished_at", null=True), _text("overrides", null=True), _key("id")),
    _whole("vouched", null=True),
    Index(None, "tenant_id", "created_at"),
    Index(
        "ix_turns_paused",
        "conversation_id",
        sqlite_where=text("state = 'paused'"),
        postgresql_where=text("state = 'paused'"),
    ),
    Index(
        "ix_turns_running",
        "conversation_id",
        unique=True,
        sqlite_where=text("state = 'running'"),
        postgresql_where=text("state = 'running'"),
    ),
    sqlite_with_rowid=False,
)

# A row a flush: `events` holds every event of it, in order, the first numbered `first_sequence`.
turn_events = Table(
    "turn_events",
    metadata,
    *(_text("turn_id"), _whole("first_sequence"), _whole("epoch"), _text("tenant_id"), _text("events")),
    *(_whole("created_at"), _key("turn_id", "first_sequence")),
    sqlite_with_rowid=False,
)

# `message_id` is the answer that wants the call, `result_id` its result as a message, `opened_id` the answer of the
# segment that this result has opened: the last of a turn's open calls does.
tool_calls = Table(
    "tool_calls",
    metadata,
    *(_text("id"), _text("tenant_id"), _text("conversation_id"), _text("turn_id"), _text("message_id")),
    *(_text("call_id"), _text("name"), _text("arguments"), _text("state"), _text("result", null=True)),
    *(_whole("created_at"), _whole("finished_at", null=True), _text("result_id", null=True)),
    *(_text("opened_id", null=True), _key("id")),
    UniqueConstraint("conversation_id", "call_id"),
    Index(None, "turn_id"),
)

users = Table(
    "users",
    metadata,
    *(_text("tenant_id"), _text("user_id"), _whole("created_at"), _key("tenant_id", "user_id")),
    sqlite_with_rowid=False,
)

spent_tickets = Table(
    "spent_tickets",
    metadata,
    *(_text("tenant_id"), _text("id"), _whole("created_at"), _key("id"), Index(None, "created_at")),
    sqlite_with_rowid=False,
)

idempotency = Table(
    "idempotency",
    metadata,
    *(_text("tenant_id"), _text("scope"), _text("body_hash"), _text("turn_id"), _whole("created_at")),
    *(_key("tenant_id", "scope"), Index(None, "created_at"), Index(None, "turn_id")),
    sqlite_with_rowid=False,
)

ledger = Table(
    "ledger",
    metadata,
    *(_text("id"), _text("tenant_id"), _text("turn_id", null=True), _text("kind"), _whole("amount")),
    *(_whole("created_at"), _key("id")),
    Index(None, "tenant_id", "created_at"),
    Index(None, "turn_id"),
)

limit_windows = Table(
    "limit_windows",
    metadata,
    *(_text("tenant_id"), _text("bucket"), _whole("starts_at"), _whole("count")),
    _key("tenant_id", "bucket", "starts_at"),
    sqlite_with_rowid=False,
)

# `revision` rises when what is to be known changes, so that who works on an older one finds out; of `total` chunks,
# `done` are embedded. A document of state working has an `owner`, who may be dead.
documents = Table(
    "documents",
    metadata,
    *(_text("id"), _text("tenant_id"), _text("agent_id"), _text("type"), _text("title"), _text("source")),
    *(_text("content_hash"), _text("state"), _text("step"), _text("error", null=True), _whole("revision")),
    *(_whole("done"), _whole("total"), _whole("attempts"), _whole("next_attempt_at"), _whole("owner", null=True)),
    *(_text("managed"), _whole("created_at"), _whole("updated_at"), _key("id")),
    *(Index(None, "tenant_id", "agent_id"), Index(None, "state", "next_attempt_at")),
)

# Chunks of a revision that is still being worked on have `live` 0: nothing finds them yet. Others have there how many
# live chunks their agent had ever had when they were published. Their words are in chunk_words, which each database has
# in its own form, so that it is not told of here.
chunks = Table(
    "chunks",
    metadata,
    Column("id", BigInteger().with_variant(Integer, "sqlite"), primary_key=True, autoincrement=True),
    *(_text("tenant_id"), _text("agent_id"), _text("document_id"), _whole("revision"), _whole("position")),
    *(_text("title"), _text("content"), _text("content_hash"), _text("embedder"), _whole("live")),
    Column("vector", LargeBinary, nullable=False),
    UniqueConstraint("document_id", "revision", "position"),
    *(Index(None, "tenant_id", "agent_id", "live"), Index(None, "tenant_id", "content_hash")),
)

# How many live chunks an agent has and has ever lost: whoever remembers its vectors sees by that what is new.
knowledge = Table(
    "knowledge",
    metadata,
    *(_text("agent_id"), _text("tenant_id"), _whole("chunks"), _whole("removed"), _key("agent_id")),
    sqlite_with_rowid=False,
)

# What files say, once for each tenant; `sha256` names it.
blobs = Table(
    "blobs",
    metadata,
    *(_text("tenant_id"), _text("sha256"), Column("data", LargeBinary, nullable=False), _whole("created_at")),
    _key("tenant_id", "sha256"),
)

attachments = Table(
    "attachments",
    metadata,
    *(_text("id"), _text("tenant_id"), _text("conversation_id"), _text("message_id", null=True)),
    *(_text("name"), _text("media_type"), _whole("size"), _text("sha256")),
    *(_whole("created_at"), _key("id")),
    *(Index(None, "conversation_id"), Index(None, "message_id"), Index(None, "tenant_id", "sha256")),
)

secrets = Table(
    "secrets",
    metadata,
    *(_text("tenant_id"), _text("name"), Column("sealed", LargeBinary, nullable=False), _whole("created_at")),
    _key("tenant_id", "name"),
)

# Secrets are sealed; until `old_until` the one before signs too. Without `events` an endpoint takes all; `given` is 1
# where its manifest gives the secret.
endpoints = Table(
    "endpoints",
    metadata,
    *(_text("id"), _text("tenant_id"), _text("url"), _text("events"), _text("state"), _text("managed")),
    *(_whole("given"), Column("sealed_secret", LargeBinary, nullable=False), Column("old_secret", LargeBinary)),
    *(_whole("old_until", null=True), _whole("expires_at", null=True), _whole("created_at"), _whole("updated_at")),
    _key("id"),
    UniqueConstraint("tenant_id", "url"),
)

# What happened, written in the transaction of what happened where an endpoint wants to be told.
outbox = Table(
    "outbox",
    metadata,
    *(_text("id"), _text("tenant_id"), _text("conversation_id", null=True), _text("event"), _text("data")),
    *(_whole("created_at"), _key("id")),
    *(Index(None, "created_at"), Index(None, "conversation_id")),
)

_PENDING = text("state = 'pending'")
_LEASED = text("lease_owner IS NOT NULL")

# `position` rises: of those that wait for one endpoint and have the same `ordered_by`, a conversation, the lowest alone
# is due. One with a `lease_owner` is being sent by it, who may be dead.
deliveries = Table(
    "deliveries",
    metadata,
    Column("position", BigInteger().with_variant(Integer, "sqlite"), primary_key=True, autoincrement=True),
    *(_text("id"), _text("tenant_id"), _text("endpoint_id"), _text("event_id"), _text("ordered_by", null=True)),
    *(_text("state"), _whole("attempts"), _whole("next_attempt_at", null=True), _whole("lease_owner", null=True)),
    *(_whole("leased_until", null=True), _whole("created_at"), _whole("finished_at", null=True)),
    *(UniqueConstraint("id"), UniqueConstraint("endpoint_id", "event_id"), Index(None, "event_id")),
    *(Index(None, "endpoint_id", "created_at"), Index(None, "finished_at")),
    Index("ix_deliveries_due", "endpoint_id", "next_attempt_at", sqlite_where=_PENDING, postgresql_where=_PENDING),
    Index(
        "ix_deliveries_order",
        *("endpoint_id", "ordered_by", "position"),
        sqlite_where=_PENDING,
        postgresql_where=_PENDING,
    ),
    Index("ix_deliveries_leased", "lease_owner", sqlite_where=_LEASED, postgresql_where=_LEASED),
)

delivery_attempts = Table(
    "delivery_attempts",
    metadata,
    *(_text("delivery_id"), _whole("number"), _text("tenant_id"), _whole("at"), _whole("duration")),
    *(_whole("status", null=True), _text("answer", null=True), _text("error", null=True)),
    _key("delivery_id", "number"),
    sqlite_with_rowid=False,
)

approvals = Table(
    "approvals",
    metadata,
    *(_text("id"), _text("tenant_id"), _text("turn_id"), _text("tool_call_id"), _text("state")),
    *(_text("decided_by", null=True), _whole("expires_at"), _whole("created_at"), _whole("decided_at", null=True)),
    _key("id"),
    *(Index(None, "tenant_id", "state"), Index("ix_approvals_due", "state", "expires_at")),
)

# Which conversations persons answer in: `ended_at` is NULL while one does, until `due_at` at the latest.
handovers = Table(
    "handovers",
    metadata,
    *(_text("id"), _text("tenant_id"), _text("conversation_id"), _text("reason"), _whole("requested_at")),
    *(_whole("due_at"), _whole("ended_at", null=True), _text("ended_by", null=True), _key("id")),
    *(Index(None, "tenant_id", "requested_at"), Index(None, "conversation_id")),
)

audit = Table(
    "audit",
    metadata,
    *(_text("id"), _text("tenant_id"), _text("actor"), _text("action"), _text("subject"), _text("detail")),
    *(_whole("created_at"), _key("id")),
    Index(None, "tenant_id", "created_at"),
)
