"""What each OpenAPI document promises, held against the server: whatever a client makes of it, the answer is in it."""

import json
import re
import urllib.request
from collections import Counter
from collections.abc import Iterator, Sequence
from typing import Any, Literal

import pytest
import schemathesis
from hypothesis import HealthCheck, Phase, given, seed, settings
from hypothesis import strategies as st
from schemathesis import Case, GenerationMode
from schemathesis.checks import not_a_server_error
from schemathesis.specs.openapi.checks import (
    content_type_conformance,
    response_headers_conformance,
    response_schema_conformance,
    status_code_conformance,
)

from tests.fuzz.documents import CASES, CASES_OF_A_TENANT, DOCUMENTS, ERRORS, check_error, tenants_of
from tests.fuzz.scene import SPOKEN, Pool
from tests.support.forms import CONTENT_TYPE
from tests.support.server import ServerProcess

CHECKS = [
    not_a_server_error,
    status_code_conformance,
    content_type_conformance,
    response_headers_conformance,
    response_schema_conformance,
]
# How much of a case is as good as can be: nothing, what its path names, what it names anywhere, all but one field of
# each place, or all of it.
Goodness = Literal["nothing", "path", "names", "all but one", "all"]
GOODNESS: Sequence[Goodness] = ("all but one", "names", "path", "all but one", "nothing")
ARMED = (*(True,) * 15, False)


def read(url: str) -> bytes:
    with urllib.request.urlopen(url, timeout=20) as answer:
        content: bytes = answer.read()
        return content


def test_every_document_is_fuzzed(server: ServerProcess) -> None:
    index = read(f"{server.url}/docs").decode()
    assert set(re.findall(r'href="/docs/([a-z]+)"', index)) == set(DOCUMENTS) == set(ERRORS)


def one_of(members: dict[str, Any] | None, chance: int) -> dict[str, Any]:
    """One of the members of an object, if it has any."""
    names = sorted(members or ())
    return {name: (members or {})[name] for name in names[chance % len(names) :][:1]} if names else {}


def modes_of(operation: Any) -> Sequence[GenerationMode]:
    """Well-formed at first. A path takes any text, so what has neither a query nor a body has no malformed case; to
    find that out takes half a second."""
    asks = [*operation.query, *operation.body]
    return (GenerationMode.POSITIVE, GenerationMode.NEGATIVE) if asks else (GenerationMode.POSITIVE,)


class Fuzzing:
    """The cases of one document: made, sent, counted and looked at."""

    def __init__(self, server: ServerProcess, name: str) -> None:
        self.name = name
        self.sent = 0
        self.statuses: Counter[tuple[str, int]] = Counter()
        self._begun: set[str] = set()
        self._document = json.loads(read(f"{server.url}/docs/{name}/openapi.json"))
        # We send the credential: what wrong ones lead to is shown elsewhere.
        for said in (
            self._document,
            *(said for methods in self._document["paths"].values() for said in methods.values()),
        ):
            said.pop("security", None)
        self.schema = schemathesis.openapi.from_dict(self._document)
        self.schema.config.update(base_url=server.url)
        self._pools = [Pool(server.url, tenant) for tenant in tenants_of(name)]

    def operations(self) -> Iterator[Any]:
        """What can be asked for."""
        for result in self.schema.get_all_operations():
            yield result.ok()

    def run(self, cases: int) -> None:
        """Send so many cases, of every operation alike, well-formed and malformed; always the same."""
        strategies = [each.as_strategy(mode) for each in self.operations() for mode in modes_of(each)]
        rounds = 0
        while self.sent < cases:
            # Nobody goes without, and what those leave that have few cases, the others get.
            share = max(1, (cases - self.sent) // len(strategies))
            for strategy in strategies:
                rounds += 1
                if self.sent < cases:
                    self._run(strategy, rounds, min(share, cases - self.sent))

    def _run(self, strategy: Any, number: int, examples: int) -> None:
        @settings(
            max_examples=examples,
            deadline=None,
            database=None,
            phases=[Phase.generate],
            suppress_health_check=list(HealthCheck),
        )
        @seed(number)
        @given(strategy, st.sampled_from(GOODNESS), st.integers(0, 5), st.sampled_from(ARMED))
        def each(case: Case, goodness: Goodness, chance: int, armed: bool) -> None:
            # What is asked for first is to be had, whatever comes later.
            first = case.operation.label not in self._begun
            self._begun.add(case.operation.label)
            self._improve(case, "all" if first else goodness, chance)
            self._send(case, armed or first)

        each()

    @property
    def _pool(self) -> Pool:
        """Whose turn it is."""
        return self._pools[self.sent // CASES_OF_A_TENANT % len(self._pools)]

    def _improve(self, case: Case, goodness: Goodness, chance: int) -> None:
        """Make a case better: real names; and of what was made for its query and its body, one field of each or none.

        What no path names is optional everywhere, but for a body.
        """
        if goodness == "nothing":
            return
        if goodness == "all":
            case.headers.clear()
        if goodness in ("all but one", "all"):
            case.query = one_of(case.query, chance) if goodness == "all but one" else {}
            if isinstance(case.body, dict):
                content = self._document["paths"][case.path][case.method.lower()]["requestBody"]["content"]
                instead = one_of(case.body, chance) if goodness == "all but one" else {}
                case.body = {**content[case.media_type]["example"], **instead}
        self._name(case, case.path_parameters)
        if goodness == "names":
            self._name(case, case.query)
        if goodness != "path":
            self._name(case, case.body)
            if case.path.endswith("/recordings"):
                # No generator makes speech.
                case.body, case.headers["Content-Type"] = SPOKEN, CONTENT_TYPE

    def _name(self, case: Case, place: Any) -> None:
        if not isinstance(place, dict):
            return
        for name in list(place):
            place.update(self._pool.named(name, case.method, case.path))

    def _send(self, case: Case, armed: bool) -> None:
        headers = self._pool.headers if armed else {}
        self.sent += 1
        response = case.call(headers=headers, timeout=20)
        self.statuses[case.operation.label, response.status_code] += 1
        case.validate_response(response, checks=CHECKS)
        if response.status_code >= 400:
            check_error(self.name, response.json())


@pytest.mark.parametrize("name", DOCUMENTS)
def test_whatever_is_sent_the_answer_is_as_the_document_says(server: ServerProcess, name: str) -> None:
    fuzzing = Fuzzing(server, name)
    fuzzing.run(CASES)
    assert fuzzing.sent == fuzzing.statuses.total() == CASES
    seen = {status for _, status in fuzzing.statuses}
    assert 429 not in seen
    # Cases are refused, and get to where something happens, in every operation.
    assert {400, 401, 404} <= seen
    served = {label for label, status in fuzzing.statuses if status < 400}
    assert served == {each.label for each in fuzzing.operations()}
