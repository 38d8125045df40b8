"""Audio held until it is known what it is: in order, once, and not without end."""

from __future__ import annotations

import pytest

from gateway.errors import BadMessage, ProtocolError
from gateway.ingest.dialects.early import MAX_BYTES, MAX_FRAMES, EarlyAudio


def test_it_comes_out_once_and_in_order() -> None:
    early: EarlyAudio[int] = EarlyAudio("START")
    for index in range(5):
        early.hold(index, 320)
    assert (len(early), early.release(), early.release(), len(early)) == (5, [0, 1, 2, 3, 4], [], 0)


@pytest.mark.parametrize(("frames", "size_bytes"), [(MAX_FRAMES, 1), (4, MAX_BYTES // 4)])
def test_it_is_bounded(frames: int, size_bytes: int) -> None:
    early: EarlyAudio[bytes] = EarlyAudio("START")
    for _ in range(frames):
        early.hold(b"", size_bytes)
    with pytest.raises(ProtocolError, match="message: expected START before so much audio") as fault:
        early.hold(b"", size_bytes)
    assert not isinstance(fault.value, BadMessage), "the stream is over"
