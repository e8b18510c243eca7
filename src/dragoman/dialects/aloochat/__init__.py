"""S0: conversations, and chat by forms or JSON. Exports the dialect as app.py mounts it."""

from dragoman.dialects.aloochat.description import DESCRIPTION
from dragoman.dialects.aloochat.routes import TOKEN, router
from dragoman.dialects.aloochat.wire import PREFIX, error_body
from dragoman.server.access import Acting
from dragoman.server.errors import Dialect

DIALECT = Dialect("aloochat", (PREFIX,), router, error_body, Acting(TOKEN), DESCRIPTION)
