"""The router that every noun of the management API adds its routes to, and who may ask. Knows no noun."""

from typing import Annotated

from fastapi import Depends

from dragoman.core.tenants import Principal
from dragoman.server import access
from dragoman.server.errors import problem_body
from dragoman.server.routing import BothSpellings

PREFIX = "/manage/v1"

router = BothSpellings(PREFIX, problem_body)

# Secret keys alone.
Acting = Annotated[Principal, Depends(access.Acting())]
