"""What `dragoman doctor` looks at: each part, what was found, and what to do about a fault. Changes nothing."""

import asyncio
import os
import shutil
import time
from dataclasses import dataclass
from pathlib import Path

from dragoman.adapters.models import weights
from dragoman.adapters.store import inspect
from dragoman.ports.store import StoreUnusable
from dragoman.settings import Settings, SettingsError

LEAST_FREE_BYTES = 1_000_000_000
EARLIEST_YEAR = 2026


@dataclass(frozen=True, slots=True)
class Check:
    """One thing that was looked at."""

    what: str
    good: bool
    finding: str


async def examine(settings: Settings) -> list[Check]:
    """Everything, in the order in which faults explain each other."""
    return [
        _settings(settings),
        _disk(settings.data_dir),
        await _database(settings),
        *(_weights(role, settings.models_dir) for role in ("chat", "embedder", "transcriber")),
        _redis(settings),
        _clock(),
    ]


def _settings(settings: Settings) -> Check:
    if not settings.on_sqlite and not settings.secret:
        return Check("settings", False, "DRAGOMAN_SECRET is not set; PostgreSQL needs the same one on every node")
    if settings.workers > 1:
        return Check("settings", False, "DRAGOMAN_WORKERS is over 1, which this version cannot serve; set it to 1")
    return Check("settings", True, f"data in {settings.data_dir}, weights in {settings.models_dir}")


def _disk(data_dir: Path) -> Check:
    place = data_dir.absolute()
    while not place.exists():
        place = place.parent
    free = shutil.disk_usage(place).free
    if not place.is_dir() or not os.access(place, os.W_OK):
        return Check("disk", False, f"{place} cannot be written to; set DRAGOMAN_DATA_DIR to a folder that can")
    if free < LEAST_FREE_BYTES:
        return Check("disk", False, f"{free / 1e9:.1f} GB free at {place}; free some, writes fail when it is full")
    return Check("disk", True, f"{free / 1e9:.1f} GB free at {place}")


async def _database(settings: Settings) -> Check:
    try:
        finding = await asyncio.wait_for(inspect(settings.database), 10)
    except (StoreUnusable, SettingsError, TimeoutError, OSError) as error:
        return Check("database", False, str(error) or "no answer within 10 s; is the address right?")
    return Check("database", True, finding)


def _weights(role: str, models_dir: Path) -> Check:
    what, pull = f"weights of the {role}", f"dragoman models pull {role}"
    if weights.locate(role, models_dir) is not None:
        return Check(what, True, "there")
    if role == "transcriber":
        return Check(what, True, f"not there yet: the first recording fetches them, or: {pull}")
    return Check(what, False, f"not in {models_dir}; run: {pull}")


def _redis(settings: Settings) -> Check:
    if settings.redis_url:
        return Check("redis", False, "DRAGOMAN_REDIS_URL is set, which this version does not use; unset it")
    return Check("redis", True, "not set, not needed")


def _clock() -> Check:
    if time.gmtime().tm_year < EARLIEST_YEAR:
        return Check("clock", False, "it is years behind; keys and limits need the right time: set it, or run NTP")
    return Check("clock", True, time.strftime("%Y-%m-%dT%H:%M:%SZ", time.gmtime()))
