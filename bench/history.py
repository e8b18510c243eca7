"""Long conversations, put straight into Dragoman's database before it serves. Knows its tables alone."""

import sqlite3
import time
from collections.abc import Iterator, Sequence
from contextlib import closing
from pathlib import Path
from typing import Any

from bench.processes import TENANT
from dragoman.core.ids import new_id

CONTENT_BYTES = 200


def seed(data: Path, agent_slug: str, lengths: Sequence[int], copies: int) -> dict[int, list[str]]:
    """Conversations of these many messages, some `copies` of each; their ids by length.

    Questions and answers take turns and are 200 bytes each, so that the newest 130 or so fill a window of 8,192 tokens.
    """
    with closing(sqlite3.connect(data / "dragoman.db")) as connection, connection:
        found = connection.execute(
            "SELECT id, version FROM agents WHERE tenant_id = ? AND slug = ?", (TENANT, agent_slug)
        ).fetchone()
        row = connection.execute("SELECT last_number FROM agent_counters WHERE agent_id = ?", (found[0],)).fetchone()
        number = int(row[0]) if row else 0
        seeded: dict[int, list[str]] = {}
        for length in lengths:
            seeded[length] = []
            for _ in range(copies):
                conversation = new_id()
                _insert_conversation(connection, conversation, found[0])
                _insert_messages(connection, _messages(conversation, found[0], found[1], number, length))
                number += length
                seeded[length].append(conversation)
        connection.execute(
            "INSERT INTO agent_counters (agent_id, tenant_id, last_number) VALUES (?, ?, ?)"
            " ON CONFLICT (agent_id) DO UPDATE SET last_number = excluded.last_number",
            (found[0], TENANT, number),
        )
    return seeded


def prompt_tokens(data: Path, conversations: Sequence[str]) -> int:
    """How many tokens the model counted in the shortest prompt of a turn in these conversations; 0 without turns."""
    marks = ",".join("?" * len(conversations))
    query = f"SELECT min(prompt_tokens) FROM turns WHERE tenant_id = ? AND conversation_id IN ({marks})"
    with closing(sqlite3.connect(data / "dragoman.db")) as connection:
        return int(connection.execute(query, (TENANT, *conversations)).fetchone()[0] or 0)


def _insert_conversation(connection: sqlite3.Connection, conversation: str, agent: str) -> None:
    now = time.time_ns() // 1000
    connection.execute(
        "INSERT INTO conversations (id, tenant_id, agent_id, title, status, created_at, updated_at, last_message_at)"
        " VALUES (?, ?, ?, 'A long conversation', 'open', ?, ?, ?)",
        (conversation, TENANT, agent, now, now, now),
    )


def _insert_messages(connection: sqlite3.Connection, rows: Iterator[Sequence[Any]]) -> None:
    connection.executemany(
        "INSERT INTO messages"
        " (id, tenant_id, conversation_id, agent_id, number, role, content, agent_version, in_prompt, created_at)"
        " VALUES (?, ?, ?, ?, ?, ?, ?, ?, 1, ?)",
        rows,
    )


def _messages(conversation: str, agent: str, version: int, after: int, length: int) -> Iterator[Sequence[Any]]:
    now = time.time_ns() // 1000
    for position in range(length):
        role = "assistant" if position % 2 else "user"
        content = f"Message {position} of this conversation. ".ljust(CONTENT_BYTES, ".")
        number = after + position + 1
        yield new_id(), TENANT, conversation, agent, number, role, content, version, now + position - length
