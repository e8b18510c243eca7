"""Logs as they are written, by a process of its own."""

import subprocess
import sys

import pytest

PROGRAM = """
import structlog
from dragoman.telemetry import configure
configure("info", "{form}")
def fail(credential):
    raise ValueError("went wrong")
try:
    fail("sk_a_secret_that_is_only_a_local_variable")
except ValueError as error:
    structlog.get_logger("test").error("unforeseen", exc_info=error)
"""


@pytest.mark.parametrize("form", ["console", "json"])
def test_a_traceback_is_logged_without_the_values_of_variables(form: str) -> None:
    command = [sys.executable, "-c", PROGRAM.replace("{form}", form)]
    logged = subprocess.run(command, capture_output=True, text=True, timeout=60, check=True).stderr
    assert "went wrong" in logged
    assert "in fail" in logged
    assert "only_a_local" not in logged.replace('fail("sk_a_secret_that_is_only_a_local_variable")', "")
