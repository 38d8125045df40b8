"""A clip of evidence and its facts, as a FLAC file.

The facts are in FLAC's tags (Vorbis comments), which any player shows.
"""

from __future__ import annotations

import io
from dataclasses import dataclass
from datetime import datetime

import av

from detection.types import SAMPLE_RATE_HZ
from gateway.evidence.recent import Excerpt


@dataclass(frozen=True, slots=True)
class Subject:
    """The leg that the audio is from."""

    call_id: str
    leg: str
    tenant: str | None
    role: str
    source: str
    """The attach point."""


@dataclass(frozen=True, slots=True)
class Alert:
    """The alert that the audio is evidence of."""

    alert_id: str
    at_s: float
    """Position in the leg's audio, in seconds."""
    raised: datetime
    p_synthetic: float
    reason: str


@dataclass(frozen=True, slots=True)
class Clip:
    """The audio around one alert."""

    subject: Subject
    alert: Alert
    audio: Excerpt

    def tags(self) -> dict[str, str]:
        """Return the facts as tags; times are media times of the leg, in seconds."""
        subject, alert, audio = self.subject, self.alert, self.audio
        return {
            "CALL_ID": subject.call_id,
            "LEG": subject.leg,
            **({"TENANT": subject.tenant} if subject.tenant is not None else {}),
            "ROLE": subject.role,
            "CALL_SOURCE": subject.source,
            "ALERT_ID": alert.alert_id,
            "ALERT_S": f"{alert.at_s:.3f}",
            "RAISED": alert.raised.isoformat(timespec="milliseconds"),
            "P_SYNTHETIC": f"{alert.p_synthetic:.4f}",
            "REASON": alert.reason,
            "START_S": f"{audio.start_s:.3f}",
            "END_S": f"{audio.end_s:.3f}",
            "GAPS_S": " ".join(f"{start:.3f}-{end:.3f}" for start, end in audio.gaps) or "none",
        }

    def flac(self) -> bytes:
        """Return the clip as a FLAC file: mono, 16 kHz, 16 bits, lossless."""
        file = io.BytesIO()
        with av.open(file, "w", format="flac") as container:
            container.metadata.update(self.tags())
            stream = container.add_stream("flac", rate=SAMPLE_RATE_HZ)
            stream.layout, stream.format = "mono", "s16"
            frame = av.AudioFrame.from_ndarray(self.audio.samples[None], format="s16", layout="mono")
            frame.sample_rate = SAMPLE_RATE_HZ
            for packet in (*stream.encode(frame), *stream.encode(None)):
                container.mux(packet)
        return file.getvalue()


def tags_of(flac: bytes) -> dict[str, str]:
    """Return the tags of a FLAC file, and its ``encoder``. Raises ValueError if it is not one."""
    try:
        with av.open(io.BytesIO(flac), format="flac") as container:
            return dict(container.metadata)
    except av.FFmpegError as error:
        raise ValueError(f"expected a FLAC file: {error}") from None
