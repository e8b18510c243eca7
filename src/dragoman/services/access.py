"""Who acts: from a credential to a principal, and the life of a key. Knows no header; keeps no key's value."""

import asyncio
import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from datetime import UTC, datetime
from typing import NamedTuple

import structlog

from dragoman.core.clock import now_us
from dragoman.core.errors import Forbidden, Invalid, NameTaken, NotFound, Unauthenticated
from dragoman.core.ids import new_id, new_secret, parse_id
from dragoman.core.secrets import digest
from dragoman.core.tenants import ApiKey, KeyType, Principal
from dragoman.core.visitors import admits, is_origin, token_of, visitor_of
from dragoman.ports.store import Store
from dragoman.services.remembered import Remembered

TOUCH_INTERVAL = 5.0
SHORTEST_VALUE = 32
SHOWN_CHARACTERS = 12
LONGEST_NAME = 200
# Microseconds since the epoch: what is later is written with five digits of a year, which nobody reads.
LATEST_EXPIRY = int(datetime(9999, 1, 1, tzinfo=UTC).timestamp()) * 1_000_000
PREFIXES: Mapping[KeyType, str] = {"secret": "sk", "publishable": "pk"}
DEFAULT_OVERLAP = "24h"

_SPAN = re.compile(r"(\d{1,6})([smhd])")
_SECONDS = {"s": 1, "m": 60, "h": 3600, "d": 86400}
_log = structlog.get_logger(__name__)


@dataclass(frozen=True, slots=True)
class NewKey:
    """What a new key is to be. `value` None has one made; times are microseconds since the epoch."""

    name: str
    type: KeyType = "secret"
    value: str | None = None
    agents: Sequence[str] = ()
    origins: Sequence[str] = ()
    limits: Mapping[str, int] | None = None
    expires_at: int | None = None


def span_us(text: str) -> int:
    """A span such as ``90s``, ``15m``, ``24h`` or ``7d`` in microseconds.

    Raises:
        Invalid: it is spelled otherwise.
    """
    match = _SPAN.fullmatch(text)
    if match is None:
        raise Invalid(f"{text!r} is not a span of time; write it like 90s, 15m, 24h or 7d")
    return int(match[1]) * _SECONDS[match[2]] * 1_000_000


def time_us(text: str) -> int:
    """An ISO 8601 time with its zone in microseconds since the epoch.

    Raises:
        Invalid: it is spelled otherwise.
    """
    try:
        moment = datetime.fromisoformat(text)
    except ValueError:
        moment = None
    if moment is None or moment.tzinfo is None:
        raise Invalid(f"{text!r} is not a time; write it like 2027-01-01T00:00:00Z")
    return int(moment.timestamp() * 1_000_000)


class Caller(NamedTuple):
    """Who acts, and the token of a visitor who has come for the first time: he is to get it."""

    principal: Principal
    new_visitor_token: str | None = None


class Access:
    """Who acts, by their credential; and what becomes of credentials.

    Values of keys are hashed with the pepper; visitors' tokens are signed with the visitors' key.
    """

    def __init__(self, store: Store, pepper: bytes, visitors_key: bytes) -> None:
        self._store = store
        self._pepper = pepper
        self._visitors_key = visitors_key
        self._keys = Remembered(store.keys.find)
        self._public = Remembered(store.agents.find_public)
        self._used: dict[str, int] = {}

    async def authenticate(
        self, credential: str | None, origin: str | None = None, visitor_token: str | None = None
    ) -> Caller:
        """The principal behind a credential. Origin and token count for a publishable key, whose visitor acts.

        Raises:
            Unauthenticated: there is no credential, it opens nothing, or the visitor's token is not of this tenant.
            Forbidden: it is a publishable key that is not for this origin, or for no agent.
        """
        caller, refusal = await self.recognize(credential, origin, visitor_token)
        if refusal is not None:
            raise refusal
        return caller

    async def recognize(
        self, credential: str | None, origin: str | None, visitor_token: str | None
    ) -> tuple[Caller, Forbidden | None]:
        """As `authenticate`, but that who is refused is told as well: his requests count. He is no visitor.

        Raises:
            Unauthenticated
        """
        if not credential:
            raise Unauthenticated
        key = await self._keys.get(digest(self._pepper, credential))
        now = now_us()
        if key is None or not key.is_good(now):
            raise Unauthenticated
        principal, new_token = Principal(key.tenant_id, key.id, key.type, limits=key.limits), None
        if key.type == "publishable":
            if (refusal := _refusal(key, origin)) is not None:
                return Caller(principal), refusal
            visitor_id, new_token = self._visitor(key.tenant_id, visitor_token)
            principal = replace(principal, visitor_id=visitor_id, agents=key.agents)
        self._used[key.id] = now
        return Caller(principal, new_token), None

    async def public(self, agent: str, visitor_token: str | None = None) -> Caller:
        """The visitor of a public agent, who needs no credential; the agent is named by its id, never by a slug.

        Raises:
            Unauthenticated: there is no such agent, it is not public, or the token is not of its tenant.
        """
        agent_id = parse_id("agent", agent)
        tenant_id = await self._public.get(agent_id) if agent_id else None
        if agent_id is None or tenant_id is None:
            raise Unauthenticated
        visitor_id, new_token = self._visitor(tenant_id, visitor_token)
        return Caller(Principal(tenant_id, None, "public", visitor_id, (agent_id,)), new_token)

    def _visitor(self, tenant_id: str, token: str | None) -> tuple[str, str | None]:
        """The visitor of a token; without one a new visitor, and the token for him."""
        if token is None:
            visitor_id = new_id()
            return visitor_id, token_of(self._visitors_key, tenant_id, visitor_id)
        known = visitor_of(self._visitors_key, tenant_id, token)
        if known is None:
            raise Unauthenticated("Invalid visitor token")
        return known, None

    async def note_use_for_ever(self) -> None:
        """Write down when keys were last used, many at once, until cancelled."""
        while True:
            await asyncio.sleep(TOUCH_INTERVAL)
            await self.note_use()

    async def note_use(self) -> None:
        """Write down when keys were last used."""
        used, self._used = self._used, {}
        if not used:
            return
        try:
            await self._store.keys.touch(used)
        except Exception as error:
            _log.warning("last_use_not_noted", keys=len(used), error=str(error))

    async def create(self, tenant_id: str, wanted: NewKey) -> tuple[ApiKey, str]:
        """Make a key; it and its value, which is never seen again.

        Raises:
            NotFound: no such tenant.
            NameTaken: a key of this name or value exists.
            Invalid: the value is too short, or what it is to be breaks a rule.
        """
        await self._check_tenant(tenant_id)
        await self._check(tenant_id, wanted)
        if any(key.name == wanted.name for key in await self._store.keys.all(tenant_id)):
            raise NameTaken(f"tenant {tenant_id!r} has a key named {wanted.name!r}; see: dragoman keys rotate")
        key, value = self._make(tenant_id, wanted)
        await self._store.keys.add(key, digest(self._pepper, value))
        self._keys.forget()
        return key, value

    async def list(self, tenant_id: str) -> Sequence[ApiKey]:
        """The tenant's keys.

        Raises:
            NotFound: no such tenant.
        """
        await self._check_tenant(tenant_id)
        return await self._store.keys.all(tenant_id)

    async def rotate(self, tenant_id: str, name: str, overlap: str = DEFAULT_OVERLAP) -> tuple[ApiKey, str]:
        """Make a new key in place of one, which goes on for the overlap; a revoked one comes to life as the new one.

        The new one is what the old one was, and expires with it if that is yet to come.

        Raises:
            NotFound: no such tenant or key.
            Invalid: the overlap is no span of time.
        """
        old = await self._newest(tenant_id, name)
        now = now_us()
        expires_at = old.expires_at if old.expires_at is not None and old.expires_at > now else None
        wanted = NewKey(name, old.type, None, old.agents, old.origins, dict(old.limits), expires_at)
        key, value = self._make(tenant_id, wanted)
        await self._store.keys.rotate(tenant_id, key, digest(self._pepper, value), now + span_us(overlap))
        self._keys.forget()
        return key, value

    async def revoke(self, tenant_id: str, name: str) -> None:
        """Close every key of this name for good.

        Raises:
            NotFound: no such tenant or key.
        """
        await self._newest(tenant_id, name)
        await self._store.keys.revoke(tenant_id, name, now_us())
        self._keys.forget()

    async def bring_to(self, tenant_id: str, wanted: NewKey) -> tuple[str, str | None]:
        """Have the key that a manifest wants: what was done, and the value where one was made.

        A revoked key stays revoked; a key that is there keeps its value, unless the manifest gives another.

        Raises:
            NameTaken, Invalid
        """
        named = [key for key in await self._store.keys.all(tenant_id) if key.name == wanted.name]
        if not named:
            key, value = self._make(tenant_id, wanted)
            await self._store.keys.add(key, digest(self._pepper, value))
            self._keys.forget()
            return "created", None if wanted.value else value
        key = named[-1]
        if key.revoked_at is not None:
            return "unchanged", None
        changed = replace(
            key,
            expires_at=wanted.expires_at if wanted.expires_at is not None else key.expires_at,
            agents=tuple(wanted.agents),
            origins=tuple(wanted.origins),
            limits=tuple((wanted.limits or {}).items()),
        )
        if wanted.value is not None:
            held = await self._store.keys.find(digest(self._pepper, wanted.value))
            if held is None:
                fresh, value = self._make(tenant_id, wanted)
                await self._store.keys.rotate(tenant_id, fresh, digest(self._pepper, value), now_us())
                self._keys.forget()
                return "updated", None
            if (held.tenant_id, held.name) != (tenant_id, wanted.name):
                raise NameTaken(f"the value of key {wanted.name!r} is in use by another key")
        if changed == key:
            return "unchanged", None
        await self._store.keys.update(tenant_id, changed)
        self._keys.forget()
        return "updated", None

    async def _check_tenant(self, tenant_id: str) -> None:
        if await self._store.tenants.get(tenant_id) is None:
            raise NotFound(f"there is no tenant {tenant_id!r}")

    async def _check(self, tenant_id: str, wanted: NewKey) -> None:
        """What holds for every key that is made by hand. A manifest may bring a key before its agents.

        Raises:
            Invalid
        """
        if not 1 <= len(wanted.name) <= LONGEST_NAME:
            raise Invalid(f"name: takes 1 to {LONGEST_NAME} characters", field="name")
        if wanted.expires_at is not None and not now_us() < wanted.expires_at < LATEST_EXPIRY:
            raise Invalid("expires_at takes a time to come, before the year 9999", field="expires_at")
        for index, origin in enumerate(wanted.origins):
            if not is_origin(origin):
                raise Invalid(
                    f"origins[{index}]: {origin!r} is no origin; write it like https://shop.example, or *",
                    field="origins",
                )
        if wanted.type == "publishable" and not wanted.agents:
            raise Invalid("agents: a publishable key names those that it may talk to", field="agents")
        for index, reference in enumerate(wanted.agents):
            if await self._store.drafts.get(tenant_id, reference) is None:
                raise Invalid(f"agents[{index}]: there is no agent {reference!r}", field="agents")

    async def _newest(self, tenant_id: str, name: str) -> ApiKey:
        named = [key for key in await self.list(tenant_id) if key.name == name]
        if not named:
            raise NotFound(f"tenant {tenant_id!r} has no key named {name!r}")
        return named[-1]

    def _make(self, tenant_id: str, wanted: NewKey) -> tuple[ApiKey, str]:
        value = wanted.value if wanted.value is not None else new_secret(PREFIXES[wanted.type])
        if len(value) < SHORTEST_VALUE:
            raise Invalid(f"the value of key {wanted.name!r} has {len(value)} characters; it takes {SHORTEST_VALUE}")
        key = ApiKey(
            id=new_id(),
            tenant_id=tenant_id,
            name=wanted.name,
            type=wanted.type,
            prefix=value[:SHOWN_CHARACTERS],
            created_at=now_us(),
            expires_at=wanted.expires_at,
            agents=tuple(wanted.agents),
            origins=tuple(wanted.origins),
            limits=tuple((wanted.limits or {}).items()),
        )
        return key, value


def _refusal(key: ApiKey, origin: str | None) -> Forbidden | None:
    """Why a publishable key is not for whoever asks from this origin."""
    if not admits(key.origins, origin):
        return Forbidden("This key does not permit requests from this origin")
    if not key.agents:
        return Forbidden("This publishable key names no agent; name those that it may talk to")
    return None
