"""HTML that is safe by its making: text is escaped unless it was made here. Knows no page."""

import html


class Html(str):
    """Markup; every other text is only text."""

    __slots__ = ()


def tag(name: str, *children: str, **attributes: str) -> Html:
    """An element; a trailing underscore of an attribute's name is left out (``class_``)."""
    spelled = "".join(f' {key.rstrip("_")}="{html.escape(value)}"' for key, value in attributes.items())
    return Html(f"<{name}{spelled}>{join(*children)}</{name}>")


def join(*parts: str) -> Html:
    """Parts beside each other."""
    return Html("".join(part if isinstance(part, Html) else html.escape(part) for part in parts))


def prose(text: str) -> Html:
    """A sentence in which what stands between backticks is code."""
    pieces = text.split("`")
    return join(*(tag("code", piece) if index % 2 else piece for index, piece in enumerate(pieces)))


def page(title: str, side: str, main: str) -> bytes:
    """A whole document."""
    head = join(
        Html('<meta charset="utf-8"><meta name="viewport" content="width=device-width, initial-scale=1">'),
        tag("title", title),
        Html('<link rel="stylesheet" href="/docs/assets/docs.css"><link rel="icon" href="/docs/assets/mark.svg">'),
    )
    body = join(tag("nav", side), tag("main", main))
    return f'<!doctype html>\n<html lang="en"><head>{head}</head><body>{body}</body></html>\n'.encode()
