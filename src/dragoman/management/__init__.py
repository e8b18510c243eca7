"""Our own REST API, under /manage/v1; errors are RFC 9457. Knows no contract."""

from dragoman.management import (
    agents,
    approvals,
    attachments,
    audit,
    conversations,
    deployments,
    handovers,
    keys,
    knowledge,
    recordings,
    secrets,
    tenants,
    turns,
    usage,
    webhooks,
)
from dragoman.management.description import DIALECT
from dragoman.management.router import router

__all__ = [
    "DIALECT",
    "agents",
    "approvals",
    "attachments",
    "audit",
    "conversations",
    "deployments",
    "handovers",
    "keys",
    "knowledge",
    "recordings",
    "router",
    "secrets",
    "tenants",
    "turns",
    "usage",
    "webhooks",
]
