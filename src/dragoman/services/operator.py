"""What an operator's commands do, in plain data, so that they can be asked for over a socket. Knows no terminal."""

import asyncio
from collections.abc import Sequence
from contextlib import suppress
from dataclasses import asdict
from pathlib import Path
from typing import Any

import msgspec

from dragoman.core.clock import iso, now_us
from dragoman.core.errors import AgentNotFound, DragomanError, Invalid, NotFound, TooLarge
from dragoman.core.ids import derived_id, parse_id, prefixed
from dragoman.core.knowledge import Document, SourceType
from dragoman.core.tenants import ApiKey, Principal
from dragoman.services import manifest
from dragoman.services.access import NewKey, time_us
from dragoman.services.agents import Agents
from dragoman.services.audit import OPERATOR, Audit, Keys
from dragoman.services.evaluation import Evaluation
from dragoman.services.knowledge import FILE_CAP, Given, Knowledge
from dragoman.services.manifest import Manifests
from dragoman.services.secrets import Secrets
from dragoman.services.usage import Report, Usage, day_of, groups_of, span_us
from dragoman.services.webhooks import Webhooks


class Offer(msgspec.Struct):
    """Something to know: `source` is a text, the address of a website, or the absolute path of a file."""

    type: SourceType
    title: str
    source: str


class Operator:
    """The operator's verbs. Each takes and returns JSON values, and raises a DragomanError."""

    VERBS = frozenset(
        (
            *("apply", "export", "keys_create", "keys_list", "keys_rotate", "keys_revoke", "usage"),
            *("ingest", "documents", "unfinished", "ask", "secrets_set", "secrets_list", "secrets_delete"),
            "tools_give",
            *("webhooks_list", "webhooks_listen", "webhooks_keep", "webhooks_leave"),
        )
    )

    def __init__(
        self,
        keys: Keys,
        manifests: Manifests,
        rehearsal: Manifests,
        usage: Usage,
        audit: Audit,
        knowledge: Knowledge,
        secrets: Secrets,
        agents: Agents,
        webhooks: Webhooks,
        evaluation: Evaluation | None = None,
    ) -> None:
        self._keys = keys
        self._manifests = manifests
        self._rehearsal = rehearsal  # the same over a store that undoes what it does
        self._usage = usage
        self._audit = audit
        self._knowledge = knowledge
        self._secrets = secrets
        self._agents = agents
        self._webhooks = webhooks
        self._evaluation = evaluation

    async def do(self, verb: str, arguments: dict[str, Any]) -> Any:
        """Do one verb.

        Raises:
            Invalid: there is no such verb.
        """
        if verb not in self.VERBS:
            raise Invalid(f"this server knows no {verb!r}; it may be of another version")
        return await getattr(self, verb)(**arguments)

    async def apply(self, texts: Sequence[tuple[str, str, str]], dry_run: bool = False) -> dict[str, Any]:
        """Bring the store to manifests, given as names, texts and the folders that their paths are taken from.

        All are read before anything is done.
        """
        manifests = [(manifest.read(text, source), Path(folder)) for source, text, folder in texts]
        whole = manifest.Applied()
        for each, folder in manifests:
            applied = await (self._rehearsal if dry_run else self._manifests).apply(each, folder)
            whole.add(applied)
            if not dry_run:
                await self._note(each, applied)
        if dry_run:
            for key in whole.keys:
                key.pop("value", None)
            whole.webhooks.clear()
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

    async def secrets_set(self, tenant: str, name: str, value: str) -> bool:
        """Keep a secret; whether there was none of this name."""
        return await self._secrets.put(tenant, OPERATOR, name, value)

    async def secrets_list(self, tenant: str) -> list[dict[str, Any]]:
        """A tenant's secrets, without values."""
        return [{"name": each.name, "created_at": iso(each.created_at)} for each in await self._secrets.names(tenant)]

    async def secrets_delete(self, tenant: str, name: str) -> None:
        """Forget a secret."""
        await self._secrets.delete(tenant, OPERATOR, name)

    async def webhooks_list(self, tenant: str) -> list[dict[str, Any]]:
        """A tenant's webhooks, without secrets."""
        shown = ("url", "events", "state", "managed")
        return [
            {"id": prefixed("wh", each.id), **{name: getattr(each, name) for name in shown}}
            for each in await self._webhooks.all(tenant)
        ]

    async def webhooks_listen(
        self, port: int, events: Sequence[str] = (), tenant: str | None = None
    ) -> list[dict[str, str]]:
        """Have a tenant's events, or those of all, go to a port of this machine, with the secret of each."""
        tenants = [tenant] if tenant is not None else await self._usage.tenants()
        made = await self._webhooks.listen(tenants, port, events)
        return [{"tenant": each.tenant_id, "id": each.id, "secret": secret} for each, secret in made]

    async def webhooks_keep(self, endpoints: Sequence[dict[str, str]]) -> None:
        """Say that these are still listened to."""
        for each in endpoints:
            await self._webhooks.keep_listening(each["tenant"], each["id"])

    async def webhooks_leave(self, endpoints: Sequence[dict[str, str]]) -> None:
        """Say that these are no longer listened to."""
        for each in endpoints:
            await self._webhooks.stop_listening(each["tenant"], each["id"])

    async def tools_give(
        self, agent: str, tools: Sequence[dict[str, Any]], tenant: str | None = None
    ) -> dict[str, Any]:
        """Give an agent tools, in place of those that have their names; what became of it.

        An agent that a manifest made is left as it is, and `managed` says so. Where its draft has other changes, the
        tools wait there with them.
        """
        tenant_id, agent_id = await self._agent(agent, tenant)
        found, published = await self._agents.give_tools(Principal(tenant_id, None, "secret"), agent_id, tools)
        return {
            "agent": f"{tenant_id}/{found.slug}",
            "managed": found.managed,
            "version": found.version,
            "published": published,
            "draft": found.draft is not None,
        }

    async def usage(
        self, tenant: str | None = None, start: str | None = None, end: str | None = None, by: str = "day"
    ) -> list[dict[str, Any]]:
        """What each tenant's turns have used, or one's."""
        (since, until), groups = span_us(start, end), groups_of(by)
        tenants = [tenant] if tenant is not None else await self._usage.tenants()
        reports = [(each, await self._usage.report(each, since, until, groups)) for each in tenants]
        return [{"tenant": each, **_reported(report)} for each, report in reports]

    async def ingest(
        self, agent: str, offers: Sequence[dict[str, Any]], tenant: str | None = None
    ) -> list[dict[str, Any]]:
        """Give an agent things to know; how far each of them is, in order. What is refused says why and has no id.

        The same file, address or title of a text again takes the place of what it was before.
        """
        tenant_id, agent_id = await self._agent(agent, tenant)
        found = []
        for offer in msgspec.convert(offers, list[Offer]):
            try:
                found.append(_progress(await self._take(tenant_id, agent_id, offer)))
            except DragomanError as error:
                found.append({"title": offer.title, "state": "refused", "error": error.message})
        return found

    async def documents(self, tenant: str, ids: Sequence[str]) -> list[dict[str, Any]]:
        """How far documents are; those that are there no more are left out."""
        found = []
        for each in ids:
            with suppress(NotFound):
                found.append(_progress(await self._knowledge.get(tenant, each)))
        return found

    async def unfinished(self, agent: str, tenant: str | None = None) -> int:
        """How many documents of an agent are not known yet."""
        return len(await self._knowledge.unfinished(*await self._agent(agent, tenant)))

    async def ask(self, agent: str, question: str, tenant: str | None = None, answered: bool = True) -> dict[str, Any]:
        """What comes of a question, as `services.evaluation` tells it; nothing of it is stored."""
        if self._evaluation is None:
            raise Invalid("no agent can be asked here")
        tenant_id, agent_id = await self._agent(agent, tenant)
        return await self._evaluation.ask(tenant_id, agent_id, question, answered=answered)

    async def _agent(self, reference: str, tenant: str | None) -> tuple[str, str]:
        """The tenant and the id of the one agent that is called so.

        Raises:
            NotFound: there is none.
            Invalid: there are several.
        """
        if tenant is None and "/" in reference:
            tenant, _, reference = reference.partition("/")
        named = parse_id("agent", reference) or reference
        found = []
        for each in [tenant] if tenant is not None else await self._usage.tenants():
            with suppress(AgentNotFound):
                found.append((each, await self._manifests.agent_id(each, named)))
        if not found:
            raise NotFound(
                f"no tenant has an agent {reference!r}"
                if tenant is None
                else f"tenant {tenant!r} has no agent {reference!r}"
            )
        if len(found) > 1:
            several = ", ".join(f"{each}/{reference}" for each, _ in found)
            raise Invalid(f"there are several agents {reference!r}; say which: {several}")
        return found[0]

    async def _take(self, tenant_id: str, agent_id: str, offer: Offer) -> Document:
        """Keep and queue one thing, or have it tried again where it has failed before.

        Raises:
            Invalid, TooLarge, UnsupportedMedia
        """
        given = await asyncio.to_thread(_given, offer)
        known_by = offer.title if offer.type == "text" else offer.source
        identity = derived_id(agent_id, "ingested", offer.type, known_by)
        _, outcome = await self._knowledge.add(tenant_id, agent_id, given, document_id=identity)
        document = await self._knowledge.get(tenant_id, identity)
        if outcome == "unchanged" and document.state == "failed":
            document, outcome = await self._knowledge.retry(tenant_id, identity), "retried"
        if outcome != "unchanged":
            detail = {"agent": prefixed("agent", agent_id), "type": document.type, "title": document.title}
            subject = prefixed("doc", identity)
            await self._audit.record(tenant_id, OPERATOR, f"document.{outcome}", subject, **detail)
        return document


def _given(offer: Offer) -> Given:
    """What is offered, with what its file says.

    Raises:
        Invalid, TooLarge: the file cannot be read.
    """
    if offer.type == "text":
        return Given(type=offer.type, title=offer.title, text=offer.source)
    if offer.type == "website":
        return Given(type=offer.type, title=offer.title, url=offer.source)
    file = Path(offer.source)
    try:
        if file.stat().st_size > FILE_CAP:
            raise TooLarge(f"it has over {FILE_CAP} bytes")
        return Given(type=offer.type, title=offer.title, name=file.name, data=file.read_bytes())
    except OSError as error:
        raise Invalid(f"it cannot be read: {error.strerror}") from error


def _progress(document: Document) -> dict[str, Any]:
    """How far a document is, in JSON values; the id is as the store has it."""
    shown = ("id", "title", "state", "step", "error", "done", "total")
    return {"tenant": document.tenant_id, **{name: getattr(document, name) for name in shown}}


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
