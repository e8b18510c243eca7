"""HTML as sections: the main text as the page marks it or trafilatura finds it, or all there is without it."""

import re
from collections.abc import Iterator
from typing import Any

from dragoman.adapters.parsing.sections import Draft, Section, one_line
from dragoman.adapters.parsing.text import decoded
from dragoman.ports.parsers import Unreadable

# Of this share of all its text on, what was found is a page's main text; below, it is some part of it.
_MAIN_SHARE = 1 / 3
# A page larger than this is data, or a trap: the search for its main text takes a minute for each megabyte.
_MOST_SEARCHED = 1 << 20
_CHARSET = re.compile(rb"charset\s{0,10}=\s{0,10}[\"']?([\w-]{1,40})", re.ASCII)
_DECLARED_WITHIN = 2048
_HEADINGS = {"h1": 1, "h2": 2, "h3": 3, "h4": 4, "h5": 5, "h6": 6, "summary": 6}
# In trafilatura's own tree some elements have names of their own.
_ROWS = ("tr", "row")
_CELLS = ("td", "th", "cell")
_ITEMS = ("li", "item")
_BREAKS = ("br", "lb")
# The page's own are for finding one's way, an article's are part of it.
_EDGES = ("header", "footer")
_ARTICLES = ("main", "article")
_INLINE = re.compile(
    "a|abbr|b|bdi|bdo|cite|code|data|del|dfn|em|font|hi|i|ins|kbd|label|mark|q|ref|rp|rt|ruby|s|samp|small|span|strike|"
    "strong|sub|sup|time|tt|u|var|wbr"
)
_LEFT_OUT = re.compile(
    "script|style|noscript|template|nav|aside|form|button|select|svg|math|iframe|object|canvas|audio|video|dialog"
)


def webpage(data: bytes) -> list[Section]:
    """The sections of a page, under its title.

    Raises:
        Unreadable: it is no HTML.
    """
    import trafilatura

    charset = _CHARSET.search(data[:_DECLARED_WITHIN])
    text = decoded(data, charset[1].decode() if charset else "")
    if "<html" not in text[:_DECLARED_WITHIN].lower():
        text = f"<html>{text}</html>"
    tree: Any = trafilatura.load_html(text)
    if tree is None:
        raise Unreadable("The page is no HTML; upload it as it was saved by a browser")
    title = _title(tree)
    everything = _sections(title, tree.find(".//body"))
    for main in (tree.find(".//main"), tree.find(".//*[@role='main']")):
        sections = _sections(title, main)
        if _length(sections) > _length(everything) * _MAIN_SHARE:
            return sections
    if len(text) > _MOST_SEARCHED:
        return everything
    found = trafilatura.bare_extraction(text, favor_recall=True, include_comments=False)
    sections = _sections(title, getattr(found, "body", None))
    # Where it gives up it returns all words in a row.
    is_main = _has_headings(sections) or not _has_headings(everything)
    return sections if is_main and _length(sections) > _length(everything) * _MAIN_SHARE else everything


def _title(tree: Any) -> str:
    """The page's first heading of the first level, else what the browser shows above it."""
    for element in (*tree.iter("h1"), *tree.iter("title")):
        if said := _text(element):
            return said
    return ""


def _sections(title: str, body: Any) -> list[Section]:
    return _Walk(title).sections(body) if body is not None else []


class _Walk:
    """One way through a tree, in the order of the document."""

    def __init__(self, title: str) -> None:
        self._draft = Draft(title)
        self._line: list[str] = []
        self._mark = ""

    def sections(self, tree: Any) -> list[Section]:
        self._enter(tree)
        self._end_line()
        return self._draft.sections()

    def _enter(self, element: Any) -> None:
        tag = element.tag
        # Comments and instructions have no tag that is text.
        if not isinstance(tag, str):
            return
        # A heading is called "head" in trafilatura's tree, and says in "rend" what it was, or else was a summary.
        name = element.get("rend", "summary") if tag == "head" else tag
        if _LEFT_OUT.fullmatch(name) or (tag in _EDGES and next(element.iterancestors(*_ARTICLES), None) is None):
            return
        if tag in _BREAKS:
            self._line.append("\n")
        elif level := _HEADINGS.get(name):
            self._end_line()
            self._draft.heading(level, _text(element))
        elif tag == "pre":
            self._end_line()
            self._draft.text("".join(element.itertext()))
        elif tag == "table" and not any(True for _ in element.iter("h1", "h2", "h3", "ul", "ol")) and _is_flat(element):
            self._end_line()
            self._draft.table(list(_rows(element)))
        elif _INLINE.fullmatch(tag):
            self._content(element)
        else:
            self._end_line()
            self._mark = "- " if tag in _ITEMS else self._mark
            self._content(element)
            self._end_line()

    def _content(self, element: Any) -> None:
        self._line.append(_spaced(element.text))
        for child in element:
            self._enter(child)
            self._line.append(_spaced(child.tail))

    def _end_line(self) -> None:
        text = "\n".join(filter(None, map(one_line, "".join(self._line).split("\n"))))
        self._line.clear()
        if text:
            self._draft.text(self._mark + text, is_item=bool(self._mark))
            self._mark = ""


def _is_flat(table: Any) -> bool:
    return next(table.iterdescendants("table"), None) is None


def _rows(table: Any) -> Iterator[list[str]]:
    for row in table.iter(*_ROWS):
        yield [_text(cell) for cell in row if cell.tag in _CELLS]


def _text(element: Any) -> str:
    return one_line(" ".join(element.itertext()))


def _spaced(text: str | None) -> str:
    # Line ends of the source are spaces; those of the page are its breaks.
    return text.replace("\n", " ") if text else ""


def _has_headings(sections: list[Section]) -> bool:
    return len({section.title for section in sections}) > 1


def _length(sections: list[Section]) -> int:
    return sum(len(section.text) for section in sections)
