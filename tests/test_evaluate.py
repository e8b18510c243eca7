"""What `dragoman eval` reads and shows."""

import contextlib
import json
from pathlib import Path

import pytest
from PIL import Image

from dragoman.core.calibration import Asked, Bin, report
from dragoman.evaluate import QuestionsUnusable, document, half_of, judged, plot, read_questions, table
from tests.support.server import ServerProcess, manifest, scripted

SETS = Path(__file__).parents[1] / "evals"


def test_every_question_is_of_one_half_and_both_are_used() -> None:
    everything: list[Asked] = []
    for name in ("shop", "manual", "prices", "help"):
        file = SETS / name / "questions.jsonl"
        every = read_questions(file)
        tuning, held = read_questions(file, "tuning"), read_questions(file, "held-back")
        assert {each.question for each in every} == {each.question for each in (*tuning, *held)}
        assert all(half_of(each.question) == "held-back" for each in held)
        assert min(len(tuning), len(held)) > len(every) / 3
        everything += every
    assert 0.3 < sum(not each.evidence for each in everything) / len(everything) < 0.4


@pytest.mark.parametrize("text", ["", "{}", "[1]", '{"question": 1}', "no json"])
def test_a_file_without_questions_is_refused_by_its_line(tmp_path: Path, text: str) -> None:
    file = tmp_path / "questions.jsonl"
    file.write_text(text)
    with pytest.raises(QuestionsUnusable, match=r"questions\.jsonl"):
        read_questions(file)


def test_a_run_is_told_as_a_table_a_document_and_a_picture(tmp_path: Path) -> None:
    file = tmp_path / "questions.jsonl"
    file.write_text('{"question": "When?", "evidence": ["at nine"], "expect": ["nine"]}\n\n{"question": "Why?"}\n')
    told = {"passages": ["open at nine"], "answer": "Nine.", "confidence": 0.8, "resolved": True}
    run = [judged(each, told) for each in read_questions(file)]
    found = report(run, 0.5)
    assert "recall@5           1.000" in table(found, 0.5)
    assert "expected calibration error" in table(found, 0.5)
    spelled = json.loads(document(found, run))
    assert spelled["answers"][0]["right"] is True
    assert spelled["declined"] == 0
    picture = tmp_path / "reliability.png"
    plot(found.bins, picture)
    with Image.open(picture) as image:
        assert image.format == "PNG"
        assert len(image.convert("RGB").getcolors(1 << 20) or ()) > 4


@pytest.mark.parametrize("running", [True, False])
def test_an_agent_is_asked_by_the_server_that_runs_or_without_one(tmp_path: Path, running: bool) -> None:
    known = [{"type": "qa", "title": "Hours", "question": "When do you open?", "answer": "We open at nine."}]
    place = ServerProcess(tmp_path)
    place.apply(manifest(scripted("Support Agent", {"when": "open", "text": "At nine."}, knowledge=known)))
    questions = tmp_path / "questions.jsonl"
    lines = [
        {"question": "When do you open?", "evidence": ["open at nine"], "expect": ["nine"]},
        {"question": "Do you sell boats?"},
    ]
    questions.write_text("\n".join(json.dumps(line) for line in lines))
    source = tmp_path / "more.txt"
    source.write_text("Returns within thirty days.")
    assert place.run("ingest", "support-agent", str(source)).returncode == 0
    with place if running else contextlib.nullcontext():
        picture = tmp_path / "plot.png"
        told = place.run("eval", "support-agent", str(questions), "--json", "--plot", str(picture))
        shown = place.run("eval", "support-agent", str(questions), "--no-answers")
        plain = place.run("eval", "support-agent", str(questions), "--no-answers", "--json")
        drawn = place.run("eval", "support-agent", str(questions), "--no-answers", "--plot", "no.png", check=False)
        wrong = place.run("eval", "support-agent", str(questions), "--half", "third", check=False)
        absent = place.run("eval", "nobody", str(questions), check=False)
    spelled = json.loads(told.stdout)
    assert (spelled["questions"], spelled["answerable"], spelled["recall"], spelled["accuracy"]) == (2, 1, 1.0, 1.0)
    assert picture.read_bytes().startswith(b"\x89PNG")
    assert all(told in shown.stdout for told in ("recall@5           1.000", "at most", "at least"))
    assert not any(told in shown.stdout for told in ("accuracy", "calibration", "confidence  right"))
    unanswered = json.loads(plain.stdout)
    assert list(unanswered) == ["questions", "answerable", "recall", "answered", "declined", "answers"]
    assert list(unanswered["answers"][0]) == ["question", "answerable", "found", "confidence"]
    assert drawn.returncode == 2
    assert "--no-answers" in drawn.stderr
    assert wrong.returncode == 2
    assert absent.returncode == 1
    assert "nobody" in absent.stderr


def test_a_picture_of_nothing_is_its_axes(tmp_path: Path) -> None:
    plot([], tmp_path / "empty.png")
    plot([Bin(1, 0.0, 1.0), Bin(3, 1.0, 0.0)], tmp_path / "edges.png")
    assert (tmp_path / "empty.png").stat().st_size > 500
