"""The tenants of S3's tests: one for each test, for their limits are shared by all that a tenant does."""

from typing import Any

from tests.support.server import scripted

TENANTS = 60
ORIGIN = "https://shop.example"
GREETING = ["Hello", " there!", " How", " can", " I", " help", "?"]
SECRET_WORDS = "words of the upstream's own"
SCRIPT = (
    {"when": "greet", "tokens": GREETING},
    {"when": "slowly", "tokens": [f"{number} " for number in range(12)], "delay": 0.05},
    {"when": "think", "text": "done", "first_delay": 2.5},
    {"when": "say nothing", "text": ""},
    {"when": "fail", "error": SECRET_WORDS},
    {"when": "break off", "tokens": ["Half", " an"], "error": SECRET_WORDS},
    {"when": "weather", "text": "One moment.", "tool_calls": [{"name": "get_weather", "arguments": {"place": "Rome"}}]},
)
WEATHER = {
    "type": "client",
    "name": "get_weather",
    "description": "The weather at a place.",
    "parameters": {"type": "object", "properties": {"place": {"type": "string"}}},
}


def secret_key(tenant: str) -> str:
    return f"sk_test_{tenant}".ljust(36, "x")


def page_key(tenant: str, origin: str) -> str:
    """The publishable key for pages of `shop`, of `any` origin, or for no browser (`none`)."""
    return f"pk_test_{tenant}_{origin}".ljust(36, "x")


def spelled(name: str, **more: Any) -> dict[str, Any]:
    """A tenant as a manifest has it."""
    origins = {"shop": [ORIGIN], "any": ["*"], "none": []}
    pages = [
        {
            "name": each,
            "type": "publishable",
            "value": page_key(name, each),
            "agents": ["support-agent"],
            "origins": allowed,
        }
        for each, allowed in origins.items()
    ]
    return {
        "id": name,
        "name": name.title(),
        "plan": "enterprise",
        "default_agent": "support-agent",
        "keys": [{"name": "backend", "type": "secret", "value": secret_key(name)}, *pages],
        "agents": [
            scripted("Support Agent", *SCRIPT, slug="support-agent", tools=[WEATHER]),
            scripted("Fickle Agent", *SCRIPT, slug="fickle-agent", on_disconnect="cancel"),
        ],
        **more,
    }


def manifest() -> dict[str, Any]:
    """All of them, and some with less than the others."""
    return {
        "tenants": [
            *(spelled(f"tenant-{number}") for number in range(TENANTS)),
            spelled("poor", credits=2),
            spelled("limited", limits={"per_minute": 4}),
            spelled("undecided", default_agent=None),
        ]
    }
