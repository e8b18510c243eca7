"""The figures of an evaluation, counted by hand."""

import pytest

from dragoman.core.calibration import Asked, Judged, bins_of, report

KNOWN = Asked("When?", ("open at  NINE",), ("nine",))
UNKNOWN = Asked("Why?")


def judged(asked: Asked, answer: str, confidence: float, *, passage: str = "", resolved: bool = True) -> Judged:
    return Judged(asked, (passage,), answer, confidence, resolved)


def test_the_figures_are_counted() -> None:
    run = [
        judged(KNOWN, "At Nine.", 0.9, passage="We open at nine o'clock."),
        judged(KNOWN, "At ten.", 0.9),
        judged(KNOWN, "At nine.", 0.2, passage="open at nine"),
        judged(UNKNOWN, "Because.", 0.9),
        judged(UNKNOWN, "No idea.", 0.1, resolved=False),
    ]
    found = report(run, 0.5)
    assert (found.questions, found.answerable) == (5, 3)
    assert found.recall == pytest.approx(2 / 3)
    assert found.answered == pytest.approx(2 / 3)
    assert found.accuracy == 0.5
    assert found.declined == 0.5
    # Three of confidence 0.9 of which one is right, one of 0.2 that is, one of 0.1 that is not.
    assert found.calibration_error == pytest.approx((3 * abs(0.9 - 1 / 3) + 0.8 + 0.1) / 5)


def test_bins_are_ten_of_equal_width_and_the_last_holds_certainty() -> None:
    found = bins_of([judged(KNOWN, "nine", each) for each in (0.0, 0.05, 0.1, 0.95, 1.0)])
    assert [each.count for each in found] == [2, 1, 2]
    assert found[-1].confidence == pytest.approx(0.975)


def test_no_questions_are_no_figures() -> None:
    found = report([], 0.5)
    assert (found.questions, found.recall, found.calibration_error, found.bins) == (0, 0, 0, ())
