"""Forms as they come in, multipart or urlencoded, within bounds of parts and bytes. Knows no field by its name."""

import asyncio
import hashlib
from collections.abc import Collection, Sequence
from dataclasses import dataclass
from urllib.parse import unquote_to_bytes

import msgspec
from python_multipart.exceptions import FormParserError
from python_multipart.multipart import MultipartParser, parse_options_header
from starlette.requests import Request

from dragoman.core.errors import DragomanError, Invalid, TooLarge, UnsupportedMedia
from dragoman.server.describe import MULTIPART, URLENCODED
from dragoman.server.requests import DISCARDED, JSON_CAP, read_body

MOST_PARTS = 64
MOST_HEADERS = 8
LONGEST_HEADER = 4096
TEXT_CAP = JSON_CAP
FILES_CAP = 25 * 1024 * 1024
# Headers, boundaries, and what may stand before the first and behind the last of them.
BETWEEN_CAP = JSON_CAP
# A hostile 64 KiB keeps the parser busy for 20 ms; after that others have their turn.
AT_ONCE = 64 * 1024


@dataclass(frozen=True, slots=True)
class File:
    """A file of a form: the field it stands in, what the client calls it, and what it says that it is.

    `digest` is of its bytes; `data` are those themselves, empty where the reader of the form did not want them.
    """

    name: str
    filename: str
    media_type: str
    digest: str
    data: bytes


@dataclass(frozen=True, slots=True)
class Form:
    """What a form holds, in order: fields as pairs of name and value, and files."""

    fields: Sequence[tuple[str, str]]
    files: Sequence[File] = ()

    def canonical(self) -> bytes:
        """The same bytes for the same fields and files, however they were sent and whatever the files are called."""
        return msgspec.json.encode((sorted(self.fields), sorted((file.name, file.digest) for file in self.files)))


def media_type(request: Request) -> str:
    """What a request says that its body is, without parameters; empty where it says nothing."""
    return request.headers.get("content-type", "").partition(";")[0].strip().lower()


async def read_form(request: Request, keeping: Collection[str] = ()) -> Form:
    """The form that a request carries, with the bytes of files in the fields that are worth `keeping`.

    Raises:
        UnsupportedMedia: it says that it carries something else.
        TooLarge: it has too many parts, too much text, or files that are too large.
        Invalid: it is cut off or malformed, or its text is none that can be kept.
    """
    media = media_type(request)
    if media == URLENCODED:
        return _urlencoded(await read_body(request, TEXT_CAP))
    if media != MULTIPART:
        raise UnsupportedMedia(f"The body is to be {MULTIPART}, {URLENCODED} or application/json")
    _, options = parse_options_header(request.headers["content-type"])
    return await _multipart(request, _Parts(options.get(b"boundary", b""), keeping))


def _urlencoded(body: bytes) -> Form:
    if body.count(b"&") >= MOST_PARTS:
        raise TooLarge(f"The form has over {MOST_PARTS} fields")
    pairs = [pair.partition(b"=") for pair in body.replace(b"+", b" ").split(b"&") if pair]
    return Form([(_text(unquote_to_bytes(name)), _text(unquote_to_bytes(value))) for name, _, value in pairs])


async def _multipart(request: Request, parts: "_Parts") -> Form:
    failure: DragomanError | None = None
    discarded = 0
    async for piece in request.stream():
        if failure is None:
            failure = await _failure_of(parts, piece)
        else:
            # As of a JSON body that is too large, some is read on: a client that is still sending sees our answer.
            discarded += len(piece)
            if discarded > DISCARDED:
                break
    if failure is not None:
        raise failure
    return parts.whole()


async def _failure_of(parts: "_Parts", piece: bytes) -> DragomanError | None:
    """What is wrong with a form whose next bytes these are, as far as they tell."""
    for start in range(0, len(piece), AT_ONCE):
        try:
            parts.write(piece[start : start + AT_ONCE])
        except DragomanError as error:
            return error
        await asyncio.sleep(0)
    return None


class _Parts:
    """The parts of a multipart body, collected from what the parser tells of its bytes."""

    def __init__(self, boundary: bytes, keeping: Collection[str]) -> None:
        if not boundary:
            raise Invalid("The Content-Type of the form names no boundary")
        self._fields: list[tuple[str, str]] = []
        self._files: list[File] = []
        self._keeping = keeping
        self._parts = self._size = self._text_size = self._file_size = 0
        self._ended = False
        self._header, self._value = bytearray(), bytearray()
        self._headers: dict[bytes, bytes] = {}
        self._name = self._filename = ""
        self._text, self._content = bytearray(), bytearray()
        self._digest = hashlib.sha256()
        self._is_file = self._is_chosen = self._is_kept = False
        try:
            self._parser = MultipartParser(
                boundary,
                {
                    "on_part_begin": self._begin,
                    "on_header_field": self._header_name,
                    "on_header_value": self._header_value,
                    "on_header_end": self._header_end,
                    "on_headers_finished": self._headers_end,
                    "on_part_data": self._data,
                    "on_part_end": self._end,
                    "on_end": self._all,
                },
                max_header_count=MOST_HEADERS,
                max_header_size=LONGEST_HEADER,
            )
        except FormParserError as error:
            raise Invalid("The boundary of the form is too long") from error

    def write(self, piece: bytes) -> None:
        """Take the next bytes.

        Raises:
            TooLarge, Invalid
        """
        self._size += len(piece)
        if self._size > TEXT_CAP + FILES_CAP + BETWEEN_CAP:
            raise TooLarge("The form is too large")
        try:
            self._parser.write(piece)
        except FormParserError as error:
            raise Invalid("The form is malformed") from error

    def whole(self) -> Form:
        """The form, when all bytes have come.

        Raises:
            Invalid: its last boundary is missing.
        """
        if not self._ended:
            raise Invalid("The form is cut off: its last boundary is missing")
        return Form(self._fields, self._files)

    def _begin(self) -> None:
        self._parts += 1
        if self._parts > MOST_PARTS:
            raise TooLarge(f"The form has over {MOST_PARTS} parts")
        self._headers.clear()

    def _header_name(self, data: bytes, start: int, end: int) -> None:
        self._header += data[start:end]

    def _header_value(self, data: bytes, start: int, end: int) -> None:
        self._value += data[start:end]

    def _header_end(self) -> None:
        self._headers[bytes(self._header.lower())] = bytes(self._value)
        self._header.clear()
        self._value.clear()

    def _headers_end(self) -> None:
        _, options = parse_options_header(self._headers.get(b"content-disposition"))
        name = options.get(b"name")
        if name is None:
            raise Invalid("A part of the form has no name")
        self._name = _text(name)
        self._count_text(len(name))
        self._text.clear()
        self._digest = hashlib.sha256()
        self._is_file = b"filename" in options
        self._filename = _told(options.get(b"filename", b""))
        # Where nobody chose a file, a browser sends one without a name and with nothing in it.
        self._is_chosen = bool(self._filename)
        self._is_kept = self._name in self._keeping

    def _data(self, data: bytes, start: int, end: int) -> None:
        if not self._is_file:
            self._count_text(end - start)
            self._text += data[start:end]
            return
        self._is_chosen = True
        self._file_size += end - start
        if self._file_size > FILES_CAP:
            raise TooLarge(f"Files are over {FILES_CAP} bytes")
        piece = memoryview(data)[start:end]
        self._digest.update(piece)
        if self._is_kept:
            self._content += piece

    def _end(self) -> None:
        if not self._is_file:
            self._fields.append((self._name, _text(self._text)))
        elif self._is_chosen:
            kind = _told(self._headers.get(b"content-type", b""))
            self._files.append(File(self._name, self._filename, kind, self._digest.hexdigest(), bytes(self._content)))
            self._content.clear()

    def _all(self) -> None:
        self._ended = True

    def _count_text(self, size: int) -> None:
        self._text_size += size
        if self._text_size > TEXT_CAP:
            raise TooLarge(f"The fields of the form are over {TEXT_CAP} bytes")


def _told(data: bytes) -> str:
    """What a header tells of a file, as far as it can be kept: nothing depends on it."""
    return data.decode(errors="replace").replace("\x00", "")


def _text(data: bytes | bytearray) -> str:
    try:
        text = data.decode()
    except UnicodeDecodeError as error:
        raise Invalid("The text of the form is not UTF-8") from error
    if "\x00" in text:
        raise Invalid("Text must not contain U+0000")
    return text
