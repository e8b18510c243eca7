"""A stepped coroutine by itself: it parks for news, waits for futures, ends once."""

import asyncio

import pytest

from dragoman.server.stepped import PARKED, Stepped


async def test_a_step_runs_to_the_next_place_where_there_is_no_news() -> None:
    news = ["a", "b"]
    seen: list[str] = []

    async def work() -> None:
        while "end" not in seen:
            while news:
                seen.append(news.pop(0))
            if "end" not in seen:
                await PARKED

    stepped = Stepped(work())
    stepped.step()
    assert seen == ["a", "b"]
    news += ["c", "end"]
    stepped.step()
    assert seen == ["a", "b", "c", "end"]
    assert stepped.done.done()
    stepped.step()


async def test_while_it_waits_for_a_future_news_does_not_step_it_and_afterwards_it_looks_by_itself() -> None:
    seen: list[str] = []
    socket = asyncio.get_running_loop().create_future()

    async def work() -> None:
        seen.append("before")
        await socket
        seen.append("after")

    stepped = Stepped(work())
    stepped.step()
    stepped.step()
    assert seen == ["before"]
    socket.set_result(None)
    await stepped.done
    assert seen == ["before", "after"]


async def test_an_error_reaches_whoever_waits_for_its_end_and_not_who_stepped_it() -> None:
    async def work() -> None:
        await PARKED
        raise ValueError("gone wrong")

    stepped = Stepped(work())
    stepped.step()
    stepped.step()
    with pytest.raises(ValueError, match="gone wrong"):
        await stepped.done


async def test_a_closed_one_runs_no_more_even_when_its_future_is_done() -> None:
    seen: list[str] = []
    socket = asyncio.get_running_loop().create_future()

    async def work() -> None:
        try:
            await socket
            seen.append("after")
        finally:
            seen.append("closed")

    stepped = Stepped(work())
    stepped.step()
    stepped.close()
    socket.set_result(None)
    await asyncio.sleep(0)
    stepped.step()
    assert seen == ["closed"]
