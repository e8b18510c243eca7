"""The embedded model answers from real weights, survives its crashes and never outlives its parent."""

import asyncio
import os
import signal
import subprocess
import sys
import time
from collections.abc import AsyncIterator, Callable, Mapping, Sequence
from contextlib import aclosing
from pathlib import Path

import pytest

from dragoman.adapters.models import embedded, weights
from dragoman.adapters.models.embedded import EmbeddedModels
from dragoman.adapters.models.openai import OpenAIModels
from dragoman.core.agents import ModelChoice, Tool
from dragoman.core.events import TextDelta
from dragoman.core.prompt import PromptMessage
from dragoman.ports.models import ModelError, ModelPart, UsagePart
from dragoman.settings import Settings

pytestmark = pytest.mark.alone

QUESTION = (PromptMessage("system", "Be brief."), PromptMessage("user", "Name three colours."))
SHORT = ModelChoice(max_tokens=24, temperature=0.0)
LONG = ModelChoice(max_tokens=2000, temperature=0.0)
MODELS_DIR = Settings().models_dir
DEATH_SECONDS = 5.0


class Recorder(OpenAIModels):
    """Remembers where it was sent."""

    base_url = ""

    def stream_from(
        self,
        base_url: str,
        choice: ModelChoice,
        prompt: Sequence[PromptMessage],
        headers: Mapping[str, str] | None = None,
    ):
        self.base_url = base_url
        return super().stream_from(base_url, choice, prompt, headers)


@pytest.fixture
def chat_weights() -> Path:
    path = weights.locate("chat", MODELS_DIR)
    if path is None:
        pytest.fail(f"the chat weights are not in {MODELS_DIR}; run: dragoman models pull chat", pytrace=False)
    return path


@pytest.fixture
def openai() -> Recorder:
    return Recorder(force_close=True)


@pytest.fixture
async def models(chat_weights: Path, openai: Recorder) -> AsyncIterator[EmbeddedModels]:
    made = EmbeddedModels(MODELS_DIR, openai)
    yield made
    await made.close()


def children_of(parent: int) -> list[int]:
    """The model processes that this process started and that are not dead."""
    found = []
    for folder in Path("/proc").glob("[0-9]*"):
        try:
            state, its_parent = (folder / "stat").read_text().rpartition(")")[2].split()[:2]
            command = (folder / "cmdline").read_text()
        except (FileNotFoundError, ProcessLookupError):
            continue
        if int(its_parent) == parent and state != "Z" and embedded.CHILD in command:
            found.append(int(folder.name))
    return found


def wait_until(happens: Callable[[], object]) -> None:
    deadline = time.monotonic() + DEATH_SECONDS
    while not happens():
        assert time.monotonic() < deadline
        time.sleep(0.01)


def is_dead(pid: int) -> bool:
    try:
        return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0] == "Z"
    except (FileNotFoundError, ProcessLookupError):
        return True


async def replaced(dead: int) -> None:
    await asyncio.to_thread(wait_until, lambda: [pid for pid in children_of(os.getpid()) if pid != dead])


async def ask(models: EmbeddedModels, choice: ModelChoice = SHORT, prompt: Sequence[PromptMessage] = QUESTION):
    parts: list[ModelPart] = []
    async for some in models.stream(choice, prompt):
        parts += some
    return parts


async def test_it_answers_in_several_parts_and_counts_tokens(models: EmbeddedModels) -> None:
    parts = await ask(models)
    texts = [part.text for part in parts if isinstance(part, TextDelta)]
    assert len(texts) > 3
    assert "".join(texts).strip()
    usage = parts[-1]
    assert isinstance(usage, UsagePart)
    assert usage.prompt_tokens > 5
    assert 3 < usage.completion_tokens <= 24


async def test_it_is_offered_no_tools_of_the_client(models: EmbeddedModels) -> None:
    # llama.cpp would refuse a request with this schema.
    tool = Tool("client", "weather", "Current weather", {"type": "object", "properties": {"at": {"type": "place"}}})
    parts = [part async for some in models.stream(SHORT, QUESTION, (tool,)) for part in some]
    assert isinstance(parts[0], TextDelta)


async def test_one_process_serves_all_and_ends_with_close(chat_weights: Path, openai: Recorder) -> None:
    models = EmbeddedModels(MODELS_DIR, openai)
    await models.warm()
    await asyncio.gather(*(ask(models) for _ in range(3)))
    [pid] = children_of(os.getpid())
    await models.close()
    assert is_dead(pid)
    with pytest.raises(ModelError, match="closing"):
        await ask(models)


async def test_other_programs_on_the_machine_cannot_use_it(models: EmbeddedModels, openai: Recorder) -> None:
    await ask(models)
    assert openai.base_url.startswith("http://127.0.0.1:")
    with pytest.raises(ModelError, match="401"):
        async for _ in OpenAIModels.stream_from(openai, openai.base_url, SHORT, QUESTION):
            pass


async def test_a_killed_process_is_replaced_for_the_next_request(models: EmbeddedModels) -> None:
    await ask(models)
    [first] = children_of(os.getpid())
    os.kill(first, signal.SIGKILL)
    await replaced(first)
    assert await ask(models)


async def test_an_answer_that_is_cut_by_a_crash_may_be_tried_again(models: EmbeddedModels) -> None:
    story = (PromptMessage("user", "Count from one to five hundred, in words."),)
    async with aclosing(models.stream(LONG, story)) as answer:
        assert await anext(answer)
        [pid] = children_of(os.getpid())
        os.kill(pid, signal.SIGKILL)
        with pytest.raises(ModelError) as failure:
            async for _ in answer:
                pass
    assert failure.value.retriable
    await replaced(pid)
    assert await ask(models)


async def test_a_terminal_or_supervisor_that_signals_the_group_does_not_end_it(models: EmbeddedModels) -> None:
    await models.warm()
    [pid] = children_of(os.getpid())
    os.kill(pid, signal.SIGINT)
    os.kill(pid, signal.SIGTERM)
    assert await ask(models)
    assert children_of(os.getpid()) == [pid]


async def test_weights_that_always_kill_it_are_left_to_rest_and_then_tried_again(
    models: EmbeddedModels, chat_weights: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(embedded, "REST_SECONDS", 2.0)
    path = tmp_path / "model.gguf"
    path.write_bytes(b"no weights")
    choice = ModelChoice(path=str(path), max_tokens=8)
    for _ in range(2):
        with pytest.raises(ModelError, match=r"died 3 times(?s:.*)llama\.cpp cannot serve") as failure:
            await ask(models, choice)
        assert not failure.value.retriable
    path.unlink()
    path.symlink_to(chat_weights)
    await asyncio.sleep(2.0)
    assert await ask(models, choice)


async def test_four_conversations_at_their_longest_do_not_break_each_other_off(models: EmbeddedModels) -> None:
    choice = ModelChoice(context_tokens=256, max_tokens=40)
    prompts = [(PromptMessage("user", f"Story {word}: " + f"{word} and dog " * 60),) for word in "abcd"]
    answers = await asyncio.gather(*(ask(models, choice, prompt) for prompt in prompts))
    counted = [answer[-1] for answer in answers]
    assert all(isinstance(usage, UsagePart) and usage.prompt_tokens > 180 for usage in counted)


async def test_a_longer_context_than_the_one_that_runs_gets_a_process_of_its_own(models: EmbeddedModels) -> None:
    for context_tokens in (512, 256, 1024):
        await ask(models, ModelChoice(context_tokens=context_tokens, max_tokens=4))
    assert len(children_of(os.getpid())) == 2


async def test_missing_weights_are_told_with_what_to_run(tmp_path: Path, openai: Recorder) -> None:
    models = EmbeddedModels(tmp_path, openai)
    with pytest.raises(ModelError, match="dragoman models pull") as failure:
        await ask(models)
    assert not failure.value.retriable
    with pytest.raises(ModelError, match="no weights at"):
        await ask(models, ModelChoice(path=str(tmp_path / "absent.gguf")))
    await models.close()


async def test_what_breaks_together_is_one_file_of_weights(models: EmbeddedModels) -> None:
    assert models.upstream(ModelChoice()) == "embedded:qwen2.5-coder-0.5b-instruct"
    assert models.upstream(ModelChoice(path="a/b.gguf")) == "embedded:a/b.gguf"


PARENT = """
import asyncio, sys
from pathlib import Path
from dragoman.adapters.models.embedded import EmbeddedModels
from dragoman.adapters.models.openai import OpenAIModels

async def main():
    models = EmbeddedModels(Path(sys.argv[1]), OpenAIModels(force_close=True))
    await models.warm()
    print("ready", flush=True)
    await asyncio.sleep(600)

asyncio.run(main())
"""


@pytest.mark.parametrize("moment", ["while it loads", "while it serves"])
def test_it_dies_with_its_parent(chat_weights: Path, moment: str) -> None:
    command = [sys.executable, "-c", PARENT, str(MODELS_DIR)]
    with subprocess.Popen(command, stdout=subprocess.PIPE) as parent:
        try:
            assert parent.stdout
            if moment == "while it serves":
                assert parent.stdout.readline() == b"ready\n"
            wait_until(lambda: children_of(parent.pid))
            [pid] = children_of(parent.pid)
        finally:
            parent.kill()
    wait_until(lambda: is_dead(pid))
