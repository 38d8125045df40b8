"""RTP counters over a whole call."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from gateway.errors import ProtocolError
from gateway.ingest.rtp.packet import MAX_SOURCES, PacketClock


@given(
    st.integers(0, 0xFFFF),
    st.integers(0, 0xFFFFFFFF),
    st.lists(st.integers(-50, 1000), min_size=1, max_size=200),
)
def test_wrapped_counters_come_out_as_if_they_never_wrapped(first_seq: int, first_time: int, steps: list[int]) -> None:
    clock = PacketClock(48_000)
    origin = clock.place(1, first_seq, first_time)
    assert origin is not None
    position = furthest = 0
    for step in steps:
        position = furthest + step
        furthest = max(furthest, position)
        place = clock.place(1, (first_seq + position) & 0xFFFF, (first_time + 960 * position) & 0xFFFFFFFF)
        assert place is not None
        assert place[0] - origin[0] == position
        assert place[1] - origin[1] == pytest.approx(20.0 * position)


def test_media_time_follows_the_clock_of_the_codec() -> None:
    clock = PacketClock(8_000)
    first, second = clock.place(1, 0, 0), clock.place(1, 1, 160)
    assert first is not None
    assert second is not None
    assert second[1] - first[1] == 20.0


def test_a_new_source_reads_as_a_restart_and_the_old_one_stays_out() -> None:
    clock = PacketClock(48_000)
    before = clock.place(1, 500, 0)
    after = clock.place(2, 501, 960)
    assert before is not None
    assert after is not None
    assert after[0] - before[0] > 1000
    assert clock.place(1, 501, 960) is None
    assert clock.place(2, 502, 1920) == (after[0] + 1, after[1] + 20.0)


def test_a_session_that_keeps_changing_its_source_is_refused() -> None:
    clock = PacketClock(48_000)
    for ssrc in range(MAX_SOURCES):
        clock.place(ssrc, 0, 0)
    with pytest.raises(ProtocolError, match="ssrc"):
        clock.place(MAX_SOURCES, 0, 0)
