"""Secrets of tenants: written, replaced, deleted, and opened for tools alone. Knows no route that shows a value."""

import re
from collections.abc import Sequence

import structlog

from dragoman.core.clock import now_us
from dragoman.core.errors import Invalid, NotFound
from dragoman.ports.secrets import Sealer, SecretName
from dragoman.ports.store import Store
from dragoman.services.audit import Audit

NAME = re.compile(r"[A-Za-z0-9_][A-Za-z0-9_.-]{0,63}")
LONGEST_VALUE = 8192
# A value goes into a header as it is: what a header cannot hold, or what a proxy would take away, is refused.
VALUE = re.compile(r"[\x21-\x7e](?:[\x20-\x7e]*[\x21-\x7e])?")

_log = structlog.get_logger(__name__)


class Secrets:
    """The secrets of tenants; what is done to them is in the audit log, without values."""

    def __init__(self, store: Store, sealer: Sealer, audit: Audit) -> None:
        self._store = store
        self._sealer = sealer
        self._audit = audit

    async def put(self, tenant_id: str, actor: str, name: str, value: str) -> bool:
        """Keep a secret, in place of the one of this name where there is one; whether there was none.

        Raises:
            Invalid: the name or the value cannot be kept; the message has nothing of the value.
            NotFound: no such tenant.
        """
        if not NAME.fullmatch(name):
            raise Invalid(
                "A secret's name takes 1 to 64 letters, digits, underscores, dots and hyphens, no dot or hyphen first",
                field="name",
            )
        if len(value) > LONGEST_VALUE or not VALUE.fullmatch(value):
            raise Invalid(
                f"A secret's value takes 1 to {LONGEST_VALUE} printable ASCII characters, no space first or last",
                field="value",
            )
        await self._check(tenant_id)
        made = await self._store.secrets.put(
            tenant_id, name, self._sealer.seal(value, _purpose(tenant_id, name)), now_us()
        )
        await self._audit.record(tenant_id, actor, "secret.created" if made else "secret.replaced", name, name=name)
        return made

    async def names(self, tenant_id: str) -> Sequence[SecretName]:
        """The tenant's secrets, by name, without values.

        Raises:
            NotFound: no such tenant.
        """
        await self._check(tenant_id)
        return await self._store.secrets.all(tenant_id)

    async def delete(self, tenant_id: str, actor: str, name: str) -> None:
        """Forget a secret; tools that use it fail from now on.

        Raises:
            NotFound: no such tenant or secret.
        """
        await self._check(tenant_id)
        if not await self._store.secrets.delete(tenant_id, name):
            raise NotFound("There is no such secret")
        await self._audit.record(tenant_id, actor, "secret.deleted", name, name=name)

    async def open_(self, tenant_id: str, name: str) -> str | None:
        """The value, for what acts in the tenant's name; `ports.secrets.SecretReader`."""
        sealed = await self._store.secrets.get(tenant_id, name)
        if sealed is None:
            return None
        try:
            return self._sealer.open(sealed, _purpose(tenant_id, name))
        except ValueError as error:
            _log.error("secret_unreadable", tenant_id=tenant_id, name=name, error=str(error))
            return None

    async def _check(self, tenant_id: str) -> None:
        if await self._store.tenants.get(tenant_id) is None:
            raise NotFound(f"there is no tenant {tenant_id!r}")


def _purpose(tenant_id: str, name: str) -> str:
    # A row that somebody moves to another tenant or name does not open there.
    return f"secret:{tenant_id}:{name}"
