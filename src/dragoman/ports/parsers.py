"""The port that makes pieces of text out of a document that a tenant gave. Knows no format's inside and no embedder."""

import re
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Literal, Protocol

Kind = Literal["pdf", "docx", "md", "html", "txt", "csv"]

TAKEN = "PDF, Word (.docx), Markdown, HTML, text and CSV"

_ENDINGS: dict[str, Kind] = {
    "pdf": "pdf",
    "docx": "docx",
    "md": "md",
    "markdown": "md",
    "html": "html",
    "htm": "html",
    "xhtml": "html",
    "txt": "txt",
    "text": "txt",
    "csv": "csv",
    "tsv": "csv",
}
_PDF_WITHIN = 1024
_LOOKED_AT = 64 << 10
_BYTE_ORDER_MARKS = (b"\xef\xbb\xbf", b"\xff\xfe", b"\xfe\xff")
# No text holds these; tabs, line ends, form feeds and the escapes of a terminal's log are let through.
_CONTROLS = bytes({*range(0x20), 0x7F} - {0x09, 0x0A, 0x0B, 0x0C, 0x0D, 0x1A, 0x1B})
_STRANGE_SHARE = 0.01
_HTML = re.compile(rb"(?:\xef\xbb\xbf)?\s{0,100}(?:<!doctype html|<html)", re.IGNORECASE)


@dataclass(frozen=True, slots=True)
class Piece:
    """A piece of a document that stands alone, short enough for an embedder.

    `title` is the path of the headings above it ("Cleaning > Descaling"), empty where there are none; `text` begins
    with the same path on a line of its own and is plain: no markup, and a table's cell is "column: value".
    """

    title: str
    text: str


class Unreadable(Exception):
    """The document cannot be read. The message is for its owner: what is wrong, and what to do."""


class Parsers(Protocol):
    """What reads documents: slow, and never in this process."""

    async def parse(self, kind: Kind, data: bytes) -> Sequence[Piece]:
        """The document's text in reading order, at least one piece; the same for the same document.

        Raises:
            Unreadable: it is broken, protected, empty or too much.
            OSError: there is nothing to read it with now; it may be tried again.
        """
        ...

    async def close(self) -> None:
        """End what reads; a document in hand is given up."""
        ...


def kind_of(name: str, data: bytes) -> Kind:
    """How a document is to be read: by what it holds, then by how its name ends (capital letters or not).

    Raises:
        Unreadable: empty, or nothing that is taken.
    """
    if not data.strip():
        raise Unreadable("The document is empty; upload one that holds text")
    if b"%PDF-" in data[:_PDF_WITHIN]:
        return "pdf"
    if data.startswith(b"PK\x03\x04"):
        # Names stand in a zip file as they are; whether it is sound is for the process that opens it.
        if b"word/document.xml" in data:
            return "docx"
        raise Unreadable(f"The file is an archive or another office document; upload {TAKEN} instead")
    if not _is_text(data):
        raise Unreadable(f"The file is none that can be read; upload {TAKEN} instead")
    kind = _ENDINGS.get(name.rpartition(".")[2].lower()) if "." in name else None
    if kind in ("pdf", "docx"):
        raise Unreadable(f"The file is called .{kind} but is none; upload it as it was saved")
    if kind in (None, "txt") and _HTML.match(data[:_LOOKED_AT]):
        return "html"
    if kind is None:
        raise Unreadable(f"How to read {name!r} is not known; upload {TAKEN} under a name that ends so")
    return kind


def _is_text(data: bytes) -> bool:
    if data.startswith(_BYTE_ORDER_MARKS):
        return True
    if data.startswith(b"{\\rtf"):
        return False
    seen = data[:_LOOKED_AT]
    strange = len(seen) - len(seen.translate(None, _CONTROLS))
    return b"\0" not in seen and strange <= len(seen) * _STRANGE_SHARE
