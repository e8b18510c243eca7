"""The process in which one recording is opened and decoded. Knows only the bytes it is given, and believes none.

On standard input come one JSON object on a line (`parent`, `most_seconds`) and the recording; on standard output goes
one JSON object on a line, with `refusal` or with `kind` and `seconds`; after the latter the sound, 16-bit mono
samples at RATE a second.
"""

import json
import sys
from io import BytesIO
from typing import Any

from dragoman.adapters.transcribers.confined import confine, end_with
from dragoman.adapters.transcribers.containers import is_cut, kind_of, promised_seconds

RATE = 16_000
LEAST_SECONDS = 0.1
MEMORY_BYTES = 1 << 30
CPU_SECONDS = 10
# Of 32,767: some 60 dB below the loudest.
QUIET = 33
MOST_CHANNELS = 8
HIGHEST_RATE = 192_000

_DEMUXERS = {"wav": "wav", "mp3": "mp3", "m4a": "mov", "webm": "matroska", "ogg": "ogg", "flac": "flac"}
_CODECS = frozenset(
    (
        *("pcm_u8", "pcm_s16le", "pcm_s24le", "pcm_s32le", "pcm_f32le", "pcm_f64le", "pcm_alaw", "pcm_mulaw"),
        *("adpcm_ms", "adpcm_ima_wav", "gsm_ms", "mp3", "mp3float", "aac", "alac", "opus", "vorbis", "speex", "flac"),
    )
)
# Opening a file tries the decoders of all its streams, pictures too, unless it is told which it may.
_OPTIONS = {"codec_whitelist": ",".join(sorted(_CODECS))}


class Refused(Exception):
    """The recording is not taken; its text is one of the words that `examiner.py` knows."""


def main() -> None:
    """Examine one recording and end."""
    order = json.loads(sys.stdin.buffer.readline())
    end_with(order["parent"])
    confine(MEMORY_BYTES, CPU_SECONDS)
    samples = b""
    try:
        kind, seconds, samples = examine(sys.stdin.buffer.read(), order["most_seconds"])
        found: dict[str, Any] = {"kind": kind, "seconds": seconds}
    except Refused as refusal:
        found = {"refusal": str(refusal)}
    sys.stdout.buffer.write(json.dumps(found).encode() + b"\n" + samples)


def examine(data: bytes, most_seconds: float) -> tuple[str, float, bytes]:
    """The kind of a recording, its length in seconds, and its samples.

    Raises:
        Refused: "unsupported", "soundless", "long", "broken" or "silent".
    """
    kind = kind_of(data)
    if kind is None:
        raise Refused("unsupported")
    promised = promised_seconds(kind, data) or 0.0
    if promised > most_seconds:
        raise Refused("long")
    seconds, samples = _decoded(kind, data, most_seconds)
    if is_cut(kind, data) or seconds < round(promised, 3) or not samples:
        raise Refused("broken")
    if seconds < LEAST_SECONDS or _loudest(samples) < QUIET:
        raise Refused("silent")
    return kind, seconds, samples


def _decoded(kind: str, data: bytes, most_seconds: float) -> tuple[float, bytes]:
    import av

    try:
        with av.open(
            BytesIO(data), mode="r", format=_DEMUXERS[kind], options=_OPTIONS, metadata_errors="ignore"
        ) as container:
            if not container.streams.audio:
                raise Refused("soundless")
            stream = container.streams.audio[0]
            codec = stream.codec_context
            if codec is None or codec.name not in _CODECS:
                raise Refused("unsupported")
            if codec.sample_rate > HIGHEST_RATE or codec.channels > MOST_CHANNELS:
                raise Refused("unsupported")
            # Of an mp3 the length is a guess from its first frames.
            if kind != "mp3" and (container.duration or 0) > most_seconds * av.time_base:
                raise Refused("long")
            return _sound(container, stream, most_seconds, lenient=kind == "mp3")
    except (av.error.FFmpegError, ValueError, MemoryError) as error:
        raise Refused("broken") from error


def _sound(container: Any, stream: Any, most_seconds: float, *, lenient: bool) -> tuple[float, bytes]:
    """The length of the sound and its samples; a lenient one passes over what cannot be decoded: tags at the end."""
    import av

    sound = av.AudioResampler(format="s16", layout="mono", rate=RATE)
    samples = bytearray()
    seconds = 0.0
    for packet in container.demux(stream):
        try:
            frames = packet.decode()
        except av.error.InvalidDataError:
            if not lenient:
                raise
            continue
        for frame in frames:
            # Counted before they are made more: a few samples at a low rate are many at ours.
            seconds += frame.samples / frame.sample_rate
            if round(seconds, 3) > most_seconds:
                raise Refused("long")
            for part in sound.resample(frame):
                samples += bytes(part.planes[0])[: part.samples * 2]
    for part in sound.resample(None):
        samples += bytes(part.planes[0])[: part.samples * 2]
    return round(seconds, 3), bytes(samples)


def _loudest(samples: bytes) -> int:
    import numpy

    heard = numpy.frombuffer(samples, numpy.int16)
    return max(int(heard.max()), -int(heard.min()))


if __name__ == "__main__":
    main()
