"""Frames are split as the engine would split them, however the bytes arrive."""

from __future__ import annotations

import random

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from websockets.frames import Frame, Opcode

from gateway.http.frames import FrameSplitter, Kind

MOST = 100_000


def frame(opcode: Opcode, data: bytes, *, fin: bool = True) -> bytes:
    return Frame(opcode, data, fin=fin).serialize(mask=True)


def split(pieces: list[bytes], most: int = MOST) -> list[tuple[Kind, bytes]]:
    splitter = FrameSplitter(most)
    return [found for piece in pieces for found in splitter.split(piece)]


def cut(stream: bytes, seed: int) -> list[bytes]:
    draw = random.Random(seed)
    cuts = sorted(draw.choices(range(len(stream) + 1), k=draw.choice((0, 1, 5, len(stream)))))
    return [stream[start:stop] for start, stop in zip([0, *cuts], [*cuts, len(stream)], strict=True)]


GOLDEN = bytes.fromhex("818537fa213d7f9f4d5158")
"""RFC 6455 section 5.7: a masked text message, "Hello"."""


def test_the_example_of_the_standard() -> None:
    assert split([GOLDEN]) == [(Kind.TEXT, b"Hello")]
    assert split([bytes([byte]) for byte in GOLDEN]) == [(Kind.TEXT, b"Hello")]


@given(st.lists(st.tuples(st.booleans(), st.sampled_from([0, 1, 125, 126, 160, 65_535, 65_536])), max_size=6))
@settings(max_examples=40)
def test_messages_come_out_whole_and_in_order_however_they_are_cut(sent: list[tuple[bool, int]]) -> None:
    expected = [(Kind.TEXT if is_text else Kind.BINARY, random.Random(0).randbytes(size)) for is_text, size in sent]
    opcodes = {Kind.TEXT: Opcode.TEXT, Kind.BINARY: Opcode.BINARY}
    stream = b"".join(frame(opcodes[kind], body) for kind, body in expected)
    for seed in range(3):
        assert split(cut(stream, seed)) == expected


@given(st.integers(0, 1_000))
def test_other_frames_reach_the_engine_unchanged(seed: int) -> None:
    ping, close = frame(Opcode.PING, b"abc"), frame(Opcode.CLOSE, b"\x03\xe8")
    fragments = [
        frame(Opcode.TEXT, b"one ", fin=False),
        frame(Opcode.PING, b""),
        frame(Opcode.CONT, b"two ", fin=False),
        frame(Opcode.CONT, b"three"),
    ]
    text = (Kind.TEXT, b"plain")
    stream = b"".join((frame(Opcode.TEXT, b"plain"), ping, *fragments, frame(Opcode.TEXT, b"plain"), close))
    others = [(Kind.OTHER, piece) for piece in (ping, *fragments)]
    assert split(cut(stream, seed)) == [text, *others, text, (Kind.OTHER, close)]


@pytest.mark.parametrize(
    "wrong",
    [
        Frame(Opcode.TEXT, b"not masked").serialize(mask=False),
        frame(Opcode.TEXT, bytes(MOST + 1)),
        b"\x81\xff" + (1 << 62).to_bytes(8) + b"mask",
    ],
    ids=["not masked", "too big", "longer than can be"],
)
def test_after_an_error_the_engine_gets_everything(wrong: bytes) -> None:
    good = frame(Opcode.TEXT, b"good")
    found = split([good + wrong[:20], wrong[20:], good])
    assert found[0] == (Kind.TEXT, b"good")
    assert {kind for kind, _ in found[1:]} == {Kind.OTHER}
    assert b"".join(body for _, body in found[1:]) == wrong + good


def test_a_text_frame_amid_fragments_and_one_with_an_extension_are_left_to_the_engine() -> None:
    amid = [frame(Opcode.BINARY, b"a", fin=False), frame(Opcode.TEXT, b"b")]
    compressed = frame(Opcode.TEXT, b"c")
    compressed = bytes([compressed[0] | 0x40]) + compressed[1:]
    assert split([*amid]) == [(Kind.OTHER, amid[0]), (Kind.OTHER, amid[1])]
    assert split([compressed]) == [(Kind.OTHER, compressed)]
