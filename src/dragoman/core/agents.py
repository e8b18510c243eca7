"""Agents: what they are told, which model answers for them, how they behave. Knows no model server."""

import re
import unicodedata
from dataclasses import dataclass
from typing import Any, Literal

Provider = Literal["openai", "embedded", "scripted"]

EMBEDDED_MODEL = "qwen2.5-coder-0.5b-instruct"


@dataclass(frozen=True, slots=True)
class ModelChoice:
    """Which model answers, and how it is asked. `api_key_env` is the NAME of an environment variable."""

    provider: Provider = "embedded"
    name: str = EMBEDDED_MODEL
    base_url: str | None = None
    api_key_env: str | None = None
    temperature: float | None = None
    max_tokens: int | None = None
    context_tokens: int = 8192
    path: str | None = None
    script: tuple[Any, ...] = ()


@dataclass(frozen=True, slots=True)
class AgentDefinition:
    """One version of an agent's behaviour, as a turn reads it."""

    model: ModelChoice = ModelChoice()
    instructions: str = ""
    on_disconnect: Literal["continue", "cancel"] = "continue"


@dataclass(frozen=True, slots=True)
class Agent:
    """An agent of a tenant with the definition that is published."""

    id: str
    tenant_id: str
    slug: str
    name: str
    version: int
    definition: AgentDefinition


_APART = re.compile(r"[^a-z0-9]+")
# Letters that Unicode does not decompose into a base letter and a mark.
_LETTERS = str.maketrans(
    {"ß": "ss", "æ": "ae", "œ": "oe", "ø": "o", "đ": "d", "ð": "d", "ł": "l", "þ": "th", "ı": "i", "ħ": "h"}
)


def slugify(name: str) -> str:
    """The lower-case, hyphenated ASCII form of a name; ``agent`` where nothing of it is left."""
    plain = unicodedata.normalize("NFKD", name.lower().translate(_LETTERS)).encode("ascii", "ignore").decode()
    return _APART.sub("-", plain.lower()).strip("-")[:80].strip("-") or "agent"
