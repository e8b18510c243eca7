"""A slug is made of an agent's name."""

import re

import pytest
from hypothesis import given
from hypothesis import strategies as st

from dragoman.core.agents import slugify


@pytest.mark.parametrize(
    ("name", "slug"),
    [
        ("Support Agent", "support-agent"),
        ("  Sales & Marketing (EU)  ", "sales-marketing-eu"),
        ("Crème Brûlée", "creme-brulee"),
        ("Straße", "strasse"),
        ("Ærøskøbing", "aeroskobing"),
        ("Łódź", "lodz"),
        ("Ðorđe Þór", "dorde-thor"),
        ("İstanbul ırmak", "istanbul-irmak"),
        ("Ångström № 2", "angstrom-no-2"),
        ("ﬁne", "fine"),
        ("under_score.dot/slash", "under-score-dot-slash"),
        ("Служба поддержки", "sluzhba-podderzhki"),
        ("Київ щодня", "kiyiv-shchodnya"),
        ("Εξυπηρέτηση πελατών", "exypiretisi-pelaton"),
        ("客服", "agent"),
        ("---", "agent"),
        ("", "agent"),
        ("a" * 100, "a" * 80),
        ("a" * 79 + " b", "a" * 79),
    ],
)
def test_a_name_becomes_a_slug(name: str, slug: str) -> None:
    assert slugify(name) == slug


@given(st.text(max_size=120))
def test_every_name_becomes_a_slug_that_is_its_own(name: str) -> None:
    slug = slugify(name)
    assert re.fullmatch(r"[a-z0-9]+(-[a-z0-9]+)*", slug)
    assert len(slug) <= 80
    assert slugify(slug) == slug
