"""Agents: what they are told, which model answers for them, how they behave. Knows no model server."""

import re
import unicodedata
from collections.abc import Collection
from dataclasses import dataclass, replace
from typing import Any, Literal

from dragoman.core.handover import HandoverRule

Provider = Literal["openai", "embedded", "scripted"]
# What the address of a model may lead to where a tenant named it: public networks alone, or private ones as well.
Guard = Literal["public", "private"]

EMBEDDED_MODEL = "qwen2.5-coder-0.5b-instruct"


@dataclass(frozen=True, slots=True)
class ModelChoice:
    """Which model answers, and how it is asked. `api_key_env` is the NAME of an environment variable.

    Without a `guard`, `base_url` is the operator's and leads wherever it leads.
    """

    provider: Provider = "embedded"
    name: str = EMBEDDED_MODEL
    base_url: str | None = None
    api_key_env: str | None = None
    temperature: float | None = None
    max_tokens: int | None = None
    context_tokens: int = 8192
    path: str | None = None
    script: tuple[Any, ...] = ()
    guard: Guard | None = None


@dataclass(frozen=True, slots=True)
class VendorChoice:
    """Which embedder or transcriber works for an agent; its fields mean what they mean for a model."""

    provider: Literal["embedded", "openai"] = "embedded"
    name: str | None = None
    base_url: str | None = None
    api_key_env: str | None = None
    guard: Guard | None = None


@dataclass(frozen=True, slots=True)
class Tool:
    """Something that an agent can call; `parameters` is a JSON Schema. One of type client runs at the client.

    Of an http tool, `url`, `query` and `body` hold `{placeholders}` for arguments, a header's value is a text or
    `{"secret": name}`, and `response` names the parts of a JSON answer that the model is given. Of an mcp server,
    `allow` names the tools that may be called. `timeout` is in seconds; a tool is called `per_turn` times in one turn
    at the most, and `per_minute` times in one minute by its agent. `approval` auto asks a person where a tool writes.
    """

    type: Literal["client", "http", "mcp", "builtin"]
    name: str = ""
    description: str = ""
    parameters: dict[str, Any] | None = None
    method: str = "GET"
    url: str = ""
    query: dict[str, str] | None = None
    headers: dict[str, Any] | None = None
    body: Any = None
    response: tuple[str, ...] = ()
    allow: tuple[str, ...] = ()
    approval: Literal["auto", "never", "always"] = "auto"
    timeout: float = 15.0
    per_turn: int = 10
    per_minute: int | None = None


@dataclass(frozen=True, slots=True)
class AgentDefinition:
    """One version of an agent's behaviour, as a turn reads it."""

    model: ModelChoice = ModelChoice()
    instructions: str = ""
    on_disconnect: Literal["continue", "cancel"] = "continue"
    tools: tuple[Tool, ...] = ()
    max_steps: int = 8
    approval_timeout: float = 3600.0
    handover: HandoverRule | None = None
    public: bool = False
    strict_deployments: bool = False
    allow_system_prompt: bool = False
    allow_client_conversation_ids: bool = False
    embedder: VendorChoice = VendorChoice()
    transcriber: VendorChoice = VendorChoice()
    fallback: str = ""
    min_confidence: float = 0.0

    @property
    def addresses(self) -> frozenset[str]:
        """Where its model, its embedder and its transcriber are asked, as far as it says so."""
        return frozenset(each.base_url for each in (self.model, self.embedder, self.transcriber) if each.base_url)

    def guarded(self, guard: Guard, lent: Collection[str]) -> "AgentDefinition":
        """The same with a guard on every address but those that are `lent`."""

        def on(address: str | None) -> Guard | None:
            return None if address is None or address in lent else guard

        return replace(
            self,
            model=replace(self.model, guard=on(self.model.base_url)),
            embedder=replace(self.embedder, guard=on(self.embedder.base_url)),
            transcriber=replace(self.transcriber, guard=on(self.transcriber.base_url)),
        )

    @property
    def client_tools(self) -> tuple[Tool, ...]:
        """The tools that reach the client."""
        return tuple(tool for tool in self.tools if tool.type == "client")

    @property
    def server_tools(self) -> tuple[Tool, ...]:
        """The tools that run here."""
        return tuple(tool for tool in self.tools if tool.type != "client")


@dataclass(frozen=True, slots=True)
class Agent:
    """An agent of a tenant with the definition that is published; `knows` says that it has been given knowledge."""

    id: str
    tenant_id: str
    slug: str
    name: str
    version: int
    definition: AgentDefinition
    knows: bool = False


_APART = re.compile(r"[^a-z0-9]+")
# Letters that Unicode does not decompose into a Latin letter and a mark, each before its spelling.
_SPELLED = """ß ss æ ae œ oe ø o đ d ð d ł l þ th ı i ħ h
    а a б b в v г g д d е e ж zh з z и i й y к k л l м m н n о o п p р r с s т t у u ф f х kh ц ts ч ch ш sh щ shch
    ы y э e ю yu я ya ё yo є ye і i ї yi ґ g
    α a β v γ g δ d ε e ζ z η i θ th ι i κ k λ l μ m ν n ξ x ο o π p ρ r σ s ς s τ t υ y φ f χ ch ψ ps ω o"""
_WORDS = _SPELLED.split()
_LETTERS = str.maketrans({**dict(zip(_WORDS[::2], _WORDS[1::2], strict=True)), "ъ": "", "ь": ""})


def slugify(name: str) -> str:
    """The lower-case, hyphenated ASCII form of a name; ``agent`` where nothing of it is left.

    Latin, Cyrillic and Greek letters are transliterated; other scripts have no rendering that is read as the name.
    """
    whole = unicodedata.normalize("NFC", name).lower().translate(_LETTERS)
    apart = unicodedata.normalize("NFKD", whole).lower().translate(_LETTERS)
    return _APART.sub("-", apart.encode("ascii", "ignore").decode()).strip("-")[:80].strip("-") or "agent"
