"""Liveness, readiness, metrics. Knows no dialect."""

from starlette.requests import Request
from starlette.responses import Response

from dragoman.core.errors import Unavailable
from dragoman.server.answers import json_answer
from dragoman.server.errors import problem_body
from dragoman.server.observe import metrics
from dragoman.server.routing import BothSpellings
from dragoman.server.services import services_of

# What watches a server often asks for the head alone; the body of its answer is left out on the way.
READ = ["GET", "HEAD"]

router = BothSpellings("", problem_body)


@router.api_route("/livez", methods=READ)
async def livez() -> Response:
    """The process lives."""
    return Response(b'{"status":"ok"}', media_type="application/json")


@router.api_route("/readyz", methods=READ)
async def readyz(request: Request) -> Response:
    """Whether requests can be served now, and if not, why."""
    services = services_of(request)
    reason = "draining" if services.turns.draining else ""
    if not reason:
        try:
            await services.store.check()
        except Unavailable as error:
            reason = error.message
    body = {"status": "unavailable", "reason": reason} if reason else {"status": "ok"}
    return json_answer(body, 503 if reason else 200)


router.add_api_route("/metrics", metrics, methods=READ)
