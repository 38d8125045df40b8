"""Logs a warning when a leg's audio does not match its declared format, and names the likely setting.  [IO]"""

from __future__ import annotations

import structlog

from gateway.call.codec_watch import UNKNOWN_CODEC, CodecWatch
from gateway.call.plausible import Plausibility, hint
from gateway.ingest.events import AudioFormat, AudioReceived

FORMAT_MISMATCH = "format_mismatch"
"""The audio does not match its declared format: reason of ``coverage.reduced`` and verdicts, outcome of windows."""


class FormatWatch:
    """Compares one leg's audio with its declared format."""

    def __init__(self, declared: AudioFormat, source: str, logger: structlog.stdlib.BoundLogger) -> None:
        """Take the declared format; `source` is the kind of source, which selects the hint in the log."""
        self._declared = declared
        self._source = source
        self._logger = logger
        self._plausibility = Plausibility(declared)
        self._codec = CodecWatch(source, logger)

    @property
    def in_doubt(self) -> bool:
        """Whether the audio seems to have another format, so that its scores mean nothing."""
        return self._plausibility.doubt is not None

    def hear(self, audio: AudioReceived, duration_s: float, now_s: float) -> str | None:
        """Check one payload; return the reason for ``coverage.reduced`` where a problem is found now, else None.

        Args:
            audio: the payload.
            duration_s: its duration in the declared format.
            now_s: its arrival, on a monotonic clock.
        """
        if self._codec.observe(audio):
            return UNKNOWN_CODEC
        is_timed = audio.seq is not None or audio.start_ms is not None
        if not self._plausibility.add(audio.payload, duration_s, now_s, is_timed=is_timed):
            return None
        if (doubt := self._plausibility.doubt) is None:
            self._logger.info("audio is what was declared after all")
            return None
        declared = f"{self._declared.encoding} at {self._declared.rate_hz} Hz"
        check = hint(self._source)
        self._logger.warning(
            "audio is not what was declared", source=self._source, declared=declared, seems=doubt, check=check
        )
        return FORMAT_MISMATCH
