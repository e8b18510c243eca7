"""Identifiers: UUIDs in lower-case canonical text inside, prefixed renderings outside. Knows no wire format.

Contract: CHECKLIST "Ids"; new ids are UUIDv7 (RFC 9562, 5.7), so that rows made together lie together in an index.
"""

import hashlib
import os
import re
import secrets
import time

_UUID = re.compile(r"[0-9a-f]{8}-[0-9a-f]{4}-[0-9a-f]{4}-[0-9a-f]{4}-[0-9a-f]{12}")
_HEX = re.compile(r"[0-9a-f]{32}")


def new_id() -> str:
    """A fresh UUIDv7 as canonical text; ids made later sort later, to the millisecond."""
    milliseconds = time.time_ns() // 1_000_000
    tail = os.urandom(10)
    value = (
        (milliseconds << 80)
        | (0x7 << 76)
        | ((int.from_bytes(tail[:2], "big") & 0xFFF) << 64)
        | (0b10 << 62)
        | (int.from_bytes(tail[2:], "big") & ((1 << 62) - 1))
    )
    return canonical(f"{value:032x}")


def derived_id(*parts: str) -> str:
    """The one UUID (version 8, RFC 9562) that these texts lead to, as canonical text."""
    hashed = hashlib.sha256("\0".join(parts).encode(errors="surrogatepass")).digest()
    value = int.from_bytes(hashed[:16], "big") & ~(0xF << 76) & ~(0b11 << 62)
    return canonical(f"{value | (0x8 << 76) | (0b10 << 62):032x}")


def canonical(digits: str) -> str:
    """The dashed form of 32 hexadecimal digits."""
    return f"{digits[:8]}-{digits[8:12]}-{digits[12:16]}-{digits[16:20]}-{digits[20:]}"


def prefixed(prefix: str, uuid: str) -> str:
    """The rendering of an id that clients see, such as ``conv_`` and 32 hexadecimal digits."""
    return f"{prefix}_{uuid.replace('-', '')}"


def parse_id(prefix: str, text: str) -> str | None:
    """The canonical id behind ``prefix_<32 hex>`` or a UUID in any case; None where the text is neither."""
    lowered = text.lower()
    if _UUID.fullmatch(lowered):
        return lowered
    head, _, digits = lowered.rpartition("_")
    if head == prefix and _HEX.fullmatch(digits):
        return canonical(digits)
    return None


def new_secret(prefix: str) -> str:
    """A credential of 192 random bits behind a prefix that says what it is."""
    return f"{prefix}_{secrets.token_urlsafe(24)}"
