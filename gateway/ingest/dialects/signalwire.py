"""SignalWire's <Stream>: Twilio's messages, also with linear PCM.  [S]

Source: SignalWire, "cXML Stream". ``connected`` has version 0.2.0, ``start`` has no streamSid at top level and ``stop``
has no fields; the parser for Twilio accepts all of this.
"""

from __future__ import annotations

from typing import ClassVar

from gateway.ingest.dialects.tracks import Formats
from gateway.ingest.dialects.twilio import Twilio


class SignalWire(Twilio):
    """One SignalWire stream: legs ``inbound`` and ``outbound``."""

    source = "signalwire"
    # The byte order is not documented; little-endian, like the other vendors' linear PCM.
    formats: ClassVar[Formats] = {
        "audio/x-mulaw": ("mulaw", (8000,)),
        "audio/x-l16": ("s16le", (8000, 16_000, 24_000)),
    }
