"""The services as routes reach them. Made by app.py; knows no route."""

from dataclasses import dataclass

from starlette.requests import HTTPConnection

from dragoman.ports.limits import Slots
from dragoman.ports.store import Store
from dragoman.server.sockets import OpenSockets
from dragoman.services.access import Access
from dragoman.services.agents import Agents
from dragoman.services.audit import Audit, Keys
from dragoman.services.conversations import Conversations
from dragoman.services.deployments import Deployments
from dragoman.services.knowledge import Knowledge
from dragoman.services.metering import Metering
from dragoman.services.people import People
from dragoman.services.search import Search
from dragoman.services.secrets import Secrets
from dragoman.services.tenants import Tenants
from dragoman.services.tickets import Tickets
from dragoman.services.turn import TurnRunner
from dragoman.services.usage import Usage
from dragoman.services.webhooks import Webhooks


@dataclass(frozen=True, slots=True)
class Services:
    """What a route may call."""

    store: Store
    access: Access
    metering: Metering
    slots: Slots
    sockets: OpenSockets
    tickets: Tickets
    turns: TurnRunner
    conversations: Conversations
    agents: Agents
    deployments: Deployments
    keys: Keys
    search: Search
    tenants: Tenants
    knowledge: Knowledge
    usage: Usage
    audit: Audit
    people: People
    secrets: Secrets
    webhooks: Webhooks


def services_of(request: HTTPConnection) -> Services:
    """The services behind the app of a request or a socket."""
    services: Services = request.app.state.services
    return services
