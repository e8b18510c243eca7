"""The documents that are fuzzed, how often, and the shape that errors have in each. Knows no route."""

import os
from collections.abc import Mapping, Sequence
from typing import Any

from dragoman import management
from dragoman.app import dialects

DOCUMENTS = tuple(dialect.name for dialect in (*dialects(), management.DIALECT))
FULL = os.environ.get("DRAGOMAN_FAULTS") == "full"
ALL_CASES = 10_000 if FULL else 2_000
CASES = -(-ALL_CASES // len(DOCUMENTS))
# How often each kind of body is sent that no document can describe.
BODIES = 1_000 if FULL else 150
# S3 lets a tenant ask a hundred times a minute.
CASES_OF_A_TENANT = 80

# The members of an error, and of what it is wrapped in.
ERRORS: Mapping[str, set[str]] = {
    "aloochat": {"error", "message", "statusCode"},
    "alonchat": {"code", "message"},
    "slug": {"name", "message", "details"},
    "sessions": {"code", "message", "details"},
    "agents": {"code", "message", "details"},
    "management": {"type", "title", "status", "detail"},
}
WRAPPED: Mapping[str, set[str]] = {"alonchat": {"error"}, "slug": {"data", "error"}, "agents": {"error"}}


def tenants_of(document: str, cases: int = CASES) -> Sequence[str]:
    """The tenants whose keys are sent along for a document; `bodies` stands for what none describes."""
    many = -(-cases // CASES_OF_A_TENANT) if document in ("sessions", "bodies") else 1
    return [f"{document}-{number}" for number in range(many)]


def check_error(document: str, body: Any) -> None:
    """Assert that a body is an error as this document spells them, and nothing else."""
    if document in WRAPPED:
        assert set(body) == WRAPPED[document], body
        body = body["error"]
    # S1 says in the body too how long to wait.
    assert set(body) - {"retry_after"} == ERRORS[document], body
