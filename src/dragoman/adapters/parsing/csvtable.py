"""CSV and its relatives as one section for each row. The dialect is guessed from the first lines alone."""

import csv
import io
import re
from collections import Counter
from collections.abc import Iterator
from itertools import islice

from dragoman.adapters.parsing.sections import Draft, Section
from dragoman.adapters.parsing.text import decoded
from dragoman.ports.parsers import Unreadable

MAX_ROWS = 50_000
MAX_COLUMNS = 1_000
MAX_CELL_CHARACTERS = 100_000

_SEPARATORS = ",;\t|"
_LOOKED_AT_ROWS = 20
_LOOKED_AT_CHARACTERS = 64 << 10
_MOST_TITLE_ROWS = 5
_MOST_NUMBER = 30
# Spreadsheets in some countries write it first, for others of their kind.
_DECLARED = re.compile("sep=(.)\n")
_NUMBER = re.compile(r"[-+(]?[^\w\s]?\d[\d.,' ]*[^\w\s]?\)?")


def csv_table(data: bytes) -> list[Section]:
    """A section for each row, after the row that names the columns.

    Lines above that, with a single cell, are the table's title. Without a row of names the columns are numbered.
    """
    text = decoded(data)
    if declared := _DECLARED.match(text):
        text = text[declared.end() :]
    rows = _rows(text, declared[1] if declared else _separator(text))
    draft = Draft()
    above, first = _above(rows)
    if first and len(above) <= _MOST_TITLE_ROWS:
        draft.heading(1, " ".join(above))
    else:
        for line in above:
            draft.text(line)
    columns = first if _are_names(first) else []
    if not columns:
        draft.row(columns, first)
    for row in rows:
        draft.row(columns, row)
    return draft.sections()


def _rows(text: str, separator: str) -> Iterator[list[str]]:
    csv.field_size_limit(MAX_CELL_CHARACTERS)
    reader = csv.reader(io.StringIO(text, newline=""), delimiter=separator)
    try:
        for number, row in enumerate(reader, 1):
            if number > MAX_ROWS + 1:
                raise Unreadable(f"The table has more than {MAX_ROWS:,} rows; upload it in parts")
            while row and not row[-1].strip():
                row.pop()
            if len(row) > MAX_COLUMNS:
                raise Unreadable(f"The table has more than {MAX_COLUMNS:,} columns in line {reader.line_num}")
            if any(cell.strip() for cell in row):
                yield row
    except csv.Error as error:
        raise Unreadable(
            f"The table cannot be read on from line {reader.line_num} ({error}); "
            "a quotation mark there may have no counterpart"
        ) from error


def _separator(text: str) -> str:
    """What cuts the first rows into the same number of cells most often, and into most cells."""
    lines = text[:_LOOKED_AT_CHARACTERS].splitlines(keepends=True)[: 2 * _LOOKED_AT_ROWS]

    def fitness(separator: str) -> tuple[int, int]:
        reader = csv.reader(lines, delimiter=separator)
        try:
            widths = Counter(len(row) for row in islice(reader, _LOOKED_AT_ROWS) if row)
        except csv.Error:
            return 0, 0
        width, rows = max(widths.items(), key=lambda item: (item[0] > 1, item[1], item[0]), default=(0, 0))
        return (rows, width) if width > 1 else (0, 0)

    return max(_SEPARATORS, key=fitness)


def _above(rows: Iterator[list[str]]) -> tuple[list[str], list[str]]:
    """What stands before the first row of several cells, and that row; it is empty where there is none."""
    above: list[str] = []
    for row in rows:
        filled = [cell for cell in row if cell.strip()]
        if len(filled) > 1:
            return above, row
        above += filled
    return above, []


def _are_names(row: list[str]) -> bool:
    filled = [cell.strip() for cell in row if cell.strip()]
    return sum(len(cell) < _MOST_NUMBER and bool(_NUMBER.fullmatch(cell)) for cell in filled) * 2 <= len(filled)
