"""Who asks for a person."""

import re

import pytest

from dragoman.core import handover
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
        "can you connect me with customer service",
        "I want to speak to customer support",
        "Please put me through to technical support.",
        "I'd like to talk to  a customer service rep",
        "Don't you have a live agent?",
        "Why don't you connect me to an agent",
        "Why can't I talk to a human?",
        "I don't want a bot. I want to talk to a human",
        "I do not want to talk to a bot I want to talk to a human",
        "I never get to talk to a human",
        "If you do not want to, connect me to an agent",
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
        "I don't want to talk to a human",
        "I don\u2019t want to talk to a human",
        "do not connect me to an agent",
        "Please don't get me a human",
        "I'd rather not speak with a real person",
        "I don't want a real human",
        "I did not ask to be connected to an agent",
        "I don't want you to transfer me to customer support",
        "Can I cancel without having to talk to a person?",
        "There is no need to talk to somebody",
        "I need customer support",
        "Let's talk support pricing",
    ],
)
def test_other_questions_are_none(text: str) -> None:
    assert not asks_for_person(text)


def test_no_expression_goes_back_over_what_it_has_read() -> None:
    patterns = [each.pattern for each in vars(handover).values() if isinstance(each, re.Pattern)]
    assert patterns
    for pattern in patterns:
        # What repeats without a bound never gives back what it took.
        bounded = pattern.replace("*+", "")
        assert not {"*", "+"} & set(bounded)
        assert ",}" not in bounded


@pytest.mark.parametrize(
    ("text", "asks"),
    [
        ("talk to " + "human " * 65, True),
        ("talk to " + "support " * 48 + "x", True),
        ("i need a human" + "!" * 385 + "x", False),
        ("do not " + "want to " * 48, False),
        ("do not " + "talk to a human " * 24, True),
        ("i want real live " * 23, False),
        ("!" * 400, False),
        ("human" + "!" * 396, False),
    ],
)
def test_long_texts_are_judged_as_short_ones_are(text: str, asks: bool) -> None:
    assert asks_for_person(text) is asks
