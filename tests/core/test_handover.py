"""Who asks for a person."""

import pytest

from dragoman.core.handover import asks_for_person


@pytest.mark.parametrize(
    "text",
    [
        "Can I talk to a human?",
        "i want to speak with a real person please",
        "Connect me to an agent",
        "put me through to someone in support team",
        "human please",
        "operator",
        "I need a human",
        "Is there a live agent?",
        "let me have a representative",
    ],
)
def test_a_wish_for_a_person_is_heard(text: str) -> None:
    assert asks_for_person(text)


@pytest.mark.parametrize(
    "text",
    [
        "What are your business hours?",
        "Do you sell user agents?",
        "How many people work here?",
        "The agent was rude yesterday.",
        "I talk a lot. Persons of interest is a series.",
        "Which humanitarian projects do you support?",
        "talk " + "very " * 200 + "human",
        "I need a table for four people",
        "I want to order a gift for somebody",
        "I need someone's address",
        "I want to give my manager a present",
        "Connect the agent to my site",
        "I want to cancel the agent plan",
    ],
)
def test_other_questions_are_none(text: str) -> None:
    assert not asks_for_person(text)
