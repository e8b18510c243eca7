"""Visitors: the signed tokens that name them, and the origins from which their pages may ask. Knows no header."""

import base64
import hashlib
import hmac
import re
from collections.abc import Sequence
from urllib.parse import urlsplit

from dragoman.core.ids import canonical

ANY_ORIGIN = "*"
PREFIX = "vt_"
_ID_BYTES = 16
# With the id 36 bytes, which base64 spells in 48 characters: in one way only, and without padding.
_SIGNATURE_BYTES = 20
_TOKEN = re.compile(PREFIX + "[A-Za-z0-9_-]{48}")
_DEFAULT_PORTS = {"http": 80, "https": 443}
# A browser spells a host in ASCII; a star within one stands for nothing.
_HOST = re.compile(r"[a-z0-9._:-]+")


def token_of(key: bytes, tenant_id: str, visitor_id: str) -> str:
    """The token with which a visitor of this tenant comes back."""
    named = bytes.fromhex(visitor_id.replace("-", ""))
    return PREFIX + base64.urlsafe_b64encode(named + _signature(key, tenant_id, named)).decode()


def visitor_of(key: bytes, tenant_id: str, token: str) -> str | None:
    """The visitor whom a token names; None where this server has not signed it for this tenant."""
    if not _TOKEN.fullmatch(token):
        return None
    raw = base64.urlsafe_b64decode(token.removeprefix(PREFIX))
    named, signature = raw[:_ID_BYTES], raw[_ID_BYTES:]
    if not hmac.compare_digest(signature, _signature(key, tenant_id, named)):
        return None
    return canonical(named.hex())


def _signature(key: bytes, tenant_id: str, named: bytes) -> bytes:
    return hmac.digest(key, named + tenant_id.encode(), hashlib.sha256)[:_SIGNATURE_BYTES]


def admits(origins: Sequence[str], origin: str | None) -> bool:
    """Whether a page of this origin may ask, None for what is no browser, where these are allowed.

    No allowed origins means no browser; ``*`` admits every origin, and requests without one.
    """
    if ANY_ORIGIN in origins:
        return True
    if not origins or origin is None:
        return not origins and origin is None
    asked = _origin(origin)
    return asked is not None and any(_origin(each) == asked for each in origins)


def is_origin(text: str) -> bool:
    """Whether a key may name it: ``*``, or an origin that a page can have. Anything else would never match."""
    return text == ANY_ORIGIN or _origin(text) is not None


def _origin(text: str) -> tuple[str, str, int] | None:
    """Scheme, host and port (RFC 6454, 4); None where the text names no such thing, as ``null`` does."""
    try:
        parts = urlsplit(text)
        port = parts.port or _DEFAULT_PORTS.get(parts.scheme)
    except ValueError:
        return None
    if port is None or not _HOST.fullmatch(parts.hostname or ""):
        return None
    return parts.scheme, parts.hostname or "", port
