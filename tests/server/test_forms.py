"""Forms: read alike however their bytes are cut, bounded, and the same for the same fields."""

import asyncio
import hashlib
import time
from collections.abc import Collection, Iterable
from urllib.parse import quote, quote_plus, urlencode

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from starlette.requests import Request
from starlette.types import Message

from dragoman.core.errors import Invalid, TooLarge, UnsupportedMedia
from dragoman.server.forms import FILES_CAP, MOST_PARTS, TEXT_CAP, File, Form, media_type, read_form

MULTIPART = "multipart/form-data; boundary=limit"
URLENCODED = "application/x-www-form-urlencoded"

texts = st.text(st.characters(exclude_categories=["Cs"], exclude_characters="\0"), max_size=12)
names = st.text(st.characters(min_codepoint=32, exclude_categories=["Cs", "Cc"], exclude_characters='"\\;'), min_size=1)
teasing = st.sampled_from(["\r\n--limi", "\r\n--limit", "\r\n", "--limit--", "\r\n--", "-", "\r"])
# Whatever stands in a value, no line of it is a boundary.
values = st.lists(texts | teasing, max_size=6).map("".join).filter(lambda text: "\r\n--limit" not in text)


def request(content_type: str | None, pieces: Iterable[bytes]) -> Request:
    """A request whose body comes in these pieces."""
    messages: list[Message] = [{"type": "http.request", "body": piece, "more_body": True} for piece in pieces]
    messages.append({"type": "http.request", "body": b"", "more_body": False})
    waiting = iter(messages)

    async def receive() -> Message:
        return next(waiting)

    headers = [] if content_type is None else [(b"content-type", content_type.encode("latin-1"))]
    return Request({"type": "http", "headers": headers}, receive)


def read(content_type: str | None, *pieces: bytes, keeping: Collection[str] = ()) -> Form:
    return asyncio.run(read_form(request(content_type, pieces), keeping))


def multipart(fields: Iterable[tuple[str, str]]) -> bytes:
    parts = [
        f'--limit\r\nContent-Disposition: form-data; name="{name}"\r\n\r\n{value}\r\n'.encode()
        for name, value in fields
    ]
    return b"".join(parts) + b"--limit--\r\n"


def cut(body: bytes, places: Iterable[int]) -> list[bytes]:
    """A body in pieces, cut at these places."""
    ends = sorted({min(place, len(body)) for place in places} | {len(body)})
    return [body[start:end] for start, end in zip([0, *ends], ends, strict=False)]


@given(st.lists(st.tuples(names, values), max_size=5), st.lists(st.integers(0, 600), max_size=12))
@settings(deadline=None)
def test_a_multipart_form_is_read_alike_however_its_bytes_are_cut(
    fields: list[tuple[str, str]], places: list[int]
) -> None:
    body = multipart(fields)
    assert read(MULTIPART, *cut(body, places)) == Form(fields, [])


@given(st.lists(st.tuples(texts, texts), max_size=8))
def test_an_urlencoded_form_is_read_as_it_was_meant(fields: list[tuple[str, str]]) -> None:
    for how in (quote, quote_plus):
        form = read(URLENCODED, urlencode(fields, quote_via=how).encode())
        assert form == Form(fields)


@given(st.binary(max_size=400), st.booleans())
@settings(deadline=None)
def test_any_bytes_are_a_form_or_are_refused(data: bytes, begun: bool) -> None:
    head = b'--limit\r\nContent-Disposition: form-data; name="a"\r\n\r\n' if begun else b"--limit\r\n"
    for content_type, body in ((MULTIPART, head + data + b"\r\n--limit--"), (URLENCODED, data)):
        try:
            form = read(content_type, body)
        except (Invalid, TooLarge):
            continue
        assert all("\0" not in text for pair in form.fields for text in pair)


def file(content: bytes, filename: str = "a.wav", more: str = "", name: str = "audio") -> bytes:
    """The part of a file."""
    head = f'--limit\r\nContent-Disposition: form-data; name="{name}"; filename="{filename}"{more}\r\n\r\n'
    return head.encode() + content + b"\r\n"


def test_a_file_is_known_by_its_name_and_what_is_in_it() -> None:
    def known(content: bytes, filename: str = "a.wav") -> bytes:
        return read(MULTIPART, file(content, filename) + b"--limit--").canonical()

    assert known(b"\xff\x00\r\n") == known(b"\xff\x00\r\n", "another.wav") != known(b"\xff\x00")
    assert read(MULTIPART, file(b"x", "") + b"--limit--").files
    assert known(b"") != known(b"", "") == Form([]).canonical()


@given(st.binary(max_size=400), st.lists(st.integers(0, 900), max_size=12))
@settings(deadline=None)
def test_a_files_bytes_are_kept_where_they_are_wanted(data: bytes, places: list[int]) -> None:
    body = file(data, 'ä "b".webm'.replace('"', '\\"'), "\r\nContent-Type: audio/webm;codecs=opus")
    body += file(b"second", "") + file(data, "c", name="other") + b"--limit--"
    digest = hashlib.sha256(data).hexdigest()
    form = read(MULTIPART, *cut(body, places), keeping={"audio"})
    first, second, other = form.files
    assert first == File("audio", 'ä "b".webm', "audio/webm;codecs=opus", digest, data)
    assert second == File("audio", "", "", hashlib.sha256(b"second").hexdigest(), b"second")
    assert other == File("other", "c", "", digest, b"")
    assert form.canonical() == read(MULTIPART, body).canonical()


def test_what_a_file_is_called_can_be_kept_whatever_it_is() -> None:
    body = file(b"x", "a_b.wav").replace(b"_", b"\0\xff")
    [found] = read(MULTIPART, body + b"--limit--").files
    found.filename.encode()
    assert "\0" not in found.filename


def test_a_part_says_nothing_of_the_next() -> None:
    body = file(b"x", "a", "\r\nContent-Type: audio/webm") + file(b"", "b") + multipart([("audio", "text")])
    form = read(MULTIPART, body, keeping={"audio"})
    assert [(found.media_type, found.data) for found in form.files] == [("audio/webm", b"x"), ("", b"")]
    assert form.fields == [("audio", "text")]


def test_the_same_fields_are_the_same_bytes_whatever_carried_them() -> None:
    fields = [("query", "Hello"), ("agent_key", "é")]
    known = read(MULTIPART, multipart(fields)).canonical()
    assert read(MULTIPART, multipart(fields[::-1])).canonical() == known
    assert read(URLENCODED, urlencode(fields).encode()).canonical() == known
    for other in ([("query", "Hello")], [("query", "HelloX"), fields[1]], [("queryHello", ""), fields[1]]):
        assert read(MULTIPART, multipart(other)).canonical() != known
    assert Form([("a", "b")]).canonical() != Form([], [File("a", "", "", "b", b"")]).canonical()


@pytest.mark.parametrize(
    "content_type", [None, "text/plain", "multipart/mixed; boundary=limit", "application/json", ""]
)
def test_what_is_no_form_is_not_read_as_one(content_type: str | None) -> None:
    with pytest.raises(UnsupportedMedia):
        read(content_type, multipart([]))


@pytest.mark.parametrize(
    ("header", "media"),
    [
        ("multipart/form-data; boundary=x", "multipart/form-data"),
        (" Multipart/Form-Data ;boundary=x", "multipart/form-data"),
        ("application/json;charset=utf-8", "application/json"),
        (None, ""),
        ("", ""),
        (";", ""),
    ],
)
def test_a_media_type_is_told_without_its_parameters(header: str | None, media: str) -> None:
    assert media_type(request(header, [])) == media


@pytest.mark.parametrize(
    "header",
    [
        "multipart/form-data; BOUNDARY=limit",
        'multipart/form-data; charset=latin-1; boundary="limit"',
        "Multipart/Form-Data;boundary=limit",
    ],
)
def test_a_boundary_is_found_however_it_is_written(header: str) -> None:
    assert read(header, multipart([("a", "ü")])) == Form([("a", "ü")], [])


def test_each_bound_holds_to_the_byte() -> None:
    part = b'--limit\r\nContent-Disposition: form-data; name="a"%s\r\n\r\n%s\r\n'
    end = b"--limit--"
    assert read(MULTIPART, part % (b"", b"x" * (TEXT_CAP - 1)) + end).fields
    assert len(read(MULTIPART, part % (b"", b"x") * MOST_PARTS + end).fields) == MOST_PARTS
    assert read(MULTIPART, part % (b'; filename="f"', b"x" * FILES_CAP) + end).files
    for form in (
        part % (b"", b"x" * TEXT_CAP),
        part % (b"", b"x") * (MOST_PARTS + 1),
        part % (b'; filename="f"', b"x" * (FILES_CAP + 1)),
        part % (b'; filename="f"', b"x" * FILES_CAP) + part % (b'; filename="f"', b"x"),
    ):
        with pytest.raises(TooLarge):
            read(MULTIPART, form + end)
    assert len(read(URLENCODED, b"&".join([b"a=x"] * MOST_PARTS)).fields) == MOST_PARTS
    for form in (b"&".join([b"a=x"] * (MOST_PARTS + 1)), b"&" * MOST_PARTS + b"a=x", b"a=" + b"x" * TEXT_CAP):
        with pytest.raises(TooLarge):
            read(URLENCODED, form)


def test_a_client_that_sends_on_without_end_is_left() -> None:
    taken = 0

    async def sent() -> None:
        async def receive() -> Message:
            nonlocal taken
            taken += 1
            return {"type": "http.request", "body": b"x" * 65_536, "more_body": True}

        headers = [(b"content-type", MULTIPART.encode())]
        await read_form(Request({"type": "http", "headers": headers}, receive))

    with pytest.raises(Invalid):
        asyncio.run(sent())
    assert taken * 65_536 <= 9 * 1024 * 1024


@pytest.mark.parametrize(
    "piece", [b"\r\n--limitx", b"\r\n--limit-x", b"\r\n--limit\rx", b"\r\n--", b"%41", b"&", b"\xc3\xa9="]
)
def test_reading_takes_time_in_proportion_to_the_bytes(piece: bytes) -> None:
    """A form four times as long may take twelve times as long, which is far from the sixteen of a square."""

    def seconds(size: int) -> float:
        head = b'--limit\r\nContent-Disposition: form-data; name="a"; filename="f"\r\n\r\n'
        content_type, head = (MULTIPART, head) if piece.startswith(b"\r") else (URLENCODED, b"a=")
        body = head + piece * (size // len(piece))
        began = time.process_time()
        for _ in range(3):
            try:
                read(content_type, body)
            except (Invalid, TooLarge):
                continue
        return time.process_time() - began

    small = max(seconds(200_000), 0.01)
    assert seconds(800_000) / small < 12
