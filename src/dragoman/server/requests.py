"""What comes in: bodies within bounds, JSON into Structs, headers into commands, names into ids.

Knows what contracts have in common, and no dialect's own fields.
"""

import hashlib
import re
from collections.abc import Iterable
from typing import TypeVar

import msgspec
from starlette.requests import Request

from dragoman.core.commands import Cursor, Idempotency, parse_cursor
from dragoman.core.errors import AgentNotFound, ConversationNotFound, FieldMissing, Invalid, TooLarge
from dragoman.core.ids import parse_id
from dragoman.core.tenants import Principal
from dragoman.core.text import can_be_kept

T = TypeVar("T")

JSON_CAP = 1024 * 1024
# So much of a body that is too large is still read: a client that is in the middle of sending sees our answer.
DISCARDED = 8 * JSON_CAP
LONGEST_IDEMPOTENCY_KEY = 255
DEEPEST = 64

# A text that does not end is one to the end: so each byte is looked at once.
_TEXT = re.compile(rb'"(?:[^"\\]++|\\.)*+"?', re.DOTALL)
_ALIKE = bytes.maketrans(b"{}", b"[]")
_NO_BRACKETS = bytes(set(range(256)).difference(b"[]{}"))


def note(request: Request, **facts: str) -> None:
    """Add what the log line of this request is to say."""
    request.scope.get("notes", {}).update(facts)


def tell(request: Request, headers: Iterable[tuple[bytes, bytes]]) -> None:
    """Add headers to the answer of this request, whichever it will be."""
    request.scope.get("answer_headers", []).extend(headers)


async def read_body(request: Request, cap: int = JSON_CAP) -> bytes:
    """The whole body.

    Raises:
        TooLarge: it is over `cap` bytes.
    """
    pieces: list[bytes] = []
    size = 0
    async for piece in request.stream():
        size += len(piece)
        if size <= cap:
            pieces.append(piece)
        elif size > DISCARDED:
            break
    if size > cap:
        raise TooLarge(f"The request body is over {cap} bytes")
    return b"".join(pieces)


def decode_json(body: bytes, decoder: msgspec.json.Decoder[T]) -> T:
    """A JSON body as its Struct; unknown fields are passed over.

    Raises:
        Invalid: it is no JSON, is nested too deep, has a wrong type, or text that cannot be kept.
    """
    _check_depth(body)
    try:
        decoded = decoder.decode(body)
        # One search of the bytes tells whether the costly look is needed at all.
        if b"\\u0000" in body and not can_be_kept(msgspec.to_builtins(decoded)):
            raise Invalid("Text must not contain U+0000")
    except msgspec.ValidationError as error:
        raise Invalid(str(error).replace("`$.", "`").replace(" - at `", " in `")) from error
    except (msgspec.DecodeError, UnicodeDecodeError) as error:
        raise Invalid("The request body is not valid JSON") from error
    return decoded


def _check_depth(body: bytes) -> None:
    """What is kept is read again by parsers that go down as deep as it does.

    Raises:
        Invalid
    """
    if body.count(b"[") + body.count(b"{") <= DEEPEST:
        return
    brackets = _TEXT.sub(b"", body).translate(_ALIKE, _NO_BRACKETS)
    for _ in range(DEEPEST):
        # Each time the innermost pairs go, and with them one level.
        fewer = brackets.replace(b"[]", b"")
        if len(fewer) == len(brackets):
            break
        brackets = fewer
    # Other brackets that are left have no partner: that is no JSON.
    if b"[]" in brackets or brackets.count(b"[") > DEEPEST:
        raise Invalid(f"The request body is nested deeper than {DEEPEST} levels")


def agent_id_of(text: str) -> str:
    """The agent that a path or a body names by its id.

    Raises:
        AgentNotFound: no id of ours looks like this.
    """
    known = parse_id("agent", text)
    if known is None:
        raise AgentNotFound(text)
    return known


def agent_reference_of(text: str) -> str:
    """The agent that a path names by its id or its slug.

    Raises:
        AgentNotFound: the name holds U+0000, which not every database can even look for.
    """
    if "\x00" in text:
        raise AgentNotFound(text)
    return text


def conversation_id_of(text: str) -> str:
    """The conversation that a path, a query or a body names by its id.

    Raises:
        ConversationNotFound: no id of ours looks like this.
    """
    known = parse_id("conv", text)
    if known is None:
        raise ConversationNotFound
    return known


def message_of(message: str | None) -> str:
    """What a user says in the field `message`.

    Raises:
        FieldMissing: it is absent or blank.
    """
    if message is None or not message.strip():
        raise FieldMissing("message")
    return message


def idempotency_of(request: Request, principal: Principal, body: bytes) -> Idempotency | None:
    """The Idempotency-Key of a request, scoped to its credential or visitor, method and path.

    Raises:
        Invalid: it is empty, too long or not printable ASCII.
    """
    key = request.headers.get("idempotency-key")
    if key is None:
        return None
    if not 0 < len(key) <= LONGEST_IDEMPOTENCY_KEY or not (key.isascii() and key.isprintable()):
        raise Invalid("Idempotency-Key takes 1 to 255 printable ASCII characters", field="Idempotency-Key")
    path = request.scope["path"].rstrip("/")
    scope = "\0".join((principal.scope, request.method, path, key))
    return Idempotency(hashlib.sha256(scope.encode(errors="replace")).hexdigest(), hashlib.sha256(body).hexdigest())


def cursor_of(request: Request) -> Cursor | None:
    """The event after which a stream is to go on; without an Idempotency-Key there is nothing to go on with.

    Raises:
        Invalid: it is no event id of ours.
    """
    text = request.headers.get("last-event-id")
    if not text or "idempotency-key" not in request.headers:
        return None
    cursor = known_cursor(text)
    if cursor is None:
        raise Invalid("Last-Event-ID is no event id of this server", field="Last-Event-ID")
    return cursor


def known_cursor(text: str) -> Cursor | None:
    """The place in a turn's log that an event id names; None where it is none of ours."""
    cursor = parse_cursor(text)
    turn_id = parse_id("turn", cursor.turn_id) if cursor else None
    if cursor is None or turn_id is None:
        return None
    return Cursor(turn_id, cursor.epoch, cursor.sequence, cursor.frames)
