"""Hearing what users say: bounds on what waits, and the text that a turn begins with. Knows no vendor and no turn."""

import asyncio
import time

import structlog

from dragoman.core.agents import VendorChoice
from dragoman.core.commands import Recording
from dragoman.core.errors import Invalid, TooLarge, Unavailable
from dragoman.ports.transcribers import MOST_BYTES, Transcribers

MOST_WAITING = 16
PATIENCE_SECONDS = 300.0

_log = structlog.get_logger(__name__)


class Transcription:
    """Has recordings transcribed, so many at one time and each within PATIENCE_SECONDS, its wait included."""

    def __init__(self, transcribers: Transcribers) -> None:
        self._transcribers = transcribers
        self._waiting = 0

    async def heard(self, choice: VendorChoice, recording: Recording) -> str:
        """What a recording says, never empty.

        Raises:
            UnsupportedMedia, TooLarge, Invalid, ModelFailed: as `ports.transcribers.Transcribers` says.
            Unavailable: that too; or too many recordings wait, or this one has waited too long.
        """
        if len(recording.data) > MOST_BYTES:
            raise TooLarge(f"The recording is over {MOST_BYTES >> 20} MiB")
        if not recording.data:
            raise Invalid("The recording is empty")
        if self._waiting >= MOST_WAITING:
            raise Unavailable("Too many recordings wait to be transcribed", retry_after=10)
        self._waiting += 1
        began = time.monotonic()
        try:
            async with asyncio.timeout(PATIENCE_SECONDS):
                transcript = await self._transcribers.transcribe(choice, recording)
        except TimeoutError as error:
            raise Unavailable("The recording was not transcribed in time", retry_after=10) from error
        finally:
            self._waiting -= 1
        text = transcript.text.strip()
        took = round(time.monotonic() - began, 3)
        _log.info("recording_transcribed", provider=choice.provider, seconds=round(transcript.seconds, 1), took=took)
        if not text:
            raise Invalid("Nothing that is said could be made out in the recording")
        return text
