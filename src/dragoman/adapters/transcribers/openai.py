"""Transcribers behind any server that speaks OpenAI's audio transcriptions. Knows no turn and no retry."""

import os

import aiohttp
import msgspec
import structlog

from dragoman.adapters.guard import GuardedSessions, Resolve, resolved
from dragoman.adapters.models.completions import may_succeed_later
from dragoman.adapters.models.openai import DEFAULT_BASE_URL
from dragoman.adapters.transcribers.examiner import NOTHING_SAID, Examiner
from dragoman.core.agents import VendorChoice
from dragoman.core.commands import Recording
from dragoman.core.errors import Invalid, ModelFailed, Unavailable
from dragoman.ports.egress import Unfetchable
from dragoman.ports.transcribers import Transcript

DEFAULT_MODEL = "whisper-1"
CONNECT_SECONDS = 10.0
ANSWER_SECONDS = 120.0
MOST_ANSWER_BYTES = 1 << 20
RETRY_SECONDS = 5
MOST_ERROR_CHARACTERS = 500

_TIMEOUT = aiohttp.ClientTimeout(total=ANSWER_SECONDS, sock_connect=CONNECT_SECONDS)
_HEADERS = {"Accept": "application/json", "Accept-Encoding": "identity", "User-Agent": "dragoman"}
_FAILED = "The transcriber could not do it"

_log = structlog.get_logger(__name__)


class _Answer(msgspec.Struct):
    text: str


_answer = msgspec.json.Decoder(_Answer)


class OpenAITranscribers:
    """The provider `openai`: asks the server of the choice; what it is sent has been examined here."""

    def __init__(self, examiner: Examiner, resolve: Resolve = resolved) -> None:
        self._examiner = examiner
        self._session: aiohttp.ClientSession | None = None
        self._guarded = GuardedSessions(timeout=_TIMEOUT, headers=_HEADERS, resolve=resolve)

    async def transcribe(self, choice: VendorChoice, recording: Recording) -> Transcript:
        """What a recording says, as `ports.transcribers.Transcribers` tells."""
        examined = await self._examiner.examine(recording)
        form = aiohttp.FormData()
        form.add_field("model", choice.name or DEFAULT_MODEL)
        form.add_field("response_format", "json")
        # Such servers go by the ending of a name, and the client's own may be anything.
        form.add_field(
            "file", recording.data, filename=f"recording.{examined.kind}", content_type="application/octet-stream"
        )
        status, body = await self._asked(choice, form)
        if status != 200:
            _log.warning(
                "transcriber_refused", status=status, said=body.decode(errors="replace")[:MOST_ERROR_CHARACTERS]
            )
            if may_succeed_later(status):
                raise Unavailable("The transcriber cannot be used now", retry_after=RETRY_SECONDS)
            raise ModelFailed(_FAILED)
        try:
            text = _answer.decode(body).text.strip()
        except (msgspec.DecodeError, UnicodeDecodeError) as error:
            _log.warning("transcriber_misunderstood", error=str(error))
            raise ModelFailed(_FAILED) from error
        if not text:
            raise Invalid(NOTHING_SAID)
        return Transcript(text, examined.seconds)

    async def close(self) -> None:
        """Close every connection."""
        if self._session is not None:
            await self._session.close()
            self._session = None
        await self._guarded.close()

    async def _asked(self, choice: VendorChoice, form: aiohttp.FormData) -> tuple[int, bytes]:
        """The status and the body that the server answers with."""
        headers = _authorization(choice)
        if self._session is None:
            self._session = aiohttp.ClientSession(
                cookie_jar=aiohttp.DummyCookieJar(), timeout=_TIMEOUT, headers=_HEADERS
            )
        url = f"{(choice.base_url or DEFAULT_BASE_URL).rstrip('/')}/audio/transcriptions"
        try:
            session = self._guarded.to(url, choice.guard) if choice.guard else self._session
            async with session.post(url, data=form, headers=headers, allow_redirects=False) as response:
                body = bytearray()
                while received := await response.content.readany():
                    body += received
                    if len(body) > MOST_ANSWER_BYTES:
                        _log.warning("transcriber_said_too_much")
                        raise ModelFailed(_FAILED)
                return response.status, bytes(body)
        except (aiohttp.NonHttpUrlClientError, Unfetchable, ValueError) as error:
            _log.warning("transcriber_cannot_be_asked", error=str(error))
            raise ModelFailed(_FAILED) from error
        except (aiohttp.ClientError, OSError) as error:
            # A time-out is an OSError too.
            _log.warning("transcriber_unreachable", error=f"{type(error).__name__}: {error}")
            raise Unavailable("The transcriber cannot be reached", retry_after=RETRY_SECONDS) from error


def _authorization(choice: VendorChoice) -> dict[str, str]:
    if choice.api_key_env is None:
        return {}
    key = os.environ.get(choice.api_key_env, "").strip()
    if not key:
        _log.warning("transcriber_without_key", variable=choice.api_key_env)
        raise ModelFailed(_FAILED)
    return {"Authorization": f"Bearer {key}"}
