"""The management API as its OpenAPI document tells it. Describes and checks nothing."""

import msgspec

from dragoman.management.router import PREFIX, router
from dragoman.server.describe import Description, bearer_scheme
from dragoman.server.errors import Dialect, problem_body


class Problem(msgspec.Struct):
    """What went wrong (RFC 9457)."""

    type: str
    title: str
    status: int
    detail: str


DESCRIPTION = Description(
    "Management",
    "Agents and what they know, deployments, keys, conversations, usage and the audit log of the tenant whose key "
    "asks. Every list has pages: `limit`, `cursor`, and `next_cursor` in the answer. Fields and parameters that are "
    "not named here are errors.",
    Problem,
    bearer_scheme("A secret key of the tenant."),
)

# For its document alone: it is not one of the contracts.
DIALECT = Dialect("management", (PREFIX,), router, problem_body, description=DESCRIPTION)
