"""Holds back audio that arrives before the message with its format; formats are never guessed.  [S]

Asterisk's chan_websocket may send frames before ``MEDIA_START``, FreeSWITCH's mod_audio_stream before its metadata, and
transports without order may deliver a start late. The limit on time is the endpoint's `start_deadline_s`.
"""

from __future__ import annotations

from typing import Generic, TypeVar

from gateway.errors import ProtocolError

MAX_BYTES = 512 * 1024
"""More than five seconds of stereo at 16 kHz: as much as a start's deadline allows."""
MAX_FRAMES = 1_000
_Frame = TypeVar("_Frame")


class EarlyAudio(Generic[_Frame]):
    """The early audio of one stream, in the order of arrival."""

    def __init__(self, awaited: str) -> None:
        """`awaited` names the message that must come first, for the error: ``MEDIA_START``."""
        self.awaited = awaited
        self._frames: list[_Frame] = []
        self._bytes = 0

    def hold(self, frame: _Frame, size_bytes: int) -> None:
        """Store a frame. Raises ProtocolError if there are too many."""
        self._bytes += size_bytes
        if self._bytes > MAX_BYTES or len(self._frames) >= MAX_FRAMES:
            raise ProtocolError(f"message: expected {self.awaited} before so much audio")
        self._frames.append(frame)

    def release(self) -> list[_Frame]:
        """Remove and return the stored frames, oldest first."""
        frames, self._frames, self._bytes = self._frames, [], 0
        return frames

    def __len__(self) -> int:
        return len(self._frames)
