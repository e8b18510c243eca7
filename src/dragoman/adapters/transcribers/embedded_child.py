"""The process in which whisper transcribes for its parent, a piece at a time. Knows only the lines it is given.

Each line on standard input is one JSON object, as is each on standard output. First comes `parent` and `models_dir`;
`ready` says that the weights are loaded, `failed` why they are not. Then orders come with a `number` that their answer
repeats: one with `bytes` is followed by so many bytes of sound, and answered with the number of `pieces` that
something is said in; each one without is answered with the `text` of the next piece.
"""

import json
import os
import signal
import sys
from collections import deque
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from dragoman.adapters.models import weights
from dragoman.adapters.transcribers.confined import confine, end_with

MEMORY_BYTES = 3 << 30
THREADS = 2
RATE = 16_000
# Somewhat under the 30 s that whisper hears at once.
PIECE_SECONDS = 25
# A second try helps with what is badly heard; more of them only invent.
TEMPERATURES = (0.0, 0.4)
# What whisper itself says of words that it made up.
LEAST_LIKELY = -1.0
MOST_LIKELY_SILENCE = 0.6
# Text by its compressed size: from here on it is tried again; an invented loop is far beyond what anybody says.
REPETITIVE = 2.4
MOST_REPETITIVE = 6.0


def main() -> None:
    """Transcribe until the parent is gone."""
    order = json.loads(sys.stdin.buffer.readline())
    answers = os.fdopen(os.dup(sys.stdout.fileno()), "w")
    os.dup2(sys.stderr.fileno(), sys.stdout.fileno())

    def answer(**told: Any) -> None:
        print(json.dumps(told), file=answers, flush=True)

    try:
        path = _weights(Path(order["models_dir"]), order["parent"])
        confine(MEMORY_BYTES)
        ears = Ears(path.parent)
    except (weights.WeightsError, RuntimeError, OSError, ValueError, MemoryError) as error:
        answer(failed=str(error))
        return
    answer(ready=True)
    for line in sys.stdin.buffer:
        order = json.loads(line)
        if "bytes" in order:
            answer(number=order["number"], pieces=ears.take(sys.stdin.buffer.read(order["bytes"])))
        else:
            answer(number=order["number"], text=ears.hear())


def _weights(models_dir: Path, parent: int) -> Path:
    # What fetches them is a process too, which is ended only by one that ends in order.
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(1))
    end_with(parent, signal.SIGTERM)
    path = weights.locate("transcriber", models_dir)
    if path is None:
        [path] = weights.pull(["transcriber"], models_dir, lambda name, done_bytes, total_bytes: None)
    end_with(parent)
    return path


class Ears:
    """Whisper with one recording at a time."""

    def __init__(self, folder: Path) -> None:
        from faster_whisper import WhisperModel

        self._model = WhisperModel(
            str(folder), device="cpu", compute_type="int8", cpu_threads=THREADS, local_files_only=True
        )
        self._pieces: deque[Any] = deque()
        self._language: str | None = None

    def take(self, samples: bytes) -> int:
        """Put a recording in place of the one before; how many pieces of it there are to hear."""
        import numpy
        from faster_whisper.vad import VadOptions, get_speech_timestamps

        sound = numpy.frombuffer(samples, numpy.int16).astype(numpy.float32) / 32_768
        # Whisper makes words of silence and of noise: it is given only what sounds like a voice.
        spans = get_speech_timestamps(sound, VadOptions(max_speech_duration_s=PIECE_SECONDS))
        voices = [sound[span["start"] : span["end"]] for span in spans]
        self._pieces = deque(numpy.concatenate(piece) for piece in _packed(voices))
        self._language = None
        return len(self._pieces)

    def hear(self) -> str:
        """What is said in the next piece, empty where that cannot be made out."""
        segments, about = self._model.transcribe(
            self._pieces.popleft(),
            language=self._language,
            temperature=TEMPERATURES,
            condition_on_previous_text=False,
            log_prob_threshold=LEAST_LIKELY,
            compression_ratio_threshold=REPETITIVE,
            no_speech_threshold=MOST_LIKELY_SILENCE,
        )
        # The first piece is the longest, or the only one: what is spoken there, is spoken all through.
        self._language = about.language
        return " ".join(segment.text.strip() for segment in segments if _is_heard(segment))


def _packed(voices: list[Any]) -> Iterator[list[Any]]:
    """What is said, in as few pieces as may be."""
    piece: list[Any] = []
    for voice in voices:
        if piece and sum(map(len, piece)) + len(voice) > PIECE_SECONDS * RATE:
            yield piece
            piece = []
        piece.append(voice)
    if piece:
        yield piece


def _is_heard(segment: Any) -> bool:
    likely: bool = (
        segment.avg_logprob > LEAST_LIKELY
        and segment.compression_ratio < MOST_REPETITIVE
        and segment.no_speech_prob < MOST_LIKELY_SILENCE
    )
    return likely


if __name__ == "__main__":
    main()
