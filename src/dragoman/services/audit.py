"""Who changed what, when; and the life of keys with each change written down. Knows no rendering of a time."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from dragoman.core.clock import now_us
from dragoman.core.ids import prefixed
from dragoman.core.tenants import ApiKey, Principal
from dragoman.ports.audit import Act, Entry, Place
from dragoman.ports.store import Store
from dragoman.services.access import DEFAULT_OVERLAP, Access, NewKey

OPERATOR = "operator"


def actor_of(principal: Principal) -> str:
    """How the log names who acts: by the id of the key."""
    return prefixed("key", principal.key_id) if principal.key_id else OPERATOR


@dataclass(frozen=True, slots=True)
class Noted:
    """An entry of the log, with the name of the key that acted."""

    entry: Entry
    actor_name: str | None


class Audit:
    """The audit log. What is not written in the transaction of its change is written here, right after it."""

    def __init__(self, store: Store) -> None:
        self._store = store

    async def record(self, tenant_id: str, actor: str, action: str, subject: str, **detail: Any) -> None:
        """Write down that something was changed. `detail` holds no secret's value."""
        await self._store.audit.record(tenant_id, Act(actor, action, subject, detail), now_us())

    async def page(self, tenant_id: str, limit: int, before: Place | None) -> Sequence[Noted]:
        """What was changed before a place, newest first."""
        entries = await self._store.audit.page(tenant_id, limit, before)
        names = {prefixed("key", key.id): key.name for key in await self._store.keys.all(tenant_id)}
        return [Noted(entry, names.get(entry.act.actor)) for entry in entries]


class Keys:
    """The keys of tenants; what is done to them is in the audit log."""

    def __init__(self, access: Access, audit: Audit) -> None:
        self._access = access
        self._audit = audit

    async def list(self, tenant_id: str) -> Sequence[ApiKey]:
        """The tenant's keys, oldest first, with their last use to the moment.

        Raises:
            NotFound: no such tenant.
        """
        await self._access.note_use()
        return await self._access.list(tenant_id)

    async def create(self, tenant_id: str, actor: str, wanted: NewKey) -> tuple[ApiKey, str]:
        """Make a key; it and its value, which is never seen again.

        Raises:
            NotFound, NameTaken, Invalid: see `Access.create`.
        """
        key, value = await self._access.create(tenant_id, wanted)
        await self._note(actor, "key.created", key, type=key.type)
        return key, value

    async def rotate(self, tenant_id: str, actor: str, name: str, overlap: str = DEFAULT_OVERLAP) -> tuple[ApiKey, str]:
        """Make a new key in place of those of this name, which go on for the overlap.

        Raises:
            NotFound, Invalid: see `Access.rotate`.
        """
        key, value = await self._access.rotate(tenant_id, name, overlap)
        await self._note(actor, "key.rotated", key, overlap=overlap)
        return key, value

    async def revoke(self, tenant_id: str, actor: str, name: str) -> Sequence[ApiKey]:
        """Close every key of this name for good; they, oldest first.

        Raises:
            NotFound: no such tenant or key.
        """
        await self._access.revoke(tenant_id, name)
        revoked = [key for key in await self._access.list(tenant_id) if key.name == name]
        await self._note(actor, "key.revoked", revoked[-1])
        return revoked

    async def _note(self, actor: str, action: str, key: ApiKey, **detail: Any) -> None:
        told: Mapping[str, Any] = {"name": key.name, **detail}
        await self._audit.record(key.tenant_id, actor, action, prefixed("key", key.id), **told)
