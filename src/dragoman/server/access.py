"""Who acts and how often: from a request's credential to a Principal, counted. Knows no dialect."""

import ipaddress
from collections.abc import Callable

from starlette.requests import HTTPConnection, Request

from dragoman.core.errors import Forbidden, RateLimited
from dragoman.core.limits import Admission, Bucket
from dragoman.core.tenants import Principal
from dragoman.server.requests import note, tell
from dragoman.server.services import services_of
from dragoman.services.access import Caller

VISITOR_HEADER = "X-Visitor-Token"
LIMIT_HEADERS = ("X-RateLimit-Limit", "X-RateLimit-Remaining", "X-RateLimit-Reset", "RateLimit-Policy", "RateLimit")

# Who has one address of the sixth version has all that share these bits.
_SHARED_BITS = 64

# What stands around a field's value is no part of it (RFC 9110, 5.5), and the HTTP parser leaves some of it there.
_BLANKS = " \t"

CredentialOf = Callable[[HTTPConnection], str | None]


def bearer(connection: HTTPConnection) -> str | None:
    """The credential of ``Authorization: Bearer``; empty where the header says something else, None without one."""
    given = connection.headers.get("authorization")
    if given is None:
        return None
    scheme, _, credential = given.partition(" ")
    return credential.strip(_BLANKS) if scheme.lower() == "bearer" else ""


def in_header(*names: str) -> CredentialOf:
    """The credential of the first of these headers that is there."""

    def credential_of(connection: HTTPConnection) -> str | None:
        given = (connection.headers.get(name) for name in names)
        return next((value.strip(_BLANKS) for value in given if value is not None), None)

    return credential_of


class Acting:
    """A dependency of routes: the Principal behind a request, counted against its limits.

    Secret keys may always act, publishable keys where `visitors` may, and who has no credential where `public_agent`
    names the path's parameter that names a public agent. `bucket` is the route's own beside the plan; `sends` says
    that the route begins turns.
    """

    def __init__(
        self,
        credential_of: CredentialOf = bearer,
        *,
        visitors: bool = False,
        public_agent: str | None = None,
        bucket: Bucket | None = None,
        sends: bool = False,
    ) -> None:
        self._credential_of = credential_of
        self._visitors = visitors
        self._public_agent = public_agent
        self._bucket = bucket
        self._sends = sends

    async def __call__(self, request: Request) -> Principal:
        """The principal, who may act and is within all limits.

        Raises:
            Unauthenticated, Forbidden, RateLimited, Unavailable
        """
        (principal, new_visitor_token), refusal = await self._caller(request)
        note(request, tenant_id=principal.tenant_id)
        admission = await services_of(request).metering.admit(
            principal, address_of(request), bucket=self._bucket, sends=self._sends
        )
        tell(request, limit_headers(admission))
        if admission.refused:
            raise RateLimited(admission.retry_after)
        if refusal is not None:
            raise refusal
        if principal.type == "publishable" and not self._visitors:
            raise Forbidden
        if new_visitor_token is not None:
            tell(request, [(VISITOR_HEADER.lower().encode(), new_visitor_token.encode())])
        return principal

    async def _caller(self, request: Request) -> tuple[Caller, Forbidden | None]:
        access, headers = services_of(request).access, request.headers
        credential, visitor_token = self._credential_of(request), headers.get(VISITOR_HEADER)
        if credential is None and self._public_agent is not None:
            return await access.public(request.path_params[self._public_agent], visitor_token), None
        return await access.recognize(credential, headers.get("origin"), visitor_token)


def address_of(connection: HTTPConnection) -> str:
    """Where a client is, as far as it is counted by that."""
    host = connection.client.host if connection.client else ""
    if ":" not in host:
        return host
    try:
        address = ipaddress.IPv6Address(host)
    except ValueError:
        return host
    return str(address.ipv4_mapped or ipaddress.IPv6Address(int(address) >> _SHARED_BITS << _SHARED_BITS))


def limit_headers(admission: Admission) -> list[tuple[bytes, bytes]]:
    """How the limits stand, in the headers that the contracts name and in those that the IETF does.

    draft-ietf-httpapi-ratelimit-headers-10: a policy and its state for each window, as structured fields.
    """
    tightest = admission.tightest
    values = (
        str(tightest.window.limit),
        str(tightest.remaining),
        str(tightest.resets_at),
        ", ".join(
            [f'"{count.window.bucket}";q={count.window.limit};w={count.window.seconds}' for count in admission.counts]
        ),
        ", ".join(
            [
                f'"{count.window.bucket}";r={count.remaining};t={count.seconds_left(admission.now_us)}'
                for count in admission.counts
            ]
        ),
    )
    return [(name, value.encode()) for name, value in zip(_LIMIT_NAMES, values, strict=True)]


_LIMIT_NAMES = tuple(name.lower().encode() for name in LIMIT_HEADERS)
