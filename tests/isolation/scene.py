"""Tenants that have one of everything, with words in it that nobody else may ever see; and all who try to."""

import itertools
import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, Literal

from dragoman.core.ids import parse_id
from tests.isolation.asked import Asked, Told, ask, fresh
from tests.isolation.rows import Ids, absent
from tests.support.embeddings import Embeddings
from tests.support.forms import CONTENT_TYPE, File, multipart
from tests.support.server import KEY, OTHER_KEY, ServerProcess

THIRD_KEY = "sk_test_third_backend_000000000000000"
# S3 lets a tenant ask a hundred times a minute: what is asked about credentials is asked of a tenant of its own.
SPARE_KEY = "sk_test_spare_backend_000000000000000"
EXPIRED_KEY = "sk_test_acme_expired_0000000000000000"
REVOKED_KEY = "sk_test_acme_revoked_0000000000000000"
PLENTY = 1_000_000
LIMITS = dict.fromkeys(("chat_per_minute", "stream_per_minute", "manage_per_minute"), PLENTY)
SCRIPT = (
    {"when": "hang", "tokens": ["Well,", " then"], "delay": 1000},
    {"when": "weather", "tool_calls": [{"name": "get_weather", "arguments": {"location": "Tokyo"}}]},
    {"when": "refund", "tool_calls": [{"name": "refund"}]},
    {"when": "Hello", "text": "Good day"},
    {"when": "sunny", "text": "Good"},
    {"text": "Noted"},
)
TOOL = {"type": "client", "name": "get_weather", "parameters": {"type": "object", "properties": {}}}
REFUND = {
    "type": "http",
    "name": "refund",
    "description": "Pays back",
    "method": "POST",
    "url": "https://shop.invalid/",
}
SPEECH = (Path(__file__).parents[1] / "data" / "speech" / "returns.wav").read_bytes()
_addresses = itertools.cycle(range(256))

# Where each owner of paths reads the credential; the rest is Bearer.
CARRIERS = {"/api/v1/chat": "x-api-token", "/api/v1/chats": "X-API-Key"}

DEAD_KEYS = (
    {"name": "expired", "value": EXPIRED_KEY, "expires_at": "2020-01-01T00:00:00Z"},
    {"name": "revoked", "value": REVOKED_KEY},
)


def tenant(id: str, value: str, *keys: dict[str, Any]) -> dict[str, Any]:
    """A tenant of the manifest: its secret key, and more."""
    backend = {"name": "backend", "value": value, "limits": LIMITS}
    limits = {"per_minute": PLENTY, "per_day": PLENTY}
    # The vendors of its agents are on this machine.
    told = {"plan": "enterprise", "limits": limits, "egress": {"allow_private": True}}
    return {"id": id, "name": f"name-of-{id}", **told, "keys": [backend, *keys]}


MANIFEST = {
    "tenants": [
        tenant("acme", KEY, *DEAD_KEYS),
        tenant("other", OTHER_KEY),
        tenant("third", THIRD_KEY),
        tenant("spare", SPARE_KEY),
    ]
}


def carried(path: str, key: str | None) -> Sequence[tuple[str, str]]:
    """The headers that carry a key to a path."""
    if key is None:
        return ()
    owners = [prefix for prefix in CARRIERS if path == prefix or path.startswith((f"{prefix}/", f"{prefix}?"))]
    return [(CARRIERS[owners[0]], key)] if owners else [("Authorization", f"Bearer {key}")]


@dataclass(frozen=True)
class Somebody:
    """Who sends requests: a key, or none, and a visitor's token."""

    url: str
    key: str | None
    visitor: str | None = None

    def send(self, asked: Asked, *, whole: bool = True) -> Told:
        """A request with the credential where the path's owner reads it."""
        token = [("X-Visitor-Token", self.visitor)] if self.visitor else []
        # Without a key there are few requests from one address.
        proxied = [] if self.key else [("X-Forwarded-For", f"10.0.{next(_addresses)}.1")]
        return ask(self.url, asked.holding(*carried(asked.path, self.key), *token, *proxied), whole=whole)

    def do(self, method: str, path: str, body: Any = None, good: int = 200, *, whole: bool = True) -> Told:
        """A request that must succeed."""
        sent = b"" if body is None else json.dumps(body).encode()
        told = self.send(Asked(method, path, [("Content-Type", "application/json")], sent), whole=whole)
        assert told.status == good, told.text
        return told


@dataclass(frozen=True)
class Belongings:
    """What somebody has: ids to name it by, and words that stand in it; `tenant` is the owner's."""

    tenant: str
    ids: Ids
    words: Sequence[str]

    @property
    def secrets(self) -> set[str]:
        """What nobody else may be told."""
        return {*self.ids.values().values(), *self.words}


class Words(dict[str, str]):
    """Words that stand nowhere else, each by what it is said in."""

    def __missing__(self, kind: str) -> str:
        self[kind] = f"{kind}-{fresh().replace('-', '')[:16]}"
        return self[kind]


def furnished(tenant: str, owner: Somebody, vendor: Embeddings) -> Belongings:
    """One of everything for a tenant, made over the API."""
    words = Words()
    agent = agent_of(owner, words, embedder=vendor.embedder, transcriber=vendor.transcriber)
    document = {"type": "text", "title": words["document"], "text": words["known"]}
    made = owner.do("POST", f"/manage/v1/agents/{agent}/documents", document, 202).json["id"]
    deployed = {"channel": "voice", "region": "eu"}
    deployment = owner.do("POST", f"/manage/v1/agents/{agent}/deployments", deployed, 201).json["id"]
    chat = {"user_id": words["user"], "agent_id": agent, "title": words["title"], "metadata": {"note": words["kept"]}}
    conversation = owner.do("POST", "/api/v1/chats/", chat, 201).json["id"]
    hanging = say(owner, agent, f"{words['hung']} hang", stream=True)
    key = owner.do("POST", "/manage/v1/keys", {"name": words["key_name"]}, 201).json
    owner.do("PUT", f"/manage/v1/secrets/{words['secret']}", {"value": words["sealed"]}, 201)
    hook = {"url": f"http://{words['webhook']}.invalid/hook", "events": ["credits.low"]}
    webhook = owner.do("POST", "/manage/v1/webhooks", hook, 201).json
    delivery = owner.do("POST", f"/manage/v1/webhooks/{webhook['id']}/test", None, 202).json["id"]
    say(owner, agent, f"{words['asked']} refund")
    handed = named(say(owner, agent, words["handed"]), "conversation")
    owner.do("POST", f"/manage/v1/conversations/{handed}/handover")
    ids = Ids(
        agent=agent,
        approval=known("appr", owner.do("GET", "/manage/v1/approvals?limit=1").json["data"][0]["id"]),
        handed=handed,
        slug=words["slug"],
        deployment=deployment,
        user=words["user"],
        turn=named(hanging, "turn"),
        busy=named(hanging, "conversation"),
        key=known("key", key["id"]),
        key_name=words["key_name"],
        secret=words["secret"],
        webhook=known("wh", webhook["id"]),
        delivery=known("dlv", delivery),
        document=known("doc", made),
        attachment=recorded(owner, conversation, File(words["file"], SPEECH, "audio/wav")),
        **talked(owner, agent, conversation, words),
    )
    return Belongings(tenant, ids, [*words.values(), key["value"], webhook["secret"], f"name-of-{tenant}"])


def talked(somebody: Somebody, agent: str, conversation: str | None, words: Mapping[str, str]) -> dict[str, str]:
    """What comes of talking: in a conversation, in one of a name of one's own, and in one that waits for a result."""
    noted = {"metadata": {"note": words["metadata"]}, "context": {"note": words["context"]}}
    answer = say(somebody, agent, words["message"], conversation_id=conversation, **noted)
    say(somebody, agent, words["message"], conversation_id=words["client_id"])
    paused = say(somebody, agent, f"{words['message']} weather")
    return {
        "conversation": named(answer, "conversation"),
        "message": named(answer, "message"),
        "client_id": words["client_id"],
        "paused": named(paused, "conversation"),
        "call": paused.json["tool_calls"][0]["id"],
    }


def recorded(owner: Somebody, conversation: str, file: File) -> str:
    """The attachment of a message that is spoken."""
    path, headers = f"/manage/v1/conversations/{conversation}", [("Content-Type", CONTENT_TYPE)]
    told = owner.send(Asked("POST", f"{path}/recordings", headers, multipart([("audio", file)])))
    assert told.status == 200, told.text
    return known("att", owner.do("GET", f"{path}/attachments").json["data"][0]["id"])


def say(somebody: Somebody, agent: str, message: str, **more: Any) -> Told:
    """A message over S4, of which a stream is left as soon as it has begun."""
    said = {"message": message, **{name: value for name, value in more.items() if value is not None}}
    return somebody.do("POST", f"/api/agents/{agent}/chat", said, whole="stream" not in more)


def named(told: Told, what: str) -> str:
    """The id of a turn, its conversation or its message, as an answer says it in a header, in the form of a UUID."""
    prefix = {"conversation": "conv", "message": "msg"}.get(what, what)
    return known(prefix, told.header(f"X-{what}-Id") or "")


def known(prefix: str, text: str) -> str:
    """An id in the form of a UUID."""
    uuid = parse_id(prefix, text)
    assert uuid is not None, text
    return uuid


def agent_of(owner: Somebody, words: Words, *, public: bool = False, **vendors: Any) -> str:
    """An agent with a draft; its id. `vendors` say what embeds and hears for it."""
    told = {"fallback": words["fallback"], "instructions": words["instructions"], "tools": [TOOL, REFUND]}
    allowed = {"allow_client_conversation_ids": True, "allow_system_prompt": True, "public": public}
    model = {"provider": "scripted", "script": list(SCRIPT)}
    named = {"name": words["name"], "slug": words["slug"], "model": model}
    made = owner.do("POST", "/manage/v1/agents", {**named, **told, **allowed, **vendors}, 201).json
    owner.do("PATCH", f"/manage/v1/agents/{made['id']}", {"instructions": words["draft"]})
    return known("agent", made["id"])


def visiting(url: str, key: str, among: Belongings) -> tuple[Somebody, Belongings]:
    """A visitor behind a publishable key for one agent of a tenant, and the visitor's own conversations."""
    words = Words()
    newcomer = Somebody(url, key)
    visitor = replace(newcomer, visitor=say(newcomer, among.ids.agent, "Hello").header("X-Visitor-Token"))
    ids = replace(among.ids, user=words["user"], **talked(visitor, among.ids.agent, None, words))
    return visitor, Belongings(among.tenant, ids, list(words.values()))


@dataclass(frozen=True)
class Credential:
    """One who acts: by what, what is the own, and what is others' and therefore as absent."""

    name: str
    kind: Literal["dead", "secret", "publishable"]
    acting: Somebody
    own: Belongings
    others: Sequence[Belongings]

    @property
    def secrets(self) -> set[str]:
        """What this one may never be told."""
        return {secret for each in self.others for secret in each.secrets} - self.own.secrets


class Scene:
    """The server with all who act."""

    def __init__(self, server: ServerProcess, vendor: Embeddings) -> None:
        self.url = server.url
        self._vendor = vendor
        server.run("keys", "revoke", "--tenant", "acme", "revoked")
        self.owner, other, self.third = (Somebody(self.url, key) for key in (KEY, OTHER_KEY, THIRD_KEY))
        acme, second = self.furnished("acme", self.owner), self.furnished("acme", self.owner)
        others = self.furnished("other", other)
        widget = self._widget(self.owner, acme)
        _, neighbours = visiting(self.url, widget, acme)
        visitor, visitors = visiting(self.url, widget, acme)
        apart, aparts = visiting(self.url, self._widget(self.owner, second), second)
        stranger, strangers = visiting(self.url, self._widget(other, others), others)
        dead = {"none": None, "garbage": "sk_" + "0" * 40, "revoked": REVOKED_KEY, "expired": EXPIRED_KEY}
        nothing = Belongings("", absent(), ())
        # What one of a tenant has named by an id that was another's, another of that tenant finds taken.
        self.credentials: Sequence[Credential] = (
            *(Credential(name, "dead", Somebody(self.url, key), nothing, [acme, others]) for name, key in dead.items()),
            Credential("other secret", "secret", other, others, [acme, neighbours]),
            Credential("publishable", "publishable", visitor, visitors, [acme, neighbours, others, second]),
            Credential("other agent", "publishable", apart, aparts, [acme, neighbours, strangers]),
            Credential("other publishable", "publishable", stranger, strangers, [second, visitors]),
        )
        self.acme = acme
        self.thirds = self.furnished("third", self.third)

    def furnished(self, tenant: str, owner: Somebody) -> Belongings:
        """One of everything more for a tenant."""
        return furnished(tenant, owner, self._vendor)

    def third_secret(self, own: Belongings) -> Credential:
        """The key of a tenant, for which the first tenant is a foreign one."""
        return Credential("third secret", "secret", self.third, own, [self.acme])

    @staticmethod
    def _widget(owner: Somebody, among: Belongings) -> str:
        wanted = {"name": fresh(), "type": "publishable", "agents": [among.ids.slug], "limits": LIMITS}
        value: str = owner.do("POST", "/manage/v1/keys", wanted, 201).json["value"]
        return value
