"""Files and functions stay short enough to be read at one go."""

from collections.abc import Iterator

from lints.house import Finding, Function, House, docstring, functions

FILE_LINES = 400
FUNCTION_LINES = 60
LOOP_LINES = 120
LOOP_MODULE = "src/dragoman/services/turn.py"
# A migration is a record of one change to the schema: it is not split, and not read twice.
MIGRATIONS = "adapters/store/migrations/versions"


def bounds(house: House) -> Iterator[Finding]:
    """At most 400 lines a file and 60 a function; one loop, the life of a turn, may have 120."""
    for module in house.modules:
        if module.within(MIGRATIONS):
            continue
        lines = len(module.text.splitlines())
        if lines > FILE_LINES:
            yield Finding(module.path, 1, f"the file has {lines} lines, at most {FILE_LINES}")
        may_loop = module.path == LOOP_MODULE
        for function in functions(module.tree):
            length = lines_of(function)
            if length <= FUNCTION_LINES:
                continue
            if may_loop and length <= LOOP_LINES:
                may_loop = False
                continue
            bound = LOOP_LINES if module.path == LOOP_MODULE and length > LOOP_LINES else FUNCTION_LINES
            yield Finding(module.path, function.lineno, f"{function.name} has {length} lines, at most {bound}")


def lines_of(function: Function) -> int:
    """From `def` to the end, without the docstring."""
    length = (function.end_lineno or function.lineno) - function.lineno + 1
    if text := docstring(function):
        length -= (text.end_lineno or text.lineno) - text.lineno + 1
    return length
