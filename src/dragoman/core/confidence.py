"""How sure an answer is of itself: a formula over what retrieval found and what of the answer stands in it.

docs/confidence.md derives it and says how it was calibrated. Knows no store and no model.
"""

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from functools import cached_property

from dragoman.core.events import Source
from dragoman.core.knowledge import Passage, terms, words

# Fitted on the tuning half of the sets in evals/: of a passage, whether it holds the evidence of a question.
RELEVANCE_CONSTANT, RELEVANCE_NEARNESS, RELEVANCE_COVERAGE = -7.83, 4.9, 6.48
# Fitted there too: of an answer, whether it is right.
CONSTANT, SUPPORTED, ADDED, AHEAD, ABOVE = -2.51, 0.48, 1.72, 0.87, 0.46
# Where the best passage is less relevant than this, the question is about something else.
ABOUT_IT = 0.02

VERBATIM_SIMILARITY = 0.92
SHORTEST_STEM = 4


def stem(word: str) -> str:
    """A word without what English adds to it; a number as it stands."""
    for ending in ("ations", "ation", "ings", "ing", "ies", "ied", "ers", "er", "ed", "es", "ly", "s", "e", "y"):
        if word.endswith(ending) and len(word) - len(ending) >= SHORTEST_STEM:
            return word[: -len(ending)]
    return word


def stems(text: str) -> frozenset[str]:
    """The stems of all words of a text."""
    return frozenset(map(stem, words(text)))


def coverage(asked: Sequence[str], rarity: Mapping[str, float], held: frozenset[str]) -> float:
    """How much of what is asked a text speaks of, from 0 to 1: each word counts as much as it is rare."""
    weights = {word: 0.05 + rarity.get(word, 1.0) for word in asked}
    total = sum(weights.values())
    return sum(weight for word, weight in weights.items() if stem(word) in held) / total if total else 0.0


def support(answer: str, asked: Sequence[str], held: frozenset[str]) -> tuple[float, float]:
    """How much of an answer stands in a text: of all its words, and of those that the question has not said already.

    Each is from 0 to 1; an answer that adds nothing to its question has no support for that.
    """
    said = [stem(word) for word in terms(answer)]
    echoed = frozenset(map(stem, asked))
    return _share(said, held), _share([word for word in said if word not in echoed], held)


def _share(said: Sequence[str], held: frozenset[str]) -> float:
    return sum(word in held for word in said) / len(said) if said else 0.0


def logistic(value: float) -> float:
    """The logistic function."""
    return 1 / (1 + math.exp(-value))


@dataclass(frozen=True)
class Grounds:
    """What a question has found, the most relevant first: what an answer can rest on, and how well it does.

    `asked` are the words that the question is about; of what was `found`, the model is given the first `passages`.
    """

    question: str
    asked: tuple[str, ...]
    rarity: Mapping[str, float]
    found: Sequence[Passage]
    passages: Sequence[Passage]

    @cached_property
    def _held(self) -> frozenset[str]:
        return frozenset().union(*(stems(f"{each.title} {each.heading} {each.text}") for each in self.passages))

    def relevance(self, passage: Passage) -> float:
        """How likely a passage holds what is asked, from 0 to 1."""
        covered = coverage(self.asked, self.rarity, stems(f"{passage.title} {passage.heading} {passage.text}"))
        near = RELEVANCE_NEARNESS * (passage.similarity + passage.nearest)
        return logistic(RELEVANCE_CONSTANT + near + RELEVANCE_COVERAGE * covered)

    def ranked(self, count: int) -> "Grounds":
        """The most relevant of these passages, best first."""
        best = sorted(self.found, key=lambda each: -self.relevance(each))[:count]
        return replace(self, found=best, passages=best)

    @property
    def sources(self) -> tuple[Source, ...]:
        """What to name as the sources: each document once, the most relevant first."""
        found: dict[tuple[str, str], Source] = {}
        for passage in self.passages:
            known = Source(passage.type, passage.title, round(self.relevance(passage), 3))
            found.setdefault((passage.document_id, passage.title), known)
        return tuple(sorted(found.values(), key=lambda each: -each.relevance))

    def confidence(self, answer: str) -> float:
        """How likely an answer is right, from 0 to 1."""
        return self._confidence(*support(answer, self.asked, self._held))

    @property
    def least(self) -> float:
        """The confidence of an answer of which nothing stands in the passages."""
        return self._confidence(0.0, 0.0)

    @property
    def most(self) -> float:
        """The confidence of an answer of which everything does."""
        return self._confidence(1.0, 1.0)

    @property
    def verbatim(self) -> str | None:
        """The answer that its owner wants given as it stands, where the question is all but the one it answers."""
        for passage in self.passages[:1]:
            same = words(self.question) == words(passage.question or "")
            if passage.verbatim is not None and (same or passage.similarity >= VERBATIM_SIMILARITY):
                return passage.verbatim
        return None

    def _confidence(self, supported: float, added: float) -> float:
        if not self.found:
            return 0.0
        relevance = sorted((self.relevance(each) for each in self.found), reverse=True)
        near = [each.similarity + each.nearest for each in self.found]
        ahead = relevance[0] - (relevance[1] if len(relevance) > 1 else 0.0)
        above = max(near) - sum(near) / len(near)
        sure = logistic(CONSTANT + SUPPORTED * supported + ADDED * added + AHEAD * ahead + ABOVE * above)
        return sure * min(1.0, relevance[0] / ABOUT_IT)
