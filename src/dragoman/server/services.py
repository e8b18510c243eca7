"""The services as routes reach them. Made by app.py; knows no route."""

from dataclasses import dataclass

from starlette.requests import Request

from dragoman.ports.store import Store
from dragoman.services.access import Access
from dragoman.services.conversations import Conversations
from dragoman.services.turn import TurnRunner


@dataclass(frozen=True, slots=True)
class Services:
    """What a route may call."""

    store: Store
    access: Access
    turns: TurnRunner
    conversations: Conversations


def services_of(request: Request) -> Services:
    """The services behind this request's app."""
    services: Services = request.app.state.services
    return services
