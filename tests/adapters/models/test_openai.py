"""One attempt at an OpenAI-compatible server: what is sent, what is read, and how each fault is told."""

import asyncio
import json
import time
from contextlib import aclosing
from typing import Any

import msgspec
import pytest

from dragoman.adapters.models import completions, openai
from dragoman.adapters.models.openai import OpenAIModels, parse_retry_after
from dragoman.core.agents import ModelChoice
from dragoman.core.events import TextDelta
from dragoman.core.prompt import PromptMessage
from dragoman.ports.models import ModelError, ModelPart, UsagePart
from tests.support.upstream import Upstream

PROMPT = (PromptMessage("system", "Be brief."), PromptMessage("user", "Grüße, \u2028 wie geht's?"))
STOP = b'data: {"choices":[{"delta":{},"finish_reason":"stop"}]}\n\n'


def choice_of(upstream: Upstream, name: str, **fields: Any) -> ModelChoice:
    return ModelChoice(provider="openai", name=name, base_url=upstream.url, **fields)


async def ask(models: OpenAIModels, choice: ModelChoice) -> tuple[list[ModelPart], ModelError | None]:
    """The parts of one attempt, and the error that ended it."""
    parts: list[ModelPart] = []
    try:
        async with aclosing(models.stream(choice, PROMPT)) as reads:
            async for read in reads:
                assert read
                parts += read
    except ModelError as error:
        return parts, error
    return parts, None


def text_of(parts: list[ModelPart]) -> str:
    return "".join(part.text for part in parts if isinstance(part, TextDelta))


def tokens(count: int) -> list[TextDelta]:
    return [TextDelta(f"tok{number} ") for number in range(count)]


@pytest.mark.parametrize("how", ["", ",crlf", ",split", ",crlf,split", ",no_done"])
async def test_an_answer_is_its_deltas_and_then_its_usage(models: OpenAIModels, upstream: Upstream, how: str) -> None:
    parts, error = await ask(models, choice_of(upstream, f"tokens=40{how}"))
    assert error is None
    assert parts == [*tokens(40), UsagePart(7, 40)]


async def test_all_deltas_of_one_read_come_as_one_item(models: OpenAIModels, upstream: Upstream) -> None:
    reads = [read async for read in models.stream(choice_of(upstream, "tokens=500"), PROMPT)]
    assert len(reads) < 100


async def test_deltas_come_as_the_model_sends_them(models: OpenAIModels, upstream: Upstream) -> None:
    async with aclosing(
        models.stream(choice_of(upstream, "tokens=4,slow_first=0.2,fault=stall_within"), PROMPT)
    ) as reads:
        async with asyncio.timeout(5):
            assert await anext(reads) == [TextDelta("tok0 "), TextDelta("tok1 ")]


async def test_the_prompt_is_sent_as_it_is_and_absent_options_are_not(models: OpenAIModels, upstream: Upstream) -> None:
    parts, _ = await ask(models, choice_of(upstream, "prompt"))
    messages = [{"role": message.role, "content": message.content} for message in PROMPT]
    assert json.loads(text_of(parts)) == messages
    assert upstream.bodies[-1] == {
        "model": "prompt",
        "messages": messages,
        "stream": True,
        "stream_options": {"include_usage": True},
    }
    assert "authorization" not in upstream.headers[-1]


async def test_options_and_the_key_are_sent_where_they_are_given(
    models: OpenAIModels, upstream: Upstream, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("A_MODEL_KEY", "sk-canary\n")
    await ask(models, choice_of(upstream, "echo", api_key_env="A_MODEL_KEY", temperature=0.0, max_tokens=7))
    assert upstream.bodies[-1]["temperature"] == 0.0
    assert upstream.bodies[-1]["max_tokens"] == 7
    assert upstream.headers[-1]["authorization"] == "Bearer sk-canary"


async def test_a_key_that_is_not_in_the_environment_is_an_error_for_good(
    models: OpenAIModels, upstream: Upstream, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.delenv("A_MODEL_KEY", raising=False)
    _, error = await ask(models, choice_of(upstream, "echo", api_key_env="A_MODEL_KEY"))
    assert error is not None
    assert not error.retriable
    assert "A_MODEL_KEY" in str(error)
    assert upstream.requests == 0


async def test_a_prompt_of_megabytes_is_sent(models: OpenAIModels, upstream: Upstream) -> None:
    prompt = (PromptMessage("user", "x" * 3_000_000),)
    reads = [read async for read in models.stream(choice_of(upstream, "tokens=1"), prompt)]
    assert reads[-1][-1] == UsagePart(750_000, 1)


async def test_another_address_and_more_headers_can_be_given(models: OpenAIModels, upstream: Upstream) -> None:
    choice = ModelChoice(name="echo")
    reads = [read async for read in models.stream_from(upstream.url + "/", choice, PROMPT, {"X-Slot": "1"})]
    assert text_of(list(reads[0])) == PROMPT[-1].content
    assert upstream.headers[-1]["x-slot"] == "1"


async def test_a_whole_answer_from_a_server_that_does_not_stream_is_taken(
    models: OpenAIModels, upstream: Upstream
) -> None:
    parts, error = await ask(models, choice_of(upstream, "json,tokens=3"))
    assert error is None
    assert parts == [TextDelta("tok0 tok1 tok2 "), UsagePart(7, 3)]


@pytest.mark.parametrize("status", [408, 429, 500, 502, 503, 504])
async def test_a_busy_or_broken_server_may_be_asked_again(
    models: OpenAIModels, upstream: Upstream, status: int
) -> None:
    choice = choice_of(upstream, f"tokens=2,status={status},retry_after=3,times=1")
    _, error = await ask(models, choice)
    assert error is not None
    assert error.retriable
    assert error.retry_after == 3
    assert str(error).startswith(f"the model answered {status}: ")
    assert "refused by script" in str(error)
    assert text_of((await ask(models, choice))[0]) == "tok0 tok1 "


@pytest.mark.parametrize("status", [302, 307, 400, 401, 403, 404, 422])
async def test_a_refusal_is_an_error_for_good(models: OpenAIModels, upstream: Upstream, status: int) -> None:
    _, error = await ask(models, choice_of(upstream, f"status={status}"))
    assert error is not None
    assert not error.retriable
    assert error.retry_after is None
    assert upstream.requests == 1


@pytest.mark.parametrize(
    ("fault", "retriable", "told"),
    [
        ("reset", True, "connection"),
        ("truncate", True, "connection"),
        ("no_finish", True, "broke off"),
        ("bad_utf8", False, "no chunk"),
        ("bad_json", False, "no chunk"),
        ("error", True, "overloaded by script"),
        ("huge_line", False, "bound"),
    ],
)
async def test_a_fault_within_an_answer_is_told_after_the_tokens_before_it(
    models: OpenAIModels, upstream: Upstream, fault: str, retriable: bool, told: str
) -> None:
    parts, error = await ask(models, choice_of(upstream, f"tokens=8,fault={fault}"))
    assert parts[:4] == tokens(8)[:4]
    assert error is not None
    assert error.retriable is retriable
    assert told in str(error)


async def test_an_answer_without_end_is_cut_at_its_bound(
    models: OpenAIModels, upstream: Upstream, monkeypatch: pytest.MonkeyPatch
) -> None:
    for module in (completions, openai):
        monkeypatch.setattr(module, "MAX_ANSWER_BYTES", 20_000)
    parts, error = await ask(models, choice_of(upstream, "endless"))
    assert error is not None
    assert not error.retriable
    assert 19_980 < len(text_of(parts)) <= 20_000
    parts, error = await ask(models, choice_of(upstream, "json,tokens=5000"))
    assert not parts
    assert error is not None


@pytest.mark.parametrize(
    "base_url",
    ["http://127.0.0.1:1/v1", "http://", "nonsense", "ftp://127.0.0.1/v1", "http://127.0.0.1:99999/v1", "http://["],
)
async def test_an_address_that_nobody_answers_at_is_a_model_error(models: OpenAIModels, base_url: str) -> None:
    choice = ModelChoice(provider="openai", base_url=base_url)
    assert models.upstream(choice)
    _, error = await ask(models, choice)
    assert error is not None
    assert error.retriable is (base_url == "http://127.0.0.1:1/v1")


async def seconds_to_hang_up(upstream: Upstream, since: float) -> float:
    """How long after `since` the client hung up on the one answer there was."""
    async with asyncio.timeout(5):
        closing = await upstream.next_closing()
    return closing["at"] - since


async def test_closing_the_iterator_closes_the_connection_at_once(models: OpenAIModels, upstream: Upstream) -> None:
    async with aclosing(models.stream(choice_of(upstream, "endless,delay=0.01"), PROMPT)) as reads:
        await anext(reads)
        closed_at = time.monotonic()
    assert await seconds_to_hang_up(upstream, closed_at) < 0.25


@pytest.mark.parametrize("fault", ["stall_before", "stall_within"])
async def test_cancelling_the_reader_closes_the_connection_at_once(
    models: OpenAIModels, upstream: Upstream, fault: str
) -> None:
    reader = asyncio.create_task(ask(models, choice_of(upstream, f"tokens=4,fault={fault}")))
    await asyncio.sleep(0.1)
    cancelled_at = time.monotonic()
    reader.cancel()
    with pytest.raises(asyncio.CancelledError):
        await reader
    assert await seconds_to_hang_up(upstream, cancelled_at) < 0.25


async def test_a_connection_serves_one_answer_after_the_other(models: OpenAIModels, upstream: Upstream) -> None:
    for name in ("tokens=3", "split", "json", "status=429", "tokens=1"):
        await ask(models, choice_of(upstream, name))
        await asyncio.sleep(0.02)
    assert upstream.requests == 5
    assert upstream.accepted == 1


async def test_with_force_close_each_answer_has_a_connection_of_its_own(upstream: Upstream) -> None:
    models = OpenAIModels(force_close=True)
    for _ in range(3):
        assert (await ask(models, choice_of(upstream, "tokens=1")))[1] is None
    assert upstream.accepted == 3
    await models.close()


async def test_a_body_that_does_not_end_after_the_answer_holds_neither_reader_nor_connection(
    models: OpenAIModels, upstream: Upstream, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(openai, "BODY_END_SECONDS", 0.05)
    started = time.monotonic()
    async with asyncio.timeout(5):
        parts, error = await ask(models, choice_of(upstream, "tokens=2,hold"))
    assert error is None
    assert parts == [*tokens(2), UsagePart(7, 2)]
    assert await seconds_to_hang_up(upstream, started) < 5


async def test_many_answers_are_read_at_the_same_time(models: OpenAIModels, upstream: Upstream) -> None:
    outcomes = await asyncio.gather(*(ask(models, choice_of(upstream, "tokens=5,delay=0.01")) for _ in range(150)))
    assert all(outcome == ([*tokens(5), UsagePart(7, 5)], None) for outcome in outcomes)


async def serve_once(answer: bytes) -> asyncio.Server:
    """A server that sends these bytes to whoever asks, and hangs up."""

    async def respond(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await reader.readuntil(b"\r\n\r\n")
        writer.write(answer)
        await writer.drain()
        writer.close()

    return await asyncio.start_server(respond, "127.0.0.1", 0)


async def answer_to(models: OpenAIModels, answer: bytes, **fields: Any) -> tuple[list[ModelPart], ModelError | None]:
    async with await serve_once(answer) as server:
        address = f"http://127.0.0.1:{server.sockets[0].getsockname()[1]}"
        return await ask(models, ModelChoice(provider="openai", base_url=address, **fields))


def streamed(*payloads: Any) -> bytes:
    frames = [
        b"data: " + (item if isinstance(item, bytes) else msgspec.json.encode(item)) + b"\n\n" for item in payloads
    ]
    return b"HTTP/1.1 200 OK\r\nContent-Type: text/event-stream\r\n\r\n" + b"".join(frames)


@pytest.mark.parametrize(
    "odd",
    [
        {"choices": [{"delta": {"role": "assistant", "content": None}}]},
        {"choices": [{"delta": {"role": "assistant"}}]},
        {"choices": [{"delta": None}]},
        {"choices": [{"index": 0, "text": "x"}]},
        {"choices": [], "usage": None, "error": None},
        {"choices": None},
        {"id": "x", "timings": {"a": [1, {}]}},
        b"",
        b" {} ",
    ],
)
async def test_chunks_with_nothing_in_them_are_passed_over(models: OpenAIModels, odd: Any) -> None:
    text = {"choices": [{"delta": {"content": "a"}}]}
    told = await answer_to(models, streamed(odd, text, odd, text, b"[DONE]"))
    assert told == ([TextDelta("a"), TextDelta("a")], None)


async def test_of_running_counts_the_last_is_the_usage(models: OpenAIModels) -> None:
    counted = [{"choices": [], "usage": {"prompt_tokens": 5, "completion_tokens": count}} for count in (1, 2, None)]
    assert await answer_to(models, streamed(*counted, b"[DONE]")) == ([UsagePart(5, 0)], None)


async def test_nothing_is_read_after_the_end(models: OpenAIModels) -> None:
    parts, error = await answer_to(models, streamed({"choices": [{"delta": {"content": "a"}}]}, b"[DONE]", b"broken"))
    assert (parts, error) == ([TextDelta("a")], None)


@pytest.mark.parametrize(
    ("reported", "retriable"),
    [
        ({"message": "too long", "code": 400}, False),
        ({"message": "slow down", "code": 429}, True),
        ({"message": "broken", "code": "server_error"}, True),
        ("just words", True),
    ],
)
async def test_an_error_in_the_stream_may_be_asked_again_unless_it_says_otherwise(
    models: OpenAIModels, reported: Any, retriable: bool
) -> None:
    _, error = await answer_to(models, streamed({"error": reported}, b"[DONE]"))
    assert error is not None
    assert error.retriable is retriable


@pytest.mark.parametrize(
    "payload",
    [
        b"[]",
        b"null",
        b"[" * 300_000,
        b'{"x":' * 150_000,
        b'{"choices":[{"delta":{"content":7}}]}',
        b'{"usage":{"prompt_tokens":-1}}',
        b'{"usage":{"prompt_tokens":99999999999999999999}}',
    ],
)
async def test_a_payload_of_another_shape_is_a_model_error(models: OpenAIModels, payload: bytes) -> None:
    _, error = await answer_to(models, streamed(payload))
    assert error is not None
    assert not error.retriable


@pytest.mark.parametrize(
    ("answer", "retriable"),
    [
        (b"HTTP/1.1 200 OK\r\nContent-Type: text/html\r\nContent-Length: 2\r\n\r\nhi", False),
        (b'HTTP/1.1 200 OK\r\nContent-Type: application/json\r\nContent-Length: 14\r\n\r\n{"choices":[]}', False),
        (b'HTTP/1.1 200 OK\r\nContent-Type: application/json\r\nContent-Length: 99\r\n\r\n{"choices":[', True),
        (b"HTTP/1.1 200 OK\r\nContent-Type: text/event-stream\r\n\r\n", True),
        (b"HTTP/1.1 204 No Content\r\n\r\n", False),
        (b"SSH-2.0-OpenSSH\r\n\r\n", True),
        (b"", True),
    ],
)
async def test_what_is_no_answer_at_all_is_a_model_error(models: OpenAIModels, answer: bytes, retriable: bool) -> None:
    parts, error = await answer_to(models, answer)
    assert not parts
    assert error is not None
    assert error.retriable is retriable


async def test_a_refusal_is_told_cut_and_without_the_key(models: OpenAIModels, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("A_MODEL_KEY", "sk-canary")
    body = b"wrong key sk-canary \xff" + b"x" * 1_000_000
    head = b"HTTP/1.1 401 No\r\nContent-Length: 9000000\r\nRetry-After: soon\r\n\r\n"
    _, error = await answer_to(models, head + body, api_key_env="A_MODEL_KEY")
    assert error is not None
    assert not error.retriable
    assert error.retry_after is None
    assert str(error).startswith("the model answered 401: wrong key *** ")
    assert len(str(error)) < 550


def test_retry_after_is_seconds_or_a_date_and_never_negative() -> None:
    assert parse_retry_after("12", 0) == 12
    assert parse_retry_after("0.5", 0) == 0.5
    assert parse_retry_after("Thu, 01 Jan 1970 00:01:40 GMT", 40) == 60
    assert parse_retry_after("Thu, 01 Jan 1970 00:01:40 GMT", 1000) == 0
    for useless in (None, "", "soon", "-3", "nan", "inf", "Thu, 99 Jan 1970 00:00:00 GMT"):
        assert parse_retry_after(useless, 0) is None


def test_the_upstream_is_the_address_without_its_credential(models: OpenAIModels) -> None:
    choice = ModelChoice(provider="openai", base_url="https://me:secret@models.example.com/v1/")
    assert models.upstream(choice) == "https://models.example.com/v1"
    assert models.upstream(ModelChoice(provider="openai")) == "https://api.openai.com/v1"
