"""PDF as sections: lines without the running ones, joined to paragraphs; larger or bold lines are headings."""

import io
import logging
import re
from collections import Counter
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from itertools import pairwise
from statistics import median
from typing import Any

from dragoman.adapters.parsing.sections import MAX_CHARACTERS, Draft, Section, one_line
from dragoman.ports.parsers import Unreadable

MAX_PAGES = 2_000
MAX_STREAM_BYTES = 32 << 20

_MAX_HEADING = 100
_LEVELS = 3
# A heading's letters are larger than the text's by at least so much.
_LARGER = 1.12
# Lines of the top and the bottom of a page that may run through the document.
_RUNNING_LINES = 2
_RUNNING_PAGES = 3
# A line that ends before this share of the usual width ends its paragraph; so does a gap of so many usual ones.
_SHORT = 0.75
_GAP = 1.5
_ENDS = (".", ":", "!", "?")
_PAGE_NUMBER = re.compile(
    r"(?:page|seite|p\.)?\s{0,3}[-–|]?\s?\d{1,4}\s?[-–|]?(?:\s?(?:of|/|von)\s?\d{1,4})?", re.IGNORECASE
)
# How much of a line's end is looked at.
_TAIL = 40
_CONTENTS = re.compile(r"(?:\s?[.…]){4,}\s?[\divxlc]{0,6}$")
_ITEM = re.compile(r"[•▪◦●■–*-]\s|\(?\d{1,2}[.)]\s|\(?[a-z][.)]\s")
_DIGITS = re.compile(r"\d+")
_BROKEN_WORD = re.compile(r"[^\W\d_]{2,}-$")
_COMPOUND = re.compile(r"[^\W\d_]{2,30}-[^\W\d_]{2,30}")
_BOLD = re.compile(r"bold|black|heavy|semib|demi", re.IGNORECASE)


@dataclass(frozen=True, slots=True)
class _Line:
    """A line as it stands on its page: `size` of its letters and `height` above the page's bottom, in points."""

    text: str
    size: float
    bold: bool
    height: float


def pdf(data: bytes) -> list[Section]:
    """The sections of a PDF, under its headings; a section for each page where it has none.

    Raises:
        Unreadable: broken, protected by a password, or without text.
    """
    pages = _without_running(_pages(data))
    levels = _levels([line for page in pages for line in page])
    compounds = {found.lower() for page in pages for line in page for found in _COMPOUND.findall(line.text)}
    draft = Draft()
    has_headings = bool(levels)
    for number, page in enumerate(pages, 1):
        if not has_headings and len(pages) > 1:
            draft.heading(1, f"Page {number}")
        for paragraph in _paragraphs(page, levels):
            if level := _level(paragraph[0], levels):
                draft.heading(level, " ".join(line.text for line in paragraph))
            else:
                text = _joined([line.text for line in paragraph], compounds)
                draft.text(text, is_item=bool(_ITEM.match(text)))
    return draft.sections()


def _pages(data: bytes) -> list[list[_Line]]:
    from pypdf import PdfReader, apply_configuration
    from pypdf.errors import DependencyError, PyPdfError

    # It tells of each oddity that it overlooks; who asked for the document cannot mend them.
    logging.getLogger("pypdf").setLevel(logging.CRITICAL)
    bounds: dict[str, Any] = dict.fromkeys(
        (
            "zlib_maximum_output_length",
            "lzw_maximum_output_length",
            "run_length_maximum_output_length",
            "array_based_stream_maximum_output_length",
        ),
        MAX_STREAM_BYTES,
    )
    with apply_configuration(jbig2dec_binary=None, disable_legacy_handling=True, **bounds):
        try:
            reader = PdfReader(io.BytesIO(data))
            if reader.is_encrypted and not reader.decrypt(""):
                raise Unreadable("The PDF is encrypted; upload one without a password")
            if len(reader.pages) > MAX_PAGES:
                raise Unreadable(f"The PDF has more than {MAX_PAGES:,} pages; upload it in parts")
            pages: list[list[_Line]] = []
            left = MAX_CHARACTERS
            for page in reader.pages:
                pages.append(_lines(page))
                left -= sum(len(line.text) for line in pages[-1])
                if left < 0:
                    raise Unreadable(f"The PDF holds more than {MAX_CHARACTERS:,} characters; upload it in parts")
        except DependencyError as error:
            raise Unreadable("The PDF is encrypted; upload one without a password") from error
        # What else pypdf raises over a file that is broken enough says no more than this.
        except (PyPdfError, LookupError, ValueError, TypeError, AttributeError, ArithmeticError, OSError) as error:
            raise Unreadable("The PDF is broken; print it to PDF again and upload that") from error
    if not any(pages):
        raise Unreadable("The PDF holds no text, only pictures of it; upload one with text that can be selected")
    return pages


def _lines(page: Any) -> list[_Line]:
    parts: list[tuple[str, float, bool, float]] = []

    def see(text: str, cm: Sequence[float], tm: Sequence[float], font: Any, size: float) -> None:
        across = tm[0] * cm[0] + tm[1] * cm[2], tm[0] * cm[1] + tm[1] * cm[3]
        height = tm[4] * cm[1] + tm[5] * cm[3] + cm[5]
        bold = bool(_BOLD.search(str((font or {}).get("/BaseFont", ""))))
        parts.append((text, abs(size) * (across[0] ** 2 + across[1] ** 2) ** 0.5, bold, height))

    page.extract_text(visitor_text=see)
    lines = []
    words: list[tuple[str, float, bool, float]] = []
    for text, size, bold, height in (*parts, ("\n", 0.0, False, 0.0)):
        first, *others = text.split("\n")
        words.append((first, size, bold, height))
        for other in others:
            if line := _line(words):
                lines.append(line)
            words = [(other, size, bold, height)]
    return lines


def _line(words: Iterable[tuple[str, float, bool, float]]) -> _Line | None:
    said = [word for word in words if word[0].strip()]
    text = one_line("".join(text for text, *_ in words))
    # A table of contents says nothing that the headings do not say.
    if not said or _CONTENTS.search(text[-_TAIL:]):
        return None
    return _Line(text, max(size for _, size, _, _ in said), all(bold for _, _, bold, _ in said), said[0][3])


def _without_running(pages: list[list[_Line]]) -> list[list[_Line]]:
    """The pages without page numbers, and without what stands at the edge of many pages, numbers apart."""
    edges = [_edges(page) for page in pages]
    seen = Counter(mark for edge in edges for mark in {_mark(line) for line in edge})
    kept = []
    for page, edge in zip(pages, edges, strict=True):
        running = [line for line in edge if _PAGE_NUMBER.fullmatch(line.text) or seen[_mark(line)] >= _RUNNING_PAGES]
        # A page of nothing else is one that says the same as its neighbours.
        kept.append([line for line in page if line not in running] or page)
    return kept


def _edges(page: list[_Line]) -> list[_Line]:
    by_height = sorted(page, key=lambda line: line.height)
    return by_height[:_RUNNING_LINES] + by_height[-_RUNNING_LINES:]


def _mark(line: _Line) -> tuple[str, int]:
    """What running lines have in common from page to page: their words and their place."""
    return _DIGITS.sub("#", line.text.lower()), round(line.height)


def _levels(lines: list[_Line]) -> dict[tuple[float, bool], int]:
    """The level of each kind of letters that headings are set in: the larger the higher, bold ones of text last."""
    sizes: Counter[float] = Counter()
    bold = 0
    for line in lines:
        sizes[_size(line)] += len(line.text)
        bold += len(line.text) if line.bold else 0
    if not sizes:
        return {}
    usual = sizes.most_common(1)[0][0]
    can_be_bold = bold * 4 < sizes.total()
    kinds = {
        (_size(line), line.bold)
        for line in lines
        if _may_be_heading(line)
        and (_size(line) >= usual * _LARGER or (can_be_bold and line.bold and _size(line) >= usual))
    }
    ordered = sorted({size for size, _ in kinds}, reverse=True)
    return {kind: min(ordered.index(kind[0]) + 1, _LEVELS) for kind in kinds}


def _size(line: _Line) -> float:
    return round(line.size * 2) / 2


def _may_be_heading(line: _Line) -> bool:
    return (
        len(line.text) <= _MAX_HEADING and any(map(str.isalpha, line.text)) and not line.text.endswith((".", ",", ";"))
    )


def _level(line: _Line, levels: dict[tuple[float, bool], int]) -> int:
    return levels.get((_size(line), line.bold), 0) if _may_be_heading(line) else 0


def _paragraphs(page: list[_Line], levels: dict[tuple[float, bool], int]) -> list[list[_Line]]:
    """Lines that belong together; a heading of two lines is one paragraph."""
    if not page:
        return []
    widths = sorted(len(line.text) for line in page)
    width = widths[len(widths) * 9 // 10]
    gaps = [gap for one, two in pairwise(page) if 0 < (gap := one.height - two.height) < 100]
    gap = median(gaps) if gaps else 0.0
    paragraphs = [[page[0]]]
    for before, line in pairwise(page):
        level = _level(line, levels)
        apart = (
            level != _level(before, levels)
            or bool(_ITEM.match(line.text))
            or (gap > 0 and before.height - line.height > gap * _GAP)
            or (not level and len(before.text) < width * _SHORT)
            or (len(line.text) < width * _SHORT and before.text.endswith(_ENDS))
        )
        if apart:
            paragraphs.append([line])
        else:
            paragraphs[-1].append(line)
    return paragraphs


def _joined(lines: Sequence[str], compounds: set[str]) -> str:
    """Lines as one text; a word that was broken at a line's end is whole again, a compound keeps its hyphen."""
    text = ""
    for line in lines:
        if text.endswith("\u00ad"):
            text = text[:-1] + line
        elif _BROKEN_WORD.search(text[-_TAIL:]) and line[:1].islower():
            compound = f"{text.rpartition(' ')[2]}{line.split(' ', 1)[0]}".lower()
            text = (text if compound.rstrip(".,;:!?)") in compounds else text[:-1]) + line
        else:
            text = f"{text} {line}" if text else line
    return text.replace("\u00ad", "")
