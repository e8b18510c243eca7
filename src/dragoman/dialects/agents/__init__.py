"""S4: one chat for each agent, with tools that the client runs. Exports the dialect as app.py mounts it."""

from dragoman.dialects.agents.description import DESCRIPTION
from dragoman.dialects.agents.routes import router
from dragoman.dialects.agents.wire import PREFIX, error_body
from dragoman.server.access import Acting
from dragoman.server.errors import Dialect

DIALECT = Dialect("agents", (PREFIX,), router, error_body, Acting(), DESCRIPTION)
