"""Recordings by their first bytes and their structure: of which kind, whether whole. Knows no sound and no name."""

from collections.abc import Iterator

# A writer that cannot go back leaves the size open, in one of several ways.
_OPEN_SIZES = range(0x7FFFF000, 1 << 32)
_SEGMENT = 0x18538067
_CLUSTER = 0x1F43B675
_RATES = {3: (44_100, 48_000, 32_000), 2: (22_050, 24_000, 16_000), 0: (11_025, 12_000, 8_000)}
_MP3_TAG = b"ID3"
# What decoders leave out again of what encoders put before and behind the sound, at the most.
_PADDING_FRAMES = 5


def kind_of(data: bytes) -> str | None:
    """The format, one of `ports.transcribers.FORMATS`, that the first bytes are of; None where they are of none."""
    if data[:4] == b"RIFF" and data[8:12] == b"WAVE":
        return "wav"
    if data[:4] == b"fLaC":
        return "flac"
    if data[:4] == b"OggS":
        return "ogg"
    if data[:4] == b"\x1a\x45\xdf\xa3":
        return "webm"
    if data[4:8] == b"ftyp":
        return "m4a"
    return "mp3" if data[:3] == _MP3_TAG or _mp3_frame(data, 0) else None


def is_cut(kind: str, data: bytes) -> bool:
    """Whether the structure of a recording goes on where its bytes end."""
    match kind:
        case "wav":
            ends = _wav_ends(data)
        case "ogg":
            ends = _ogg_ends(data)
        case "webm":
            ends = _webm_ends(data)
        case "m4a":
            ends = _m4a_ends(data)
        case _:
            return False
    return any(end > len(data) for end in ends)


def promised_seconds(kind: str, data: bytes) -> float | None:
    """How long a recording says that it is at least, where its beginning tells that, counted in samples."""
    if kind == "flac" and len(data) >= 26:
        told = int.from_bytes(data[18:26])
        rate, samples = told >> 44, told & ((1 << 36) - 1)
        return samples / rate if rate and samples else None
    return _mp3_seconds(data) if kind == "mp3" else None


def _wav_ends(data: bytes) -> Iterator[int]:
    """Where each chunk ends, up to that of the sound; what comes after it does not matter."""
    at = 12
    while at + 8 <= len(data):
        size = int.from_bytes(data[at + 4 : at + 8], "little")
        if data[at : at + 4] == b"data":
            if size not in _OPEN_SIZES:
                yield at + 8 + size
            return
        at += 8 + size + size % 2
        yield at


def _ogg_ends(data: bytes) -> Iterator[int]:
    at = 0
    while data[at : at + 4] == b"OggS":
        parts = data[at + 26] if at + 26 < len(data) else 255
        at += 27 + parts + sum(data[at + 27 : at + 27 + parts])
        yield at


def _m4a_ends(data: bytes) -> Iterator[int]:
    at = 0
    while at + 8 <= len(data):
        size = int.from_bytes(data[at : at + 4])
        if size == 1:
            size = int.from_bytes(data[at + 8 : at + 16])
        if size < 8:
            # The last box may go on to the end; anything else is no box.
            return
        at += size
        yield at


def _webm_ends(data: bytes) -> Iterator[int]:
    """Where each element ends; one of open size is gone into, as are those that hold the sound."""
    at = 0
    # No element begins with a zero: there is room left over, not a recording cut off.
    while at < len(data) and data[at]:
        name, after_name = _vint(data, at, keep_marker=True)
        size, begins = _vint(data, after_name)
        if begins > len(data):
            yield begins
            return
        if size is None:
            at = begins
            continue
        yield begins + size
        at = begins if name in (_SEGMENT, _CLUSTER) else begins + size


def _vint(data: bytes, at: int, *, keep_marker: bool = False) -> tuple[int | None, int]:
    """A number of EBML, None for an open size, and where it ends, which is behind the data where it is cut."""
    first = data[at] if at < len(data) else 0
    length = 9 - first.bit_length() if first else len(data) + 1
    number = int.from_bytes(data[at : at + length])
    if keep_marker:
        return number, at + length
    number &= (1 << 7 * length) - 1 if length <= 8 else 0
    return (None if length <= 8 and number == (1 << 7 * length) - 1 else number), at + length


def _mp3_frame(data: bytes, at: int) -> tuple[int, int] | None:
    """Samples a second and samples of the frame of layer III that begins here; None where none does."""
    if len(data) < at + 4 or data[at] != 0xFF or data[at + 1] >> 5 != 7:
        return None
    version, layer = data[at + 1] >> 3 & 3, data[at + 1] >> 1 & 3
    rate = data[at + 2] >> 2 & 3
    if version not in _RATES or layer != 1 or data[at + 2] >> 4 == 15 or rate == 3:
        return None
    return _RATES[version][rate], 1152 if version == 3 else 576


def _mp3_seconds(data: bytes) -> float | None:
    """What the count of frames in the first of them says; encoders that know it at the end write it there."""
    at = 0
    if data[:3] == _MP3_TAG and len(data) > 10:
        at = 10 + sum(byte << 7 * place for place, byte in enumerate(reversed(data[6:10])))
    frame = _mp3_frame(data, at)
    told = max(data.find(mark, at, at + 64) for mark in (b"Xing", b"Info"))
    if frame is None or told < 0 or not data[told + 7 : told + 8] or not data[told + 7] & 1:
        return None
    rate, samples = frame
    return max(0, int.from_bytes(data[told + 8 : told + 12]) - _PADDING_FRAMES) * samples / rate
