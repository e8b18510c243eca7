"""How sure an answer is: what the formula rises with, and where its bounds are."""

from dataclasses import replace

import pytest

from dragoman.core.confidence import Grounds, coverage, stem, stems, support
from dragoman.core.knowledge import Passage, terms

HOURS = Passage(1, "d1", "qa", "Hours", "", "We open at 9 and close at 18 on weekdays.", 0.7, 0.8)
RETURNS = Passage(2, "d2", "file", "Returns", "", "Goods come back within 30 days.", 0.3, 0.3)
QUESTION = "When do you open on weekdays?"


def grounds(*passages: Passage, question: str = QUESTION, rarity: float = 0.8) -> Grounds:
    asked = tuple(terms(question))
    return Grounds(question, asked, dict.fromkeys(asked, rarity), passages, passages)


def test_the_more_of_an_answer_its_passages_hold_the_surer_it_is() -> None:
    found = grounds(HOURS, RETURNS)
    supported, invented = found.confidence("We open at 9."), found.confidence("Unicorns sing at 77 meadows.")
    assert 0 < invented < supported < 1
    assert found.least <= invented
    assert supported <= found.most


def test_a_passage_that_stands_out_makes_surer_answers_than_one_among_many_like_it() -> None:
    alike = [replace(HOURS, chunk_id=number) for number in range(10, 14)]
    assert grounds(HOURS, *alike).confidence("We open at 9.") < grounds(HOURS, RETURNS).confidence("We open at 9.")


def test_a_question_about_something_else_is_answered_without_confidence() -> None:
    elsewhere = replace(RETURNS, similarity=0.05, nearest=0.05)
    found = grounds(elsewhere, question="Which moons orbit Jupiter?")
    assert found.most < 0.05


def test_nothing_found_is_no_confidence_at_all() -> None:
    assert grounds().confidence("Anything.") == 0
    assert grounds().most == 0
    assert grounds().sources == ()
    assert grounds().verbatim is None


def test_sources_are_documents_each_once_the_most_relevant_first() -> None:
    again = replace(HOURS, chunk_id=3, similarity=0.1, nearest=0.1)
    found = grounds(RETURNS, again, HOURS).ranked(5)
    assert [source.title for source in found.sources] == ["Hours", "Returns"]
    assert found.sources[0].relevance == round(found.relevance(HOURS), 3)
    assert len(grounds(RETURNS, HOURS).ranked(1).passages) == 1


@pytest.mark.parametrize(
    ("question", "similarity", "given"),
    [
        ("When do you open?", 0.1, True),
        ("when do you OPEN", 0.1, True),
        ("When is it open?", 0.95, True),
        ("When is it open?", 0.8, False),
    ],
)
def test_a_near_verbatim_question_alone_is_answered_verbatim(question: str, similarity: float, given: bool) -> None:
    known = replace(HOURS, question="When do you open?", verbatim="At 9.", similarity=similarity, nearest=similarity)
    assert grounds(known, question=question).verbatim == ("At 9." if given else None)
    assert grounds(replace(known, verbatim=None), question=question).verbatim is None


def test_rare_words_cover_more_of_a_question_than_common_ones() -> None:
    rarity = {"price": 0.1, "kohlrabi": 0.9}
    asked = ["price", "kohlrabi"]
    assert coverage(asked, rarity, stems("kohlrabi")) > 0.8 > coverage(asked, rarity, stems("prices"))
    assert coverage(asked, rarity, stems("prices of kohlrabi")) == pytest.approx(1)
    assert coverage([], {}, frozenset()) == 0


def test_support_is_of_all_words_and_of_those_that_the_question_has_not_said() -> None:
    held = stems("goods come back within 30 days")
    assert support("30 days", ["days"], held) == (1.0, 1.0)
    assert support("60 days", ["days"], held) == (0.5, 0.0)
    assert support("days", ["days"], held) == (1.0, 0.0)
    assert support("", ["days"], held) == (0.0, 0.0)


@pytest.mark.parametrize(("one", "other"), [("returned", "returns"), ("shipping", "ships"), ("policies", "policied")])
def test_forms_of_one_word_have_one_stem(one: str, other: str) -> None:
    assert stem(one)[:4] == stem(other)[:4]
