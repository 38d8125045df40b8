"""Tells the log when a leg's audio is not what its peer declared, and which setting is likely wrong.  [IO]"""

from __future__ import annotations

import structlog

from gateway.call.codec_watch import UNKNOWN_CODEC, CodecWatch
from gateway.call.plausible import Plausibility, hint
from gateway.ingest.events import AudioFormat, AudioReceived

FORMAT_MISMATCH = "format_mismatch"
"""Reason of ``coverage.reduced`` and of a verdict, and outcome of windows: the audio isn't what was declared."""


class FormatWatch:
    """Of one leg."""

    def __init__(self, declared: AudioFormat, source: str, logger: structlog.stdlib.BoundLogger) -> None:
        """`source` is the way in, for the hint."""
        self._declared = declared
        self._source = source
        self._logger = logger
        self._plausibility = Plausibility(declared)
        self._codec = CodecWatch(source, logger)

    @property
    def in_doubt(self) -> bool:
        """Whether nothing may be said of the voice as things stand."""
        return self._plausibility.doubt is not None

    def hear(self, audio: AudioReceived, duration_s: float, now_s: float) -> str | None:
        """Take a payload of so many declared seconds; return the reason why with it the leg's coverage shrinks."""
        if self._codec.hear(audio):
            return UNKNOWN_CODEC
        is_timed = audio.seq is not None or audio.start_ms is not None
        if not self._plausibility.hear(audio.payload, duration_s, now_s, is_timed=is_timed):
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
