"""What agents know: documents, the passages of them that a question finds, and how two rankings become one.

Knows no store and no embedder.
"""

import re
import unicodedata
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Literal

SourceType = Literal["qa", "text", "file", "website", "table"]
DocumentState = Literal["queued", "working", "ready", "failed"]
# What is being done with a document that is worked on.
Step = Literal["waiting", "fetching", "parsing", "embedding", "done"]

# The constant of reciprocal rank fusion (Cormack, Clarke and Büttcher, SIGIR 2009), who took 60 for long rankings of
# many systems. Of two, of which the first five are wanted, the first places tell more: docs/confidence.md has figures.
FUSION_CONSTANT = 10


@dataclass(frozen=True, slots=True)
class Document:
    """Something that an agent was given to know. Times are microseconds since the epoch.

    Of `total` chunks `done` are embedded; `error` says why it failed, to its owner.
    """

    id: str
    tenant_id: str
    agent_id: str
    type: SourceType
    title: str
    state: DocumentState
    step: Step
    error: str | None
    done: int
    total: int
    managed: Literal["manifest", "api"]
    created_at: int
    updated_at: int


@dataclass(frozen=True, slots=True)
class Passage:
    """A chunk that a question has found. `similarity` is the cosine of its vector and the question's, `nearest` that
    of the part of it that is nearest to the question.

    `title` is the document's, `heading` says where in it the text stands. `question` and `verbatim` are of a document
    of type qa: what it answers, and the answer, where it may be given as it stands.
    """

    chunk_id: int
    document_id: str
    type: SourceType
    title: str
    heading: str
    text: str
    similarity: float
    nearest: float
    question: str | None = None
    verbatim: str | None = None


def fuse(rankings: Sequence[Sequence[int]]) -> list[int]:
    """One ranking of several, best first, by reciprocal rank: of each item, the sum of 1 / (10 + its rank)."""
    scores: dict[int, float] = {}
    for ranking in rankings:
        for rank, item in enumerate(ranking, start=1):
            scores[item] = scores.get(item, 0.0) + 1 / (FUSION_CONSTANT + rank)
    return sorted(scores, key=lambda item: -scores[item])


_WORD = re.compile(r"\w+")
# Words that a question is asked with and not about.
_ASKED_WITH = """
    a about after again all also am an and any are as at be because been before being but by can cannot could d
    did do does doing don done down during each few for from further get gets getting give got had has have
    having he hello her here hers hey hi him his how however hows i id if im in into is isn it its ive just know
    let like ll m many may me might mine more most much must my need no not now of off ok okay on once one only
    or other our ours out over own please pls re s same say shall she should so some such sure t tell than thank
    thanks that the their them then there theres these they thing things this those through to too u under until
    up ur us ve very was way we well were what whats when where wheres which while who whom whose why will with
    would yeah yes you your yours
"""
STOP_WORDS = frozenset(_ASKED_WITH.split())


def words(text: str) -> list[str]:
    """The words of a text in order, lower case and without marks."""
    plain = text.lower().replace("'", " ").replace("\u2019", " ")
    return _WORD.findall(plain if plain.isascii() else "".join(map(_unmarked, plain)))


def _unmarked(letter: str) -> str:
    """A Latin letter without its marks; in other scripts a mark makes another letter."""
    base = unicodedata.normalize("NFD", letter)[0]
    return base if base.isascii() else letter


def terms(text: str) -> list[str]:
    """The words that a text is about, each once, in order."""
    return list(dict.fromkeys(word for word in words(text) if word not in STOP_WORDS))


_BETWEEN_SENTENCES = re.compile(r"(?<=[.!?;])\s+|\n")
WINDOW = 200


def windows(text: str) -> list[str]:
    """A text's sentences, those that are short together: what a question is about is often one of many things said."""
    found: list[str] = []
    together = ""
    for sentence in filter(None, (part.strip() for part in _BETWEEN_SENTENCES.split(text))):
        if together and len(together) + 1 + len(sentence) > WINDOW:
            found.append(together)
            together = ""
        together = f"{together} {sentence}" if together else sentence
    return [*found, together] if together else found
