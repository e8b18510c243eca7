"""Every route of the app with requests that would do something, given the right ids and the right credential."""

from collections.abc import Sequence
from pathlib import Path

from tests.isolation.rows import (
    AGENT,
    AGENT_KEY,
    AGENT_UUID,
    APPROVAL,
    ATTACHMENT,
    BUSY,
    CALL,
    CHAT,
    CLIENT_ID,
    CONVERSATION,
    DELIVERY,
    DEPLOYMENT,
    DOCUMENT,
    HANDED,
    KEY,
    KEY_NAME,
    MESSAGE,
    PAUSED,
    SECRET,
    SLUG,
    TURN,
    USER,
    WEBHOOK,
    New,
    Row,
)
from tests.support.forms import File

S0 = "/api/v1/chat"
_S0_CONVERSATION = f"{S0}/conversations/{{conversation_id}}"
ALOOCHAT = (
    Row("POST", f"{S0}/conversations", body={"agent_id": AGENT_UUID, "deployment_id": DEPLOYMENT}, good=201),
    Row("GET", f"{S0}/conversations"),
    Row("GET", _S0_CONVERSATION, {"conversation_id": CONVERSATION}),
    Row("PATCH", _S0_CONVERSATION, {"conversation_id": CONVERSATION}, body={"title": "New", "archived": True}),
    Row("DELETE", _S0_CONVERSATION, {"conversation_id": CONVERSATION}, good=204),
    Row("GET", f"{_S0_CONVERSATION}/messages", {"conversation_id": CONVERSATION}),
    *(
        row
        for name in ("chat", "stream")
        for row in (
            Row("POST", f"{S0}/agent/{name}", form={"agent_key": AGENT_KEY, "query": "Hello"}, visitors=True),
            Row(
                "POST",
                f"{S0}/agent/{name}",
                form={"agent_key": AGENT_KEY, "query": "Hello", "conversation_id": CONVERSATION},
                visitors=True,
            ),
        )
    ),
)

_S1_CHAT = "/v1/agents/{agent_id}/chat"
_S1_CONVERSATION = "/v1/conversations/{conversation_id}"
ALONCHAT = (
    Row("POST", _S1_CHAT, {"agent_id": AGENT}, body={"message": "Hello"}, visitors=True),
    Row(
        "POST",
        _S1_CHAT,
        {"agent_id": AGENT},
        body={"message": "Hello", "conversation_id": CONVERSATION},
        visitors=True,
    ),
    Row("GET", _S1_CONVERSATION, {"conversation_id": CONVERSATION}, visitors=True),
    Row("GET", _S1_CONVERSATION, {"conversation_id": CONVERSATION}, {"before": MESSAGE}, visitors=True),
)

_S2_CHAT = "/v1/api/chat/{slug}"
SLUGS = (
    Row("POST", _S2_CHAT, {"slug": SLUG}, body={"message": "Hello", "stream": True}, visitors=True),
    Row("POST", _S2_CHAT, {"slug": SLUG}, body={"message": "Hello", "conversationId": CONVERSATION}, visitors=True),
)

_S3 = "/api/v1/chats"
_S3_CHAT = f"{_S3}/{{chat_id}}"
SESSIONS = (
    Row("POST", _S3, body={"user_id": New(), "agent_id": AGENT_UUID}, good=201, visitors=True),
    Row("GET", f"{_S3}/user/{{user_id}}", {"user_id": USER}),
    Row("GET", _S3_CHAT, {"chat_id": CHAT}, visitors=True),
    Row("GET", f"{_S3_CHAT}/messages", {"chat_id": CHAT}, visitors=True),
    Row("POST", f"{_S3_CHAT}/tickets", {"chat_id": CHAT}, body={"user_id": USER}, good=201, visitors=True),
    Row("DELETE", _S3_CHAT, {"chat_id": CHAT}),
)
SOCKETS = (("WEBSOCKET", "/ws/chat"),)

_S4 = "/api/agents/{id}/chat"
_RESULT = {"role": "tool", "tool_call_id": CALL, "content": "sunny"}
AGENTS = (
    Row("GET", _S4, {"id": AGENT}),
    Row("GET", _S4, {"id": SLUG}, {"conversation_id": CONVERSATION}, visitors=True),
    Row("GET", _S4, {"id": AGENT_UUID}, {"conversation_id": CLIENT_ID}, visitors=True),
    Row("POST", _S4, {"id": AGENT}, body={"message": "Hello", "conversation_id": CONVERSATION}, visitors=True),
    Row("POST", _S4, {"id": AGENT}, body={**_RESULT, "conversation_id": PAUSED}, visitors=True),
    Row("DELETE", _S4, {"id": AGENT}),
    Row("DELETE", _S4, {"id": AGENT}, {"conversation_id": CONVERSATION}),
)

_M = "/manage/v1"
_M_AGENT = f"{_M}/agents/{{agent_id}}"
_M_KEY = f"{_M}/keys/{{key_id}}"
_M_CONVERSATION = f"{_M}/conversations/{{conversation_id}}"
_M_TURN = f"{_M}/turns/{{turn_id}}"
_M_APPROVAL = f"{_M}/approvals/{{approval_id}}"
_M_DOCUMENT = f"{_M}/documents/{{document_id}}"
_M_WEBHOOK = f"{_M}/webhooks/{{webhook_id}}"
_HOOK = {"url": New("https://hooks.invalid/"), "events": ["message.received"]}
_FILE = {"type": "file", "title": "A file", "file": File("returns.md", b"Goods may be sent back.")}
SPOKEN = File("lamp.wav", (Path(__file__).parents[1] / "data" / "speech" / "returns.wav").read_bytes(), "audio/wav")
_NEW_AGENT = {"name": New("Agent "), "model": {"provider": "scripted"}}
MANAGEMENT = (
    Row("GET", f"{_M}/agents"),
    Row("POST", f"{_M}/agents", body=_NEW_AGENT, good=201),
    Row("GET", _M_AGENT, {"agent_id": AGENT}),
    Row("GET", _M_AGENT, {"agent_id": SLUG}),
    Row("PATCH", _M_AGENT, {"agent_id": AGENT}, body={"instructions": "Be rude.", "name": New("Agent ")}),
    Row("POST", f"{_M_AGENT}/publish", {"agent_id": AGENT}),
    Row("GET", f"{_M_AGENT}/versions", {"agent_id": AGENT}),
    Row("GET", f"{_M_AGENT}/versions/{{version}}", {"agent_id": AGENT, "version": "1"}),
    Row("POST", f"{_M_AGENT}/rollback", {"agent_id": AGENT}, body={"version": 1}),
    Row("DELETE", _M_AGENT, {"agent_id": AGENT}, good=204),
    Row("GET", f"{_M_AGENT}/deployments", {"agent_id": AGENT}),
    Row("POST", f"{_M_AGENT}/deployments", {"agent_id": AGENT}, body={"channel": "chat", "region": "us"}, good=201),
    Row(
        "DELETE",
        f"{_M_AGENT}/deployments/{{deployment_id}}",
        {"agent_id": AGENT, "deployment_id": DEPLOYMENT},
        good=204,
    ),
    Row("GET", f"{_M}/keys"),
    Row("POST", f"{_M}/keys", body={"name": New("key-"), "type": "publishable", "agents": [SLUG]}, good=201),
    Row("POST", f"{_M_KEY}/rotate", {"key_id": KEY}, body={"overlap": "0s"}),
    Row("POST", f"{_M_KEY}/rotate", {"key_id": KEY_NAME}, body={"overlap": "0s"}),
    Row("POST", f"{_M_KEY}/revoke", {"key_id": KEY}),
    Row("GET", f"{_M}/secrets"),
    Row("PUT", f"{_M}/secrets/{{name}}", {"name": New("secret-")}, body={"value": New("value-")}, good=201),
    Row("DELETE", f"{_M}/secrets/{{name}}", {"name": SECRET}, good=204),
    Row("GET", f"{_M}/tenant"),
    Row("PATCH", f"{_M}/tenant", body={"default_agent": AGENT}),
    Row("GET", f"{_M}/conversations"),
    Row("GET", f"{_M}/conversations", query={"agent": AGENT, "user": USER}),
    Row("GET", f"{_M}/conversations", query={"agent": SLUG}),
    Row("GET", f"{_M}/conversations/export"),
    Row("GET", f"{_M}/conversations/export", query={"agent": AGENT, "user": USER}),
    Row("GET", _M_CONVERSATION, {"conversation_id": CONVERSATION}),
    Row("DELETE", _M_CONVERSATION, {"conversation_id": CONVERSATION}, good=204),
    Row("POST", f"{_M_CONVERSATION}/stop", {"conversation_id": BUSY}),
    Row("GET", f"{_M_CONVERSATION}/attachments", {"conversation_id": CONVERSATION}),
    Row("POST", f"{_M_CONVERSATION}/recordings", {"conversation_id": CONVERSATION}, form={"audio": SPOKEN}),
    Row("GET", f"{_M}/attachments/{{attachment_id}}", {"attachment_id": ATTACHMENT}),
    Row("GET", f"{_M_AGENT}/documents", {"agent_id": AGENT}),
    Row(
        "POST",
        f"{_M_AGENT}/documents",
        {"agent_id": AGENT},
        body={"type": "text", "title": "A text", "text": "Goods may be sent back."},
        good=202,
    ),
    Row("POST", f"{_M_AGENT}/documents", {"agent_id": SLUG}, form=_FILE, good=202),
    Row("GET", _M_DOCUMENT, {"document_id": DOCUMENT}),
    Row("GET", f"{_M_DOCUMENT}/events", {"document_id": DOCUMENT}),
    Row("POST", f"{_M_DOCUMENT}/retry", {"document_id": DOCUMENT}, good=202),
    Row("DELETE", _M_DOCUMENT, {"document_id": DOCUMENT}, good=204),
    Row("GET", f"{_M}/approvals", query={"state": "pending"}),
    Row("GET", _M_APPROVAL, {"approval_id": APPROVAL}),
    Row("POST", f"{_M_APPROVAL}/approve", {"approval_id": APPROVAL}, body={"by": "Mona"}),
    Row("POST", f"{_M_APPROVAL}/deny", {"approval_id": APPROVAL}),
    Row("GET", f"{_M}/inbox"),
    Row("POST", f"{_M_CONVERSATION}/handover", {"conversation_id": CONVERSATION}),
    Row("POST", f"{_M_CONVERSATION}/messages", {"conversation_id": HANDED}, body={"text": "Hello"}, good=204),
    Row("POST", f"{_M_CONVERSATION}/give-back", {"conversation_id": HANDED}, body={"by": "Mona"}),
    Row("GET", f"{_M}/webhooks"),
    Row("POST", f"{_M}/webhooks", body=_HOOK, good=201),
    Row("GET", _M_WEBHOOK, {"webhook_id": WEBHOOK}),
    Row("PATCH", _M_WEBHOOK, {"webhook_id": WEBHOOK}, body={"events": ["document.failed"]}),
    Row("POST", f"{_M_WEBHOOK}/rotate", {"webhook_id": WEBHOOK}),
    Row("POST", f"{_M_WEBHOOK}/enable", {"webhook_id": WEBHOOK}),
    Row("POST", f"{_M_WEBHOOK}/test", {"webhook_id": WEBHOOK}, good=202),
    Row("GET", f"{_M_WEBHOOK}/deliveries", {"webhook_id": WEBHOOK}, {"state": "pending"}),
    Row("POST", f"{_M_WEBHOOK}/replay", {"webhook_id": WEBHOOK}, body={"since": "2026-01-01T00:00:00Z"}, good=202),
    Row("POST", f"{_M}/deliveries/{{delivery_id}}/replay", {"delivery_id": DELIVERY}, good=202),
    Row("DELETE", _M_WEBHOOK, {"webhook_id": WEBHOOK}, good=204),
    Row("GET", _M_TURN, {"turn_id": TURN}),
    Row("POST", f"{_M_TURN}/stop", {"turn_id": TURN}),
    Row("GET", f"{_M}/usage", query={"group_by": "day,agent,key,model"}),
    Row("GET", f"{_M}/audit"),
)

# The last of all: lists hold from then on what it has named.
NAMING = (
    Row("POST", _S4, {"id": AGENT}, body={"message": "Hi", "conversation_id": CLIENT_ID}, visitors=True, names=True),
)

DOCUMENTS = (
    Row("GET", "/docs", open=True),
    Row("GET", "/docs/{name}", {"name": "slug"}, open=True),
    Row("GET", "/docs/{name}/openapi.json", {"name": "slug"}, open=True),
    Row("GET", "/docs/{name}/asyncapi.json", {"name": "sessions"}, open=True),
    Row("GET", "/docs/assets/{name}", {"name": "docs.css"}, open=True),
)
HEALTH = tuple(Row("GET", path, open=True) for path in ("/livez", "/readyz", "/metrics"))

ROWS: Sequence[Row] = (*ALOOCHAT, *ALONCHAT, *SLUGS, *SESSIONS, *AGENTS, *MANAGEMENT, *DOCUMENTS, *HEALTH, *NAMING)
