"""S1: chat by an agent's id, with sources, confidence and credits. Exports the dialect as app.py mounts it."""

from dragoman.dialects.alonchat.description import DESCRIPTION
from dragoman.dialects.alonchat.routes import router
from dragoman.dialects.alonchat.wire import PREFIX, error_body
from dragoman.server.access import Acting
from dragoman.server.errors import Dialect

DIALECT = Dialect("alonchat", (PREFIX,), router, error_body, Acting(), DESCRIPTION)
