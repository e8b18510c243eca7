"""Recordings are known by their bytes, and one that is cut off is seen to be."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from dragoman.adapters.transcribers.containers import is_cut, kind_of, promised_seconds
from dragoman.ports.transcribers import FORMATS
from tests.adapters.transcribers.sounds import SENTENCES, SPEECH, TEN_HOURS, flac, wav

MAGIC = {
    "wav": b"RIFF\x00\x00\x00\x00WAVE",
    "mp3": b"ID3\x04\x00\x00\x00\x00\x00\x00",
    "m4a": b"\x00\x00\x00\x0cftypM4A ",
    "webm": b"\x1a\x45\xdf\xa3",
    "ogg": b"OggS",
    "flac": b"fLaC",
}


def data_of(name: str) -> bytes:
    return (SPEECH / name).read_bytes()


@pytest.mark.parametrize("name", [*SENTENCES, "story.ogg"])
def test_a_recording_is_known_by_its_bytes_and_is_whole(name: str) -> None:
    data = data_of(name)
    assert kind_of(data) == name.partition(".")[2]
    assert not is_cut(name.partition(".")[2], data)


def test_every_format_has_a_recording_to_be_tested_with() -> None:
    assert sorted(name.partition(".")[2] for name in SENTENCES) == sorted(FORMATS) == sorted(MAGIC)


@pytest.mark.parametrize(
    "data",
    [
        b"",
        b"What are your business hours?",
        b"RIFF",
        b"RIFF\x00\x00\x00\x00AVI LIST",
        b"\xff\xd8\xff\xe0\x00\x10JFIF",
        b"\x89PNG\r\n\x1a\n",
        b"%PDF-1.7",
        b"PK\x03\x04",
        b"\xff\xf1\x50\x80",
        b"\xff\xfe" + "text".encode("utf-16-le"),
        b"<html>",
    ],
)
def test_what_is_no_recording_is_not_taken_for_one(data: bytes) -> None:
    assert kind_of(data) is None


@pytest.mark.parametrize("name", ["hours.webm", "payment.m4a", "shipping.ogg", "returns.wav"])
def test_a_recording_without_its_last_bytes_is_cut(name: str) -> None:
    data = data_of(name)
    for size in (len(data) - 1, len(data) - 40):
        assert is_cut(name.partition(".")[2], data[:size])


def test_a_size_that_was_left_open_cuts_nothing() -> None:
    for size in (0, 0xFFFFFFFF, 0x7FFFFFFF):
        assert not is_cut("wav", wav(bytes(200), size=size))
    assert is_cut("wav", wav(bytes(200), size=201))
    assert not is_cut("wav", wav(bytes(200)) + b"LIST\xff\xff\xff\x0f")
    assert not is_cut("webm", data_of("hours.webm") + bytes(64))


def test_a_length_is_told_where_it_is_counted() -> None:
    assert promised_seconds("flac", data_of("parking.flac")) == pytest.approx(1.995, abs=0.01)
    assert promised_seconds("mp3", data_of("delivery.mp3")) == pytest.approx(2.14, abs=0.1)
    told = promised_seconds("flac", flac(TEN_HOURS, told=True))
    assert told == pytest.approx(TEN_HOURS, abs=10)
    assert promised_seconds("flac", flac(60, told=False)) is None
    tag = b"ID3\x04\x00\x00\x00\x00\x01\x48" + bytes(200)
    bare = data_of("delivery.mp3")
    bare = bare[10 + int.from_bytes(bare[8:10]) :] if bare[:3] == b"ID3" else bare
    assert promised_seconds("mp3", tag + bare) == promised_seconds("mp3", data_of("delivery.mp3"))
    assert promised_seconds("webm", data_of("hours.webm")) is None


@given(st.sampled_from(sorted(MAGIC)), st.binary(max_size=300))
def test_any_bytes_come_to_an_end(kind: str, data: bytes) -> None:
    data = MAGIC[kind] + data
    assert kind_of(data) == kind
    assert isinstance(is_cut(kind, data), bool)
    assert (promised_seconds(kind, data) or 0.0) >= 0.0


@given(st.sampled_from(sorted(SENTENCES)), st.integers(0, 50_000))
def test_any_beginning_of_a_recording_comes_to_an_end(name: str, size: int) -> None:
    kind = name.partition(".")[2]
    assert isinstance(is_cut(kind, data_of(name)[:size]), bool)
    promised_seconds(kind, data_of(name)[:size])
