"""S2: chat by an agent's slug. Exports the dialect as app.py mounts it."""

from dragoman.dialects.slug.description import DESCRIPTION
from dragoman.dialects.slug.routes import router
from dragoman.dialects.slug.wire import PREFIX, error_body
from dragoman.server.access import Acting
from dragoman.server.errors import Dialect

DIALECT = Dialect("slug", (PREFIX,), router, error_body, Acting(), DESCRIPTION)
