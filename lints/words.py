"""Names that say something, docstrings that can be read at a glance, and nothing of the place where it was written."""

import re
from collections.abc import Iterator

from lints.house import Finding, House, docstring

EMPTY_NAMES = {"util", "utils", "helper", "helpers", "manager", "managers", "common", "misc"}
DOCSTRING_LINES = 8
DRAWING = "├│└"

# Each is put together here, so that this file does not hold what it looks for.
PROMISE = re.compile(rf"\b(?:{'TO'}{'DO'}|{'FIX'}{'ME'})\b(?!.*#\d)")
MACHINE_PATH = re.compile(r"(?<![\w.}])/(?:work|farm|home|root|Users)/")
HOSTS = (
    ("pypi", "org"),
    ("pythonhosted", "org"),
    ("npmjs", "org"),
    ("npmjs", "com"),
    ("yarnpkg", "com"),
    ("deb", "debian", "org"),
    ("crates", "io"),
    ("proxy", "golang", "org"),
)
REGISTRY = re.compile("|".join(r"\.".join(host) for host in HOSTS))

FORBIDDEN = (
    (PROMISE, "a promise without the number of its issue"),
    (MACHINE_PATH, "a path of somebody's machine"),
    (REGISTRY, "the host of a package registry"),
)


def words(house: House) -> Iterator[Finding]:
    """Modules have names and docstrings that say something; files hold no loose promise, machine path or registry."""
    yield from _module_words(house)
    for path, text in house.texts():
        for pattern, what in FORBIDDEN:
            for match in pattern.finditer(text):
                yield Finding(path, text.count("\n", 0, match.start()) + 1, f"{what}: {match.group()}")


def _module_words(house: House) -> Iterator[Finding]:
    for module in house.modules:
        if empty := EMPTY_NAMES.intersection(re.split(r"[._]", module.name)):
            yield Finding(module.path, 1, f"a module is a noun of its subject, not {', '.join(sorted(empty))}")
        said = docstring(module.tree)
        if said is None or not str(said.value).strip():
            yield Finding(module.path, 1, "the module does not say what it is")
            continue
        prose = [line for line in map(str.strip, str(said.value).splitlines()) if line and line[0] not in DRAWING]
        if len(prose) > DOCSTRING_LINES:
            yield Finding(module.path, 1, f"the docstring has {len(prose)} lines, at most {DOCSTRING_LINES}")
