"""How each of the five contracts is asked for the same streamed turn. Knows no measuring."""

import json
import urllib.request

from bench.load import Job
from bench.processes import AGENT_ID, FORGETFUL, KEY, Program, idle_key

QUESTION = "What are your business hours?"
# A socket takes ten messages a second.
INTERVAL = 0.12


def chats(server: Program, key: str, count: int) -> list[str]:
    """New conversations, by their ids."""
    made = []
    for number in range(count):
        body = json.dumps({"user_id": f"user-{number}"}).encode()
        request = urllib.request.Request(
            f"{server.url}/api/v1/chats/", body, {"X-API-Key": key, "Content-Type": "application/json"}
        )
        with urllib.request.urlopen(request, timeout=10) as answer:
            made.append(str(json.load(answer)["id"]))
    return made


def jobs(server: Program, turns: int, clients: int, tokens: int) -> dict[str, Job]:
    """The same turns in each contract, each client in a conversation of its own, by the dialect's name."""
    talks = chats(server, KEY, clients)
    bearer = {"Authorization": f"Bearer {KEY}"}

    def job(path: str, headers: dict[str, str], body: dict[str, object], field: str, frames: int, last: str) -> Job:
        bodies = [json.dumps({**body, field: talk}) for talk in talks]
        return Job(path, headers, bodies, turns, frames, last=last, clients=clients, interval=INTERVAL)

    asked: dict[str, object] = {"message": QUESTION, "stream": True}
    found = {
        "aloochat": job(
            "/api/v1/chat/agent/stream",
            {"x-api-token": KEY},
            {"agent_key": f"agent:{AGENT_ID}:voice:us-east-1", "query": QUESTION},
            "conversation_id",
            tokens + 2,
            '"end"',
        ),
        "alonchat": job(f"/v1/agents/{AGENT_ID}/chat", bearer, asked, "conversation_id", tokens + 2, '"done"'),
        "slug": job(f"/v1/api/chat/{FORGETFUL}", bearer, asked, "conversationId", tokens + 1, "data: [DONE]"),
        "agents": job(f"/api/agents/{AGENT_ID}/chat", bearer, asked, "conversation_id", tokens + 2, '"done"'),
    }
    found["sessions"] = Job(
        "",
        {},
        [json.dumps({"content": QUESTION})],
        turns,
        tokens,
        frame='"message_stream_token"',
        last='"message_stream_ended"',
        clients=clients,
        interval=INTERVAL,
        sockets=[socket(KEY, f"user-{number}", talk) for number, talk in enumerate(talks)],
    )
    return found


def socket(key: str, user: str, chat: str) -> str:
    """The path of a socket on a chat."""
    return f"/ws/chat?api_key={key}&user_id={user}&chat_id={chat}"


def idle_sockets(server: Program, tenants: tuple[str, ...], each: int) -> list[str]:
    """The paths of sockets that say nothing: so many for each tenant, on one chat of it."""
    return [
        socket(idle_key(tenant), "user-0", chat)
        for tenant in tenants
        for chat in chats(server, idle_key(tenant), 1)
        for _ in range(each)
    ]
