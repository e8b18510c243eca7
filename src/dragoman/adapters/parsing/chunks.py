"""Sections cut into pieces that stand alone and that an embedder takes in whole. Pure; knows no format."""

from collections.abc import Iterator, Sequence

from semantic_text_splitter import TextSplitter

from dragoman.adapters.parsing.sections import PATH_SEPARATOR, Section
from dragoman.ports.parsers import Piece

# The embedded embedder sees 256 word pieces, which are about a thousand characters of English.
MOST = 1000
FULL = 400
ALMOST_FULL = 900

# The splitter's time grows with the square of a text without paragraphs: it is given so much at a time.
_STRETCH = 16_000
_MOST_TITLE = 200
_TINY = 120
# What a row is found by stands in its first cell, as a rule: each part of a long row begins with it.
_MOST_KEY = 120
_MOST_COLUMN = 100


def pieces_of(sections: Sequence[Section]) -> list[Piece]:
    """The pieces of a document, in order; none of them longer than `MOST` characters, its title's line included."""
    pieces = []
    for section in _merged(sections):
        title = _short(section.title)
        head = f"{title}\n" if title else ""
        bodies = _row(section.cells, MOST - len(head)) if section.cells else _split(section.text, MOST - len(head))
        pieces += [Piece(title, head + body) for body in bodies]
    return pieces


def _merged(sections: Sequence[Section]) -> Iterator[Section]:
    """Neighbours under the same title as one; rows stay alone."""
    together: list[Section] = []
    for section in sections:
        if together and (section.cells or section.title != together[0].title):
            yield _joined(together)
            together = []
        if section.cells:
            yield section
        else:
            together.append(section)
    if together:
        yield _joined(together)


def _joined(sections: Sequence[Section]) -> Section:
    return Section(sections[0].title, "\n\n".join(section.text for section in sections))


def _split(text: str, most: int) -> Iterator[str]:
    splitter = TextSplitter((FULL, min(most, ALMOST_FULL)))
    for stretch in _stretches(text):
        spans = [(start, start + len(chunk)) for start, chunk in splitter.chunk_indices(stretch)]
        if len(spans) > 1 and spans[-1][1] - spans[-1][0] < _TINY and spans[-1][1] - spans[-2][0] <= most:
            spans[-2:] = [(spans[-2][0], spans[-1][1])]
        yield from (stretch[start:end] for start, end in spans)


def _stretches(text: str) -> Iterator[str]:
    start = 0
    while len(text) - start > _STRETCH:
        middle, end = start + _STRETCH // 2, start + _STRETCH
        # The best place that there is in the second half: between paragraphs, lines, words, or anywhere.
        found = (text.rfind(between, middle, end) for between in ("\n\n", "\n", " "))
        end = next((place for place in found if place > 0), end)
        yield text[start:end]
        start = end
    yield text[start:]


def _row(cells: Sequence[str], most: int) -> Iterator[str]:
    """A row as one body, or as several that each begin with its first cell; no value loses its column's name."""
    key = cells[0] if len(cells[0]) <= _MOST_KEY else ""
    body = ""
    for cell in cells:
        for part in _cell(cell, most - len(key) - 2):
            if body and len(body) + 2 + len(part) > most:
                yield body
                body = key
            body = f"{body}; {part}" if body else part
    yield body


def _cell(cell: str, most: int) -> list[str]:
    if len(cell) <= most:
        return [cell]
    column, _, value = cell.partition(": ")
    column = column[:_MOST_COLUMN]
    return [f"{column}: {part}" for part in TextSplitter(most - len(column) - 2).chunks(value)]


def _short(title: str) -> str:
    """A path that leaves room for text: its end says most, so its beginning goes."""
    headings = title.split(PATH_SEPARATOR)
    while len(title) > _MOST_TITLE and len(headings) > 1:
        del headings[0]
        title = PATH_SEPARATOR.join(headings)
    return title[:_MOST_TITLE].rstrip()
