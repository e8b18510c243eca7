"""Generations share the processors, a transcription has them alone, and neither waits for ever."""

import asyncio
from collections.abc import Callable
from contextlib import AbstractAsyncContextManager

import pytest

from dragoman.adapters.models.turnstile import Turnstile


class Scene:
    """Who is through the turnstile, in order; each stays until it is let go."""

    def __init__(self) -> None:
        self.turnstile = Turnstile()
        self.inside: list[str] = []
        self.entered: list[str] = []
        self.leave: dict[str, asyncio.Event] = {}

    async def come(self, name: str, through: Callable[[], AbstractAsyncContextManager[None]]) -> None:
        async with through():
            self.inside.append(name)
            self.entered.append(name)
            await self.leave[name].wait()
            self.inside.remove(name)

    async def queue(self, *names: str) -> dict[str, asyncio.Task[None]]:
        """Have them come one after the other: a `g` generates, a `t` transcribes."""
        tasks = {}
        for name in names:
            self.leave[name] = asyncio.Event()
            through = self.turnstile.generating if name.startswith("g") else self.turnstile.transcribing
            tasks[name] = asyncio.create_task(self.come(name, through))
            await asyncio.sleep(0)
        await settled()
        return tasks

    async def let_go(self, name: str) -> None:
        self.leave[name].set()
        await settled()


async def settled() -> None:
    for _ in range(10):
        await asyncio.sleep(0)


async def test_generations_run_together_and_a_transcription_alone() -> None:
    scene = Scene()
    await scene.queue("g1", "g2", "t1")
    assert scene.inside == ["g1", "g2"]
    await scene.let_go("g1")
    assert scene.inside == ["g2"]
    await scene.let_go("g2")
    assert scene.inside == ["t1"]


async def test_who_comes_later_waits_for_who_waits_already() -> None:
    scene = Scene()
    await scene.queue("g1", "t1", "g2", "t2", "g3")
    for name, then in (("g1", ["t1"]), ("t1", ["g2"]), ("g2", ["t2"]), ("t2", ["g3"])):
        await scene.let_go(name)
        assert scene.inside == then
    await scene.let_go("g3")
    assert scene.entered == ["g1", "t1", "g2", "t2", "g3"]


async def test_who_gives_up_holds_up_nobody() -> None:
    scene = Scene()
    tasks = await scene.queue("g1", "t1", "t2", "g2")
    for name in ("t1", "t2"):
        tasks[name].cancel()
    await settled()
    assert scene.inside == ["g1", "g2"]
    tasks["g1"].cancel()
    tasks["g2"].cancel()
    await settled()
    await scene.queue("t3")
    assert scene.entered[-1] == "t3"


async def test_a_failure_inside_lets_the_next_through() -> None:
    turnstile = Turnstile()
    for through in (turnstile.generating, turnstile.transcribing) * 2:
        with pytest.raises(ValueError, match="within"):
            async with asyncio.timeout(1), through():
                raise ValueError("within")
