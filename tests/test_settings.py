"""Settings come from the environment or a file, the environment first; a wrong one is told of in one line."""

from pathlib import Path
from typing import Any

import pytest

from dragoman.settings import Settings, SettingsError, load


@pytest.fixture(autouse=True)
def _nothing_is_set(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    for name in Settings.model_fields:
        monkeypatch.delenv(f"DRAGOMAN_{name.upper()}", raising=False)
    monkeypatch.delenv("DRAGOMAN_CONFIG", raising=False)
    monkeypatch.chdir(tmp_path)


def config(monkeypatch: pytest.MonkeyPatch, text: str) -> Path:
    file = Path("dragoman.toml").absolute()
    file.write_text(text)
    monkeypatch.setenv("DRAGOMAN_CONFIG", str(file))
    return file


def test_what_is_not_set_has_its_default(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("XDG_CACHE_HOME", "cache")
    settings = load()
    assert (settings.host, settings.port, settings.workers) == ("127.0.0.1", 8000, 1)
    assert settings.database == "sqlite:///var/dragoman.db"
    assert settings.control_socket == Path("var/control.sock")
    assert settings.models_dir == Path("cache/dragoman/models")
    assert (settings.resume_window, settings.turn_timeout) == (3600, 300)
    assert (settings.model_first_token_timeout, settings.model_idle_timeout) == (30, 60)


def test_the_environment_wins_over_the_file(monkeypatch: pytest.MonkeyPatch) -> None:
    config(monkeypatch, 'port = 9000\nhost = "0.0.0.0"\nturn_timeout = 12.5\n')
    monkeypatch.setenv("DRAGOMAN_PORT", "9001")
    settings = load()
    assert (settings.port, settings.host, settings.turn_timeout) == (9001, "0.0.0.0", 12.5)


def test_the_file_may_spell_a_setting_as_the_environment_does(monkeypatch: pytest.MonkeyPatch) -> None:
    config(monkeypatch, 'DRAGOMAN_PORT = 9000\nDRAGOMAN_DATA_DIR = "data"\n')
    settings = load()
    assert (settings.port, settings.data_dir) == (9000, Path("data"))


@pytest.mark.parametrize(
    ("name", "value", "told"),
    [
        ("PORT", "http", "valid integer"),
        ("PORT", "65536", "less than or equal to 65535"),
        ("WORKERS", "0", "greater than or equal to 1"),
        ("LOG_LEVEL", "loud", "'debug', 'info', 'warning' or 'error'"),
        ("LOG_FORMAT", "xml", "'console' or 'json'"),
        ("DATABASE_URL", "mysql://x", "sqlite:///"),
        ("REDIS_URL", "http://x", "redis"),
        ("PUBLIC_URL", "example.com", "https?://"),
        ("TURN_TIMEOUT", "0", "greater than 0"),
        ("RESUME_WINDOW", "soon", "valid number"),
    ],
)
def test_a_wrong_setting_is_named_with_what_it_got_and_what_it_takes(
    monkeypatch: pytest.MonkeyPatch, name: str, value: str, told: str
) -> None:
    monkeypatch.setenv(f"DRAGOMAN_{name}", value)
    with pytest.raises(SettingsError) as wrong:
        load()
    message = str(wrong.value)
    assert message.startswith(f"DRAGOMAN_{name} is '{value}'")
    assert told in message
    assert "\n" not in message


@pytest.mark.parametrize(
    ("text", "told"),
    [
        ("prot = 1", "DRAGOMAN_PROT is no setting"),
        ("DRAGOMAN_PROT = 1", "DRAGOMAN_PROT is no setting"),
        ("port = 'x'", "DRAGOMAN_PORT is 'x'"),
        ("port = ", "cannot be read"),
    ],
)
def test_what_is_wrong_in_the_file_is_told_of(monkeypatch: pytest.MonkeyPatch, text: str, told: str) -> None:
    config(monkeypatch, text)
    with pytest.raises(SettingsError, match=told):
        load()


def test_a_file_that_is_not_there_is_told_of(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("DRAGOMAN_CONFIG", "nowhere.toml")
    with pytest.raises(SettingsError, match=r"^DRAGOMAN_CONFIG=nowhere\.toml cannot be read"):
        load()


def test_the_secret_is_made_once_and_for_this_user_alone() -> None:
    first = load().secret_bytes()
    assert len(first) >= 48
    assert load().secret_bytes() == first
    kept = Path("var/secret")
    assert kept.stat().st_mode & 0o777 == 0o600
    assert [file.name for file in Path("var").iterdir()] == ["secret"]


def test_a_given_secret_is_used_and_none_is_made(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("DRAGOMAN_SECRET", "given")
    assert load().secret_bytes() == b"given"
    assert not Path("var").exists()


def test_on_postgres_the_secret_must_be_given(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("DRAGOMAN_DATABASE_URL", "postgresql://localhost/dragoman")
    with pytest.raises(SettingsError, match="DRAGOMAN_SECRET is not set"):
        load().secret_bytes()
    assert not Path("var").exists()


@pytest.mark.parametrize("given", [{"database_url": "sqlite:///x.db"}, {"database_url": "postgres://h/d"}, {}])
def test_a_database_is_a_file_or_a_server(given: dict[str, Any]) -> None:
    assert Settings(**given).on_sqlite == (not given or given["database_url"].startswith("sqlite"))


def test_a_data_dir_that_cannot_be_made_is_named_by_its_setting(monkeypatch: pytest.MonkeyPatch) -> None:
    Path("file").touch()
    monkeypatch.setenv("DRAGOMAN_DATA_DIR", "file/var")
    with pytest.raises(SettingsError, match="DRAGOMAN_DATA_DIR is 'file/var', which cannot be made"):
        load().secret_bytes()
