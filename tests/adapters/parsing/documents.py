"""Documents made by hand: Word documents and PDFs, sound ones and others."""

import io
import zipfile
import zlib
from collections.abc import Sequence

import docx

WORD = 'xmlns:w="http://schemas.openxmlformats.org/wordprocessingml/2006/main"'
Line = tuple[str, float, bool]


def word_of(fill) -> bytes:
    """A Word document that `fill` was given to write in."""
    document = docx.Document()
    fill(document)
    written = io.BytesIO()
    document.save(written)
    return written.getvalue()


def archive(members: dict[str, bytes], method: int = zipfile.ZIP_DEFLATED) -> bytes:
    written = io.BytesIO()
    with zipfile.ZipFile(written, "w", method) as opened:
        for name, data in members.items():
            opened.writestr(name, data)
    return written.getvalue()


def word_body(body: bytes) -> bytes:
    """A Word document of nothing but this XML."""
    return archive({"word/document.xml": f"<w:document {WORD}><w:body>".encode() + body + b"</w:body></w:document>"})


def pdf_of(pages: Sequence[Sequence[Line]]) -> bytes:
    """A PDF; for each page its lines from the top, with their size and whether they are bold; an empty one is a gap."""
    return pdf_of_streams([stream(_shown(page)) for page in pages])


def text_lines(*lines: str, size: float = 11, bold: bool = False) -> list[Line]:
    return [(line, size, bold) for line in lines]


def _shown(page: Sequence[Line]) -> bytes:
    shown = []
    for number, (text, size, bold) in enumerate(page):
        escaped = text.replace("\\", r"\\").replace("(", r"\(").replace(")", r"\)")
        if text:
            shown.append(f"BT /F{2 if bold else 1} {size} Tf 50 {780 - 14 * number} Td ({escaped}) Tj ET")
    return "\n".join(shown).encode("cp1252")


def stream(data: bytes) -> bytes:
    packed = zlib.compress(data, 9)
    return b"<</Length %d/Filter/FlateDecode>>stream\n%s\nendstream" % (len(packed), packed)


def pdf_of_streams(streams: Sequence[bytes], trailer: bytes = b"") -> bytes:
    """A PDF of pages whose contents are these objects."""
    pages = b" ".join(b"%d 0 R" % (5 + 2 * number) for number in range(len(streams)))
    objects = [
        b"<</Type/Catalog/Pages 2 0 R>>",
        b"<</Type/Pages/Kids[%s]/Count %d>>" % (pages, len(streams)),
        b"<</Type/Font/Subtype/Type1/BaseFont/Helvetica/Encoding/WinAnsiEncoding>>",
        b"<</Type/Font/Subtype/Type1/BaseFont/Helvetica-Bold/Encoding/WinAnsiEncoding>>",
    ]
    for number, content in enumerate(streams):
        objects.append(
            b"<</Type/Page/Parent 2 0 R/MediaBox[0 0 595 842]/Contents %d 0 R"
            b"/Resources<</Font<</F1 3 0 R/F2 4 0 R>>>>>>" % (6 + 2 * number)
        )
        objects.append(content)
    written = b"%PDF-1.4\n"
    places = []
    for number, each in enumerate(objects, 1):
        places.append(len(written))
        written += b"%d 0 obj\n%s\nendobj\n" % (number, each)
    table = b"".join(b"%010d 00000 n \n" % place for place in places)
    return written + b"xref\n0 %d\n0000000000 65535 f \n%strailer<</Size %d/Root 1 0 R%s>>\nstartxref\n%d\n%%%%EOF" % (
        len(objects) + 1,
        table,
        len(objects) + 1,
        trailer,
        len(written),
    )
