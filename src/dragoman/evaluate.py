"""What `dragoman eval` does: asks an agent every question of a file, and shows how good and how sure it is."""

import asyncio
import contextlib
import hashlib
import json
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import msgspec
from rich.console import Console
from rich.progress import Progress

from dragoman.core.calibration import Asked, Bin, Judged, Report
from dragoman.ingest import LOOK_SECONDS, asking
from dragoman.settings import Settings

HALVES = ("all", "tuning", "held-back")
# What of a report, and of a question in it, says nothing where no model has answered.
OF_ANSWERS = ("accuracy", "calibration_error", "bins")
OF_AN_ANSWER = ("answer", "right", "resolved")

_SIDE, _MARGIN = 480, 56


class QuestionsUnusable(Exception):
    """The file holds no questions as they are to be written; the text names the line."""


def read_questions(path: Path, half: str = "all") -> list[Asked]:
    """The questions of a file, one JSON object a line: `question`, and where it can be answered `evidence`, `expect`.

    A question belongs to one half or the other by its own hash, so that both stay what they are when others come.

    Raises:
        QuestionsUnusable, OSError
    """
    if half not in HALVES:
        raise QuestionsUnusable(f"{half!r} is no half; it is all, tuning or held-back")
    found: list[Asked] = []
    for number, line in enumerate(path.read_text().splitlines(), start=1):
        if not line.strip():
            continue
        try:
            asked = msgspec.json.decode(line, type=Asked)
        except msgspec.MsgspecError as error:
            raise QuestionsUnusable(f"{path}:{number}: {error}") from error
        if half in ("all", half_of(asked.question)):
            found.append(asked)
    if not found:
        raise QuestionsUnusable(f"{path} holds no questions")
    return found


def half_of(question: str) -> str:
    """Whether a question is one to tune with, or is held back from that."""
    return "tuning" if hashlib.sha256(question.encode()).digest()[0] % 2 == 0 else "held-back"


def judged(asked: Asked, told: dict[str, Any]) -> Judged:
    """A question with what an agent made of it."""
    return Judged(asked, tuple(told["passages"]), told["answer"], told["confidence"], told["resolved"])


def table(found: Report, min_confidence: float, *, answered: bool = True) -> str:
    """A report as text; where no model has `answered`, without what is counted over answers."""
    accuracy = [f"accuracy of answers given    {found.accuracy:.3f}"]
    calibration = [
        f"expected calibration error   {found.calibration_error:.3f}",
        "",
        "confidence  right  answers",
        *(f"{each.confidence:10.2f} {each.right:6.2f} {each.count:8}" for each in found.bins),
    ]
    most, least = ("", "") if answered else ("at most ", "at least ")
    lines = [
        f"questions                    {found.questions}, {found.answerable} of them answerable",
        f"retrieval recall@5           {found.recall:.3f}",
        *(accuracy if answered else ()),
        f"at min_confidence {min_confidence:<10g} {most}{found.answered:.3f} of the answerable are answered, "
        f"{least}{found.declined:.3f} of the others get the fallback",
        *(calibration if answered else ()),
    ]
    return "\n".join(lines)


def document(found: Report, everything: Sequence[Judged], *, answered: bool = True) -> str:
    """A report as JSON, with every question; where no model has `answered`, without what is counted over answers."""
    rows = [
        {
            "question": each.asked.question,
            "answerable": bool(each.asked.evidence),
            "found": each.found,
            "answer": each.answer,
            "right": each.right,
            "confidence": each.confidence,
            "resolved": each.resolved,
        }
        for each in everything
    ]
    whole = {**msgspec.to_builtins(found), "answers": rows}
    if not answered:
        for part, names in ((whole, OF_ANSWERS), *((row, OF_AN_ANSWER) for row in rows)):
            for name in names:
                del part[name]
    return json.dumps(whole, ensure_ascii=False)


async def evaluate(
    settings: Settings, agent: str, tenant: str | None, asked: Sequence[Asked], *, answered: bool
) -> tuple[list[Judged], float]:
    """Ask an agent every question, by the server that runs or here: what it made of them, and its `min_confidence`.

    What it has been given is waited for first.

    Raises:
        DragomanError, Refused: there is no such agent, it knows nothing, or it cannot be asked.
        StoreUnusable, SettingsError, OSError: the database cannot be opened.
    """
    found: list[Judged] = []
    least = 0.0
    async with asking(settings) as do, contextlib.AsyncExitStack() as stack:
        bar = stack.enter_context(Progress(console=Console(stderr=True), transient=True))
        learning = bar.add_task("learning", total=None)
        while unknown := await do("unfinished", agent=agent, tenant=tenant):
            bar.update(learning, description=f"learning, {unknown} documents to go")
            await asyncio.sleep(LOOK_SECONDS)
        bar.remove_task(learning)
        task = bar.add_task("asking", total=len(asked))
        for each in asked:
            told = await do("ask", agent=agent, tenant=tenant, question=each.question, answered=answered)
            least = told["min_confidence"]
            found.append(judged(each, told))
            bar.advance(task)
    return found, least


def plot(bins: Sequence[Bin], path: Path) -> None:
    """Draw a reliability diagram as PNG: how many answers of each confidence are right, beside how many should be."""
    from PIL import Image, ImageDraw

    size = _SIDE + 2 * _MARGIN
    image = Image.new("RGB", (size, size), "white")
    draw = ImageDraw.Draw(image)

    def at(confidence: float, right: float) -> tuple[float, float]:
        return _MARGIN + confidence * _SIDE, _MARGIN + (1 - right) * _SIDE

    draw.rectangle((*at(0, 1), *at(1, 0)), outline="#888888")
    for tenth in range(11):
        share = tenth / 10
        x, y = at(share, share)
        draw.line((x, _MARGIN + _SIDE, x, _MARGIN + _SIDE + 5), fill="#888888")
        draw.line((_MARGIN - 5, y, _MARGIN, y), fill="#888888")
        if tenth % 2 == 0:
            draw.text((x - 8, _MARGIN + _SIDE + 8), f"{share:.1f}", fill="black")
            draw.text((_MARGIN - 30, y - 6), f"{share:.1f}", fill="black")
    draw.line((*at(0, 0), *at(1, 1)), fill="#bbbbbb", width=2)
    most = max((each.count for each in bins), default=1)
    for each in bins:
        x, y = at(each.confidence, each.right)
        radius = 4 + 12 * (each.count / most) ** 0.5
        draw.line((x, y, *at(each.confidence, each.confidence)), fill="#d08770", width=2)
        draw.ellipse((x - radius, y - radius, x + radius, y + radius), fill="#5e81ac", outline="#2e3440")
        draw.text((x + radius + 2, y - 6), str(each.count), fill="black")
    draw.text((size / 2 - 30, size - 22), "confidence", fill="black")
    draw.text((8, 14), "share of answers that are right (numbers: how many)", fill="black")
    image.save(path, "PNG")
