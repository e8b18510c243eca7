"""S3: chats over REST, and their messages live over a socket. Exports the dialect as app.py mounts it."""

from dragoman.dialects.sessions import wire
from dragoman.dialects.sessions.description import DESCRIPTION
from dragoman.dialects.sessions.errors import body
from dragoman.dialects.sessions.routes import BUCKET, KEY, router
from dragoman.server.access import Acting
from dragoman.server.errors import Dialect

DIALECT = Dialect(
    "sessions",
    (wire.PREFIX, wire.SOCKET_PATH),
    router,
    body,
    Acting(KEY, visitors=True, bucket=BUCKET),
    DESCRIPTION,
)
