"""The wire of OpenAI's chat completions: a request as bytes, an answer out of bytes. Knows no connection."""

from collections.abc import Mapping, Sequence
from typing import Annotated, Any

import msgspec

from dragoman.adapters.models.calls import CallPiece, Calls
from dragoman.adapters.models.sse import EventParser, EventTooLarge
from dragoman.core.agents import ModelChoice, Tool
from dragoman.core.events import TextDelta, ToolCall
from dragoman.core.prompt import CallingMessage, PromptMessage, ResultMessage
from dragoman.ports.models import ModelError, ModelPart, UsagePart

MAX_ANSWER_BYTES = 4 << 20
MAX_ERROR_CHARACTERS = 500

_DONE = b"[DONE]"
_PLAIN = {PromptMessage}
# Some servers refuse a function that says nothing of its parameters.
_NO_PARAMETERS = {"type": "object", "properties": {}}

_Count = Annotated[int, msgspec.Meta(ge=0, le=1 << 53)]


class _Function(msgspec.Struct, frozen=True):
    name: str
    description: str
    parameters: dict[str, Any]


class _OfferedTool(msgspec.Struct, frozen=True, tag_field="type", tag="function"):
    function: _Function


class _Called(msgspec.Struct, frozen=True):
    name: str
    arguments: str


class _MadeCall(msgspec.Struct, frozen=True, tag_field="type", tag="function"):
    id: str
    function: _Called


class _Calling(msgspec.Struct, frozen=True, tag_field="role", tag="assistant"):
    content: str | None
    tool_calls: list[_MadeCall]


class _Result(msgspec.Struct, frozen=True, tag_field="role", tag="tool"):
    tool_call_id: str
    content: str


class _StreamOptions(msgspec.Struct, frozen=True):
    include_usage: bool


class _NamedSchema(msgspec.Struct, frozen=True):
    schema: Mapping[str, Any]
    name: str = "answer"


class _ResponseFormat(msgspec.Struct, frozen=True):
    json_schema: _NamedSchema
    type: str = "json_schema"


class _Request(msgspec.Struct, omit_defaults=True):
    model: str
    messages: Sequence[PromptMessage | _Calling | _Result]
    stream: bool
    stream_options: _StreamOptions
    temperature: float | None = None
    max_tokens: int | None = None
    tools: list[_OfferedTool] | None = None
    response_format: _ResponseFormat | None = None


# Three of these are made for every token. They are in no cycle, so the collector need not follow them.
class _Content(msgspec.Struct, gc=False):
    content: str | None = None
    tool_calls: list[CallPiece] | None = None


class _Choice(msgspec.Struct, gc=False):
    delta: _Content | None = None
    message: _Content | None = None
    finish_reason: str | None = None


class _Usage(msgspec.Struct):
    prompt_tokens: _Count | None = None
    completion_tokens: _Count | None = None


class _Completion(msgspec.Struct, gc=False):
    """A chunk of a streamed answer, or a whole answer: the same object but for `delta` and `message`."""

    choices: list[_Choice] | None = None
    usage: _Usage | None = None
    error: Any = None


_USAGE_WANTED = _StreamOptions(include_usage=True)
_encoder = msgspec.json.Encoder()
_decoder = msgspec.json.Decoder(_Completion)


def encode_request(
    choice: ModelChoice,
    prompt: Sequence[PromptMessage],
    tools: Sequence[Tool],
    schema: Mapping[str, Any] | None = None,
) -> bytes:
    """The body that asks for a streamed answer, bound to a JSON Schema where one is given."""
    return _encoder.encode(
        _Request(
            choice.name,
            _messages(prompt),
            True,
            _USAGE_WANTED,
            choice.temperature,
            choice.max_tokens,
            [_offered(tool) for tool in tools] or None,
            _ResponseFormat(_NamedSchema(schema)) if schema is not None else None,
        )
    )


class Answer:
    """What has been read of one streamed answer. `failure` and `whole` say that reading must end, and how."""

    __slots__ = ("_calls", "_events", "_finish_reason", "_size", "_usage", "failure", "whole")

    def __init__(self) -> None:
        self._events = EventParser()
        self._size = 0
        self._calls: Calls | None = None
        self._finish_reason: str | None = None
        self._usage: UsagePart | None = None
        self.failure: ModelError | None = None
        self.whole = False

    @property
    def calling(self) -> bool:
        """Whether a call has begun to come."""
        return self._calls is not None

    def read(self, received: bytes) -> list[ModelPart]:
        """The parts in these bytes, those before a failure included."""
        parts: list[ModelPart] = []
        try:
            for payload in self._events.feed(received):
                if payload == _DONE:
                    self._end(parts)
                    break
                if payload:
                    self._take(payload, parts)
        except EventTooLarge as error:
            self.failure = ModelError(f"the model broke the bound of its stream: {error}", retriable=False)
        except ModelError as error:
            self.failure = error
        return parts

    def read_end(self) -> list[ModelPart]:
        """The parts that the end of the body brings; without `[DONE]` only a finish reason makes an answer whole."""
        parts: list[ModelPart] = []
        try:
            if self._finish_reason is None:
                raise ModelError("the model broke off its answer")
            self._end(parts)
        except ModelError as error:
            self.failure = error
        return parts

    def _take(self, payload: bytes, parts: list[ModelPart]) -> None:
        completion = _decode(payload)
        if choices := completion.choices:
            choice = choices[0]
            if choice.finish_reason is not None:
                self._finish_reason = choice.finish_reason
            delta = choice.delta
            if delta is not None:
                if text := delta.content:
                    self._size += len(text.encode())
                    if self._size > MAX_ANSWER_BYTES:
                        raise too_large()
                    parts.append(TextDelta(text))
                if delta.tool_calls:
                    self._take_calls(delta.tool_calls)
        if completion.usage is not None:
            # Some servers count in every chunk; only the last count is of the whole request.
            self._usage = _usage_part(completion.usage)

    def _take_calls(self, pieces: Sequence[CallPiece]) -> None:
        if self._calls is None:
            self._calls = Calls()
        for piece in pieces:
            self._size += self._calls.take(piece)
            if self._size > MAX_ANSWER_BYTES:
                raise too_large()

    def _end(self, parts: list[ModelPart]) -> None:
        if self._calls is not None:
            parts += self._calls.whole(self._finish_reason)
        self.whole = True
        if self._usage is not None:
            parts.append(self._usage)


def whole_answer(body: bytes) -> list[ModelPart]:
    """The parts of an answer that came in one piece.

    Raises:
        ModelError: it is none, or reports an error.
    """
    completion = _decode(body)
    if not completion.choices or completion.choices[0].message is None:
        raise ModelError("the model answered without a message", retriable=False)
    choice, message = completion.choices[0], completion.choices[0].message
    parts: list[ModelPart] = [TextDelta(message.content)] if message.content else []
    if message.tool_calls:
        calls = Calls()
        for index, call in enumerate(message.tool_calls):
            # Here each is a call by itself, whatever it lacks or shares with another.
            calls.take(msgspec.structs.replace(call, index=index))
        parts += calls.whole(choice.finish_reason)
    if completion.usage is not None:
        parts.append(_usage_part(completion.usage))
    return parts


def too_large() -> ModelError:
    """The failure of an answer that is over the bound."""
    return ModelError(f"the model's answer is over {MAX_ANSWER_BYTES} bytes", retriable=False)


def may_succeed_later(status: int) -> bool:
    """Whether the same request may be answered after this HTTP status."""
    return status in (408, 429) or status >= 500


def _messages(prompt: Sequence[PromptMessage]) -> Sequence[PromptMessage | _Calling | _Result]:
    # A prompt without calls can be long, and is encoded as it stands.
    if set(map(type, prompt)) <= _PLAIN:
        return prompt
    return [_sent(message) for message in prompt]


def _sent(message: PromptMessage) -> PromptMessage | _Calling | _Result:
    match message:
        case CallingMessage():
            return _Calling(message.content or None, [_made(call) for call in message.calls])
        case ResultMessage():
            return _Result(message.call_id, message.content)
    return message


def _made(call: ToolCall) -> _MadeCall:
    return _MadeCall(call.id, _Called(call.name, call.arguments))


def _offered(tool: Tool) -> _OfferedTool:
    return _OfferedTool(_Function(tool.name, tool.description, tool.parameters or _NO_PARAMETERS))


def _decode(payload: bytes) -> _Completion:
    try:
        completion = _decoder.decode(payload)
    except (msgspec.DecodeError, UnicodeDecodeError, RecursionError) as error:
        raise ModelError(f"the model sent what is no chunk of an answer: {error}", retriable=False) from error
    if completion.error is not None:
        raise _reported(completion.error)
    return completion


def _usage_part(usage: _Usage) -> UsagePart:
    return UsagePart(usage.prompt_tokens or 0, usage.completion_tokens or 0)


def _reported(error: Any) -> ModelError:
    """The failure that an `error` member tells of; its `code` is a status with some servers, a word with others."""
    fields = error if isinstance(error, dict) else {"message": error}
    code = fields.get("code")
    text = str(fields.get("message", error))[:MAX_ERROR_CHARACTERS]
    return ModelError(
        f"the model reported an error: {text}", retriable=not isinstance(code, int) or may_succeed_later(code)
    )
