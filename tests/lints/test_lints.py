"""Each rule of the house finds what breaks it and leaves alone what does not."""

import subprocess
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from lints.__main__ import main
from lints.bounds import bounds
from lints.house import Finding, House
from lints.sql import sql
from lints.tenants import tenants
from lints.transactions import transactions
from lints.words import words

Lint = Callable[[House], Iterator[Finding]]

STORE = "src/dragoman/adapters/store"
SCHEMA = '''"""Tables."""
prices = Table("prices", metadata, Column("model", Text))
turns = Table("turns", metadata, *(_text("id"), _text("tenant_id")))
messages = Table("messages", metadata, Column("id", Text), Column("tenant_id", Text))
'''


def found(root: Path, lint: Lint, source: str, path: str = "src/dragoman/services/thing.py") -> list[str]:
    """What the lint says of one module in a repository of its own."""
    file = root / path
    file.parent.mkdir(parents=True, exist_ok=True)
    file.write_text(source, encoding="utf-8")
    return [finding.message for finding in lint(House(root))]


def function_of(lines: int, name: str = "long") -> str:
    return f"def {name}():\n" + '    """Said\n    twice."""\n' + "    x = 1\n" * (lines - 1)


def test_a_file_may_have_400_lines_and_no_more(tmp_path: Path) -> None:
    assert found(tmp_path, bounds, "x = 1\n" * 400) == []
    assert found(tmp_path, bounds, "x = 1\n" * 401) == ["the file has 401 lines, at most 400"]


def test_a_function_may_have_60_lines_beside_its_docstring(tmp_path: Path) -> None:
    assert found(tmp_path, bounds, function_of(60)) == []
    assert found(tmp_path, bounds, function_of(61)) == ["long has 61 lines, at most 60"]
    assert found(tmp_path, bounds, "class A:\n    async def b(self):\n" + "        x = 1\n" * 60) == [
        "b has 61 lines, at most 60"
    ]


def test_the_life_of_a_turn_may_hold_one_loop_of_120_lines(tmp_path: Path) -> None:
    turn = "src/dragoman/services/turn.py"
    assert found(tmp_path, bounds, function_of(120), turn) == []
    assert found(tmp_path, bounds, function_of(121), turn) == ["long has 121 lines, at most 120"]
    two = function_of(90, "one") + function_of(90, "other")
    assert found(tmp_path, bounds, two, turn) == ["other has 90 lines, at most 60"]


def test_a_migration_has_no_bounds(tmp_path: Path) -> None:
    assert found(tmp_path, bounds, function_of(500), f"{STORE}/migrations/versions/0001_first.py") == []


UNSCOPED = {
    "a statement in the call": 'async def f(tx):\n    await tx.one("SELECT id FROM turns WHERE id = :id", {})\n',
    "a constant": 'Q = "DELETE FROM turns WHERE id = :id"\nasync def f(tx):\n    await tx.run(Q, {})\n',
    "a constant of a class": (
        'class A:\n    _q = "DELETE FROM turns"\n    async def f(self, tx):\n        await tx.run(self._q, {})\n'
    ),
    "a local name": 'async def f(tx):\n    q = "UPDATE turns SET state = 1"\n    await tx.run(q, {})\n',
    "one branch of two": (
        'async def f(tx, x):\n    await tx.run("DELETE FROM turns WHERE tenant_id = :tenant_id" if x '
        'else "DELETE FROM turns", {})\n'
    ),
    "one assignment of two": (
        'async def f(tx, x):\n    q = "SELECT id FROM turns WHERE tenant_id = :tenant_id"\n'
        '    if x:\n        q = "SELECT id FROM turns WHERE id = :id"\n    await tx.run(q, {})\n'
    ),
    "an f-string": 'W = "WHERE id = :id"\nasync def f(tx):\n    await tx.all(f"SELECT id FROM turns {W}", {})\n',
    "a sum": 'async def f(tx):\n    await tx.all("SELECT id " + "FROM turns", {})\n',
    "a table behind an argument": 'async def f(tx, table):\n    await tx.run(f"DELETE FROM {table}", {})\n',
    "a joined table": 'async def f(tx):\n    await tx.all("SELECT 1 FROM prices p, turns t", {})\n',
    "a job within a method": (
        "class A:\n    async def f(self):\n        async def job(tx):\n"
        '            return await tx.one("SELECT id FROM turns", {})\n        return await self.db.read(job)\n'
    ),
    "a statement within an expression": (
        'async def f(tx, x):\n    n = 1 + (0 if x else await tx.run("DELETE FROM turns", {}))\n    return n\n'
    ),
    "a lambda": 'def f(db):\n    return db.read(lambda tx: tx.all("SELECT id FROM messages"))\n',
    "a column that is only shown": 'async def f(tx):\n    await tx.all("SELECT tenant_id FROM turns", {})\n',
    "one of two databases": (
        'Q = {"sqlite": "DELETE FROM turns", "postgres": "DELETE FROM turns WHERE tenant_id = :tenant_id"}\n'
        "async def f(tx, kind):\n    await tx.run(Q[kind], {})\n"
    ),
}


@pytest.mark.parametrize("source", UNSCOPED.values(), ids=UNSCOPED)
def test_sql_over_a_tenants_table_without_the_tenant_is_found(tmp_path: Path, source: str) -> None:
    found(tmp_path, tenants, SCHEMA, f"{STORE}/schema.py")
    messages = found(tmp_path, tenants, source, f"{STORE}/thing.py")
    assert len(messages) == 1
    assert messages[0].endswith("binds no :tenant_id")


SCOPED = {
    "it binds the tenant": 'def f(tx):\n    return tx.one("SELECT 1 FROM turns WHERE tenant_id = :tenant_id", {})\n',
    "it is put together": (
        'Q = "SELECT id FROM turns"\nasync def f(tx, x):\n    q = f"{Q} WHERE tenant_id = :tenant_id"\n'
        '    if x:\n        q += " AND id = :id"\n    await tx.all(q, {})\n'
    ),
    "the tenant is added later": (
        'def f(tx):\n    q = "SELECT id FROM turns"\n    q += " WHERE tenant_id = :tenant_id"\n    return tx.all(q)\n'
    ),
    "the table is nobody's": 'async def f(tx):\n    await tx.all("SELECT model FROM prices", {})\n',
    "it says why": (
        '@across_tenants("recovery closes them all")\nasync def f(tx):\n    await tx.run("DELETE FROM turns", {})\n'
    ),
    "the method around it says why": (
        'class A:\n    @across_tenants("all of them")\n    async def f(self):\n        async def job(tx):\n'
        '            await tx.run("DELETE FROM turns", {})\n        await self.db.write(job)\n'
    ),
    "it is prose": 'def f():\n    """SELECT id FROM turns, it says."""\n    raise ValueError("no rows from turns")\n',
}


@pytest.mark.parametrize("source", SCOPED.values(), ids=SCOPED)
def test_sql_that_binds_the_tenant_or_says_why_not_is_left_alone(tmp_path: Path, source: str) -> None:
    found(tmp_path, tenants, SCHEMA, f"{STORE}/schema.py")
    assert found(tmp_path, tenants, source, f"{STORE}/thing.py") == []


def test_a_constant_of_another_module_of_the_store_is_followed(tmp_path: Path) -> None:
    found(tmp_path, tenants, SCHEMA, f"{STORE}/schema.py")
    found(tmp_path, tenants, 'Q = "DELETE FROM turns"\n', f"{STORE}/statements.py")
    by_name = "from dragoman.adapters.store.statements import Q as P\ndef f(tx):\n    tx.run(P)\n"
    by_module = "from dragoman.adapters.store import statements\ndef f(tx):\n    tx.run(statements.Q)\n"
    assert len(found(tmp_path, tenants, by_name, f"{STORE}/thing.py")) == 1
    assert len(found(tmp_path, tenants, by_module, f"{STORE}/thing.py")) == 1


@pytest.mark.parametrize("reason", ["", '""', '"  "', "REASON"])
def test_reaching_across_tenants_wants_a_reason_that_can_be_read(tmp_path: Path, reason: str) -> None:
    source = f"@across_tenants({reason})\ndef f(tx):\n    pass\n"
    assert found(tmp_path, tenants, source, f"{STORE}/thing.py") == ["f: across_tenants wants a reason"]


@pytest.mark.parametrize("opened", ["db.write()", "self._pool.acquire()", "begin()", "c.transaction(readonly=True)"])
def test_a_yield_within_a_transaction_is_found(tmp_path: Path, opened: str) -> None:
    source = f"async def f(self):\n    async with lock, {opened} as tx:\n        for x in tx:\n            yield x\n"
    assert found(tmp_path, transactions, source) == ["f yields while a transaction is open"]


def test_a_transaction_on_an_exit_stack_is_found(tmp_path: Path) -> None:
    source = "async def f(s):\n    tx = await s.enter_async_context(db.read())\n    yield tx\n"
    assert found(tmp_path, transactions, source) == ["f yields while a transaction is open"]


@pytest.mark.parametrize(
    "source",
    [
        "async def f():\n    async with db.write() as tx:\n        x = await tx.one(1)\n    yield x\n",
        "def f():\n    with open_file() as file:\n        yield file\n",
        "def f():\n    with db.write():\n        def g():\n            yield 1\n        list(g())\n",
    ],
)
def test_a_yield_outside_a_transaction_is_left_alone(tmp_path: Path, source: str) -> None:
    assert found(tmp_path, transactions, source) == []


def test_the_store_has_no_async_generators(tmp_path: Path) -> None:
    source = "async def f(tx):\n    yield 1\n"
    assert found(tmp_path, transactions, source, f"{STORE}/thing.py") == ["f is an async generator in the store"]
    assert found(tmp_path, transactions, "async def f(tx):\n    return 1\n", f"{STORE}/thing.py") == []


@pytest.fixture
def repository(tmp_path: Path) -> Path:
    subprocess.run(["git", "init", "--quiet", str(tmp_path)], check=True)
    return tmp_path


@pytest.mark.parametrize("path", ["services/utils.py", "server/error_helpers.py", "common/frames.py"])
def test_a_module_is_named_by_its_subject(repository: Path, path: str) -> None:
    messages = found(repository, words, '"""Something."""\n', f"src/dragoman/{path}")
    assert len(messages) == 1
    assert messages[0].startswith("a module is a noun of its subject")


def test_a_module_says_what_it_is_in_a_few_lines(repository: Path) -> None:
    assert found(repository, words, "x = 1\n") == ["the module does not say what it is"]
    assert found(repository, words, '"""' + "A line.\n" * 9 + '"""\n') == ["the docstring has 9 lines, at most 8"]
    assert found(repository, words, '"""' + "A line.\n" * 8 + "├─ Drawn\n" * 9 + '"""\n') == []


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("# TO" + "DO: later", "a promise without the number of its issue"),
        ("cd /ho" + "me/me/src", "a path of somebody's machine"),
        ('path = "/wo' + 'rk/main"', "a path of somebody's machine"),
        ("https://registry.npm" + "js.org/left-pad", "the host of a package registry"),
    ],
)
def test_no_file_holds_a_loose_promise_a_machine_path_or_a_registry(repository: Path, text: str, message: str) -> None:
    (repository / "notes.md").write_text(f"one\n{text}\n", encoding="utf-8")
    findings = list(words(House(repository)))
    assert [(finding.path, finding.line) for finding in findings] == [("notes.md", 2)]
    assert findings[0].message.startswith(message)


def test_what_is_ignored_binary_or_numbered_is_left_alone(repository: Path) -> None:
    (repository / ".gitignore").write_text("var/\n", encoding="utf-8")
    (repository / "var").mkdir()
    (repository / "var" / "notes.md").write_text("# TO" + "DO\n", encoding="utf-8")
    (repository / "picture.png").write_bytes(b"\x89PNG\xff /ho" + b"me/me")
    (repository / "notes.md").write_text("# TO" + "DO(#12): see example.com/wo" + "rk/\n", encoding="utf-8")
    assert list(words(House(repository))) == []


@pytest.mark.parametrize(
    "source",
    [
        'Q = "SELECT id FROM turns"\n',
        'Q = """\n    insert into turns (id) values (:id)"""\n',
        'def f(t):\n    return f"UPDATE {t} SET a = 1"\n',
        'Q = "WITH old AS (SELECT 1) SELECT 2"\n',
        'Q = "DELETE FROM turns"\n',
        "import sqlite3\n",
        "def f():\n    from sqlalchemy.ext.asyncio import create_async_engine\n",
        "import alembic.command\n",
    ],
)
def test_sql_outside_the_store_is_found(tmp_path: Path, source: str) -> None:
    assert len(found(tmp_path, sql, source)) == 1


@pytest.mark.parametrize(
    "source",
    [
        '"""SELECT id FROM turns is what the store says."""\n',
        'HELP = "Select one from the list"\n',
        'HELP = "Update the agent"\nOTHER = "Delete from here on"\n',
        'ORIGIN = "with a as b"\n',
        "from . import sqlite3\n",
    ],
)
def test_prose_is_not_taken_for_sql(tmp_path: Path, source: str) -> None:
    assert found(tmp_path, sql, source) == []


def test_sql_in_the_store_is_at_home(tmp_path: Path) -> None:
    assert found(tmp_path, sql, 'import asyncpg\nQ = "SELECT id FROM turns"\n', f"{STORE}/thing.py") == []


def test_findings_are_printed_with_their_place_and_fail(repository: Path, capsys: pytest.CaptureFixture[str]) -> None:
    found(repository, sql, '"""A thing."""\nimport sqlite3\n')
    assert main(repository) == 1
    expected = "src/dragoman/services/thing.py:2: sqlite3 is imported outside adapters/store\n"
    assert capsys.readouterr().out == expected


def test_a_house_in_order_passes_in_silence(repository: Path, capsys: pytest.CaptureFixture[str]) -> None:
    found(repository, sql, '"""A thing."""\n')
    assert main(repository) == 0
    assert capsys.readouterr().out == ""
