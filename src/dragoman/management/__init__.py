"""Our own REST API, under /manage/v1; errors are RFC 9457. Knows no contract."""

from dragoman.management import (
    agents,
    attachments,
    audit,
    conversations,
    deployments,
    keys,
    knowledge,
    recordings,
    tenants,
    turns,
    usage,
)
from dragoman.management.description import DIALECT
from dragoman.management.router import router

__all__ = [
    "DIALECT",
    "agents",
    "attachments",
    "audit",
    "conversations",
    "deployments",
    "keys",
    "knowledge",
    "recordings",
    "router",
    "tenants",
    "turns",
    "usage",
]
