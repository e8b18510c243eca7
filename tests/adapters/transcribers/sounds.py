"""Recordings, good and hostile: what is spoken in the tests' data, and files made here to the byte."""

from io import BytesIO
from pathlib import Path

import av
import numpy

from dragoman.core.commands import Recording

SPEECH = Path(__file__).parents[2] / "data" / "speech"
SENTENCES = {
    "hours.webm": "What are your business hours?",
    "delivery.mp3": "How long does delivery take?",
    "payment.m4a": "Can I pay by bank transfer?",
    "shipping.ogg": "Do you ship to Canada?",
    "parking.flac": "Where can I park my car?",
    "returns.wav": "How do I return a broken lamp?",
}
RATE = 16_000
TEN_HOURS = 36_000


def spoken(name: str) -> Recording:
    """A recording of the tests' data, under a name and a type that say nothing."""
    return recording((SPEECH / name).read_bytes())


def recording(data: bytes, name: str = "blob", media_type: str = "application/octet-stream") -> Recording:
    """A recording of these bytes."""
    return Recording(name, media_type, data)


def wav(samples: bytes, rate: int = RATE, size: int | None = None) -> bytes:
    """A wav of 16-bit mono samples that says of itself that it has `size` bytes of them."""
    size = len(samples) if size is None else size
    form = (
        b"fmt "
        + (16).to_bytes(4, "little")
        + b"".join(
            number.to_bytes(length, "little")
            for number, length in ((1, 2), (1, 2), (rate, 4), (rate * 2, 4), (2, 2), (16, 2))
        )
    )
    body = b"WAVE" + form + b"data" + size.to_bytes(4, "little") + samples
    return b"RIFF" + min(len(body), 0xFFFFFFFF).to_bytes(4, "little") + body


def sounding(wave: "numpy.ndarray[tuple[int], numpy.dtype[numpy.float64]]") -> Recording:
    """A wav of a wave between -1 and 1."""
    return recording(wav((wave * 32_767).astype("<i2").tobytes()))


def flac(seconds: int, *, told: bool, rate: int = 8_000) -> bytes:
    """A flac of one unchanging value; whether its header tells its length."""
    block = 0xFFFF
    frames = seconds * rate // block
    total = frames * block if told else 0
    packed = (rate << 44 | 15 << 36 | total).to_bytes(8)
    head = b"fLaC\x80\x00\x00\x22" + block.to_bytes(2) * 2 + bytes(6) + packed + bytes(16)
    return head + b"".join(_flac_frame(number, block) for number in range(frames))


def video() -> bytes:
    """An mp4 with a moving picture and no sound."""
    file = BytesIO()
    with av.open(file, "w", format="mp4") as container:
        stream = container.add_stream("mpeg4", rate=10)
        stream.width = stream.height = 32
        picture = av.VideoFrame.from_ndarray(numpy.zeros((32, 32, 3), numpy.uint8), format="rgb24")
        for packet in (packet for frame in (*[picture] * 10, None) for packet in stream.encode(frame)):
            container.mux(packet)
    return file.getvalue()


def _flac_frame(number: int, block: int) -> bytes:
    # Fixed blocks with the size behind the number; rate and sample size as in the header; one channel.
    head = b"\xff\xf8\x70\x08" + chr(number).encode() + (block - 1).to_bytes(2)
    frame = head + _crc(head, 8, 0x07).to_bytes(1) + b"\x00" + (1_000).to_bytes(2)
    return frame + _crc(frame, 16, 0x8005).to_bytes(2)


def _crc(data: bytes, width: int, polynomial: int) -> int:
    value = 0
    for byte in data:
        value ^= byte << width - 8
        for _ in range(8):
            value = (value << 1 ^ polynomial if value >> width - 1 else value << 1) & (1 << width) - 1
    return value
