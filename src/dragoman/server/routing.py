"""How a route is called: FastAPI's declarations, and a way from the socket to the endpoint that has no more in it.

FastAPI's own way (two exit stacks, a solver, five middlewares that each wrap `send`) costs 0.2 ms a turn and 3 us a
token: see docs/decisions/0006-own-route-call.md. Knows no dialect.
"""

import inspect
from collections.abc import Awaitable, Callable, Sequence
from typing import Annotated, Any, get_args, get_origin, get_type_hints

from fastapi import APIRouter, FastAPI
from fastapi.params import Depends
from fastapi.routing import APIRoute
from starlette.exceptions import HTTPException
from starlette.requests import Request
from starlette.responses import Response
from starlette.routing import Match
from starlette.types import ASGIApp, Receive, Scope, Send

from dragoman.core.errors import DragomanError, MethodNotAllowed, RateLimited
from dragoman.server.errors import Dialect, ErrorBody, core_error, error_response, owner_of, problem_body

Argument = Callable[[Request], Awaitable[Any]]


def _arguments(endpoint: Callable[..., Any]) -> tuple[Sequence[str], Sequence[tuple[str, Argument]], Sequence[str]]:
    """How an endpoint's parameters are filled: those that are the request, those that depend on it, and the path's.

    Raises:
        TypeError: one is neither.
    """
    requests: list[str] = []
    depending: list[tuple[str, Argument]] = []
    path: list[str] = []
    hints = get_type_hints(endpoint, include_extras=True)
    for name in inspect.signature(endpoint).parameters:
        hint = hints[name]
        found = [each for each in get_args(hint) if isinstance(each, Depends)] if get_origin(hint) is Annotated else []
        if hint is Request:
            requests.append(name)
        elif found and found[0].dependency is not None:
            depending.append((name, found[0].dependency))
        elif hint is str:
            path.append(name)
        else:
            raise TypeError(f"{endpoint.__name__} takes {name}: a route takes its request, dependencies and path texts")
    return requests, depending, path


def _called(endpoint: Callable[..., Awaitable[Response]], error_body: ErrorBody) -> ASGIApp:
    """An endpoint as an ASGI app, its errors spelled by `error_body`."""
    requests, depending, path = _arguments(endpoint)

    async def app(scope: Scope, receive: Receive, send: Send) -> None:
        request = Request(scope, receive, send)
        given = dict.fromkeys(requests, request)
        try:
            values: dict[str, Any] = {**given, **{name: scope["path_params"][name] for name in path}}
            for name, argument in depending:
                values[name] = await argument(request)
            response = await endpoint(**values)
        except Exception as error:
            response = error_response(core_error(error), error_body)
        await response(scope, receive, send)

    return app


async def _counted(failure: DragomanError, acting: Argument, request: Request) -> DragomanError:
    """What no route takes counts as a request where its credential is good; then it may be one too many."""
    try:
        await acting(request)
    except RateLimited as limited:
        return limited
    except DragomanError:
        return failure
    return failure


class BothSpellings(APIRouter):
    """A router whose paths are served with and without their last slash, with the errors of its owner."""

    def __init__(self, prefix: str, error_body: ErrorBody) -> None:
        class OwnedRoute(APIRoute):
            """A route that answers every error by itself."""

            def __init__(self, path: str, endpoint: Callable[..., Any], **options: Any) -> None:
                super().__init__(path, endpoint, **options)
                self.app = _called(endpoint, error_body)

        super().__init__(prefix=prefix, route_class=OwnedRoute, redirect_slashes=False)

    def add_api_route(self, path: str, endpoint: Callable[..., Any], **options: Any) -> None:
        """Add a route, and its other spelling beside it."""
        super().add_api_route(path, endpoint, **options)
        other = path.rstrip("/") if path.endswith("/") else f"{path}/"
        super().add_api_route(other, endpoint, **{**options, "include_in_schema": False})


class DialectApp(FastAPI):
    """Every dialect's routes on one port; what no route takes is answered in the shape of the path's owner."""

    def __init__(self, dialects: Sequence[Dialect], *others: APIRouter) -> None:
        super().__init__(openapi_url=None, docs_url=None, redoc_url=None, redirect_slashes=False)
        self._dialects = dialects
        # Not include_router, which nests a router in a router: that is matched and dispatched twice for every request.
        for router in (*(dialect.router for dialect in dialects), *others):
            self.router.routes.extend(router.routes)

    def _methods(self, scope: Scope) -> Sequence[str]:
        """The methods of a path, which may have a route for each."""
        routes = [route for route in self.router.routes if isinstance(route, APIRoute)]
        return sorted(
            {each for route in routes if route.matches(scope)[0] is not Match.NONE for each in route.methods or ()}
        )

    def build_middleware_stack(self) -> ASGIApp:
        """The router, and the answer to what it has no route for."""

        async def app(scope: Scope, receive: Receive, send: Send) -> None:
            try:
                await self.router(scope, receive, send)
            except HTTPException as error:
                owner = owner_of(scope["path"], self._dialects)
                failure = core_error(error)
                if isinstance(failure, MethodNotAllowed):
                    failure = MethodNotAllowed(", ".join(self._methods(scope)))
                if owner is not None and owner.acting is not None:
                    failure = await _counted(failure, owner.acting, Request(scope, receive, send))
                response = error_response(failure, owner.error_body if owner else problem_body)
                await response(scope, receive, send)

        return app
