"""A document as a sequence of sections: plain text under the path of its headings. Knows no format."""

import re
from collections.abc import Iterator, Sequence
from dataclasses import dataclass

from dragoman.ports.parsers import Unreadable

MAX_CHARACTERS = 10_000_000
PATH_SEPARATOR = " > "

_MAX_HEADING = 120
_SPACES = re.compile(r"\s+")


@dataclass(frozen=True, slots=True)
class Section:
    """Text under one path of headings; or one row of a table, then `cells` holds its "column: value" in order."""

    title: str
    text: str
    cells: tuple[str, ...] = ()


class Draft:
    """Sections in the making, in the order of reading. `root` is the heading above all others.

    Raises Unreadable from every method that adds, where the document holds more text than one may.
    """

    def __init__(self, root: str = "") -> None:
        self._path: list[tuple[int, str]] = [(0, one_line(root)[:_MAX_HEADING])] if root.strip() else []
        self._paragraphs: list[str] = []
        self._sections: list[Section] = []
        self._left = MAX_CHARACTERS

    @property
    def path(self) -> str:
        """The headings above what comes next."""
        return PATH_SEPARATOR.join(text for _, text in self._path)

    def heading(self, level: int, text: str) -> None:
        """Begin a section under a heading; level 1 is the highest."""
        text = one_line(text)[:_MAX_HEADING].strip()
        if not text:
            return
        self._end_section()
        while self._path and self._path[-1][0] >= level:
            self._path.pop()
        # A page's title is often said again by its first heading.
        if not any(text == above for _, above in self._path):
            self._path.append((level, text))

    def text(self, paragraph: str, *, is_item: bool = False) -> None:
        """Add a paragraph, a block of code, or an item that follows on the line before; its line ends are kept."""
        paragraph = paragraph.strip()
        if paragraph:
            self._count(paragraph)
            self._paragraphs.append(f"\n{paragraph}" if is_item else f"\n\n{paragraph}")

    def row(self, columns: Sequence[str], values: Sequence[str], title: str = "") -> None:
        """Add a table's row as a section of its own, under the table's title where it has one."""
        cells = tuple(_cells(columns, values))
        if cells:
            self._end_section()
            path = f"{self.path}{PATH_SEPARATOR}{title}" if self._path and title else title or self.path
            section = Section(path, "; ".join(cells), cells)
            self._count(section.text)
            self._sections.append(section)

    def table(self, rows: Sequence[Sequence[str]], title: str = "") -> None:
        """Add a table whose first row names the columns; one of a single row or column is text."""
        rows = [row for row in rows if any(cell.strip() for cell in row)]
        if len(rows) < 2 or max(map(len, rows)) < 2:
            for row in rows:
                self.text(" ".join(one_line(cell) for cell in row if cell.strip()))
            return
        for row in rows[1:]:
            self.row(rows[0], row, title)

    def sections(self) -> list[Section]:
        """All that was added; neighbours under the same headings are one section."""
        self._end_section()
        return self._sections

    def _end_section(self) -> None:
        if self._paragraphs:
            self._sections.append(Section(self.path, "".join(self._paragraphs).strip()))
            self._paragraphs = []

    def _count(self, text: str) -> None:
        self._left -= len(text)
        if self._left < 0:
            raise Unreadable(f"The document holds more than {MAX_CHARACTERS:,} characters of text; upload it in parts")


def one_line(text: str) -> str:
    """The text without line ends and doubled spaces."""
    return _SPACES.sub(" ", text).strip()


def _cells(columns: Sequence[str], values: Sequence[str]) -> Iterator[str]:
    for number, value in enumerate(values):
        value = one_line(value)
        if value:
            column = one_line(columns[number]) if number < len(columns) else ""
            yield f"{column or f'Column {number + 1}'}: {value}"
