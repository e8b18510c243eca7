"""Documents that were made to do harm, and broken ones: refused within two seconds, or read without any."""

import random
import struct
import time
import zipfile
from collections.abc import AsyncIterator

import pytest
import pytest_asyncio

from dragoman.adapters.parsing.process import ChildParsers
from dragoman.ports.parsers import Kind, Piece, Unreadable
from tests.adapters.parsing.documents import (
    WORD,
    archive,
    pdf_of,
    pdf_of_streams,
    stream,
    text_lines,
    word_body,
    word_of,
)

# One process reads them all.
pytestmark = pytest.mark.asyncio(loop_scope="module")

SECONDS = 2.0
PARAGRAPH = b"<w:p><w:r><w:t>Text</w:t></w:r></w:p>"
ENTITIES = (
    b'<!DOCTYPE w:document [<!ENTITY a "ha">'
    + b"".join(b'<!ENTITY %c "%s">' % (letter, b"&%c;" % (letter - 1) * 50) for letter in b"bcdefgh")
    + f"]><w:document {WORD}><w:body><w:p><w:r><w:t>&h;</w:t></w:r></w:p></w:body></w:document>".encode()
)


def lying(data: bytes, name: bytes, size: int) -> bytes:
    """A zip file whose directory says another size of a member unpacked."""
    changed = bytearray(data)
    at = data.rindex(name) - 46
    assert data[at : at + 4] == b"PK\x01\x02"
    changed[at + 24 : at + 28] = struct.pack("<I", size)
    return bytes(changed)


def bomb(megabytes: int) -> bytes:
    return word_body(b" " * (megabytes << 20))


def many_members(number: int) -> bytes:
    return archive({"word/document.xml": b"<x/>", **{f"word/{n}": b"" for n in range(number)}}, zipfile.ZIP_STORED)


def pixel_flood() -> bytes:
    header = struct.pack(">IIBBBBB", 100_000, 100_000, 8, 6, 0, 0, 0)
    picture = b"\x89PNG\r\n\x1a\n" + struct.pack(">I", 13) + b"IHDR" + header + bytes(4)
    body = f"<w:document {WORD}><w:body>".encode() + PARAGRAPH + b"</w:body></w:document>"
    return archive({"word/document.xml": body, "word/media/image1.png": picture})


def encrypted_pdf() -> bytes:
    """Encrypted by a password that is not the empty one: the hash of the owner's half fits nothing."""
    marks = b"(%s)" % (b"A" * 32)
    return pdf_of_streams(
        [stream(b"BT (x) Tj ET")],
        b"/ID[(1)(1)]/Encrypt<</Filter/Standard/V 2/R 3/Length 128/P -4/O %s/U %s>>" % (marks, marks),
    )


SOUND_PDF = pdf_of([text_lines("The tank holds", "two litres.")])
SOUND_WORD = word_of(lambda document: document.add_paragraph("The tank holds two litres."))

REFUSED: dict[str, tuple[Kind, bytes, str]] = {
    "a zip bomb": ("docx", bomb(48), "unpacks to more"),
    "a zip bomb that says it is small": ("docx", lying(bomb(48), b"word/document.xml", 100), "broken"),
    "a zip bomb that says it is just right": ("docx", lying(bomb(48), b"word/document.xml", 31 << 20), "broken"),
    "a zip file that says it is large": ("docx", lying(word_body(PARAGRAPH), b"word/document.xml", 1 << 30), "unpacks"),
    "a zip file of many members": ("docx", many_members(3_000), "unpacks to more"),
    "a directory of too many members": ("docx", many_members(25_000), "unpacks to more"),
    "a zip file in another packing": (
        "docx",
        archive({"word/document.xml": b" " * (20 << 20)}, zipfile.ZIP_LZMA),
        "broken",
    ),
    "a zip file without a document": ("docx", archive({"word/styles.xml": b"<x/>"}), "broken"),
    "entities": ("docx", archive({"word/document.xml": ENTITIES}), "document type"),
    "entities in UTF-16": ("docx", archive({"word/document.xml": ENTITIES.decode().encode("utf-16")}), "document type"),
    "an external entity": (
        "docx",
        archive({"word/document.xml": b'<!DOCTYPE x [<!ENTITY a SYSTEM "file:///etc/hostname">]><x>&a;</x>'}),
        "document type",
    ),
    "entities in its styles": (
        "docx",
        archive({"word/styles.xml": ENTITIES, "word/document.xml": f"<w:document {WORD}/>".encode()}),
        "document type",
    ),
    "a Word document cut off": ("docx", SOUND_WORD[: len(SOUND_WORD) // 2], "broken"),
    "XML cut off": ("docx", archive({"word/document.xml": f"<w:document {WORD}><w:body>".encode()}), "broken"),
    "a pdf bomb": ("pdf", pdf_of_streams([stream(bytes(64 << 20))]), "broken"),
    "a pdf cut off": ("pdf", SOUND_PDF[:300], "broken"),
    "a pdf of nothing": ("pdf", b"%PDF-1.7\n", "broken"),
    "a pdf whose pages hold each other": (
        "pdf",
        SOUND_PDF.replace(b"/Kids[5 0 R]", b"/Kids[2 0 R]"),
        "broken",
    ),
    "an encrypted pdf": ("pdf", encrypted_pdf(), "encrypted; upload one without a password"),
    "a pdf without text": ("pdf", pdf_of_streams([stream(b"0 0 10 10 re f")]), "no text"),
    "a million columns": ("csv", b"a," * 999_999 + b"a\n" + b"1," * 999_999 + b"1\n", "1,000 columns"),
    "too many rows": ("csv", b"a,b\n" + b"1,2\n" * 60_000, "50,000 rows"),
    "a quotation mark that never ends": ("csv", b'a,b\n"' + b"1,2\n" * 60_000, "counterpart"),
    "too much text": ("csv", b"a,b\n" + (b"1," + b"x" * 90_000 + b"\n") * 120, "10,000,000 characters"),
    "a page nested deep": ("html", b"<div>" * 200_000 + b"x", "nested deeper|no text"),
    "an empty document": ("txt", b"", "no text"),
    "an empty page": ("html", b"<html></html>", "no text"),
}
HARMLESS: dict[str, tuple[Kind, bytes]] = {
    "a pixel flood": ("docx", pixel_flood()),
    "deep JSON": ("txt", b"[" * 1_000_000),
    "deep JSON as Markdown": ("md", b"[" * 100_000),
    "a long line of letters": ("txt", b"a" * 2_000_000),
    "a line of dots": ("pdf", pdf_of([text_lines("." * 100_000 + "y")])),
    "a line of hyphens": ("pdf", pdf_of([text_lines("a-" * 50_000)])),
    "quotes in quotes": ("md", b"> " * 50_000 + b"x\n\ny"),
    "stars": ("md", b"*a **b " * 20_000),
    "ticks": ("md", b"".join(b"`" * n + b" " for n in range(1_000))),
    "links that never end": ("md", b"[a](" * 30_000),
    "tags that never end": ("md", b"<a " * 100_000 + b"<!--" * 100_000),
    "front matter that never ends": ("md", b"---\n" + b"a: b\n" * 100_000),
    "a charset that never ends": ("html", b"<p>x" + b"charset =" * 100_000),
    "attributes": ("html", b"<p " + b"a=b " * 200_000 + b">x</p>"),
    "quotation marks": ("csv", b'a,b\n"",1\n' * 20_000),
    "a file of Windows": ("txt", "naïve café".encode("cp1252")),
}


@pytest_asyncio.fixture(scope="module", loop_scope="module")
async def parsers() -> AsyncIterator[ChildParsers]:
    parsers = ChildParsers()
    await parsers.parse("txt", b"Warm")
    yield parsers
    await parsers.close()


async def refusal(parsers: ChildParsers, kind: Kind, data: bytes) -> str:
    """Why a document is not read, empty where it is."""
    try:
        assert await parsers.parse(kind, data)
    except Unreadable as error:
        return str(error)
    return ""


@pytest.mark.parametrize("what", REFUSED)
async def test_a_document_is_refused_within_two_seconds(parsers: ChildParsers, what: str) -> None:
    kind, data, why = REFUSED[what]
    begun = time.monotonic()
    with pytest.raises(Unreadable, match=why):
        await parsers.parse(kind, data)
    assert time.monotonic() - begun < SECONDS
    assert await parsers.parse("txt", b"Sound") == [Piece("", "Sound")]


@pytest.mark.parametrize("what", HARMLESS)
async def test_a_document_does_no_harm(parsers: ChildParsers, what: str) -> None:
    kind, data = HARMLESS[what]
    assert await parsers.parse(kind, data)
    assert await parsers.parse("txt", b"Sound") == [Piece("", "Sound")]


async def test_a_line_of_ten_megabytes_is_cut(parsers: ChildParsers) -> None:
    pieces = await parsers.parse("txt", b"a" * 10_000_000)
    assert sum(len(piece.text) for piece in pieces) == 10_000_000
    with pytest.raises(Unreadable, match="10,000,000 characters"):
        await parsers.parse("txt", b"a" * 10_000_001)


async def test_tables_within_tables_are_text(parsers: ChildParsers) -> None:
    deep = b"<w:tbl><w:tr><w:tc>" * 20_000 + PARAGRAPH + b"</w:tc></w:tr></w:tbl>" * 20_000
    assert await parsers.parse("docx", word_body(deep)) == [Piece("", "Text")]


async def test_sound_documents_beside_them_are_read(parsers: ChildParsers) -> None:
    for kind, data in (("pdf", SOUND_PDF), ("docx", SOUND_WORD)):
        assert await parsers.parse(kind, data) == [Piece("", "The tank holds two litres.")]


@pytest.mark.parametrize("kind", ["pdf", "docx", "html", "md", "csv", "txt"])
async def test_damaged_documents_are_read_or_refused_and_nothing_else(parsers: ChildParsers, kind: Kind) -> None:
    sound = {"pdf": SOUND_PDF, "docx": SOUND_WORD}.get(kind, b"<h1>Title</h1>\n\n| a | b |\n|---|---|\n| 1 | 2 |\n")
    chance = random.Random(31)
    for _ in range(40):
        damaged = bytearray(sound)
        for _ in range(chance.randint(1, 20)):
            damaged[chance.randrange(len(damaged))] = chance.randrange(256)
        cut = bytes(damaged[: chance.randint(1, len(damaged))])
        assert "memory or time" not in await refusal(parsers, kind, cut)
