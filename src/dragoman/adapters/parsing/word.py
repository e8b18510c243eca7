"""Word documents (.docx) as sections. Opens two members of the archive and no picture; both are bounded first."""

import io
import re
import zipfile
import zlib
from collections.abc import Iterator
from xml.etree import ElementTree

from dragoman.adapters.parsing.sections import Draft, Section
from dragoman.adapters.parsing.text import has_document_type
from dragoman.ports.parsers import Unreadable

MAX_MEMBER_BYTES = 32 << 20
MAX_ARCHIVE_BYTES = 256 << 20
MAX_MEMBERS = 2_000
MAX_DIRECTORY_BYTES = 1 << 20

_END = b"PK\x05\x06"
_END_BYTES = 22
_LARGE_LOCATOR = b"PK\x06\x07"
_LARGE_LOCATOR_BYTES = 20
_METHODS = (zipfile.ZIP_STORED, zipfile.ZIP_DEFLATED)
_BROKEN = "The Word document is broken; save it anew as .docx"
_TOO_LARGE = "The Word document unpacks to more than a document may; upload it in parts or as PDF"

_W = "{http://schemas.openxmlformats.org/wordprocessingml/2006/main}"
# The same content a second time, for older readers; what was deleted; footnotes' separators.
_LEFT_OUT = {"{http://schemas.openxmlformats.org/markup-compatibility/2006}Fallback", f"{_W}del", f"{_W}instrText"}
# An outline's tenth level is that of text.
_LOWEST = 10
_HEADING = re.compile(r"heading (\d)|title", re.IGNORECASE)


def word_document(data: bytes) -> list[Section]:
    """Paragraphs under their headings, and tables' rows.

    Raises:
        Unreadable: broken, or larger unpacked than a document may be.
    """
    try:
        _check_directory(data)
        with zipfile.ZipFile(io.BytesIO(data)) as archive:
            _check_members(archive)
            levels = _levels(_member(archive, "word/styles.xml")) if "word/styles.xml" in archive.NameToInfo else {}
            body = _member(archive, "word/document.xml").find(f"{_W}body")
    # zipfile raises what it meets in what was never meant to be one.
    except (zipfile.BadZipFile, zlib.error, ElementTree.ParseError, EOFError, OSError, ValueError, KeyError) as error:
        raise Unreadable(_BROKEN) from error
    draft = Draft()
    for block in _blocks(body) if body is not None else ():
        if block.tag == f"{_W}tbl":
            draft.table([list(_cells(row)) for row in block.findall(f"{_W}tr")])
            continue
        text = _text(block)
        if level := _level(block, levels):
            draft.heading(level, text)
        else:
            is_item = bool(text.strip()) and block.find(f"{_W}pPr/{_W}numPr") is not None
            draft.text(f"- {text}" if is_item else text, is_item=is_item)
    return draft.sections()


def _check_directory(data: bytes) -> None:
    """Before zipfile makes an object of each entry, see that there are not too many."""
    end = data.rfind(_END, max(0, len(data) - _END_BYTES - 0xFFFF))
    if end < 0 or len(data) - end < _END_BYTES:
        raise Unreadable(_BROKEN)
    # A second directory for more than 4 GB would be read in place of this one.
    if data[max(0, end - _LARGE_LOCATOR_BYTES) : end].startswith(_LARGE_LOCATOR):
        raise Unreadable(_TOO_LARGE)
    if int.from_bytes(data[end + 12 : end + 16], "little") > MAX_DIRECTORY_BYTES:
        raise Unreadable(_TOO_LARGE)


def _check_members(archive: zipfile.ZipFile) -> None:
    members = archive.infolist()
    if len(members) > MAX_MEMBERS or sum(member.file_size for member in members) > MAX_ARCHIVE_BYTES:
        raise Unreadable(_TOO_LARGE)


def _member(archive: zipfile.ZipFile, name: str) -> ElementTree.Element:
    member = archive.getinfo(name)
    if member.file_size > MAX_MEMBER_BYTES:
        raise Unreadable(_TOO_LARGE)
    if member.flag_bits & 1:
        raise Unreadable("The Word document is encrypted; upload one without a password")
    if member.compress_type not in _METHODS:
        raise Unreadable(_BROKEN)
    with archive.open(member) as stream:
        # What it really holds may be more than it says.
        xml = stream.read(MAX_MEMBER_BYTES + 1)
        if len(xml) > MAX_MEMBER_BYTES or stream.read(1):
            raise Unreadable(_TOO_LARGE)
    if has_document_type(xml):
        raise Unreadable("The Word document declares a document type, which none needs; save it anew as .docx")
    return ElementTree.fromstring(xml)  # noqa: S314 - without a document type there are no entities to expand


def _levels(styles: ElementTree.Element) -> dict[str, int]:
    """The level of each paragraph style that is one of a heading, by its id: names are English in every Word."""
    levels = {}
    for style in styles.iter(f"{_W}style"):
        name = style.find(f"{_W}name")
        outline = style.find(f"{_W}pPr/{_W}outlineLvl")
        identity = style.get(f"{_W}styleId", "")
        if name is not None and (match := _HEADING.fullmatch(name.get(f"{_W}val", ""))):
            levels[identity] = int(match[1] or 0) + 1
        elif outline is not None and (level := outline.get(f"{_W}val", "")).isdecimal():
            levels[identity] = int(level[:2]) + 2
    return levels


def _level(paragraph: ElementTree.Element, levels: dict[str, int]) -> int:
    """The level of a heading: 1 for the document's title, 2 for "heading 1"; 0 for what is none."""
    style = paragraph.find(f"{_W}pPr/{_W}pStyle")
    own = paragraph.find(f"{_W}pPr/{_W}outlineLvl")
    if own is not None and own.get(f"{_W}val", "9") in tuple("012345678"):
        return int(own.get(f"{_W}val", "0")) + 2
    level = levels.get(style.get(f"{_W}val", ""), 0) if style is not None else 0
    return level if level <= _LOWEST else 0


def _blocks(parent: ElementTree.Element) -> Iterator[ElementTree.Element]:
    """Paragraphs and tables in order, out of whatever holds them; no recursion: the document says how deep it is."""
    waiting = [iter(parent)]
    while waiting:
        block = next(waiting[-1], None)
        if block is None:
            waiting.pop()
        elif block.tag in (f"{_W}p", f"{_W}tbl"):
            yield block
        elif block.tag not in _LEFT_OUT:
            waiting.append(iter(block))


def _cells(row: ElementTree.Element) -> Iterator[str]:
    """The text of each cell; a table in it is text too."""
    for cell in row.findall(f"{_W}tc"):
        yield " ".join(_text(paragraph) for paragraph in cell.iter(f"{_W}p"))


def _text(paragraph: ElementTree.Element) -> str:
    """The words of a paragraph as they are shown."""
    words: list[str] = []
    waiting = [iter(paragraph)]
    while waiting:
        part = next(waiting[-1], None)
        if part is None:
            waiting.pop()
        elif part.tag == f"{_W}t":
            words.append(part.text or "")
        elif part.tag in (f"{_W}tab", f"{_W}br", f"{_W}cr"):
            words.append(" " if part.tag == f"{_W}tab" else "\n")
        elif part.tag not in _LEFT_OUT and part.tag != f"{_W}pPr":
            waiting.append(iter(part))
    return "".join(words)
