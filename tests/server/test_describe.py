"""What `operation` adds to what a route's author says, and that the author of every route has said something."""

import pytest
from fastapi.routing import APIRoute

from dragoman.app import dialects
from dragoman.core.errors import AgentNotFound, DragomanError
from dragoman.server.describe import RESUMING, TURN_HEADERS, VISITOR, Body, Operation, operation, path
from dragoman.server.errors import Dialect
from tests.web.scene import Ask

AGENT = path("agent_id", "The agent.", example="agent_1")


def kinds(errors: list[DragomanError]) -> set[str]:
    return {type(error).__name__ for error in errors}


def said(**what: object) -> Operation:
    return operation(**what)["operation"]


def test_every_route_may_fail_in_six_ways() -> None:
    assert kinds(said().errors) == {
        "Invalid",
        "Unauthenticated",
        "Forbidden",
        "RateLimited",
        "DragomanError",
        "Unavailable",
    }


def test_a_route_with_a_body_may_find_it_too_large() -> None:
    assert kinds(said(bodies=[Body(Ask, {})]).errors) - kinds(said().errors) == {"TooLarge"}


def test_a_route_that_begins_a_turn_has_what_all_of_them_share() -> None:
    turn = said(turn=True, parameters=[AGENT], errors=[AgentNotFound("x")])
    assert turn.parameters == (AGENT, *RESUMING, VISITOR)
    assert turn.headers == (*TURN_HEADERS, VISITOR)
    assert kinds(turn.errors) - kinds(said().errors) == {
        "AgentNotFound",
        "NoCredits",
        "Conflict",
        "KeyReused",
        "ModelFailed",
    }


@pytest.mark.parametrize("dialect", dialects(), ids=lambda dialect: dialect.name)
def test_every_route_of_a_dialect_is_described(dialect: Dialect) -> None:
    assert dialect.description is not None
    routes = [route for route in dialect.router.routes if isinstance(route, APIRoute) and route.include_in_schema]
    assert routes
    undescribed = [route.path for route in routes if "operation" not in (route.openapi_extra or {})]
    assert not undescribed
