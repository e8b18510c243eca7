"""Forms as a browser sends them. Knows nothing of the product."""

from collections.abc import Iterable
from typing import NamedTuple

BOUNDARY = "a-boundary-of-tests"
CONTENT_TYPE = f"multipart/form-data; boundary={BOUNDARY}"


class File(NamedTuple):
    """A file of a form: what it is called, what it says, and what it is said to be."""

    name: str
    data: bytes
    media_type: str = "application/octet-stream"


def multipart(parts: Iterable[tuple[str, str | File]]) -> bytes:
    """The body of a form with these fields and files, in order."""
    return b"".join([_part(name, value) for name, value in parts]) + f"--{BOUNDARY}--\r\n".encode()


def _part(name: str, value: str | File) -> bytes:
    head = f'--{BOUNDARY}\r\nContent-Disposition: form-data; name="{name}"'
    if isinstance(value, str):
        return f"{head}\r\n\r\n{value}\r\n".encode()
    return (
        f'{head}; filename="{value.name}"\r\nContent-Type: {value.media_type}\r\n\r\n'.encode() + value.data + b"\r\n"
    )
