"""The ports to secrets of tenants: what seals them and what keeps them sealed. Knows no cipher and no SQL."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Protocol


class Sealer(Protocol):
    """Makes text unreadable for whoever has the database but not the server's secret."""

    def seal(self, text: str, purpose: str) -> bytes:
        """The text sealed for one purpose, differently each time; it opens for the same purpose alone."""
        ...

    def open(self, sealed: bytes, purpose: str) -> str:
        """What was sealed.

        Raises:
            ValueError: it was sealed under another secret or for another purpose, or was changed.
        """
        ...


@dataclass(frozen=True, slots=True)
class SecretName:
    """A secret as it may be shown: without its value. `created_at` is in microseconds since the epoch."""

    name: str
    created_at: int


class SecretStore(Protocol):
    """Secrets of every tenant, sealed. Each method is one transaction."""

    async def put(self, tenant_id: str, name: str, sealed: bytes, now: int) -> bool:
        """Keep a secret in place of the one of this name; whether there was none."""
        ...

    async def get(self, tenant_id: str, name: str) -> bytes | None:
        """The sealed secret of this name."""
        ...

    async def all(self, tenant_id: str) -> Sequence[SecretName]:
        """The tenant's secrets, by name."""
        ...

    async def delete(self, tenant_id: str, name: str) -> bool:
        """Forget a secret; whether there was one."""
        ...


class SecretReader(Protocol):
    """Opens secrets of a tenant for what acts in its name."""

    async def open_(self, tenant_id: str, name: str) -> str | None:
        """The value of the tenant's secret of this name; None where there is none, or it cannot be opened any more."""
        ...
