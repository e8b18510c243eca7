"""Tool calls as model servers send them, in pieces and with gaps, put together into whole ones. Knows no stream."""

from typing import Any

import msgspec

from dragoman.core.events import ToolCall
from dragoman.ports.models import ModelError

MAX_CALLS = 32
# How much of a name an error tells.
MAX_NAME_CHARACTERS = 64

_object = msgspec.json.Decoder(dict[str, msgspec.Raw])


class Function(msgspec.Struct):
    """What a piece says of the function; a few servers send the arguments as an object and not as its text."""

    name: str | None = None
    arguments: str | dict[str, Any] | None = None


class CallPiece(msgspec.Struct):
    """A call or a piece of one. Servers leave out what they please, and repeat what they need not."""

    index: int | None = None
    id: str | None = None
    function: Function | None = None


class _Call:
    __slots__ = ("arguments", "id", "name")

    def __init__(self) -> None:
        self.id = ""
        self.name = ""
        self.arguments: list[str] = []


class Calls:
    """The calls of one answer, in the order in which they began."""

    __slots__ = ("_at", "_calls")

    def __init__(self) -> None:
        self._calls: list[_Call] = []
        self._at: dict[int, _Call] = {}

    def take(self, piece: CallPiece) -> int:
        """Add a piece to its call; how many bytes are now held because of it.

        Raises:
            ModelError: there are too many calls.
        """
        function = piece.function or Function()
        id, name, arguments = piece.id or "", function.name or "", _text(function.arguments)
        if not (id or name or arguments):
            return 0
        call = self._begun(piece.index, id, name, arguments) or self._begin()
        if piece.index is not None:
            self._at[piece.index] = call
        news = ("" if call.id else id, "" if call.name else name, arguments)
        call.id, call.name = call.id or id, call.name or name
        if arguments:
            call.arguments.append(arguments)
        return sum(len(text.encode()) for text in news)

    def whole(self, finish_reason: str | None) -> list[ToolCall]:
        """Every call of an answer that ended for this reason; the arguments of each are the text of a JSON object.

        Raises:
            ModelError: the answer was cut off in its calls, or one has no name or no such arguments.
        """
        if self._calls and finish_reason == "length":
            raise ModelError("the model reached its bound of tokens within its calls", retriable=False)
        whole = []
        for call in self._calls:
            arguments = "".join(call.arguments)
            if not arguments.strip():
                arguments = "{}"
            if not call.name:
                raise ModelError("the model wants a call and does not say of what", retriable=False)
            if not is_object(arguments):
                name = call.name[:MAX_NAME_CHARACTERS]
                raise ModelError(f"the model wrote arguments for {name} that are no JSON object", retriable=False)
            whole.append(ToolCall(call.id, call.name, arguments))
        return whole

    def _begun(self, index: int | None, id: str, name: str, arguments: str) -> _Call | None:
        """The call that a piece goes on with; None where it begins one."""
        if index is not None:
            call = self._at.get(index)
        elif id:
            call = next((call for call in self._calls if call.id == id), None)
        else:
            call = self._calls[-1] if self._calls else None
        if call is None or not name:
            return call
        # A name that comes again is a repetition or, from servers that number no calls or number all alike, a new call.
        differs = name != (call.name or name) or bool(id and call.id and id != call.id)
        bare = index is None and not id
        return None if differs or (bare and call.arguments and arguments.startswith("{")) else call

    def _begin(self) -> _Call:
        if len(self._calls) == MAX_CALLS:
            raise ModelError(f"the model wants more than {MAX_CALLS} calls at once", retriable=False)
        self._calls.append(_Call())
        return self._calls[-1]


def is_object(text: str) -> bool:
    """Whether a text is a JSON object."""
    try:
        _object.decode(text)
    except (msgspec.DecodeError, RecursionError):
        return False
    return True


def _text(arguments: str | dict[str, Any] | None) -> str:
    return msgspec.json.encode(arguments).decode() if isinstance(arguments, dict) else arguments or ""
