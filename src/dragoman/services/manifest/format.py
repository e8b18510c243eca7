"""The manifest's shape, checked key by key; errors name the path. Knows no store."""

import re
from collections.abc import Sequence
from datetime import datetime
from pathlib import Path
from typing import Annotated, Any, Literal

import msgspec
import yaml
from msgspec import Meta

from dragoman.core.agents import EMBEDDED_MODEL, slugify
from dragoman.core.errors import DragomanError, Invalid
from dragoman.core.handover import HandoverRule
from dragoman.core.text import can_be_kept
from dragoman.core.visitors import is_origin
from dragoman.core.webhooks import check_events, secret_bytes
from dragoman.services.manifest.tools import Tool, problems

Name = Annotated[str, Meta(min_length=1, max_length=200)]
TenantId = Annotated[str, Meta(pattern=r"^[A-Za-z0-9][A-Za-z0-9_-]{0,63}$")]
# What looks like a UUID would be read as an id.
Slug = Annotated[
    str, Meta(pattern=r"^(?!([0-9a-f]{8})(-[0-9a-f]{4}){3}-[0-9a-f]{12}$)[a-z0-9]+(-[a-z0-9]+)*$", max_length=80)
]
Uuid = Annotated[str, Meta(pattern=r"^[0-9a-f]{8}-[0-9a-f]{4}-[0-9a-f]{4}-[0-9a-f]{4}-[0-9a-f]{12}$")]
Label = Annotated[str, Meta(pattern=r"^[a-z][a-z0-9_-]*$", max_length=64)]
Positive = Annotated[int, Meta(ge=1)]
Count = Annotated[int, Meta(ge=0)]
Url = Annotated[str, Meta(pattern=r"^https?://[^\s]+$")]


class ManifestError(DragomanError):
    """The manifest is not as it should be; the message names the path."""


class _Strict(msgspec.Struct, forbid_unknown_fields=True, omit_defaults=True, frozen=True):
    pass


class Price(_Strict, frozen=True):
    """What a turn of a model costs, in credits."""

    name: Name
    credits_per_turn: Count


class Limits(_Strict, frozen=True):
    """Requests of a tenant, in place of its plan's."""

    per_minute: Positive | None = None
    per_day: Positive | None = None


class KeyLimits(_Strict, frozen=True):
    """Requests a minute of one key, by bucket."""

    chat_per_minute: Positive | None = None
    stream_per_minute: Positive | None = None
    manage_per_minute: Positive | None = None


class Key(_Strict, frozen=True):
    """An API key; without a value one is made."""

    name: Name
    type: Literal["secret", "publishable"] = "secret"
    value: Annotated[str, Meta(min_length=32, max_length=256)] | None = None
    agents: tuple[str, ...] = ()
    origins: tuple[str, ...] = ()
    expires_at: Annotated[datetime, Meta(tz=True)] | None = None
    limits: KeyLimits | None = None


class Model(_Strict, frozen=True):
    """Which model answers for an agent."""

    provider: Literal["openai", "embedded", "scripted"] = "embedded"
    name: Name | None = None
    base_url: Url | None = None
    api_key_env: Annotated[str, Meta(pattern=r"^[A-Za-z_][A-Za-z0-9_]*$")] | None = None
    temperature: Annotated[float, Meta(ge=0, le=2)] | None = None
    max_tokens: Positive | None = None
    context_tokens: Annotated[int, Meta(ge=256)] | None = None
    path: str | None = None
    script: tuple[Any, ...] = ()


class Vendor(_Strict, frozen=True):
    """An embedder or a transcriber."""

    provider: Literal["embedded", "openai"] = "embedded"
    name: Name | None = None
    base_url: Url | None = None
    api_key_env: str | None = None


class Deployment(_Strict, frozen=True):
    """An agent on a channel, in a region."""

    channel: Label
    region: Label
    id: Uuid | None = None


class Knowledge(_Strict, frozen=True):
    """Something that an agent is to know."""

    type: Literal["qa", "text", "file", "website", "table"]
    title: Name
    question: str | None = None
    answer: str | None = None
    verbatim: bool = False
    text: str | None = None
    path: str | None = None
    url: Url | None = None


class Handover(_Strict, frozen=True):
    """When an agent hands a conversation to a person, and what it says then; times in seconds."""

    on_request: bool = True
    below_confidence: Annotated[int, Meta(ge=0, le=10)] = 0
    message: Annotated[str, Meta(min_length=1, max_length=2_000)] = HandoverRule().message
    wait: Annotated[float, Meta(ge=0, le=300)] = 25.0
    timeout: Annotated[float, Meta(ge=1, le=604_800)] = 3600.0


class Agent(_Strict, frozen=True):
    """An agent and all that it is."""

    name: Name
    id: Uuid | None = None
    slug: Slug | None = None
    model: Model = Model()
    embedder: Vendor | None = None
    transcriber: Vendor | None = None
    instructions: Annotated[str, Meta(max_length=100_000)] = ""
    fallback: str | None = None
    min_confidence: Annotated[float, Meta(ge=0, le=1)] = 0.0
    on_disconnect: Literal["continue", "cancel"] = "continue"
    strict_deployments: bool = False
    public: bool = False
    allow_system_prompt: bool = False
    allow_client_conversation_ids: bool = False
    deployments: tuple[Deployment, ...] = ()
    knowledge: tuple[Knowledge, ...] = ()
    tools: tuple[Tool, ...] = ()
    max_steps: Annotated[int, Meta(ge=1, le=20)] = 8
    approval_timeout: Annotated[float, Meta(ge=1, le=604_800)] = 3600.0
    handover: Handover | None = None


class Webhook(_Strict, frozen=True):
    """An address that events go to."""

    url: Url
    events: tuple[str, ...] = ()
    secret: str | None = None


class Egress(_Strict, frozen=True):
    """Where a tenant's tools and webhooks may reach."""

    allow_private: bool = False


class Tenant(_Strict, frozen=True):
    """An owner of agents and keys."""

    id: TenantId
    name: Name | None = None
    plan: Literal["free", "starter", "pro", "enterprise"] = "enterprise"
    credits: Count | None = None
    limits: Limits | None = None
    default_agent: str | None = None
    keys: tuple[Key, ...] = ()
    agents: tuple[Agent, ...] = ()
    webhooks: tuple[Webhook, ...] = ()
    egress: Egress | None = None


class Manifest(_Strict, frozen=True):
    """Everything that a manifest can say."""

    models: tuple[Price, ...] = ()
    tenants: tuple[Tenant, ...] = ()


_UNKNOWN = re.compile(r"Object contains unknown field `([^`]*)`(?: - at `\$(.*)`)?", re.DOTALL)
_ELSEWHERE = re.compile(r"(.*?)(?: - at `\$(.*)`)?", re.DOTALL)


def read(text: str, source: str = "manifest") -> Manifest:
    """The manifest that YAML text spells; `source` is what errors call it.

    Raises:
        ManifestError: it is no YAML, or a key, a type or a value is wrong.
    """
    try:
        raw = yaml.safe_load(text)
    except yaml.YAMLError as error:
        raise ManifestError(f"{source}: not valid YAML: {' '.join(str(error).split())}") from error
    except RecursionError as error:
        raise ManifestError(f"{source}: nested too deep") from error
    if not can_be_kept(raw):
        raise ManifestError(f"{source}: text must hold no U+0000 and no half of a surrogate pair")
    try:
        manifest = msgspec.convert(raw if raw is not None else {}, Manifest)
    except msgspec.ValidationError as error:
        raise ManifestError(f"{source}: {_located(str(error))}") from error
    _check(manifest, source)
    return manifest


def _located(problem: str) -> str:
    if unknown := _UNKNOWN.fullmatch(problem):
        path = f"{unknown[2] or ''}.{unknown[1]}".lstrip(".")
        return f"{path}: there is no such key"
    found = _ELSEWHERE.fullmatch(problem)
    if found is None:
        return problem
    path = (found[2] or "").lstrip(".")
    return f"{path}: {found[1]}" if path else found[1]


def _check(manifest: Manifest, source: str) -> None:
    """What types alone do not say."""
    for at, tenant in enumerate(manifest.tenants):
        _check_unique([key.name for key in tenant.keys], f"{source}: tenants[{at}].keys")
        for index, key in enumerate(tenant.keys):
            for place, origin in enumerate(key.origins):
                if not is_origin(origin):
                    path = f"{source}: tenants[{at}].keys[{index}].origins[{place}]"
                    raise ManifestError(f"{path}: {origin!r} is no origin; write it like https://shop.example, or *")
        _check_webhooks(tenant.webhooks, f"{source}: tenants[{at}].webhooks")
        for index, agent in enumerate(tenant.agents):
            check_agent(agent, f"{source}: tenants[{at}].agents[{index}].")
        # What tells agents apart: the id, else the slug, else the slug that the name gives.
        path = f"{source}: tenants[{at}].agents"
        _check_unique([agent.slug or agent.id or slugify(agent.name) for agent in tenant.agents], path)
        _check_unique([agent.id or str(index) for index, agent in enumerate(tenant.agents)], path)
    _check_unique([tenant.id for tenant in manifest.tenants], f"{source}: tenants")


def check_agent(agent: Agent, path: str = "") -> None:
    """What types alone do not say of an agent; errors begin with `path`.

    Raises:
        ManifestError: its model lacks what its provider needs, or a tool is not what its type takes.
    """
    for part, vendor in (("model", agent.model), ("embedder", agent.embedder), ("transcriber", agent.transcriber)):
        if vendor is None or vendor.provider != "openai":
            continue
        for wanted in ("name", "base_url"):
            if getattr(vendor, wanted) is None:
                raise ManifestError(f"{path}{part}.{wanted}: provider openai needs it")
    _check_unique([f"{given.type} {given.title}" for given in agent.knowledge], f"{path}knowledge")
    for where, problem in problems(agent.tools):
        raise ManifestError(f"{path}{where}: {problem}")


def _check_webhooks(webhooks: Sequence[Webhook], path: str) -> None:
    _check_unique([webhook.url for webhook in webhooks], path)
    for index, webhook in enumerate(webhooks):
        try:
            check_events(webhook.events)
            if webhook.secret is not None:
                secret_bytes(webhook.secret)
        except Invalid as error:
            raise ManifestError(f"{path}[{index}].{error.field}: {error.message}") from error


def _check_unique(names: Sequence[str], path: str) -> None:
    for index, name in enumerate(names):
        if name in names[:index]:
            raise ManifestError(f"{path}[{index}]: {name!r} is there twice")


def definition_of(agent: Agent, folder: Path | None = None) -> dict[str, Any]:
    """What of an agent is kept as its version: all but its names and its deployments.

    Files that it is given to know are kept as they stand from `folder`, so that they are found from anywhere.
    """
    kept: dict[str, Any] = msgspec.to_builtins(agent)
    for apart in ("id", "slug", "name", "deployments"):
        kept.pop(apart, None)
    for known in kept.get("knowledge", ()):
        if folder is not None and "path" in known:
            known["path"] = str(folder / known["path"])
    model = kept.setdefault("model", {})
    if "name" not in model:
        model["name"] = EMBEDDED_MODEL if agent.model.provider == "embedded" else agent.model.provider
    return kept
