"""Files that stand with messages, such as the recording that a message was spoken in. Knows no format."""

from collections.abc import Sequence

from dragoman.adapters.store import blobs
from dragoman.adapters.store.driver import Database, Params, Transaction
from dragoman.core.commands import Recording
from dragoman.core.ids import new_id
from dragoman.ports.knowledge import Attachment

COLUMNS = "id, tenant_id, conversation_id, message_id, name, media_type, size, sha256, created_at"
NEW = f"""INSERT INTO attachments ({COLUMNS})
    VALUES (:id, :tenant_id, :conversation_id, :message_id, :name, :media_type, :size, :digest, :now)"""
ATTACHMENT = f"SELECT {COLUMNS} FROM attachments WHERE id = :id AND tenant_id = :tenant_id"
OF_CONVERSATION = f"""SELECT {COLUMNS} FROM attachments
    WHERE conversation_id = :conversation_id AND tenant_id = :tenant_id ORDER BY created_at, id"""


async def attach(transaction: Transaction, message: Params, recording: Recording) -> None:
    """Keep what a message was spoken in; `message` is its row."""
    row = {
        "id": new_id(),
        "tenant_id": message["tenant_id"],
        "conversation_id": message["conversation_id"],
        "message_id": message["id"],
        "name": recording.name,
        "media_type": recording.media_type,
        "size": len(recording.data),
        "digest": await blobs.keep(transaction, message["tenant_id"], recording.data, message["now"]),
        "now": message["now"],
    }
    await transaction.run(NEW, row)


async def forget(transaction: Transaction, tenant_id: str, those: str, params: Params) -> None:
    """Delete the files for which a condition holds, and what they say where nothing else says it."""
    gone = await transaction.all(
        f"DELETE FROM attachments WHERE tenant_id = :tenant_id AND {those} RETURNING sha256", params
    )
    for sha256 in {str(row[0]) for row in gone}:
        await blobs.sweep(transaction, tenant_id, sha256)


class Attachments:
    """The files of every tenant."""

    def __init__(self, database: Database) -> None:
        self._database = database

    async def of_conversation(self, tenant_id: str, conversation_id: str) -> Sequence[Attachment]:
        wanted = {"tenant_id": tenant_id, "conversation_id": conversation_id}

        async def job(transaction: Transaction) -> list[Attachment]:
            return [Attachment(*row) for row in await transaction.all(OF_CONVERSATION, wanted)]

        return await self._database.read(job)

    async def get(self, tenant_id: str, attachment_id: str) -> tuple[Attachment, bytes] | None:
        async def job(transaction: Transaction) -> tuple[Attachment, bytes] | None:
            row = await transaction.one(ATTACHMENT, {"id": attachment_id, "tenant_id": tenant_id})
            if row is None:
                return None
            found = Attachment(*row)
            data = await blobs.data(transaction, tenant_id, found.sha256)
            return (found, data) if data is not None else None

        return await self._database.read(job)
