"""Our own REST API, under /manage/v1; errors are RFC 9457. Knows no contract."""

from dragoman.management import agents, audit, conversations, deployments, keys, tenants, turns, usage
from dragoman.management.description import DIALECT
from dragoman.management.router import router

__all__ = ["DIALECT", "agents", "audit", "conversations", "deployments", "keys", "router", "tenants", "turns", "usage"]
