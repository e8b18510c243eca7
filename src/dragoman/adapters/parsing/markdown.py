"""Markdown as sections: headings make the path, a table's row is a section, the rest is text without its marks."""

import re
from collections.abc import Sequence

from markdown_it import MarkdownIt
from markdown_it.token import Token

from dragoman.adapters.parsing.sections import Draft, Section
from dragoman.adapters.parsing.text import decoded

_BREAKS = {"softbreak": " ", "hardbreak": "\n"}
_FRONT_MATTER = re.compile(r"\A---\n(?:.*\n){0,100}?---\n")
_TAG = re.compile(r"</?[a-zA-Z][^<>]{0,500}>|<!--[^<>]{0,2000}-->")


def markdown(data: bytes) -> list[Section]:
    """The sections; HTML in it is no markup to us: its tags are dropped, its text is kept."""
    text = _FRONT_MATTER.sub("", decoded(data), count=1)
    tokens = MarkdownIt("commonmark", {"html": False}).enable("table").parse(text)
    draft = Draft()
    lists: list[int | None] = []
    mark = ""
    row: list[str] = []
    rows: list[list[str]] = []
    in_cell = False
    for before, token in zip([None, *tokens], tokens, strict=False):
        match token.type:
            case "bullet_list_open" | "ordered_list_open":
                lists.append(int(token.attrGet("start") or 1) if token.type.startswith("ordered") else None)
            case "bullet_list_close" | "ordered_list_close":
                lists.pop()
            case "list_item_open":
                mark = _mark(lists)
            case "th_open" | "td_open":
                in_cell = True
            case "th_close" | "td_close":
                in_cell = False
            case "tr_close":
                rows.append(row)
                row = []
            case "table_close":
                draft.table(rows)
                rows = []
            case "inline" if in_cell:
                row.append(_plain(token.children or ()))
            case "inline" if before is not None and before.type == "heading_open":
                draft.heading(int(before.tag[1:]), _plain(token.children or ()))
            case "inline":
                draft.text(mark + _plain(token.children or ()), is_item=bool(mark))
                mark = ""
            case "fence" | "code_block":
                draft.text(mark + token.content)
                mark = ""
    return draft.sections()


def _mark(lists: list[int | None]) -> str:
    """How the next item of the innermost list begins; a numbered one counts on."""
    number = lists[-1]
    if number is None:
        return "- "
    lists[-1] = number + 1
    return f"{number}. "


def _plain(tokens: Sequence[Token]) -> str:
    # Of a picture its description stands below it.
    words = (_BREAKS.get(token.type) or _plain(token.children or ()) or token.content for token in tokens)
    return _TAG.sub("", "".join(words))
