"""What must hold of answers to those who do not own what they ask for. Knows no route."""

from collections.abc import Callable, Iterable, Iterator
from dataclasses import replace
from typing import Any

from tests.isolation.asked import Told, leaks, masked
from tests.isolation.rows import Ids, Row, absent
from tests.isolation.scene import Credential

Names = tuple[str, ...]


def asked_by(credential: Credential, row: Row, ids: Ids) -> Told:
    """The answer to a request, which holds nothing that this one may not be told."""
    asked = row.asked(ids)
    told = credential.acting.send(asked)
    assert leaks(told, credential.secrets, asked) == [], credential.name
    return told


def alike(row: Row, told: Told, ids: Ids) -> Any:
    """An answer without the ids that its request named."""
    return masked(told, {name: getattr(ids, name) for name in row.slots})


def foreign(credential: Credential, slots: Iterable[str], *, names: bool = False) -> Iterator[tuple[Names, Ids]]:
    """Others' ids in place of the own, all that differ and one by one; `names` says that client ids are given."""
    own = credential.own.ids
    for other in credential.others:
        differing = {name for name in slots if getattr(other.ids, name) != getattr(own, name)}
        if names and other.tenant == credential.own.tenant:
            # Clients of one tenant share their names for conversations: that one is taken is told.
            differing -= {"client_id"}
        for varied in {tuple(sorted(differing)), *((name,) for name in differing)} - {()}:
            yield varied, replace(own, **{name: getattr(other.ids, name) for name in varied})


def nobodys(credential: Credential, varied: Names) -> Ids:
    """The own ids, and some that nobody has."""
    known = absent()
    return replace(credential.own.ids, **{name: getattr(known, name) for name in varied})


def check_alike(credential: Credential, pairs: Iterable[tuple[Names, Ids]], answer: Callable[[Ids], Any]) -> None:
    """Assert that what is others' is told as what is nobody's."""
    of_nobodys: dict[Names, Any] = {}
    for varied, others in pairs:
        if varied not in of_nobodys:
            of_nobodys[varied] = answer(nobodys(credential, varied))
        assert answer(others) == of_nobodys[varied], (credential.name, varied)


def check_foreign_is_as_absent(row: Row, credential: Credential) -> None:
    """Assert that a request is answered alike for others' ids and for those that nobody has."""
    pairs = foreign(credential, row.slots, names=row.names)
    check_alike(credential, pairs, lambda ids: alike(row, asked_by(credential, row, ids), ids))
