"""How good an agent's answers and its confidence are, counted over questions whose answers are known. Pure."""

from collections.abc import Sequence
from dataclasses import dataclass

BINS = 10


@dataclass(frozen=True, slots=True)
class Asked:
    """A question with what is known of it: `evidence` is text that a passage with the answer holds, one of these;
    `expect` is what a right answer says, one of these. Without evidence it is not answerable."""

    question: str
    evidence: tuple[str, ...] = ()
    expect: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True)
class Judged:
    """What came of a question: what was found for it, the answer that the model gave, and how sure that is."""

    asked: Asked
    passages: tuple[str, ...]
    answer: str
    confidence: float
    resolved: bool

    @property
    def found(self) -> bool:
        """Whether a passage holds the evidence."""
        texts = [plain(passage) for passage in self.passages]
        return any(plain(each) in text for each in self.asked.evidence for text in texts)

    @property
    def right(self) -> bool:
        """Whether the answer says what is expected; to what cannot be answered none is right."""
        said = plain(self.answer)
        return any(plain(each) in said for each in self.asked.expect)


@dataclass(frozen=True, slots=True)
class Bin:
    """Answers of about the same confidence: how many, how sure on average, how many of them right."""

    count: int
    confidence: float
    right: float


@dataclass(frozen=True, slots=True)
class Report:
    """The figures of a run; shares are from 0 to 1.

    `accuracy` is of the answerable questions that were answered; `answered` is the share of the answerable that got an
    answer and no fallback, `declined` the share of the others that got the fallback. `calibration_error` is the
    expected calibration error over `bins`.
    """

    questions: int
    answerable: int
    recall: float
    accuracy: float
    answered: float
    declined: float
    calibration_error: float
    bins: tuple[Bin, ...]


def report(judged: Sequence[Judged], min_confidence: float) -> Report:
    """The figures of a run, as they are with this `min_confidence`."""
    known = [each for each in judged if each.asked.evidence]
    unknown = [each for each in judged if not each.asked.evidence]
    given = [each for each in known if is_given(each, min_confidence)]
    bins = bins_of(judged)
    return Report(
        questions=len(judged),
        answerable=len(known),
        recall=_share(sum(each.found for each in known), len(known)),
        accuracy=_share(sum(each.right for each in given), len(given)),
        answered=_share(len(given), len(known)),
        declined=_share(sum(not is_given(each, min_confidence) for each in unknown), len(unknown)),
        calibration_error=sum(each.count * abs(each.confidence - each.right) for each in bins) / max(1, len(judged)),
        bins=bins,
    )


def is_given(judged: Judged, min_confidence: float) -> bool:
    """Whether the answer is given, and not the fallback in its place."""
    return judged.resolved and judged.confidence >= min_confidence


def bins_of(judged: Sequence[Judged]) -> tuple[Bin, ...]:
    """Answers by confidence, in ten bins of equal width; empty ones are left out."""
    sorted_in: dict[int, list[Judged]] = {}
    for each in judged:
        sorted_in.setdefault(min(BINS - 1, int(each.confidence * BINS)), []).append(each)
    return tuple(
        Bin(
            len(together),
            sum(each.confidence for each in together) / len(together),
            sum(each.right for each in together) / len(together),
        )
        for _, together in sorted(sorted_in.items())
    )


def plain(text: str) -> str:
    """A text in lower case with single spaces, as texts are compared."""
    return " ".join(text.lower().split())


def _share(part: int, whole: int) -> float:
    return part / whole if whole else 0.0
