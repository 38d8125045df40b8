"""Golden frames of AudioSocket, in whatever pieces TCP brings them."""

from __future__ import annotations

from uuid import UUID

import pytest
from hypothesis import given
from hypothesis import strategies as st

from gateway.errors import Forbidden, ProtocolError, UnsupportedMedia, WrongFrameKind
from gateway.ingest.dialects.audiosocket import HANGUP, AudioSocket, Speaker
from gateway.ingest.events import (
    AudioFormat,
    AudioReceived,
    CallId,
    LegDescription,
    LegId,
    MessageIgnored,
    StreamStarted,
    StreamStopped,
)

ALICE = UUID("40325ec2-5efd-4bd3-805f-53576e581d13")
HELLO = bytes.fromhex("01 0010 40325ec25efd4bd3805f53576e581d13")
LEG = LegId("caller")


def identify(uuid: UUID) -> Speaker:
    if uuid != ALICE:
        raise Forbidden("uuid: unknown")
    return Speaker(CallId("c-1"), LEG, "caller")


def started(rate_hz: int) -> StreamStarted:
    legs = (LegDescription(LEG, AudioFormat("s16le", rate_hz), "caller"),)
    return StreamStarted(CallId("c-1"), "audiosocket", legs)


@pytest.mark.parametrize(
    ("header", "rate_hz"),
    [
        ("10 0140", 8_000),
        ("11 01e0", 12_000),
        ("12 0280", 16_000),
        ("13 03c0", 24_000),
        ("14 0500", 32_000),
        ("15 06e4", 44_100),
        ("16 0780", 48_000),
        ("17 0f00", 96_000),
        ("18 1e00", 192_000),
    ],
)
def test_20_ms_of_every_type(header: str, rate_hz: int) -> None:
    payload = bytes(range(250)) * 31
    payload = payload[: 2 * rate_hz // 50]
    dialect = AudioSocket(identify)
    assert dialect.receive(HELLO) == []
    audio = AudioReceived(LEG, payload)
    assert dialect.receive(bytes.fromhex(header) + payload) == [started(rate_hz), audio]
    assert dialect.receive(bytes.fromhex(header) + payload) == [audio]


def test_old_asterisk_says_8_khz_whatever_it_sends() -> None:
    dialect = AudioSocket(identify, slin_rate_hz=16_000)
    events = dialect.receive(HELLO + bytes.fromhex("10 0002 0100"))
    assert events == [started(16_000), AudioReceived(LEG, b"\1\0")]


@given(st.lists(st.integers(1, 40)))
def test_pieces_do_not_matter(sizes: list[int]) -> None:
    wire = HELLO + bytes.fromhex("10 0004 01000200  03 0001 35  10 0002 0300  00 0000")
    dialect, events, at = AudioSocket(identify), [], 0
    for size in [*sizes, len(wire)]:
        events += dialect.receive(wire[at : at + size])
        at += size
    assert events == [
        started(8_000),
        AudioReceived(LEG, b"\1\0\2\0"),
        AudioReceived(LEG, b""),  # a key, which is no speech
        AudioReceived(LEG, b"\3\0"),
        StreamStopped("hangup"),
    ]


@pytest.mark.parametrize(
    ("frame", "reason"), [("ff 0001 02", "asterisk_error_2"), ("ff 0000", "asterisk_error"), ("00 0000", "hangup")]
)
def test_the_end_has_a_reason(frame: str, reason: str) -> None:
    assert AudioSocket(identify).receive(HELLO + bytes.fromhex(frame)) == [StreamStopped(reason)]


@pytest.mark.parametrize(
    ("frames", "message"),
    [
        ("10 0002 0000", "type: expected the UUID"),
        ("01 0004 40325ec2", "uuid: expected 16 bytes, got 4"),
        (HELLO.hex() + "01 0010" + "00" * 16, "type: expected the UUID .* once, got another one"),
    ],
)
def test_invalid_asterisk_messages_are_refused(frames: str, message: str) -> None:
    with pytest.raises(ProtocolError, match=message):
        AudioSocket(identify).receive(bytes.fromhex(frames))


@pytest.mark.parametrize(
    ("frames", "reason"),
    [
        (HELLO.hex() * 2, "repeated_start"),
        (HELLO.hex() + "19 0003 010203", "unknown_type"),
        (HELLO.hex() + "02 0000", "unknown_type"),
    ],
)
def test_messages_of_later_versions_are_ignored(frames: str, reason: str) -> None:
    dialect = AudioSocket(identify)
    assert dialect.receive(bytes.fromhex(frames)) == [MessageIgnored(reason)]
    assert dialect.receive(bytes.fromhex("10 0002 0100")) == [started(8_000), AudioReceived(LEG, b"\1\0")]


def test_a_rate_does_not_change() -> None:
    with pytest.raises(UnsupportedMedia, match="expected 8000 Hz as at the start, got 16000 Hz"):
        AudioSocket(identify).receive(HELLO + bytes.fromhex("10 0000 12 0000"))


def test_an_unknown_uuid_is_refused_at_once() -> None:
    with pytest.raises(Forbidden, match="uuid: unknown"):
        AudioSocket(identify).receive(bytes.fromhex("01 0010") + bytes(16))


def test_text_is_not_audiosocket() -> None:
    with pytest.raises(WrongFrameKind):
        AudioSocket(identify).receive("hello")


def test_we_only_ever_say_goodbye() -> None:
    dialect = AudioSocket(identify)
    assert (dialect.replies(), dialect.goodbye("shutdown"), HANGUP) == ([], [b"\0\0\0"], b"\0\0\0")
