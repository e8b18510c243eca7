"""Which text can be kept: no U+0000, which PostgreSQL refuses, and no half of a surrogate pair. Knows no wire."""

from typing import Any


def can_be_kept(value: Any) -> bool:
    """Whether all text within a JSON value can. No recursion: a client says how deep the value is."""
    waiting = [value]
    while waiting:
        match waiting.pop():
            case str(text):
                if "\x00" in text or not _is_unicode(text):
                    return False
            case dict(members):
                waiting += members.keys()
                waiting += members.values()
            case list(items):
                waiting += items
    return True


def keepable(text: str) -> str:
    """A text with U+FFFD in place of what cannot be."""
    text = text.replace("\0", "\ufffd")
    return text if _is_unicode(text) else text.encode("utf-16", "surrogatepass").decode("utf-16", "replace")


def _is_unicode(text: str) -> bool:
    try:
        text.encode()
    except UnicodeEncodeError:
        return False
    return True
