"""Conversations and messages as their tenant looks for them. Knows no rendering."""

import json
from collections.abc import Mapping, Sequence
from dataclasses import replace
from typing import Any

from dragoman.adapters.store import messages
from dragoman.adapters.store.audit import NEWEST
from dragoman.adapters.store.conversations import COLUMNS
from dragoman.adapters.store.driver import Database, Row, Transaction
from dragoman.core.conversations import Conversation
from dragoman.ports.audit import Place
from dragoman.ports.search import Found, Recorded, Wanted

# Both databases read ``json(text) -> key`` so: the first is the value as JSON, which is how a number, true or false is
# written, the second a text without its quotes.
_METADATA = """ AND (CAST(json(metadata) -> {key} AS TEXT) = :{value}
    OR CAST(json(metadata) ->> {key} AS TEXT) = :{value})"""
# SQLite takes what begins with a digit for an index, unless it is quoted in a path; to PostgreSQL a path is a key.
_KEY = """CASE WHEN (json('[1]') ->> '$[0]') IS NULL
    THEN CAST(:key_{letter} AS TEXT) ELSE CAST(:path_{letter} AS TEXT) END"""
_SAID = """lower(title) LIKE lower(:text) ESCAPE '!' OR EXISTS (SELECT 1 FROM messages said
    WHERE said.conversation_id = conversations.id AND said.tenant_id = :tenant_id
        AND lower(said.content) LIKE lower(:text) ESCAPE '!')"""
MESSAGES = f"""SELECT {messages.COLUMNS}, agent_version, turn_id FROM messages
    WHERE conversation_id = :id AND tenant_id = :tenant_id AND number > :after ORDER BY number LIMIT :limit"""

# Text is looked for in so many conversations at a time, and in so many for one page.
STEP = 100
LOOKED_AT = 1_000
# What parameters of metadata are told apart by; as many as there are keys that can be asked for.
LETTERS = "abcdefgh"


class Search:
    """The conversations of every tenant."""

    def __init__(self, database: Database) -> None:
        self._database = database

    async def conversations(self, tenant_id: str, wanted: Wanted, limit: int, before: Place | None) -> Found:
        those, params = _those(tenant_id, wanted)
        hit = f"CASE WHEN {_SAID} THEN 1 ELSE 0 END" if wanted.text is not None else "1"
        query = f"""SELECT {COLUMNS}, {hit} FROM conversations
            WHERE tenant_id = :tenant_id {those} AND (created_at, id) < (:at, :id)
            ORDER BY created_at DESC, id DESC LIMIT :step"""
        # One more than wanted tells whether there are more.
        step, at_most = (STEP, LOOKED_AT) if wanted.text is not None else (limit + 1, limit + 1)

        async def job(transaction: Transaction) -> Found:
            found: list[Conversation] = []
            place, looked_at = before or NEWEST, 0
            while looked_at < at_most:
                rows = await transaction.all(query, {**params, "at": place[0], "id": place[1], "step": step})
                for row in rows:
                    if len(found) == limit:
                        return Found(found, place)
                    place = (row[4], row[0])
                    if row[-1]:
                        found.append(_conversation(row))
                looked_at += len(rows)
                if len(rows) < step:
                    return Found(found, None)
            return Found(found, place)

        return await self._database.read(job)

    async def messages(self, tenant_id: str, conversation_id: str, limit: int, after: int) -> Sequence[Recorded]:
        wanted = {"id": conversation_id, "tenant_id": tenant_id, "limit": limit, "after": after}

        async def job(transaction: Transaction) -> list[Recorded]:
            return [_recorded(row) for row in await transaction.all(MESSAGES, wanted)]

        return await self._database.read(job)


def _those(tenant_id: str, wanted: Wanted) -> tuple[str, Mapping[str, Any]]:
    """What conversations must be like, but for their text, as further conditions and the parameters of all."""
    those = ""
    params: dict[str, Any] = {"tenant_id": tenant_id}
    for column, sign, name in (
        ("agent_id", "=", "agent_id"),
        ("user_id", "=", "user_id"),
        ("created_at", ">=", "since"),
        ("created_at", "<", "until"),
    ):
        if (value := getattr(wanted, name)) is not None:
            those += f" AND {column} {sign} :{name}"
            params[name] = value
    for letter, (key, value) in zip(LETTERS, wanted.metadata, strict=False):
        those += _METADATA.format(key=_KEY.format(letter=letter), value=f"value_{letter}")
        # The path spells the key as it is stored: as JSON, in ASCII.
        params |= {f"key_{letter}": key, f"path_{letter}": f"$.{json.dumps(key)}", f"value_{letter}": value}
    if wanted.text is not None:
        params["text"] = f"%{_literally(wanted.text)}%"
    return those, params


def _literally(text: str) -> str:
    """A text whose wildcards stand for themselves."""
    for sign in "!%_":
        text = text.replace(sign, f"!{sign}")
    return text


def _conversation(row: Row) -> Conversation:
    whole = Conversation(*row[:12])
    metadata, context = (json.loads(text) if text else None for text in row[12:14])
    return replace(whole, metadata=metadata, context=context)


def _recorded(row: Row) -> Recorded:
    return Recorded(messages.message(row), row[-2], row[-1])
