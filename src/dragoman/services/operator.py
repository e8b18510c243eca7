"""What an operator's commands do, in plain data, so that they can be asked for over a socket. Knows no terminal."""

from collections.abc import Sequence
from dataclasses import asdict
from typing import Any

from dragoman.core.clock import iso, now_us
from dragoman.core.errors import Invalid
from dragoman.core.tenants import ApiKey
from dragoman.services import manifest
from dragoman.services.access import NewKey, time_us
from dragoman.services.audit import OPERATOR, Audit, Keys
from dragoman.services.manifest import Manifests
from dragoman.services.usage import Report, Usage, day_of, groups_of, span_us


class Operator:
    """The operator's verbs. Each takes and returns JSON values, and raises a DragomanError."""

    VERBS = frozenset(("apply", "export", "keys_create", "keys_list", "keys_rotate", "keys_revoke", "usage"))

    def __init__(self, keys: Keys, manifests: Manifests, rehearsal: Manifests, usage: Usage, audit: Audit) -> None:
        self._keys = keys
        self._manifests = manifests
        self._rehearsal = rehearsal  # the same over a store that undoes what it does
        self._usage = usage
        self._audit = audit

    async def do(self, verb: str, arguments: dict[str, Any]) -> Any:
        """Do one verb.

        Raises:
            Invalid: there is no such verb.
        """
        if verb not in self.VERBS:
            raise Invalid(f"this server knows no {verb!r}; it may be of another version")
        return await getattr(self, verb)(**arguments)

    async def apply(self, texts: Sequence[tuple[str, str]], dry_run: bool = False) -> dict[str, Any]:
        """Bring the store to manifests, given as names and texts; all are read before anything is done."""
        manifests = [manifest.read(text, source) for source, text in texts]
        whole = manifest.Applied()
        for each in manifests:
            applied = await (self._rehearsal if dry_run else self._manifests).apply(each)
            whole.add(applied)
            if not dry_run:
                await self._note(each, applied)
        if dry_run:
            for key in whole.keys:
                key.pop("value", None)
        return asdict(whole)

    async def _note(self, applied: manifest.Manifest, done: manifest.Applied) -> None:
        """Write into the log of each tenant what a manifest has changed there."""
        for tenant in applied.tenants:
            detail = {
                outcome: of_tenant
                for outcome in ("created", "updated")
                if (of_tenant := [what for what in getattr(done, outcome) if _owner(what) == tenant.id])
            }
            if detail:
                await self._audit.record(tenant.id, OPERATOR, "manifest.applied", tenant.id, **detail)

    async def export(self, tenant: str | None = None) -> str:
        """The manifest of what is there."""
        return await self._manifests.export(tenant)

    async def agent_id(self, tenant: str, slug: str) -> str:
        """The id of an agent."""
        return await self._manifests.agent_id(tenant, slug)

    async def keys_create(
        self,
        tenant: str,
        name: str,
        type: str = "secret",
        agents: Sequence[str] = (),
        origins: Sequence[str] = (),
        expires_at: str | None = None,
    ) -> dict[str, Any]:
        """Make a key and show its value this once."""
        if type not in ("secret", "publishable"):
            raise Invalid(f"{type!r} is no type of key; it is secret or publishable")
        wanted = NewKey(
            name=name,
            type="secret" if type == "secret" else "publishable",
            agents=tuple(agents),
            origins=tuple(origins),
            expires_at=time_us(expires_at) if expires_at is not None else None,
        )
        key, value = await self._keys.create(tenant, OPERATOR, wanted)
        return {**_shown(key), "value": value}

    async def keys_list(self, tenant: str) -> list[dict[str, Any]]:
        """A tenant's keys."""
        return [_shown(key) for key in await self._keys.list(tenant)]

    async def keys_rotate(self, tenant: str, name: str, overlap: str) -> dict[str, Any]:
        """Make a new key in place of one and show its value this once."""
        key, value = await self._keys.rotate(tenant, OPERATOR, name, overlap)
        return {**_shown(key), "value": value}

    async def keys_revoke(self, tenant: str, name: str) -> None:
        """Close a key for good."""
        await self._keys.revoke(tenant, OPERATOR, name)

    async def usage(
        self, tenant: str | None = None, start: str | None = None, end: str | None = None, by: str = "day"
    ) -> list[dict[str, Any]]:
        """What each tenant's turns have used, or one's."""
        (since, until), groups = span_us(start, end), groups_of(by)
        tenants = [tenant] if tenant is not None else await self._usage.tenants()
        reports = [(each, await self._usage.report(each, since, until, groups)) for each in tenants]
        return [{"tenant": each, **_reported(report)} for each, report in reports]


def _owner(what: str) -> str:
    """The tenant that an applied thing, such as ``agent acme/support-agent``, belongs to."""
    kind, _, named = what.partition(" ")
    return named.partition("/")[0] if kind != "price" else ""


def _reported(report: Report) -> dict[str, Any]:
    """A report in JSON values; names are what a person knows things by."""
    rows = [
        {**asdict(row.spent), "day": day_of(row), "agent": row.agent, "key": row.key, "model": row.model}
        for row in report.rows
    ]
    span = {"from": iso(report.since), "to": iso(report.until)}
    return {**span, "rows": rows, "total": asdict(report.total), "credits": report.credits}


def _shown(key: ApiKey) -> dict[str, Any]:
    state = "revoked" if key.revoked_at else "active" if key.is_good(now_us()) else "expired"
    return {
        "tenant": key.tenant_id,
        "name": key.name,
        "type": key.type,
        "prefix": key.prefix,
        "state": state,
        "created_at": iso(key.created_at),
        "expires_at": iso(key.expires_at) if key.expires_at else None,
        "last_used_at": iso(key.last_used_at) if key.last_used_at else None,
    }
