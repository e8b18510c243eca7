"""What turns speech into text. Knows no vendor and no turn."""

from dataclasses import dataclass
from typing import Protocol

from dragoman.core.agents import VendorChoice
from dragoman.core.commands import Recording

MOST_BYTES = 25 * 1024 * 1024
MOST_SECONDS = 600
FORMATS = ("wav", "mp3", "m4a", "webm", "ogg", "flac")


@dataclass(frozen=True, slots=True)
class Transcript:
    """What is said in a recording, and how long that is, in seconds."""

    text: str
    seconds: float


class Transcribers(Protocol):
    """Every transcriber behind one call; which one works is the choice's to say."""

    async def transcribe(self, choice: VendorChoice, recording: Recording) -> Transcript:
        """What a recording says. Neither its name nor its declared media type is believed.

        Raises:
            UnsupportedMedia: it is in none of FORMATS, or there is no sound in it.
            TooLarge: it is over MOST_BYTES or longer than MOST_SECONDS; no more than that has been decoded of it.
            Invalid: it is cut off or broken, or nothing that is said could be made out.
            Unavailable: the transcriber is away or is being made ready.
            ModelFailed: the transcriber cannot do it, and would not if it were asked again.
        """
        ...

    async def close(self) -> None:
        """Let go of connections and processes; what is being transcribed fails."""
        ...
