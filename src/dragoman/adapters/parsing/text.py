"""Bytes as text, and plain text as sections."""

import re

from dragoman.adapters.parsing.sections import Draft, Section

# Windows' own is how most text was written that is not UTF-8; it is also what browsers take for Latin-1.
_ELSE = "cp1252"
_LINE_ENDS = re.compile("\r\n?|[\x0b\x0c\x85\u2028\u2029]")


def decoded(data: bytes, declared: str = "") -> str:
    """The text: by its byte order mark, as UTF-8, as it declares itself, else as Windows wrote it; no U+0000 in it."""
    encodings = ["utf-16"] if data.startswith((b"\xff\xfe", b"\xfe\xff")) else ["utf-8-sig", declared]
    for encoding in filter(None, encodings):
        try:
            text = data.decode(encoding)
            break
        except (UnicodeError, LookupError):
            continue
    else:
        text = data.decode(_ELSE, errors="replace")
    return _LINE_ENDS.sub("\n", text).replace("\0", "")


def has_document_type(xml: bytes) -> bool:
    """Whether XML may declare entities, which a document type alone does."""
    # UTF-16 writes zeros between; every other encoding that an XML parser takes spells this in ASCII.
    return b"<!DOCTYPE" in xml.replace(b"\0", b"")


def plain_text(data: bytes) -> list[Section]:
    """A text as one section, without a heading: whatever looks like one may be none."""
    draft = Draft()
    draft.text(decoded(data))
    return draft.sections()
