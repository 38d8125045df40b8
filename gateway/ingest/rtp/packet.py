"""Unwraps RTP's 16-bit sequence numbers and 32-bit timestamps (RFC 3550 section 5.1).  [S]"""

from __future__ import annotations

from gateway.errors import ProtocolError

MAX_SOURCES = 16
"""SSRCs per session: a sender that restarts uses a new one, but not every few packets."""
NEW_SOURCE_STEP = 1 << 20
"""Jump of the sequence number for a new source: larger than any reordering, so that it is treated as a restart."""


class PacketClock:
    """Turns wrapping sequence numbers and timestamps into monotonic ones."""

    def __init__(self, clock_hz: int) -> None:
        self._clock_hz = clock_hz
        self._sources: list[int] = []
        self._seq = 0
        self._timestamp = 0

    def place(self, ssrc: int, sequence_number: int, timestamp: int) -> tuple[int, float] | None:
        """Return the position of a packet.

        Returns:
            The sequence number, and the media time of the first sample in ms, both unwrapped and with an arbitrary
            origin. None for a late packet of a source (SSRC) that another one has replaced: two voices are never mixed.

        Raises:
            ProtocolError: there were more than `MAX_SOURCES` sources.
        """
        if not self._sources or ssrc != self._sources[-1]:
            if ssrc in self._sources:
                return None
            self._begin(ssrc, sequence_number, timestamp)
        self._seq, seq = _unwrap(self._seq, sequence_number, 16)
        self._timestamp, time = _unwrap(self._timestamp, timestamp, 32)
        return seq, 1000 * time / self._clock_hz

    def _begin(self, ssrc: int, sequence_number: int, timestamp: int) -> None:
        if len(self._sources) == MAX_SOURCES:
            raise ProtocolError(f"ssrc: expected one source per session, got more than {MAX_SOURCES}")
        self._seq += sequence_number - (self._seq & 0xFFFF) + (NEW_SOURCE_STEP if self._sources else 0)
        self._timestamp = timestamp
        self._sources.append(ssrc)


def _unwrap(newest: int, value: int, bits: int) -> tuple[int, int]:
    """Return the greatest number so far, and the number nearest to it whose low `bits` are `value`."""
    span = 1 << bits
    step = (value - newest) % span
    unwrapped = newest + (step if step < span // 2 else step - span)
    return max(newest, unwrapped), unwrapped
