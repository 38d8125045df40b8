"""Audio that comes before the words that say what it is: held for a moment, never guessed at.  [S]

Asterisk's chan_websocket may send frames before ``MEDIA_START``, FreeSWITCH's mod_audio_stream
before its metadata; where messages have no order, a start may be overtaken. How long is
waited is the door's `start_deadline_s`.
"""

from __future__ import annotations

from typing import Generic, TypeVar

from gateway.errors import ProtocolError

MAX_BYTES = 512 * 1024
"""Five seconds of 16 kHz stereo and more: what comes within a start's deadline."""
MAX_FRAMES = 1_000
_Frame = TypeVar("_Frame")


class EarlyAudio(Generic[_Frame]):
    """What one stream sent too early, in the order it came."""

    def __init__(self, awaited: str) -> None:
        """`awaited` is what must come first, for the error: ``MEDIA_START``."""
        self.awaited = awaited
        self._frames: list[_Frame] = []
        self._bytes = 0

    def hold(self, frame: _Frame, size_bytes: int) -> None:
        """Keep a frame. Raises ProtocolError when there are too many."""
        self._bytes += size_bytes
        if self._bytes > MAX_BYTES or len(self._frames) >= MAX_FRAMES:
            raise ProtocolError(f"message: expected {self.awaited} before so much audio")
        self._frames.append(frame)

    def release(self) -> list[_Frame]:
        """Return what was held, oldest first, and hold it no longer."""
        frames, self._frames, self._bytes = self._frames, [], 0
        return frames

    def __len__(self) -> int:
        return len(self._frames)
