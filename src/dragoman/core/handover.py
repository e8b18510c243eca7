"""When a conversation goes to a person, purely. Knows no store and no model."""

import re
from dataclasses import dataclass
from typing import Literal

# Why a person was asked: the user asked for one, the agent was unsure too often, it called for one, or one came.
Reason = Literal["requested", "unsure", "called", "taken"]

# No repetition in these goes without a bound or goes back: each takes linear time, whatever it is given.
_PEOPLE = (
    r"(?:human|person|people|someone|somebody|agent|representative|rep|operator|employee|colleague|staff|manager|"
    r"adviser|advisor|support team)"
)
_ONE = (
    r"(?:to |with )?(?:an? |the |your |some |another )?(?:(?:real|actual|live|human|support|service) ){0,3}"
    rf"{_PEOPLE}\b"
)
_DESK = (
    r"(?:to |with )(?:an? |the |your )?(?:(?:customer|technical|tech) )?(?:support|(?<=customer )(?:service|care))\b"
)
_ASKS = re.compile(
    r"\b(?:talk|speak|chat|transfer me|transferred|connect me|connected|put me through|hand me over|pass me on) "
    rf"(?:{_ONE}|{_DESK})"
    rf"|\b(?:get me|give me|i need|i want|i would like|i'd like|is there|can i have|let me have) {_ONE}\W*+"
    r"(?:please|now|here|there|who can help(?: me)?)?\W*+$"
    r"|\b(?:real|actual|live) (?:human|person|agent|representative|operator)\b"
    r"|^\W*+(?:human|agent|operator|representative)(?: please)?\W*+$",
    re.IGNORECASE,
)
# Before a wish, the words that make it one for the contrary; "don't you ..." and "why not ..." do not.
_NOT = re.compile(
    r"(?:\b(?:(?:do|would|will|am|is|need|rather) not|don'?t|wouldn'?t|won'?t|never|no need|without)"
    r"|\b(?:did not|didn'?t)(?= (?:ask|mean|need|want|wish)\b)|\bi'?m not)(?! you\b)"
    r"(?: (?:want|wanna|wish|like|need|care|mean|ask|asking|having|have(?= to\b)|to|be|being|you|ever|really|just|"
    r"an?|any|the|very|talk|speak|chat|with)){0,9} $",
    re.IGNORECASE,
)
# So many characters before a wish are looked at for that.
_BEFORE = 100
_LONGEST = 400


@dataclass(frozen=True, slots=True)
class HandoverRule:
    """When an agent hands a conversation to a person, and what it says then.

    After `below_confidence` answers in a row that were not sure enough (0: never); where `on_request` as soon as the
    user asks for a person. A user's message waits `wait` seconds for a person's answer; when no person has written for
    `timeout` seconds, the agent answers again.
    """

    on_request: bool = True
    below_confidence: int = 0
    message: str = "I am handing you over to a colleague, who will answer here."
    wait: float = 25.0
    timeout: float = 3600.0


@dataclass(frozen=True, slots=True)
class Handover:
    """A conversation that a person is to answer in, or was. Times are in microseconds; it ends at `due_at` by itself.

    `ended_by` is who gave it back: a person's name, or `timeout`.
    """

    id: str
    conversation_id: str
    agent_id: str
    title: str
    reason: Reason
    requested_at: int
    due_at: int
    ended_at: int | None = None
    ended_by: str | None = None


def asks_for_person(text: str) -> bool:
    """Whether somebody asks for a person, in English and in few words."""
    if len(text) > _LONGEST:
        return False
    said = " ".join(text.replace("\u2019", "'").split())
    return any(not _NOT.search(said[max(0, wish.start() - _BEFORE) : wish.start()]) for wish in _ASKS.finditer(said))
