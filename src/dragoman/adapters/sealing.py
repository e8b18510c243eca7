"""Sealing of what a tenant entrusts to us, so that the database alone does not give it away. Knows no table."""

import os

VERSION = b"\x01"
NONCE_BYTES = 12


class Sealing:
    """Seals with AES-256-GCM under a key of 32 bytes; `ports.secrets.Sealer`."""

    def __init__(self, key: bytes) -> None:
        self._key = key

    def seal(self, text: str, purpose: str) -> bytes:
        from cryptography.hazmat.primitives.ciphers.aead import AESGCM

        nonce = os.urandom(NONCE_BYTES)
        return VERSION + nonce + AESGCM(self._key).encrypt(nonce, text.encode(), VERSION + purpose.encode())

    def open(self, sealed: bytes, purpose: str) -> str:
        from cryptography.exceptions import InvalidTag
        from cryptography.hazmat.primitives.ciphers.aead import AESGCM

        version, nonce, rest = sealed[:1], sealed[1 : 1 + NONCE_BYTES], sealed[1 + NONCE_BYTES :]
        # A database may hand out its own kind of buffer.
        if bytes(version) != VERSION or len(nonce) != NONCE_BYTES:
            raise ValueError("this was not sealed here, or by a version that came later")
        try:
            return AESGCM(self._key).decrypt(bytes(nonce), bytes(rest), VERSION + purpose.encode()).decode()
        except InvalidTag as error:
            raise ValueError("this was sealed under another secret or for another purpose, or was changed") from error
