"""Settings from the environment or a TOML file, the environment first. Knows no part that they set up."""

import contextlib
import os
import secrets
import tomllib
from pathlib import Path
from typing import Annotated, Any, Literal

from pydantic import Field, ValidationError
from pydantic_settings import BaseSettings, PydanticBaseSettingsSource, SettingsConfigDict

PREFIX = "DRAGOMAN_"
CONFIG = f"{PREFIX}CONFIG"

Seconds = Annotated[float, Field(gt=0, le=86_400)]


class SettingsError(Exception):
    """A setting is wrong; the message is one line that names it, what it got and what it takes."""


def _user_cache() -> Path:
    return Path(os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache")


class Settings(BaseSettings):
    """Everything that can be set; times are in seconds."""

    model_config = SettingsConfigDict(env_prefix=PREFIX, extra="forbid", frozen=True)

    data_dir: Path = Path("var")
    models_dir: Path = Field(default_factory=lambda: _user_cache() / "dragoman" / "models")
    database_url: str = Field(default="", pattern=r"^($|sqlite:///.+|postgres(ql)?://.+)")
    redis_url: str = Field(default="", pattern=r"^($|rediss?://.+)")
    host: str = "127.0.0.1"
    port: int = Field(default=8000, ge=0, le=65535)
    workers: int = Field(default=1, ge=1, le=64)
    secret: str = ""
    public_url: str = Field(default="", pattern=r"^($|https?://.+)")
    trusted_proxies: str = ""
    resume_window: Seconds = 3600
    admin_password: str = ""
    log_level: Literal["debug", "info", "warning", "error"] = "info"
    log_format: Literal["", "console", "json"] = ""
    turn_timeout: Seconds = 300
    model_first_token_timeout: Seconds = 30
    model_idle_timeout: Seconds = 60

    @classmethod
    def settings_customise_sources(
        cls,
        settings_cls: type[BaseSettings],
        init_settings: PydanticBaseSettingsSource,
        env_settings: PydanticBaseSettingsSource,
        dotenv_settings: PydanticBaseSettingsSource,
        file_secret_settings: PydanticBaseSettingsSource,
    ) -> tuple[PydanticBaseSettingsSource, ...]:
        """The environment wins over what the file gave as arguments."""
        return env_settings, init_settings

    @property
    def database(self) -> str:
        """The URL of the database, the default spelled out."""
        return self.database_url or f"sqlite:///{self.data_dir / 'dragoman.db'}"

    @property
    def on_sqlite(self) -> bool:
        """Whether the database is a file of this machine."""
        return self.database.startswith("sqlite:")

    @property
    def control_socket(self) -> Path:
        """Where commands reach a running server."""
        return self.data_dir / "control.sock"

    def secret_bytes(self) -> bytes:
        """The secret that every key is derived from; made once in the data dir where none is given.

        Raises:
            SettingsError: it must be given and is not, or the data dir cannot be made.
        """
        if self.secret:
            return self.secret.encode()
        if not self.on_sqlite:
            raise SettingsError(
                f"{PREFIX}SECRET is not set; on PostgreSQL it takes the same long random text on every node"
            )
        try:
            self.data_dir.mkdir(parents=True, exist_ok=True, mode=0o700)
        except OSError as error:
            raise SettingsError(
                f"{PREFIX}DATA_DIR is {str(self.data_dir)!r}, which cannot be made: {error.strerror}"
            ) from error
        path = self.data_dir / "secret"
        if not path.exists():
            # Complete before it has its name: a crash leaves no half secret, and of two makers one wins.
            draft = path.with_name(f"secret.{os.getpid()}")
            draft.touch(mode=0o600)
            draft.write_text(secrets.token_urlsafe(48))
            with contextlib.suppress(FileExistsError):
                os.link(draft, path)
            draft.unlink()
        return path.read_text().strip().encode()


def load() -> Settings:
    """The settings of this process.

    Raises:
        SettingsError: one is wrong, or the file that DRAGOMAN_CONFIG names.
    """
    given = _from_file(os.environ[CONFIG]) if os.environ.get(CONFIG) else {}
    try:
        return Settings(**given)
    except ValidationError as error:
        raise SettingsError(_one_line(error)) from error


def _from_file(name: str) -> dict[str, Any]:
    try:
        given = tomllib.loads(Path(name).read_text())
    except (OSError, UnicodeDecodeError, tomllib.TOMLDecodeError) as error:
        raise SettingsError(f"{CONFIG}={name} cannot be read: {error}") from error
    # A setting may be written as it is in the environment, or without the prefix that all of them share.
    return {key.upper().removeprefix(PREFIX).lower(): value for key, value in given.items()}


def _one_line(error: ValidationError) -> str:
    first = error.errors()[0]
    name = PREFIX + str(first["loc"][0]).upper() if first["loc"] else "the settings"
    if first["type"] == "extra_forbidden":
        return f"{name} is no setting"
    return f"{name} is {first['input']!r}, which is wrong: {first['msg']}"
