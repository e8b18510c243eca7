"""Keys for each purpose out of one secret, and digests of credentials. Knows no stored value."""

import hashlib
import hmac


def derive(secret: bytes, label: str) -> bytes:
    """A 32-byte key for one purpose: HKDF-SHA256 (RFC 5869) without salt, the label as its info."""
    pseudorandom = hmac.digest(bytes(32), secret, hashlib.sha256)
    return hmac.digest(pseudorandom, label.encode() + b"\x01", hashlib.sha256)


def digest(pepper: bytes, value: str) -> str:
    """How a credential is kept and looked up: HMAC-SHA256 under the pepper, in hexadecimal."""
    return hmac.digest(pepper, value.encode(errors="surrogatepass"), hashlib.sha256).hex()
