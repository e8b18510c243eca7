"""API keys: from a credential to a principal, and the life of a key. Knows no header; keeps no key's value."""

import asyncio
import re
import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from datetime import datetime

import structlog

from dragoman.core.clock import now_us
from dragoman.core.errors import Forbidden, Invalid, NameTaken, NotFound, Unauthenticated
from dragoman.core.ids import new_id, new_secret
from dragoman.core.secrets import digest
from dragoman.core.tenants import ApiKey, KeyType, Principal
from dragoman.ports.store import Store

CACHE_SECONDS = 3.0
CACHED_KEYS = 10_000
TOUCH_INTERVAL = 5.0
SHORTEST_VALUE = 32
SHOWN_CHARACTERS = 12
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


class Access:
    """Who acts, by their credential; and what becomes of credentials."""

    def __init__(self, store: Store, pepper: bytes) -> None:
        self._store = store
        self._pepper = pepper
        self._known: dict[str, tuple[float, ApiKey | None]] = {}
        self._used: dict[str, int] = {}

    async def authenticate(self, credential: str | None) -> Principal:
        """The principal behind a credential.

        Raises:
            Unauthenticated: there is none, or it opens nothing.
            Forbidden: it is a publishable key, which opens nothing yet.
        """
        if not credential:
            raise Unauthenticated
        hashed = digest(self._pepper, credential)
        known = self._known.get(hashed)
        if known is None or known[0] < time.monotonic():
            key = await self._store.keys.find(hashed)
            if len(self._known) >= CACHED_KEYS:
                self._known.clear()
            self._known[hashed] = (time.monotonic() + CACHE_SECONDS, key)
        else:
            key = known[1]
        now = now_us()
        if key is None or not key.is_good(now):
            raise Unauthenticated
        if key.type == "publishable":
            raise Forbidden("Publishable keys are not served by this version; use a secret key")
        self._used[key.id] = now
        return Principal(key.tenant_id, key.id, key.type)

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
            Invalid: the value is too short.
        """
        await self._check_tenant(tenant_id)
        if any(key.name == wanted.name for key in await self._store.keys.all(tenant_id)):
            raise NameTaken(f"tenant {tenant_id!r} has a key named {wanted.name!r}; see: dragoman keys rotate")
        key, value = self._make(tenant_id, wanted)
        await self._store.keys.add(key, digest(self._pepper, value))
        self._known.clear()
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

        Raises:
            NotFound: no such tenant or key.
            Invalid: the overlap is no span of time.
        """
        old = await self._newest(tenant_id, name)
        now = now_us()
        wanted = NewKey(name, old.type, None, old.agents, old.origins, dict(old.limits), None)
        key, value = self._make(tenant_id, wanted)
        await self._store.keys.rotate(tenant_id, key, digest(self._pepper, value), now + span_us(overlap))
        self._known.clear()
        return key, value

    async def revoke(self, tenant_id: str, name: str) -> None:
        """Close every key of this name for good.

        Raises:
            NotFound: no such tenant or key.
        """
        await self._newest(tenant_id, name)
        await self._store.keys.revoke(tenant_id, name, now_us())
        self._known.clear()

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
            self._known.clear()
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
                self._known.clear()
                return "updated", None
            if (held.tenant_id, held.name) != (tenant_id, wanted.name):
                raise NameTaken(f"the value of key {wanted.name!r} is in use by another key")
        if changed == key:
            return "unchanged", None
        await self._store.keys.update(tenant_id, changed)
        self._known.clear()
        return "updated", None

    async def _check_tenant(self, tenant_id: str) -> None:
        if await self._store.tenants.get(tenant_id) is None:
            raise NotFound(f"there is no tenant {tenant_id!r}")

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
